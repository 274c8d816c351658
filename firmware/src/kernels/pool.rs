//! Pooling: the largest value or the mean under a window, and the mean of whole maps.

use super::reference::Point;
use super::simd::{GROUP, add_pixels, requantize};
use super::window::each_pixel;
use super::{Inputs, Kernel};
use ocellus_shared::op::{AvgPool, GlobalAvgPool, MaxPool};
use ocellus_shared::plan::Step;

/// Padding never wins.
impl Kernel for MaxPool {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let (input, shape) = (inputs.get(step.input()), step.input().shape);
        each_pixel(&self.window, shape, step.output.shape, output, &mut |rows, columns, pixel| {
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

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        at.under(&self.window, inputs, at.c).flatten().max().unwrap_or(i8::MIN)
    }
}

impl Kernel for AvgPool {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let (input, shape) = (inputs.get(step.input()), step.input().shape);
        each_pixel(&self.window, shape, step.output.shape, output, &mut |rows, columns, pixel| {
            let pitch = usize::from(shape.w) * pixel.len();
            let values = &input[rows.at * pitch + columns.at * pixel.len()..];
            mean(step, values, [rows.len, columns.len], pitch, 1, pixel);
        });
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        at.finish(sum(at.under(&self.window, inputs, at.c).flatten()), at.c)
    }
}

/// All channels share the one bias and multiplier.
impl Kernel for GlobalAvgPool {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        mean(step, inputs.get(step.input()), [1, step.input().shape.pixels()], 0, 0, output);
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let channel = inputs.get(at.step.input()).iter().skip(at.c).step_by(at.step.output.shape.c.into());
        at.finish(sum(channel.copied()), 0)
    }
}

fn sum(values: impl Iterator<Item = i8>) -> i32 {
    values.fold(0, |sum, value| sum.wrapping_add(i32::from(value)))
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

/// Requantized sums over some rows of `columns` pixels, the first of which begins with `values`, and each of the others `pitch`
/// bytes further. The biases and multipliers of neighbouring channels lie `apart` by 1, or by 0 where all share one. A
/// function of its own, which both means share.
#[inline(never)]
fn mean(step: &Step, values: &[i8], [rows, columns]: [usize; 2], pitch: usize, apart: usize, results: &mut [i8]) {
    let channels = results.len();
    // So few that they do not make one group are computed one by one.
    let count = if channels < GROUP { 1 } else { GROUP };
    let mut next = 0;
    while next < channels {
        // Where the last channels are fewer, those before them are computed once more.
        let first = next.min(channels - count);
        next += count;
        let mut sums = [0; GROUP];
        for row in 0..rows {
            add_pixels(&values[row * pitch..][..columns * channels], channels, first, &mut sums[..count]);
        }
        for (channel, sum) in (first..).zip(sums).take(count) {
            let parameter = apart * channel;
            let acc = sum.wrapping_add(step.biases.get(parameter));
            results[channel] = requantize(acc, step.multipliers.get(parameter), step.output.zero);
        }
    }
}
