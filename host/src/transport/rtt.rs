//! A real board's rings, and its log: defmt frames in a ring of their own, for people.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Transport;
use super::log::Log;
use crate::probe::Channels;

/// Time between two looks at rings that brought nothing.
const PAUSE: Duration = Duration::from_millis(1);
/// Most bytes of one look.
const READ_BYTES: usize = 4096;

/// The rings of a board.
pub struct Rtt {
    channels: Channels,
    /// Nothing where the program has no log.
    log: Option<Log>,
}

impl Rtt {
    /// Over `channels` of the program `elf`.
    pub fn new(channels: Channels, elf: &[u8]) -> Self {
        Self { channels, log: Log::of(elf) }
    }

    fn read_log(&mut self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut buffer = [0; READ_BYTES];
        let read = self.channels.read_log(&mut buffer)?;
        if read > 0 {
            log.feed(&buffer[..read]);
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
        self.log.as_ref().map(Log::lines).unwrap_or_default()
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
