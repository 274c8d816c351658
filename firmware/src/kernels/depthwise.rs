//! Depthwise convolution: one filter per channel, computed for [`LANES`] channels at a time.

use super::simd::requantize;
use super::simd::{LANES, multiply_add};
use super::window::{Reach, each_pixel};
use ocellus_shared::Window;
use ocellus_shared::plan::Step;

pub fn run(step: &Step, window: &Window, input: &[i8], scratch: &mut [i8], output: &mut [i8]) {
    #[cfg(all(target_arch = "arm", any(feature = "dsp", feature = "mve")))]
    if let Some(bands) = ocellus_shared::op::Bands::new(window, step.input().shape) {
        return super::simd::depthwise::run(step, window, bands, input, scratch, output);
    }
    #[cfg(target_arch = "x86_64")]
    if super::simd::x86::depthwise::run(step, window, input, output) {
        return;
    }
    let _ = scratch; // Only the fast path has a use for it.
    each_pixel(window, step.input().shape, step.output.shape, output, |rows, columns, pixel| {
        let position = Position { step, window, input, rows, columns };
        let (blocks, rest) = pixel.as_chunks_mut::<LANES>();
        let done = blocks.len() * LANES;
        for (index, block) in blocks.iter_mut().enumerate() {
            let first = index * LANES;
            position.finish(first, &position.sums::<LANES>(first), block);
        }
        for (channel, result) in (done..).zip(rest.chunks_mut(1)) {
            position.finish(channel, &position.sums::<1>(channel), result);
        }
    });
}

/// One output pixel: the window and what it reaches.
struct Position<'a> {
    step: &'a Step<'a>,
    window: &'a Window,
    input: &'a [i8],
    rows: Reach,
    columns: Reach,
}

impl Position<'_> {
    /// Sums over the window for the `N` channels from `first`.
    #[inline(always)]
    fn sums<const N: usize>(&self, first: usize) -> [i32; N] {
        let Self { rows, columns, .. } = self;
        let channels = usize::from(self.step.output.shape.c);
        let (kernel_width, width) = (usize::from(self.window.kernel[1]), usize::from(self.step.input().shape.w));
        let mut sums = [0; N];
        for dy in 0..rows.len {
            let mut weights = ((rows.tap + dy) * kernel_width + columns.tap) * channels + first;
            let mut values = ((rows.at + dy) * width + columns.at) * channels + first;
            for _ in 0..columns.len {
                if let (Some(values), Some(weights)) = (chunk(self.input, values), chunk(self.step.weights, weights)) {
                    multiply_add(values, weights, &mut sums);
                }
                // Neighbouring taps lie as far apart in both.
                weights += channels;
                values += channels;
            }
        }
        if rows.len * columns.len < self.window.taps() {
            self.add_padding(first, &mut sums);
        }
        sums
    }

    /// Adds the taps that fall on padding, where the input counts as its zero point.
    #[inline(never)]
    fn add_padding<const N: usize>(&self, first: usize, sums: &mut [i32; N]) {
        let channels = usize::from(self.step.output.shape.c);
        let kernel_width = usize::from(self.window.kernel[1]);
        let zero = [self.step.input().zero; N];
        let covers = |reach: Reach, tap: usize| (reach.tap..reach.tap + reach.len).contains(&tap);
        for (tap, weights) in self.step.weights.chunks(channels).enumerate() {
            let inside = covers(self.rows, tap / kernel_width) && covers(self.columns, tap % kernel_width);
            if let (false, Some(weights)) = (inside, chunk(weights, first)) {
                multiply_add(&zero, weights, sums);
            }
        }
    }

    /// The int8 results of the channels from `first`. A function of its own, which all of them share.
    #[inline(never)]
    fn finish(&self, first: usize, sums: &[i32], results: &mut [i8]) {
        for (channel, (sum, result)) in (first..).zip(sums.iter().zip(results)) {
            let acc = sum.wrapping_add(self.step.biases.get(channel));
            *result = requantize(acc, self.step.multipliers.get(channel), self.step.output.zero);
        }
    }
}

/// The `N` values from `at`; there always are as many.
#[inline(always)]
fn chunk<const N: usize>(values: &[i8], at: usize) -> Option<&[i8; N]> {
    values.get(at..)?.first_chunk()
}
