//! Counting what a run takes.

/// Counts executed instructions.
pub trait Counter {
    /// Instructions up to now, from any start.
    fn instructions(&mut self) -> u64;
}
