//! Depthwise convolution: one filter per channel, computed for [`LANES`] channels at a time.

use super::reference::Point;
use super::simd::{LANES, multiply_add, requantize};
use super::window::{Reach, each_pixel};
use super::{Inputs, Kernel};
use ocellus_shared::Window;
use ocellus_shared::op::{Depthwise, has_kernel};
use ocellus_shared::plan::Step;

impl Kernel for Depthwise {
    fn run(&self, step: &Step, inputs: Inputs, scratch: &mut [i8], output: &mut [i8]) {
        let (window, input) = (&self.window, inputs.get(step.input()));
        #[cfg(all(target_arch = "arm", any(feature = "dsp", feature = "mve")))]
        if let Some(bands) = ocellus_shared::op::Bands::new(window, step.input().shape) {
            return super::simd::depthwise::run(step, window, bands, input, scratch, output);
        }
        #[cfg(target_arch = "x86_64")]
        if super::simd::x86::depthwise::run(step, window, input, output) {
            return;
        }
        let _ = scratch; // Only the fast path has a use for it.
        if const { !has_kernel("depthwise") } {
            return;
        }
        each_pixel(window, step.input().shape, step.output.shape, output, &mut |rows, columns, pixel| {
            let position = Position { step, window, input, rows, columns };
            for (index, block) in pixel.chunks_mut(LANES).enumerate() {
                position.apply(index * LANES, block);
            }
        });
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let weights = at.step.weights.iter().skip(at.c).step_by(usize::from(at.step.output.shape.c));
        let products = at.padded(&self.window, inputs, at.c).zip(weights).map(|(x, w)| x * i32::from(*w));
        at.finish(products.fold(0, i32::wrapping_add), at.c)
    }
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
    /// Computes the channels from `first`, at most [`LANES`].
    fn apply(&self, first: usize, results: &mut [i8]) {
        let Self { step, rows, columns, .. } = self;
        let channels = usize::from(step.output.shape.c);
        let (kernel_width, width) = (usize::from(self.window.kernel[1]), usize::from(step.input().shape.w));
        let (padding, mut sums) = ([step.input().zero; LANES], [0; LANES]);
        for (tap, weights) in step.weights.chunks_exact(channels).enumerate() {
            let (row, column) = (rows.on_input(tap / kernel_width), columns.on_input(tap % kernel_width));
            // Where a tap falls on padding, the input counts as its zero point.
            let values = match (row, column) {
                (Some(row), Some(column)) => &self.input[(row * width + column) * channels + first..],
                _ => &padding,
            };
            multiply_add(values, &weights[first..], &mut sums[..results.len()]);
        }
        for (channel, (sum, result)) in (first..).zip(sums.iter().zip(results)) {
            let acc = sum.wrapping_add(step.biases.get(channel));
            *result = requantize(acc, step.multipliers.get(channel), step.output.zero);
        }
    }
}
