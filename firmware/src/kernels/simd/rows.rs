//! Patches as rows of int8: for cores whose multiplications widen by themselves.

use ocellus_shared::op::PATCHES;
use ocellus_shared::plan::Step;

/// What lies under the windows of [`PATCHES`] outputs, a row each.
#[derive(Debug)]
pub struct Patches<'m> {
    row: usize,
    rows: &'m mut [i8], // (PATCHES, row)
}

impl<'m> Patches<'m> {
    /// Patches of `row` bytes each in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one patch.
    pub fn new(scratch: &'m mut [i8], row: usize) -> Self {
        Self { row, rows: &mut scratch[..PATCHES * row] }
    }

    /// Fills patch `p` with `zero`.
    pub fn clear(&mut self, p: usize, zero: i8) {
        self.rows[p * self.row..][..self.row].fill(zero);
    }

    /// Writes `values` to patch `p` from position `at`; both it and their number are multiples of 4.
    pub fn write(&mut self, p: usize, at: usize, values: &[i8]) {
        self.rows[p * self.row + at..][..values.len()].copy_from_slice(values);
    }

    /// Fills each patch with `count` rows of `len` values, which lie `pitch` apart in `values`, and those of the next patch
    /// `step` further; `false` where it cannot, which is never.
    pub fn write_rows(&mut self, values: &[i8], count: usize, len: usize, pitch: usize, step: usize) -> bool {
        for (p, patch) in self.rows.chunks_exact_mut(self.row).enumerate() {
            let lines = values[p * step..].chunks(pitch).take(count);
            let (body, rest) = patch.split_at_mut(count * len);
            body.chunks_exact_mut(len).zip(lines).for_each(|(row, values)| copy(row, values));
            // What fills the filters up to whole words meets zeros.
            rest.fill(0);
        }
        true
    }

    /// Applies whole pairs of the filters of `step`, each of `row` bytes, and writes the results to `pixels`; how many.
    /// Other cores than those with vectors leave them all to [`Self::dots`].
    pub fn filter(&self, step: &Step, row: usize, pixels: &mut [i8]) -> usize {
        #[cfg(all(target_arch = "arm", feature = "mve"))]
        let done = super::mve::conv::filter(step, self.rows, row, pixels);
        #[cfg(not(all(target_arch = "arm", feature = "mve")))]
        let (done, _) = (0, (step, row, pixels));
        done
    }

    /// The dot products of each patch with both filters of a pair.
    #[inline(always)]
    pub fn dots(&self, pair: &[i8]) -> [[i32; 2]; PATCHES] {
        #[cfg(target_arch = "x86_64")]
        let sums = super::x86::pair(self.rows, pair);
        #[cfg(all(target_arch = "arm", feature = "mve"))]
        let sums = super::mve::pair(self.rows, pair);
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", feature = "mve"))))]
        let sums = super::portable::pair(self.rows, pair);
        sums
    }
}

/// Copies the first of `values` to all of `row`.
#[inline(always)]
fn copy(row: &mut [i8], values: &[i8]) {
    #[cfg(all(target_arch = "arm", feature = "mve"))]
    super::mve::conv::copy(row, values);
    #[cfg(not(all(target_arch = "arm", feature = "mve")))]
    row.copy_from_slice(&values[..row.len()]);
}
