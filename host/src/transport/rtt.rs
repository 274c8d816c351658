//! A real board's rings, and its log: defmt frames in a ring of their own, for people.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use defmt_decoder::{DecodeError, Table};

use super::Transport;
use crate::probe::Channels;

/// Time between two looks at rings that brought nothing.
const PAUSE: Duration = Duration::from_millis(1);
/// Most bytes of one look.
const READ_BYTES: usize = 4096;
/// The level of what a board logs besides what it says to a host that follows it.
const INFO: &str = "info";

/// The rings of a board.
pub struct Rtt {
    channels: Channels,
    /// Bytes of the log to be decoded, and its lines; nothing where the program has no log.
    log: Option<(Sender<Vec<u8>>, Receiver<String>)>,
}

impl Rtt {
    /// Over `channels` of the program `elf`.
    pub fn new(channels: Channels, elf: &[u8]) -> Self {
        // A program without a log can be talked to all the same.
        let log = Table::parse(elf).ok().flatten().map(|table| {
            let ((bytes, frames), (lines, log)) = (channel(), channel());
            thread::spawn(move || decode(&table, &frames, &lines));
            (bytes, log)
        });
        Self { channels, log }
    }

    fn read_log(&mut self) -> Result<()> {
        let Some((bytes, _)) = &self.log else { return Ok(()) };
        let mut buffer = [0; READ_BYTES];
        let read = self.channels.read_log(&mut buffer)?;
        if read > 0 {
            // Fails where the log could not be decoded, which was said.
            let _ = bytes.send(buffer[..read].to_vec());
        }
        Ok(())
    }
}

impl Transport for Rtt {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.channels.write(bytes)
    }

    fn read(&mut self, received: &mut Vec<u8>, timeout: Duration) -> Result<()> {
        let (mut buffer, deadline) = ([0; READ_BYTES], Instant::now() + timeout);
        loop {
            let read = self.channels.read(&mut buffer)?;
            received.extend_from_slice(&buffer[..read]);
            if read > 0 {
                return Ok(());
            }
            self.read_log()?;
            if Instant::now() >= deadline {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
    }

    fn log(&mut self) -> Vec<String> {
        self.log.iter().flat_map(|(_, lines)| lines.try_iter()).collect()
    }

    fn explain_silence(&self, timeout: Duration) -> String {
        format!(
            "{} no longer answers, for {} s: it stands still, or was reset in the middle of a message; press its reset \
             button and run the command again",
            self.channels.board(),
            timeout.as_secs()
        )
    }

    /// The board goes on.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Turns the log's bytes into lines, until they end: on a thread of its own, since the decoder borrows the table.
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
