//! Counting what a run takes.

/// Counts executed instructions; on a real board, which cannot, the core's cycles.
pub trait Counter {
    /// Instructions or cycles up to now, from any start.
    fn instructions(&mut self) -> u64;
}
