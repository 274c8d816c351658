//! Reads step records, and checks them: once everything, then only what a run needs.

use super::{Crop, F32s, HEADER_LEN, I32s, Operand, STEP_LEN, Step, StepFault};
use crate::op::{MAX_INPUTS, Op, Record, Window};
use crate::shape::Shape;

/// Reads fixed positions of a record of `N` bytes. Inlined, so that no position need be compared with `N` on a board.
pub(super) struct Fields<'a, const N: usize>(pub(super) &'a [u8; N]);

impl<const N: usize> Fields<'_, N> {
    #[inline(always)]
    pub(super) fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    #[inline(always)]
    pub(super) fn i8(&self, at: usize) -> i8 {
        self.0[at] as i8
    }

    #[inline(always)]
    pub(super) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    #[inline(always)]
    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    #[inline(always)]
    pub(super) fn shape(&self, at: usize) -> Shape {
        Shape::new(self.u16(at), self.u16(at + 2), self.u16(at + 4))
    }

    pub(super) fn zeros(&self, from: usize, to: usize) -> bool {
        self.0[from..to].iter().all(|b| *b == 0)
    }
}

/// Bytes of an operand.
const OPERAND_LEN: usize = 12;

/// Reads an operand, or nothing where its reserved byte is set. A function of its own: a board's flash pays for each copy.
#[inline(never)]
fn operand(bytes: &[u8; OPERAND_LEN]) -> Option<Operand> {
    let field = Fields(bytes);
    let operand = Operand { offset: field.u32(0) as usize, shape: field.shape(4), zero: field.i8(10) };
    (field.u8(11) == 0).then_some(operand)
}

pub(super) fn header_crop(code: u8) -> Option<Crop> {
    match code {
        0 => Some(Crop::Centre),
        1 => Some(Crop::Stretch),
        _ => None,
    }
}

/// The operator of a step record; `None` for an unknown one, one that is not linked, or one with stray fields.
fn operator(field: &Fields<STEP_LEN>) -> Option<Op> {
    let byte = |i: usize| field.u8(2 + i);
    let window =
        Window { kernel: [byte(0), byte(1)], stride: [byte(2), byte(3)], pad: [byte(4), byte(5), byte(6), byte(7)] };
    let own = [94, 95, 96, 97].map(|at| field.u8(at));
    let op = Op::from_record(field.u8(0), &Record { window, out_channels: field.u16(10), own })?;
    field.zeros(98, STEP_LEN).then_some(op)
}

/// The fields of step `index`; nothing where `bytes` end before it does.
fn fields(bytes: &[u8], index: u16) -> Option<Fields<'_, STEP_LEN>> {
    let start = HEADER_LEN + index as usize * STEP_LEN;
    bytes.get(start..)?.first_chunk().map(Fields)
}

/// Checks everything about step `index`, whose parameters must begin at `regions_end` or later, and moves that to their end.
pub(super) fn check(bytes: &[u8], index: u16, arena_bytes: usize, regions_end: &mut usize) -> Result<(), StepFault> {
    let mut step = record(bytes, index)?;
    let mut shapes = [Shape::default(); MAX_INPUTS];
    for (shape, input) in shapes.iter_mut().zip(step.inputs()) {
        *shape = input.shape;
    }
    if step.op.out_shape(&shapes[..step.input_count]) != Ok(step.output.shape) {
        return Err(StepFault::Shape);
    }
    if !step.op.has_kernel(step.input().shape) {
        return Err(StepFault::Operator);
    }
    check_memory(&step, arena_bytes)?;
    with_params(&mut step, bytes, index)?;
    check_order(&step, bytes, index, regions_end)?;
    if step.op.has_word_weights() && !step.weights.as_ptr().addr().is_multiple_of(4) {
        return Err(StepFault::Address);
    }
    let usable = |m: f32| m.is_normal() && m > 0.0;
    if !(0..step.multipliers.len()).all(|i| usable(step.multipliers.get(i))) {
        return Err(StepFault::Multiplier);
    }
    Ok(())
}

/// Step `index` without its parameters.
pub(super) fn record<'a>(bytes: &[u8], index: u16) -> Result<Step<'a>, StepFault> {
    let field = fields(bytes, index).ok_or(StepFault::Operator)?;
    let op = operator(&field).ok_or(StepFault::Operator)?;
    let (input_count, operands) = (field.u8(1) as usize, field.0[12..72].as_chunks::<OPERAND_LEN>().0);
    if !(1..=MAX_INPUTS).contains(&input_count) || !field.zeros(24 + OPERAND_LEN * input_count, 72) {
        return Err(StepFault::Operator);
    }
    let output = operand(&operands[0]).ok_or(StepFault::Operator)?;
    let mut inputs = [Operand::default(); MAX_INPUTS];
    for (input, bytes) in inputs.iter_mut().zip(&operands[1..]).take(input_count) {
        *input = operand(bytes).ok_or(StepFault::Operator)?;
    }
    Ok(Step {
        op,
        output,
        inputs,
        input_count,
        scratch: (field.u32(72) as usize, field.u32(76) as usize),
        strip_rows: field.u16(92),
        weights: &[],
        biases: I32s::default(),
        multipliers: F32s::default(),
    })
}

