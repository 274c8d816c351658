//! Rows times columns: three rows, widened once, times columns in pairs, which were widened before.

use core::arch::asm;
use ocellus_shared::op::{PATCHES, row_bytes};
use ocellus_shared::plan::Step;

/// [`PATCHES`] rows of a matrix and all columns of another, each value less its zero point: for every four values a word with
/// the even ones as int16 and a word with the odd ones.
#[derive(Debug)]
pub struct Product<'m> {
    depth: usize,
    columns: usize,
    zeros: [i8; 2],
    multiplier: f32,
    zero: i32,
    rows: &'m mut [u32],  // (groups of four, PATCHES, 2)
    pairs: &'m mut [u32], // (columns / 2, groups of four, 2, 2)
}

/// Words from one group of four values to the next, of a row and of a column.
const ROW_STRIDE: usize = 2 * PATCHES;
const COLUMN_STRIDE: usize = 4;

impl<'m> Product<'m> {
    /// Rows and columns of `depth` values, at least one, for `step` in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says.
    pub fn new(step: &Step, scratch: &'m mut [i8], depth: usize, columns: usize) -> Self {
        let (_, words, _) = bytemuck::pod_align_to_mut(scratch);
        let (rows, pairs) = words.split_at_mut(row_bytes(depth) / 4 * ROW_STRIDE);
        Self {
            depth,
            columns,
            zeros: [0, 1].map(|k| step.inputs()[k].zero),
            multiplier: step.multipliers.get(0),
            zero: step.output.zero.into(),
            rows,
            pairs,
        }
    }

    /// Words of one row or column.
    fn words(&self) -> usize {
        row_bytes(self.depth) / 2
    }

    /// Takes in row `index`, of so many `values`.
    pub fn set_row(&mut self, index: usize, values: &[i8]) {
        widen(values, 1, self.depth, self.zeros[0], &mut self.rows[2 * index..], ROW_STRIDE);
    }

    /// Takes in column `index`: the first of `values`, and those that follow on it each `apart` from the last.
    pub fn set_column(&mut self, index: usize, values: &[i8], apart: usize) {
        let at = index / 2 * 2 * self.words() + index % 2 * 2;
        widen(values, apart, self.depth, self.zeros[1], &mut self.pairs[at..], COLUMN_STRIDE);
    }

    /// Multiplies the first `count` rows by every column, and writes the requantized sums of each to `output`, `pitch` values
    /// behind those of the row before.
    pub fn write(&self, count: usize, output: &mut [i8], pitch: usize) {
        let whole = if count == PATCHES { self.columns / 2 } else { 0 };
        if whole > 0 {
            assert!(output.len() >= (PATCHES - 1) * pitch + self.columns);
            // SAFETY: the output has a value for each of the columns and rows.
            unsafe { self.multiply(0..whole, output.as_mut_ptr(), pitch) }
        }
        // What the code knows no less than is computed into room of its own.
        for first in (2 * whole..self.columns).step_by(2) {
            let mut results = [0; 2 * PATCHES];
            // SAFETY: there is room for two columns of all rows.
            unsafe { self.multiply(first / 2..first / 2 + 1, results.as_mut_ptr(), 2) }
            for (row, results) in output.chunks_mut(pitch).zip(results.as_chunks::<2>().0).take(count) {
                for (value, result) in row[first..self.columns].iter_mut().zip(results) {
                    *value = *result;
                }
            }
        }
    }

    /// Writes the results of all rows and so many pairs of columns, at least one, from `output` on. A function of its own,
    /// because there are two who call it.
    #[inline(never)]
    unsafe fn multiply(&self, pairs: core::ops::Range<usize>, output: *mut i8, pitch: usize) {
        let Self { multiplier, zero, .. } = *self;
        let (each, rows) = (2 * self.words(), self.rows.as_ptr_range());
        let columns = self.pairs[pairs.start * each..pairs.end * each].as_ptr_range();
        let (output_end, rows_end) = (columns.end, rows.end);
        let mut job = Job {
            columns: columns.start,
            columns_end: output_end,
            rows: rows.start,
            rows_end,
            output,
            pitch,
            zero,
            multiplier,
        };
        // SAFETY: each of the columns has as many words as each of the rows; of the output, the caller vouches for it.
        unsafe { six_products(&mut job) }
    }
}

