//! Ways to a board: QEMU's standard streams ([`qemu`]), a probe that reads and fills rings in a chip's memory ([`rtt`]), and the
//! same rings in the memory of a chip in software ([`chip`]).
//!
//! A transport carries bytes. What they mean knows [`Client`](crate::client::Client) alone.

pub mod chip;
pub mod log;
pub mod qemu;
pub mod rtt;

use std::time::Duration;

use anyhow::Result;
use ocellus_shared::frame::Frame;

/// A stream to and from the program on a board. Dropping it leaves the board.
pub trait Transport {
    /// Hands over as many of `bytes` as there is room for now: how many.
    ///
    /// # Errors
    /// The board has stopped, started anew ([`Restarted`](crate::probe::Restarted)), or is out of reach.
    fn write(&mut self, bytes: &[u8]) -> Result<usize>;

    /// Appends to `received` what the board has sent, once it has; waits for no longer than `timeout`.
    ///
    /// # Errors
    /// As for [`Transport::write`].
    fn read(&mut self, received: &mut Vec<u8>, timeout: Duration) -> Result<()>;

    /// Puts `frame` before the board's camera, where that is in software and has such frames: whether it did.
    fn show(&mut self, _frame: &Frame) -> bool {
        false
    }

    /// Lines of the board's log since the last call.
    fn log(&mut self) -> Vec<String>;

    /// What it means that the board was silent for `timeout`, and what to do.
    fn explain_silence(&self, timeout: Duration) -> String;

    /// The board has answered that it ends: waits until it does, where that is to be seen.
    ///
    /// # Errors
    /// It does not, or not in good order.
    fn close(&mut self) -> Result<()>;
}
