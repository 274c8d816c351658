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
                larger(pixel, values);
            }
        }
    });
}

/// Keeps the larger of each of `most` and `values`.
#[inline(always)]
fn larger(most: &mut [i8], values: &[i8]) {
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    let done = super::simd::dsp::larger(most, values);
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    let done = 0;
    for (most, value) in most.iter_mut().zip(values).skip(done) {
        *most = (*most).max(*value);
    }
}

/// Mean under the window.
pub fn average(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    each_pixel(window, shape, step.output.shape, output, |rows, columns, pixel| {
        let lines = lines(input, usize::from(shape.w), usize::from(shape.c), rows, columns);
        mean(step, lines, pixel.len(), 0, pixel, |channel| channel);
    });
}

/// Mean of each channel over the whole map. All channels share the one bias and multiplier.
pub fn global_average(step: &Step, input: &[i8], output: &mut [i8]) {
    let channels = output.len();
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    let done = {
        let (words, _) = output.as_chunks_mut::<4>();
        for (index, results) in words.iter_mut().enumerate() {
            let sums = super::simd::dsp::sums_of_pixels(input, channels, 4 * index);
            *results = sums.map(|sum| finish(step, sum, 0));
        }
        4 * words.len()
    };
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    let done = 0;
    mean(step, core::iter::once(input), channels, done, &mut output[done..], |_| 0);
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

/// Requantized sums over all pixels of `lines`, which have `channels`, for those from `from` on; `parameter` tells which bias and
/// multiplier a channel uses.
fn mean<'a>(
    step: &Step,
    lines: impl Iterator<Item = &'a [i8]> + Clone,
    channels: usize,
    from: usize,
    results: &mut [i8], // (channels - from)
    parameter: impl Fn(usize) -> usize,
) {
    for (index, block) in results.chunks_mut(LANES).enumerate() {
        let first = from + index * LANES;
        let mut sums = [0i32; LANES];
        for values in lines.clone().flat_map(|line| line.chunks_exact(channels)) {
            for (sum, value) in sums.iter_mut().zip(&values[first..][..block.len()]) {
                *sum = sum.wrapping_add(i32::from(*value));
            }
        }
        for (channel, (sum, result)) in (first..).zip(sums.iter().zip(block)) {
            *result = finish(step, *sum, parameter(channel));
        }
    }
}

/// The int8 result of `sum` with the bias and multiplier at `parameter`.
fn finish(step: &Step, sum: i32, parameter: usize) -> i8 {
    requantize(sum.wrapping_add(step.biases.get(parameter)), step.multipliers.get(parameter), step.output.zero)
}
