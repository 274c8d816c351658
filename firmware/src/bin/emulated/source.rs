//! Messages from a file of the host, by semihosting.

use heapless::CString;
use ocellus_firmware::transport::{EndOfStream, Source};
use semihosting::experimental::env;
use semihosting::fs::File;
use semihosting::io::Read as _;

/// Most bytes of the command line.
const ARGUMENTS_LEN: usize = 512;

/// The file that the first argument names, or standard input.
pub struct Semihosting(File);

impl Semihosting {
    /// Opens the stream.
    pub fn open() -> Option<Self> {
        let arguments = env::args::<ARGUMENTS_LEN>().ok()?;
        let path = (&arguments).nth(1).transpose().ok()?.unwrap_or("/dev/stdin");
        let mut name = CString::<ARGUMENTS_LEN>::new();
        name.extend_from_bytes(path.as_bytes()).ok()?;
        File::open(name.as_c_str()).ok().map(Self)
    }
}

impl Source for Semihosting {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let mut rest = buffer;
        while !rest.is_empty() {
            // A pipe gives what it has.
            match self.0.read(rest) {
                Ok(read @ 1..) => rest = &mut rest[read..],
                _ => return Err(EndOfStream),
            }
        }
        Ok(())
    }
}
