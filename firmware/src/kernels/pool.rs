//! Pooling: the largest value or the mean under a window, and the mean of whole maps.

use super::simd::LANES;
use super::simd::requantize;
use super::window::{Reach, each_pixel};
use ocellus_shared::Window;
use ocellus_shared::plan::Step;

/// Largest value under the window; padding never wins.
pub fn max(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    each_pixel(window, shape, step.output.shape, output, |rows, columns, pixel| {
        let line = usize::from(shape.w) * pixel.len();
        let mut start = rows.at * line + columns.at * pixel.len();
        pixel.fill(i8::MIN);
        for _ in 0..rows.len {
            for values in input[start..][..columns.len * pixel.len()].chunks_exact(pixel.len()) {
                larger(pixel, values);
            }
            start += line;
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
        mean(step, input, [rows, columns], 1, 0, pixel);
    });
}

/// Mean of each channel over the whole map. All channels share the one bias and multiplier.
pub fn global_average(step: &Step, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    let all = [shape.h, shape.w].map(|size| Reach { tap: 0, at: 0, len: size.into() });
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    let done = {
        let (words, _) = output.as_chunks_mut::<4>();
        for (index, results) in words.iter_mut().enumerate() {
            let sums = super::simd::dsp::sums_of_pixels(input, shape.c.into(), 4 * index);
            *results = sums.map(|sum| finish(step, sum, 0));
        }
        4 * words.len()
    };
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    let done = 0;
    mean(step, input, all, 0, done, &mut output[done..]);
}

/// Requantized sums over the pixels that `rows` and `columns` reach, for the channels from `from` on; the biases and
/// multipliers of neighbouring channels lie `apart` by 1, or by 0 where all share one. A function of its own, which both
/// means share.
#[inline(never)]
fn mean(step: &Step, input: &[i8], [rows, columns]: [Reach; 2], apart: usize, from: usize, results: &mut [i8]) {
    let shape = step.input().shape;
    let (width, channels) = (usize::from(shape.w), usize::from(shape.c));
    for (index, block) in results.chunks_mut(LANES).enumerate() {
        let first = from + index * LANES;
        let mut sums = [0i32; LANES];
        let mut start = (rows.at * width + columns.at) * channels;
        for _ in 0..rows.len {
            for values in input[start..][..columns.len * channels].chunks_exact(channels) {
                for (sum, value) in sums.iter_mut().zip(&values[first..][..block.len()]) {
                    *sum = sum.wrapping_add(i32::from(*value));
                }
            }
            start += width * channels;
        }
        for (channel, (sum, result)) in (first..).zip(sums.iter().zip(block)) {
            *result = finish(step, *sum, apart * channel);
        }
    }
}

/// The int8 result of a sum.
#[inline(always)]
fn finish(step: &Step, sum: i32, parameter: usize) -> i8 {
    requantize(sum.wrapping_add(step.biases.get(parameter)), step.multipliers.get(parameter), step.output.zero)
}
