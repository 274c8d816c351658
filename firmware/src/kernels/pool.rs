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
                for (most, value) in pixel.iter_mut().zip(values) {
                    *most = (*most).max(*value);
                }
            }
            start += line;
        }
    });
}

/// Mean under the window.
pub fn average(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    each_pixel(window, shape, step.output.shape, output, |rows, columns, pixel| {
        mean(step, input, [rows, columns], 1, pixel);
    });
}

/// Mean of each channel over the whole map. All channels share the one bias and multiplier.
pub fn global_average(step: &Step, input: &[i8], output: &mut [i8]) {
    let shape = step.input().shape;
    let all = [shape.h, shape.w].map(|size| Reach { tap: 0, at: 0, len: size.into() });
    mean(step, input, all, 0, output);
}

/// Requantized sums over the pixels that `rows` and `columns` reach, per channel; the biases and multipliers of neighbouring
/// channels lie `apart` by 1, or by 0 where all share one. A function of its own, which both means share.
#[inline(never)]
fn mean(step: &Step, input: &[i8], [rows, columns]: [Reach; 2], apart: usize, pixel: &mut [i8]) {
    let (width, channels) = (usize::from(step.input().shape.w), pixel.len());
    for (index, block) in pixel.chunks_mut(LANES).enumerate() {
        let first = index * LANES;
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
            let acc = sum.wrapping_add(step.biases.get(apart * channel));
            *result = requantize(acc, step.multipliers.get(apart * channel), step.output.zero);
        }
    }
}
