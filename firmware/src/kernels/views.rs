//! Splits the arena into the parts that a step, or a strip of one, reads and writes.

use ocellus_shared::Op;
use ocellus_shared::plan::{Operand, Step};

/// The memory of one step.
#[derive(Debug)]
pub struct Views<'m> {
    /// The rest of the arena, where the inputs lie.
    pub inputs: Inputs<'m>,
    /// Where the result goes; empty for a flattening, which writes nothing.
    pub output: &'m mut [i8],
    /// Scratch memory.
    pub scratch: &'m mut [i8],
}

/// What is left of the arena beside a step's output and scratch: start of each piece, and the piece.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'m>([(usize, &'m [i8]); 3]);

impl<'m> Views<'m> {
    /// The parts of `arena` that `step`, which is one that [`Step::each_strip`] shows, names. A parsed plan guarantees that the output
    /// and the scratch of each lie apart from each other and from every input.
    pub fn new(step: &Step, arena: &'m mut [i8]) -> Self {
        let out = match step.op {
            Op::Flatten => 0..0,
            _ => step.output.range(),
        };
        let scratch = match step.scratch {
            (_, 0) => out.end..out.end,
            (start, len) => start..start + len,
        };
        let scratch_first = scratch.start < out.start;
        let (low, high) = if scratch_first { (scratch, out) } else { (out, scratch) };
        let (before, tail) = arena.split_at_mut(low.start);
        let (first, tail) = tail.split_at_mut(low.len());
        let (between, tail) = tail.split_at_mut(high.start - low.end);
        let (second, after) = tail.split_at_mut(high.len());
        let (output, scratch) = if scratch_first { (second, first) } else { (first, second) };
        Self { inputs: Inputs([(0, before), (low.end, between), (high.end, after)]), output, scratch }
    }
}

impl<'m> Inputs<'m> {
    /// The values of one of the step's inputs.
    pub fn get(&self, operand: Operand) -> &'m [i8] {
        let range = operand.range();
        // The last piece that starts at or before the input holds it, since no input straddles output or scratch.
        let (start, piece) = self.0.iter().rev().find(|(start, _)| *start <= range.start).unwrap_or(&self.0[0]);
        &piece[range.start - start..range.end - start]
    }
}
