//! Measuring what a run takes.

/// Counts executed instructions, on a real board, which cannot, the core's cycles; and how far the stack reaches.
pub trait Counter {
    /// Instructions or cycles up to now, from any start.
    fn instructions(&mut self) -> u64;

    /// Begins to watch the stack.
    fn watch_stack(&mut self);

    /// Most bytes of stack that were in use since, beyond those that were in use then.
    fn stack_bytes(&mut self) -> u32;
}
