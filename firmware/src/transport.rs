//! Bytes from and to a host.
//!
//! [`rtt`] is the transport of real boards; that of emulated ones, semihosting, is part of their programs.

pub mod rtt;

/// The stream has no more bytes, or brings none for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfStream;

/// A stream in both directions. The functions with a body are right for one whose reading waits for ever and whose writing
/// cannot fail.
pub trait Transport {
    /// Fills `buffer`.
    ///
    /// # Errors
    /// The stream ends before.
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream>;

    /// Hands over all of `bytes`, or gives the host up.
    fn write(&mut self, bytes: &[u8]);

    /// A packet is complete: what is held back goes out.
    fn flush(&mut self) {}

    /// Whether a message has begun. Does not wait.
    fn poll(&mut self) -> bool {
        false
    }

    /// Whether a message begins within `timeout_us`.
    fn wait(&mut self, _timeout_us: u64) -> bool {
        true
    }

    /// Whether the host no longer takes what is written, since its last message.
    fn is_abandoned(&self) -> bool {
        false
    }

    /// Drops what comes until the next message can be told from the rest of a broken one.
    fn resynchronize(&mut self) {}
}
