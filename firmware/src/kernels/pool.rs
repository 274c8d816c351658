//! Pooling: the largest value or the mean under a window, and the mean of whole maps.

use super::simd::LANES;
use super::simd::requantize;
use super::window::{Reach, each_pixel};
use ocellus_shared::Window;
use ocellus_shared::plan::Step;

/// Largest value under the window; padding never wins.
pub fn max(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    let channels = usize::from(shape.c);
    each_pixel(window, shape, step.output.shape, output, |rows, columns, pixel| {
        pixel.fill(i8::MIN);
        for line in lines(input, usize::from(shape.w), channels, rows, columns) {
            for values in line.chunks_exact(channels) {
                for (most, value) in pixel.iter_mut().zip(values) {
                    *most = (*most).max(*value);
                }
            }
        }
    });
}

/// Mean under the window.
pub fn average(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    each_pixel(window, shape, step.output.shape, output, |rows, columns, pixel| {
        let lines = lines(input, usize::from(shape.w), usize::from(shape.c), rows, columns);
        mean(step, lines, pixel, |channel| channel);
    });
}

/// Mean of each channel over the whole map. All channels share the one bias and multiplier.
pub fn global_average(step: &Step, input: &[i8], output: &mut [i8]) {
    mean(step, core::iter::once(input), output, |_| 0);
}

/// The part of each input row that lies under the window, `(w, c)`.
fn lines(
    input: &[i8], // (h, width, channels)
    width: usize,
    channels: usize,
    rows: Reach,
    columns: Reach,
) -> impl Iterator<Item = &[i8]> + Clone {
    input
        .chunks_exact(width * channels)
        .skip(rows.at)
        .take(rows.len)
        .map(move |line| &line[columns.at * channels..][..columns.len * channels])
}

/// Requantized sums over all pixels of `lines`, per channel; `parameter` tells which bias and multiplier a channel uses.
fn mean<'a>(
    step: &Step,
    lines: impl Iterator<Item = &'a [i8]> + Clone,
    pixel: &mut [i8], // (c)
    parameter: impl Fn(usize) -> usize,
) {
    let channels = pixel.len();
    for (index, block) in pixel.chunks_mut(LANES).enumerate() {
        let first = index * LANES;
        let mut sums = [0i32; LANES];
        for values in lines.clone().flat_map(|line| line.chunks_exact(channels)) {
            for (sum, value) in sums.iter_mut().zip(&values[first..][..block.len()]) {
                *sum = sum.wrapping_add(i32::from(*value));
            }
        }
        for (channel, (sum, result)) in (first..).zip(sums.iter().zip(block)) {
            let at = parameter(channel);
            let acc = sum.wrapping_add(step.biases.get(at));
            *result = requantize(acc, step.multipliers.get(at), step.output.zero);
        }
    }
}
