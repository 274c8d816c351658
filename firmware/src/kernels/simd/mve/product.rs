//! Rows times columns: three rows of int8 times columns in pairs, as a convolution's patches and filters, and for each sum what
//! the zero points add to it.
//!
//! `sum((a - za) * (b - zb)) = sum(a * b) - za * sum(b) - zb * sum(a - za)`: the second term is the column's, the third the
//! row's.

use super::conv::{PAIRS, dots};
use core::arch::asm;
use ocellus_shared::op::{BLOCK, PATCHES, row_bytes};
use ocellus_shared::plan::Step;

/// [`PATCHES`] rows of a matrix and all columns of another.
#[derive(Debug)]
pub struct Product<'m> {
    depth: usize,
    columns: usize,
    /// `depth` filled up: rows are zero there.
    line: usize,
    zeros: [i32; 2],
    multiplier: f32,
    zero: i32,
    /// What the zero points add to the sums of each row.
    offsets: [i32; PATCHES],
    rows: &'m mut [i8], // (PATCHES, line)
    /// What they add to those of each column.
    terms: &'m mut [[u8; 4]],
    pairs: &'m mut [i8], // (columns / 2, 2 * line), in blocks as a pair of filters
}

impl<'m> Product<'m> {
    /// Rows and columns of `depth` values for `step` in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says.
    pub fn new(step: &Step, scratch: &'m mut [i8], depth: usize, columns: usize) -> Self {
        let (line, filled) = (row_bytes(depth), columns.next_multiple_of(2));
        let (rows, rest) = scratch.split_at_mut(PATCHES * line);
        let (terms, pairs) = rest.split_at_mut(filled * size_of::<i32>());
        Self {
            depth,
            columns,
            line,
            zeros: [0, 1].map(|k| step.inputs()[k].zero.into()),
            multiplier: step.multipliers.get(0),
            zero: step.output.zero.into(),
            offsets: [0; PATCHES],
            rows,
            terms: bytemuck::cast_slice_mut(terms),
            pairs: &mut pairs[..filled * line],
        }
    }

    /// Takes in row `index`, of so many `values`.
    pub fn set_row(&mut self, index: usize, values: &[i8]) {
        let (row, rest) = self.rows[index * self.line..][..self.line].split_at_mut(self.depth);
        let sum = take_in(values, 1, row);
        rest.fill(0);
        self.offsets[index] = -self.zeros[1] * (sum - self.depth as i32 * self.zeros[0]);
    }

    /// Takes in column `index`: the first of `values`, and those that follow on it each `apart` from the last.
    pub fn set_column(&mut self, index: usize, values: &[i8], apart: usize) {
        let pair = &mut self.pairs[index / 2 * 2 * self.line..][..2 * self.line];
        let mut sum = 0i32;
        for start in (0..self.depth).step_by(BLOCK) {
            // A filter's part of a block; the last may be shorter. What it holds beyond the depth meets zeros.
            let part = BLOCK.min(self.line - start);
            let count = BLOCK.min(self.depth - start);
            let places = &mut pair[2 * start + index % 2 * part..][..count];
            sum += take_in(&values[start * apart..], apart, places);
        }
        self.terms[index] = (-self.zeros[0] * sum).to_le_bytes();
    }

    /// Multiplies the first `count` rows by every column, and writes the requantized sums of each to `output`, `pitch` values
    /// behind those of the row before.
    pub fn write(&self, count: usize, output: &mut [i8], pitch: usize) {
        let mut sums = [[0i32; 2 * PAIRS]; PATCHES];
        for (group, terms) in self.terms[..self.columns].chunks(2 * PAIRS).enumerate() {
            let first = group * 2 * PAIRS;
            let pairs = terms.len().div_ceil(2);
            let columns = &self.pairs[first * self.line..][..2 * pairs * self.line];
            // SAFETY: each of the rows has as many bytes as each of the columns, of which there are `pairs` pairs, and there
            // is room for their sums.
            unsafe { dots(self.rows.as_ptr(), self.line, columns.as_ptr(), pairs, &mut sums) }
            for (row, pixel) in output.chunks_mut(pitch).take(count).enumerate() {
                let results = &mut pixel[first..][..terms.len()];
                // SAFETY: there are as many terms and results, at least one, and no fewer sums.
                unsafe { self.finish(&sums[row], terms, self.offsets[row], results) }
            }
        }
    }

    /// Adds `offset` and terms to sums and requantizes them by the rounding rule; as many as there are results, at least one.
    #[inline(always)]
    unsafe fn finish(&self, sums: &[i32], terms: &[[u8; 4]], offset: i32, results: &mut [i8]) {
        // SAFETY: the code reads and writes what the caller vouches for, and its registers.
        unsafe {
            asm!(
                "dlstp.32 lr, {count}",
                "1:",
                "vldrw.u32 q0, [{sums}], #16",
                // Bytes, because scratch memory may lie at any alignment.
                "vldrb.u8 q1, [{terms}], #16",
                "vadd.i32 q0, q0, {offset}",
                "vadd.i32 q0, q0, q1",
                "vcvt.f32.s32 q0, q0",
                "vmul.f32 q0, q0, {multiplier}",
                "vcvtn.s32.f32 q0, q0",
                "vqadd.s32 q0, q0, {zero}",
                "vqmovnb.s32 q0, q0",
                "vqmovnb.s16 q0, q0",
                "vstrb.32 q0, [r2], #4",
                "letp lr, 1b",
                sums = inout(reg) sums.as_ptr() => _,
                terms = inout(reg) terms.as_ptr() => _,
                offset = in(reg) offset,
                multiplier = in(reg) self.multiplier.to_bits(),
                zero = in(reg) self.zero,
                count = in(reg) results.len(),
                inout("r2") results.as_mut_ptr() => _,
                out("lr") _,
                out("q0") _,
                out("q1") _,
                options(nostack),
            )
        }
    }
}

/// Copies the first of `values`, and those that follow on it each `apart` from the last, to `places`, at least one; gives their
/// sum. What the compiler makes of such a loop takes 15 instructions for a value, and 600 bytes of stack.
#[inline(never)]
fn take_in(values: &[i8], apart: usize, places: &mut [i8]) -> i32 {
    assert!(values.len() > (places.len() - 1) * apart);
    let mut sum = 0;
    // SAFETY: there are as many values as places, and the code changes nothing but these and its registers.
    unsafe {
        if apart == 1 {
            asm!(
                "dlstp.8 lr, {count}",
                "1:",
                "vldrb.u8 q0, [{values}], #16",
                // The sum must be in an even register.
                "vaddva.s8 r12, q0",
                "vstrb.8 q0, [{places}], #16",
                "letp lr, 1b",
                values = inout(reg) values.as_ptr() => _,
                places = inout(reg) places.as_mut_ptr() => _,
                inout("r12") sum,
                count = in(reg) places.len(),
                out("lr") _,
                out("q0") _,
                options(nostack),
            );
        } else {
            asm!(
                "dls lr, {count}",
                "1:",
                "ldrsb {value}, [{values}]",
                "add {values}, {apart}",
                "strb {value}, [{places}], #1",
                "add {sum}, {value}",
                "le lr, 1b",
                values = inout(reg) values.as_ptr() => _,
                places = inout(reg) places.as_mut_ptr() => _,
                sum = inout(reg) sum,
                apart = in(reg) apart,
                count = in(reg) places.len(),
                value = out(reg) _,
                out("lr") _,
                options(nostack),
            );
        }
    }
    sum
}
