//! Rows times columns in plain loops over int16, which compilers make vectors of; on workstations with AVX2, blocks of columns by
//! [`x86::product`](super::x86::product).

use ocellus_shared::op::{PATCHES, row_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::quant::requantize;

/// [`PATCHES`] rows of a matrix and all columns of another, each value less its zero point.
#[derive(Debug)]
pub struct Product<'m> {
    depth: usize,
    /// `depth` filled up: rows are zero there.
    line: usize,
    /// Columns that lie in blocks.
    in_blocks: usize,
    zeros: [i16; 2],
    multiplier: f32,
    zero: i8,
    values: &'m mut [i16], // (PATCHES, line), (columns, line)
}

impl<'m> Product<'m> {
    /// Rows and columns of `depth` values for `step` in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says.
    pub fn new(step: &Step, scratch: &'m mut [i8], depth: usize, columns: usize) -> Self {
        let line = row_bytes(depth);
        let (_, values, _) = bytemuck::pod_align_to_mut(scratch);
        #[cfg(target_arch = "x86_64")]
        let in_blocks = super::x86::product::in_blocks(columns);
        #[cfg(not(target_arch = "x86_64"))]
        let in_blocks = 0;
        Self {
            depth,
            line,
            in_blocks,
            zeros: [0, 1].map(|k| step.inputs()[k].zero.into()),
            multiplier: step.multipliers.get(0),
            zero: step.output.zero,
            values: &mut values[..(PATCHES + columns) * line],
        }
    }

    /// Takes in row `index`, of so many `values`.
    pub fn set_row(&mut self, index: usize, values: &[i8]) {
        let row = &mut self.values[index * self.line..][..self.line];
        row[self.depth..].fill(0);
        row.iter_mut().zip(values).for_each(|(place, value)| *place = i16::from(*value) - self.zeros[0]);
    }

    /// Takes in column `index`: the first of `values`, and those that follow on it each `apart` from the last.
    pub fn set_column(&mut self, index: usize, values: &[i8], apart: usize) {
        let column = values.iter().step_by(apart).take(self.depth).map(|value| i16::from(*value) - self.zeros[1]);
        let columns = &mut self.values[PATCHES * self.line..];
        #[cfg(target_arch = "x86_64")]
        if index < self.in_blocks {
            return super::x86::product::set_column(columns, self.line, index, column);
        }
        // What a column holds beyond meets zeros.
        columns[index * self.line..].iter_mut().zip(column).for_each(|(place, value)| *place = value);
    }

    /// Multiplies the first `count` rows by every column, and writes the requantized sums of each to `output`, `pitch` values
    /// behind those of the row before.
    pub fn write(&self, count: usize, output: &mut [i8], pitch: usize) {
        let (rows, columns) = self.values.split_at(PATCHES * self.line);
        let (multiplier, zero) = (self.multiplier, self.zero);
        #[cfg(target_arch = "x86_64")]
        super::x86::product::write(
            rows,
            &columns[..self.in_blocks * self.line],
            multiplier,
            zero,
            count,
            output,
            pitch,
        );
        for (index, column) in columns.chunks_exact(self.line).enumerate().skip(self.in_blocks) {
            for (row, results) in rows.chunks_exact(self.line).zip(output.chunks_mut(pitch)).take(count) {
                let products = row.iter().zip(column).map(|(a, b)| i32::from(*a) * i32::from(*b));
                results[index] = requantize(products.fold(0, i32::wrapping_add), multiplier, zero);
            }
        }
    }
}
