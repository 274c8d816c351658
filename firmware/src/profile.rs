//! Measuring what a run takes.

/// Counts executed instructions, and how far the stack reaches; a real board, which cannot, its core's cycles alone.
pub trait Counter {
    /// Instructions or cycles up to now, from any start.
    fn instructions(&mut self) -> u64;

    /// Begins to watch the stack, where that can be done.
    fn watch_stack(&mut self) {}

    /// Most bytes of stack that were in use since, beyond those that were in use then; 0 where the stack is not watched.
    fn stack_bytes(&mut self) -> u32 {
        0
    }
}
