//! A conversation over two byte pipes that never wait: RTT's rings in a real board's RAM, which a probe reads and fills.
//!
//! What waits for bytes, or for room, waits with an end and feeds the watchdog meanwhile: a host that goes away in the
//! middle of a message costs the board some time, and nothing else.

use super::{EndOfStream, Report, Source};
use crate::time::{Clock, Watchdog};
use ocellus_shared::wire::{Reply, packet};

/// Longest wait for the next bytes of a message, or for a host to take some of a reply.
pub const PATIENCE_US: u64 = 1_000_000;
/// Silence after which what a lost stream still brings is over.
const SILENCE_US: u64 = 100_000;

/// Pause between two looks at a pipe, in microseconds: nothing beside the time that a probe takes.
const PAUSE_US: u64 = 20;

/// Bytes from the host.
pub trait RttReader {
    /// Takes what there is, and no more than `buffer` holds: how many bytes.
    fn read(&mut self, buffer: &mut [u8]) -> usize;
}

/// Bytes to the host.
pub trait RttWriter {
    /// Hands over as many of `bytes` as there is room for: how many.
    fn write(&mut self, bytes: &[u8]) -> usize;
}

/// Listens to a pipe.
#[derive(Debug)]
pub struct RttInput<I, K> {
    inlet: I,
    timer: K,
    /// A byte that was there when somebody looked.
    held: Option<u8>,
}

impl<I: RttReader, K: Clock + Watchdog> RttInput<I, K> {
    /// An ear that has heard nothing.
    pub fn new(inlet: I, timer: K) -> Self {
        Self { inlet, timer, held: None }
    }

    /// Whether a message has begun. Does not wait.
    pub fn hears(&mut self) -> bool {
        let mut byte = [0];
        if self.held.is_none() && self.inlet.read(&mut byte) == 1 {
            self.held = Some(byte[0]);
        }
        self.held.is_some()
    }

    /// Whether a message begins within `patience_us`.
    pub fn waits(&mut self, patience_us: u64) -> bool {
        let end = self.timer.now_us() + patience_us;
        loop {
            self.timer.feed();
            if self.hears() {
                return true;
            }
            if !pause(&self.timer, end) {
                return false;
            }
        }
    }

    /// Throws away what comes until nothing does, or for as long as patience lasts.
    pub fn drain(&mut self) {
        let end = self.timer.now_us() + PATIENCE_US;
        while self.waits(SILENCE_US) && self.timer.now_us() < end {
            self.held = None;
            let mut sink = [0; 64];
            while self.inlet.read(&mut sink) == sink.len() && self.timer.now_us() < end {}
        }
    }
}

impl<I: RttReader, K: Clock + Watchdog> Source for RttInput<I, K> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let held = if buffer.is_empty() { None } else { self.held.take() };
        held.iter().zip(&mut *buffer).for_each(|(byte, place)| *place = *byte);
        let mut rest = &mut buffer[usize::from(held.is_some())..];
        let mut end = self.timer.now_us() + PATIENCE_US;
        while !rest.is_empty() {
            self.timer.feed();
            let read = self.inlet.read(rest);
            rest = &mut rest[read..];
            if read > 0 {
                end = self.timer.now_us() + PATIENCE_US;
            } else if !rest.is_empty() && !pause(&self.timer, end) {
                return Err(EndOfStream);
            }
        }
        Ok(())
    }
}

/// Waits a little, unless it is `end_us` by now: whether it was not.
fn pause(timer: &impl Clock, end_us: u64) -> bool {
    let now = timer.now_us();
    timer.wait_until_us(now + PAUSE_US);
    now < end_us
}

/// Speaks into a pipe, in [`packet`]s.
#[derive(Debug)]
pub struct RttOutput<O, K> {
    outlet: O,
    timer: K,
    /// Nobody took anything for too long.
    alone: bool,
}

impl<O: RttWriter, K: Clock + Watchdog> RttOutput<O, K> {
    /// A mouth that has said nothing.
    pub fn new(outlet: O, timer: K) -> Self {
        Self { outlet, timer, alone: false }
    }

    /// Somebody has spoken to it: what is said from now on is waited for again.
    pub fn turn_to_host(&mut self) {
        self.alone = false;
    }

    fn write_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        let mut end = self.timer.now_us() + PATIENCE_US;
        while !rest.is_empty() && !self.alone {
            self.timer.feed();
            let written = self.outlet.write(rest);
            rest = &rest[written..];
            if written > 0 {
                end = self.timer.now_us() + PATIENCE_US;
            } else {
                self.alone = !pause(&self.timer, end);
            }
        }
    }
}

impl<O: RttWriter, K: Clock + Watchdog> Report for RttOutput<O, K> {
    fn reply(&mut self, reply: Reply<'_, &[i8]>) {
        packet::emit(&reply, &mut |bytes| self.write_all(bytes));
    }
}
