//! A board's log: defmt frames for people, by the formats that its program's file has.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use defmt_decoder::{DecodeError, Table};

/// The level of what a board logs besides what it says to a host that follows it.
const INFO: &str = "info";

/// A log that is decoded on a thread of its own, since the decoder borrows the table.
pub struct Log {
    bytes: Sender<Vec<u8>>,
    lines: Receiver<String>,
}

impl Log {
    /// The log of the program `elf`; nothing where it has none. Such a program can be talked to all the same.
    pub fn of(elf: &[u8]) -> Option<Self> {
        let table = Table::parse(elf).ok().flatten()?;
        let ((bytes, frames), (sender, lines)) = (channel(), channel());
        thread::spawn(move || decode(&table, &frames, &sender));
        Some(Self { bytes, lines })
    }

    /// Takes what the board logged.
    pub fn feed(&self, bytes: &[u8]) {
        // Fails where the log could not be decoded, which was said.
        let _ = self.bytes.send(bytes.to_vec());
    }

    /// Lines since the last call.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// All lines of what was fed: nothing follows.
    pub fn finish(self) -> Vec<String> {
        drop(self.bytes);
        self.lines.iter().collect()
    }
}

/// Turns the log's bytes into lines, until they end.
fn decode(table: &Table, bytes: &Receiver<Vec<u8>>, lines: &Sender<String>) {
    let mut decoder = table.new_stream_decoder();
    for bytes in bytes {
        decoder.received(&bytes);
        loop {
            let line = match decoder.decode() {
                Ok(frame) if frame.level().is_some_and(|level| level.as_str() == INFO) => continue,
                Ok(frame) => frame.display_message().to_string(),
                Err(DecodeError::UnexpectedEof) => break,
                // A frame that was cut: the next one is found again.
                Err(DecodeError::Malformed) if table.encoding().can_recover() => continue,
                Err(DecodeError::Malformed) => {
                    let _ = lines.send("the board's log is of another program than the given one".to_owned());
                    return;
                }
            };
            if lines.send(line).is_err() {
                return;
            }
        }
    }
}