/// Operands inside the arena; output and scratch disjoint from everything else, but for what strips allow; zero points
/// agree where no kernel would convert them.
fn check_memory(step: &Step, arena_bytes: usize) -> Result<(), StepFault> {
    let Step { op, output, scratch, strip_rows, .. } = step;
    let inputs = step.inputs();
    let scratch_end = scratch.0.checked_add(scratch.1).ok_or(StepFault::Arena)?;
    if scratch_end > arena_bytes || !in_arena(output, arena_bytes) || !inputs.iter().all(|i| in_arena(i, arena_bytes)) {
        return Err(StepFault::Arena);
    }
    if *strip_rows > 0 && (*strip_rows >= output.shape.h || !op.reads_rows(0)) {
        return Err(StepFault::Strips);
    }
    if scratch.1 != op.strip_scratch_bytes(inputs[0].shape, output.shape, *strip_rows) {
        return Err(StepFault::Scratch);
    }
    let (out, scratch) = (output.range(), scratch.0..scratch_end);
    let is_clear = |(index, input): (usize, &Operand)| {
        let range = input.range();
        let apart = match op {
            // A flattened map is the same bytes under another shape.
            Op::Flatten => range == out,
            _ => {
                disjoint(&out, &range)
                    || out.start + op.strip_lead(index, input.shape, output.shape, *strip_rows) <= range.start
            }
        };
        apart && disjoint(&scratch, &range)
    };
    let clear = disjoint(&out, &scratch) && inputs.iter().enumerate().all(is_clear);
    if !clear {
        return Err(StepFault::Overlap);
    }
    if op.copies() && inputs.iter().any(|i| i.zero != output.zero) {
        return Err(StepFault::ZeroPoint);
    }
    Ok(())
}

/// Whether nothing lies in both.
#[inline(never)]
fn disjoint(a: &core::ops::Range<usize>, b: &core::ops::Range<usize>) -> bool {
    a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
}

/// Whether the operand is a map that lies in the arena. A function of its own, like [`region`]: a board's flash pays for
/// each copy.
#[inline(never)]
pub(super) fn in_arena(operand: &Operand, arena_bytes: usize) -> bool {
    operand.shape.checked_len().and_then(|len| operand.offset.checked_add(len)).is_some_and(|end| end <= arena_bytes)
}

/// Adds its parameters to step `index`, whose shapes follow from its operator.
pub(super) fn with_params<'a>(step: &mut Step<'a>, bytes: &'a [u8], index: u16) -> Result<(), StepFault> {
    let field = fields(bytes, index).ok_or(StepFault::Parameters)?;
    let counts = step.op.param_counts(step.input().shape, step.output.shape);
    // A number of words whose length overflows is more than any file holds.
    let words = |at, count: usize| {
        let bytes = region(bytes, at, count.saturating_mul(4), 4).ok_or(StepFault::Parameters)?;
        Ok(bytes.as_chunks::<4>().0)
    };
    let weights = region(bytes, field.u32(80), counts.weights, 4).ok_or(StepFault::Parameters)?;
    step.weights = bytemuck::cast_slice(weights);
    step.biases = I32s(words(field.u32(84), counts.biases)?);
    step.multipliers = F32s(words(field.u32(88), counts.multipliers)?);
    Ok(())
}

/// Whether the parameters of step `index` stand one after the other from `regions_end` on, which is moved to their end. They are
/// looked at one by one, so that a file whose steps shared them could ask for much more time than it is long.
fn check_order(step: &Step, bytes: &[u8], index: u16, regions_end: &mut usize) -> Result<(), StepFault> {
    let field = fields(bytes, index).ok_or(StepFault::Parameters)?;
    let regions = [
        (field.u32(80), step.weights.len()),
        (field.u32(84), step.biases.as_bytes().as_flattened().len()),
        (field.u32(88), step.multipliers.as_bytes().as_flattened().len()),
    ];
    for (at, len) in regions {
        if len > 0 && (at as usize) < *regions_end {
            return Err(StepFault::Parameters);
        }
        // The region lies within the file, so that its end does not overflow.
        *regions_end = (*regions_end).max(at as usize + len);
    }
    Ok(())
}

/// `len` bytes of the file from `at`, which must be a multiple of `align`; offset zero where there are none.
#[inline(never)]
pub(super) fn region(bytes: &[u8], at: u32, len: usize, align: usize) -> Option<&[u8]> {
    let at = at as usize;
    if !at.is_multiple_of(align) {
        return None;
    }
    if len == 0 {
        return (at == 0).then_some(&[]);
    }
    if at < HEADER_LEN {
        return None;
    }
    bytes.get(at..at.checked_add(len)?)
}