/// Widens `depth` of the `values`, each `apart` from the last, less `zero`, and writes a pair of words for every four, `stride`
/// words from the last; with zeros beyond the last.
#[inline(never)]
fn widen(values: &[i8], apart: usize, depth: usize, zero: i8, words: &mut [u32], stride: usize) {
    let whole = depth / 4;
    assert!(values.len() > (depth - 1) * apart && words.len() + stride >= depth.div_ceil(4) * stride + 2);
    let negated = u32::from(-i16::from(zero) as u16) * 0x1_0001;
    let mut four = [zero; 4];
    for group in 0..depth.div_ceil(4) {
        let at = 4 * group * apart;
        let count = if group < whole { 4 } else { depth % 4 };
        if apart > 1 || count < 4 {
            four = [zero; 4];
            for (k, value) in four.iter_mut().enumerate().take(count) {
                *value = values[at + k * apart];
            }
        } else {
            four.copy_from_slice(&values[at..at + 4]);
        }
        let word: u32 = bytemuck::cast(four);
        let (even, odd);
        // SAFETY: the instructions touch nothing but their registers.
        unsafe {
            asm!("sxtab16 {}, {}, {}", lateout(reg) even, in(reg) negated, in(reg) word, options(pure, nomem, nostack, preserves_flags));
            asm!("sxtab16 {}, {}, {}, ror #8", lateout(reg) odd, in(reg) negated, in(reg) word, options(pure, nomem, nostack, preserves_flags));
        }
        words[group * stride..][..2].copy_from_slice(&[even, odd]);
    }
}

/// What [`six_products`] does.
#[repr(C)]
struct Job {
    columns: *const u32,
    rows: *const u32,
    output: *mut i8,
    pitch: usize,
    zero: i32,
    multiplier: f32,
    rows_end: *const u32,
    columns_end: *const u32,
}

/// Three rows times one pair of columns after the other.
#[inline(always)]
unsafe fn six_products(job: &mut Job) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "vldr s4, [r0, #20]",
            "push {{r0}}",
            "ldr r1, [r0, #24]",
            "push {{r1}}",
            "ldr r0, [r0]",
            "1:",
            "ldr r12, [sp, #4]",
            "ldr r1, [r12, #4]",
            "mov r4, #0",
            "mov r5, #0",
            "mov r6, #0",
            "mov r7, #0",
            "mov r8, #0",
            "mov r9, #0",
            "2:",
            "ldrd r2, r3, [r0], #8",
            "ldrd r10, r11, [r0], #8",
            six_sums!(),
            "ldr r12, [sp]",
            "cmp r1, r12",
            "bne 2b",
            "ldr r12, [sp, #4]",
            "ldrd r1, r2, [r12, #8]",
            "ldr r3, [r12, #16]",
            "vmov s0, s1, r4, r5",
            "vmov s2, s3, r6, r7",
            round_four!(),
            "vmov r4, r5, s0, s1",
            "vmov r6, r7, s2, s3",
            "vmov s0, s1, r8, r9",
            "vcvt.f32.s32 s0, s0",
            "vcvt.f32.s32 s1, s1",
            "vmul.f32 s0, s0, s4",
            "vmul.f32 s1, s1, s4",
            "vcvtr.s32.f32 s0, s0",
            "vcvtr.s32.f32 s1, s1",
            "vmov r8, r9, s0, s1",
            "qadd r4, r4, r3",
            "qadd r5, r5, r3",
            "qadd r6, r6, r3",
            "qadd r7, r7, r3",
            "qadd r8, r8, r3",
            "qadd r9, r9, r3",
            "ssat r4, #8, r4",
            "ssat r5, #8, r5",
            "ssat r6, #8, r6",
            "ssat r7, #8, r7",
            "ssat r8, #8, r8",
            "ssat r9, #8, r9",
            "add r10, r1, r2",
            "strb r5, [r1, #1]",
            "strb r6, [r1, r2]",
            "strb r8, [r10, r2]",
            "strb r7, [r10, #1]",
            "add r10, r2",
            "strb r9, [r10, #1]",
            "strb r4, [r1], #2",
            "str r1, [r12, #8]",
            "ldr r1, [r12, #28]",
            "cmp r0, r1",
            "bne 1b",
            "add sp, #8",
            "pop {{r4-r11}}",
            inout("r0") job => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
            out("lr") _,
            out("s0") _,
            out("s1") _,
            out("s2") _,
            out("s3") _,
            out("s4") _,
        )
    }
}
