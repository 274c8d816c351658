//! Patches as rows of int8: for cores whose multiplications widen by themselves.

use ocellus_shared::op::PATCHES;
use ocellus_shared::plan::Step;
use ocellus_shared::quant::requantize;

/// What lies under the windows of [`PATCHES`] outputs, a row each, and the filters that are applied to them.
#[derive(Debug)]
pub struct Patches<'m> {
    step: &'m Step<'m>,
    row: usize,
    rows: &'m mut [i8], // (PATCHES, row)
}

impl<'m> Patches<'m> {
    /// Patches for the filters of `step`, `row` bytes each, in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one patch.
    pub fn new(step: &'m Step<'m>, scratch: &'m mut [i8], row: usize) -> Self {
        Self { step, row, rows: &mut scratch[..PATCHES * row] }
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

    /// Applies every filter and writes the results to `pixels`, one value per filter and patch; the last patches count for
    /// nothing where there are fewer pixels. A function of its own, so that its loops have all registers.
    #[inline(never)]
    pub fn apply(&mut self, pixels: &mut [i8]) {
        let (step, row) = (self.step, self.row);
        #[cfg(all(target_arch = "arm", feature = "mve"))]
        let done = super::mve::conv::filter(step, self.rows, row, pixels);
        #[cfg(not(all(target_arch = "arm", feature = "mve")))]
        let done = 0;
        let channels = usize::from(step.output.shape.c);
        for (pair, weights) in step.weights.chunks_exact(2 * row).enumerate().skip(done) {
            let sums = self.dots(weights);
            for channel in 2 * pair..(2 * pair + 2).min(channels) {
                let (bias, multiplier) = (step.biases.get(channel), step.multipliers.get(channel));
                for (pixel, sums) in pixels.chunks_exact_mut(channels).zip(&sums) {
                    let acc = sums[channel - 2 * pair].wrapping_add(bias);
                    pixel[channel] = requantize(acc, multiplier, step.output.zero);
                }
            }
        }
    }

    /// The dot products of each patch with both filters of a pair.
    #[inline(always)]
    fn dots(&self, pair: &[i8]) -> [[i32; 2]; PATCHES] {
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
