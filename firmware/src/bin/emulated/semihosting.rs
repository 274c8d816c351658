//! The host by semihosting: messages from a file or a pipe, replies on standard output.

use heapless::{CString, Vec};
use ocellus_firmware::transport::{EndOfStream, Transport};
use semihosting::experimental::env;
use semihosting::fs::File;
use semihosting::io::{self, Read as _, Stdout, Write as _};

/// Most bytes of the command line.
const ARGUMENTS_LEN: usize = 512;
/// Bytes that are held back until a packet is complete: each call of the emulator's is worth thousands of instructions.
const BUFFER_LEN: usize = 2048;

/// Both streams.
pub struct Semihosting {
    messages: File,
    replies: Stdout,
    buffer: Vec<u8, BUFFER_LEN>,
}

impl Semihosting {
    /// Opens the file that the first argument names, or standard input.
    pub fn open() -> Option<Self> {
        let arguments = env::args::<ARGUMENTS_LEN>().ok()?;
        let path = (&arguments).nth(1).transpose().ok()?.unwrap_or("/dev/stdin");
        let mut name = CString::<ARGUMENTS_LEN>::new();
        name.extend_from_bytes(path.as_bytes()).ok()?;
        Some(Self { messages: File::open(name.as_c_str()).ok()?, replies: io::stdout().ok()?, buffer: Vec::new() })
    }
}

impl Transport for Semihosting {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let mut rest = buffer;
        while !rest.is_empty() {
            // A pipe gives what it has.
            match self.messages.read(rest) {
                Ok(read @ 1..) => rest = &mut rest[read..],
                _ => return Err(EndOfStream),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(BUFFER_LEN) {
            if self.buffer.len() + part.len() > BUFFER_LEN {
                self.flush();
            }
            // There is room.
            let _ = self.buffer.extend_from_slice(part);
        }
    }

    fn flush(&mut self) {
        // Fails where the host is gone, which the next message shows.
        let _ = self.replies.write_all(&self.buffer);
        self.buffer.clear();
    }
}
