//! RTT (SEGGER's real-time transfer): two rings in a board's RAM, which a probe reads and fills and which never wait.
//!
//! What waits for bytes, or for room, waits with an end and feeds the watchdog meanwhile: a host that goes away in the
//! middle of a message costs the board some time, and nothing else.

use super::{EndOfStream, Transport};
use crate::time::{Clock, Watchdog};

/// Longest wait for the next bytes of a message, or for a host to take some of a reply.
pub const TIMEOUT_US: u64 = 1_000_000;
/// Silence after which what a broken message still brings is over.
const SILENCE_US: u64 = 100_000;
/// Pause between two looks at a ring, in microseconds: nothing beside the time that a probe takes.
const PAUSE_US: u64 = 20;

/// The ring from the host.
pub trait RttReader {
    /// Takes what there is, and no more than `buffer` holds: how many bytes.
    fn read(&mut self, buffer: &mut [u8]) -> usize;
}

/// The ring to the host.
pub trait RttWriter {
    /// Hands over as many of `bytes` as there is room for: how many.
    fn write(&mut self, bytes: &[u8]) -> usize;
}

/// Both rings, with time-outs.
#[derive(Debug)]
pub struct Rtt<R, W, K> {
    reader: R,
    writer: W,
    timer: K,
    /// The first byte of a message, taken to see whether there is one.
    first: Option<u8>,
    /// Nobody took anything for too long.
    abandoned: bool,
}

impl<R: RttReader, W: RttWriter, K: Clock + Watchdog> Rtt<R, W, K> {
    /// A transport over two rings.
    pub fn new(reader: R, writer: W, timer: K) -> Self {
        Self { reader, writer, timer, first: None, abandoned: false }
    }

    fn has_begun(&mut self) -> bool {
        let mut byte = [0];
        if self.first.is_none() && self.reader.read(&mut byte) == 1 {
            self.first = Some(byte[0]);
        }
        self.first.is_some()
    }

    /// Calls `step` again and again until it has done `count` bytes in all, or none for [`TIMEOUT_US`]: whether it did.
    fn repeat(&mut self, count: usize, mut step: impl FnMut(&mut Self, usize) -> usize) -> bool {
        let (mut done, mut end) = (0, self.timer.now_us() + TIMEOUT_US);
        while done < count {
            self.timer.feed();
            let now = step(self, done);
            done += now;
            if now > 0 {
                end = self.timer.now_us() + TIMEOUT_US;
            } else if !pause(&self.timer, end) {
                return false;
            }
        }
        true
    }
}

/// Waits a little, unless it is `end_us` by now: whether it was not.
fn pause(timer: &impl Clock, end_us: u64) -> bool {
    let now = timer.now_us();
    timer.wait_until_us(now + PAUSE_US);
    now < end_us
}

impl<R: RttReader, W: RttWriter, K: Clock + Watchdog> Transport for Rtt<R, W, K> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let first = if buffer.is_empty() { None } else { self.first.take() };
        first.iter().zip(&mut *buffer).for_each(|(byte, place)| *place = *byte);
        let rest = &mut buffer[usize::from(first.is_some())..];
        let whole = self.repeat(rest.len(), |rtt, done| rtt.reader.read(&mut rest[done..]));
        if whole { Ok(()) } else { Err(EndOfStream) }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.abandoned = self.abandoned || !self.repeat(bytes.len(), |rtt, done| rtt.writer.write(&bytes[done..]));
    }

    fn poll(&mut self) -> bool {
        let has_begun = self.has_begun();
        // Somebody is there: what is written from now on is waited for again.
        self.abandoned = self.abandoned && !has_begun;
        has_begun
    }

    fn wait(&mut self, timeout_us: u64) -> bool {
        let end = self.timer.now_us() + timeout_us;
        loop {
            self.timer.feed();
            if self.has_begun() {
                return true;
            }
            if !pause(&self.timer, end) {
                return false;
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Waits for silence, or for as long as the time-out lasts.
    fn resynchronize(&mut self) {
        let end = self.timer.now_us() + TIMEOUT_US;
        while self.wait(SILENCE_US) && self.timer.now_us() < end {
            self.first = None;
            let mut sink = [0; 64];
            while self.reader.read(&mut sink) == sink.len() && self.timer.now_us() < end {}
        }
    }
}
