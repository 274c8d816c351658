//! The operators written down as their definitions say, one output value at a time: what the kernels are tested
//! against.

use super::{Inputs, Views};
use ocellus_shared::op::{pair_index, row_bytes, winograd};
use ocellus_shared::plan::Step;
use ocellus_shared::quant::requantize;
use ocellus_shared::{Op, Shape, Window};

/// Runs one step in the `arena` of its plan, with the same result as [`super::run`].
pub fn run(step: &Step, arena: &mut [i8]) {
    step.each_strip(|strip| run_strip(strip, Views::new(strip, arena)));
}

/// Runs one strip, or a step that is not cut, on its memory.
fn run_strip(step: &Step, views: Views) {
    let Views { inputs, output, .. } = views;
    let out = step.output.shape;
    let [input, other] = [0, 1].map(|i| step.inputs().get(i).map_or(&[][..], |operand| inputs.get(*operand)));
    for at in 0..output.len() {
        let (pixel, c) = (at / usize::from(out.c), at % usize::from(out.c));
        let point = Point { step, y: pixel / usize::from(out.w), x: pixel % usize::from(out.w), c };
        output[at] = match &step.op {
            Op::Conv { window, .. } => point.conv(window, input),
            Op::Winograd { window, .. } => point.winograd(window, input),
            Op::Depthwise { window } => point.depthwise(window, input),
            Op::Dense { .. } => point.dense(input),
            Op::MaxPool { window } => point.under(window, input, c).flatten().max().unwrap_or(i8::MIN),
            Op::AvgPool { window } => point.finish(sum(point.under(window, input, c).flatten()), c),
            Op::GlobalAvgPool => point.finish(sum(input.iter().skip(c).step_by(usize::from(out.c)).copied()), 0),
            Op::Add => point.add(input[at], other[at]),
            Op::Mul => point.mul(input[at], other[c]),
            Op::Lut => step.weights[(i32::from(input[at]) + 128) as usize],
            Op::Flatten => input[at],
            Op::Concat => point.concat(inputs),
            Op::ChannelScale => point.finish(i32::from(input[at]) * i32::from(step.weights[c]), c),
        };
    }
}

/// One output value.
struct Point<'a> {
    step: &'a Step<'a>,
    y: usize,
    x: usize,
    c: usize,
}

impl Point<'_> {
    /// The values of `channel` under the window, tap by tap; `None` on padding.
    fn under(&self, window: &Window, input: &[i8], channel: usize) -> impl Iterator<Item = Option<i8>> {
        let Shape { h, w, c } = self.step.input().shape;
        let [kh, kw] = window.kernel.map(usize::from);
        let top = (self.y * usize::from(window.stride[0])) as isize - isize::from(window.pad[0]);
        let left = (self.x * usize::from(window.stride[1])) as isize - isize::from(window.pad[1]);
        (0..kh * kw).map(move |tap| {
            let (y, x) = (top + (tap / kw) as isize, left + (tap % kw) as isize);
            let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
            inside.then(|| input[(y as usize * usize::from(w) + x as usize) * usize::from(c) + channel])
        })
    }

    fn conv(&self, window: &Window, input: &[i8]) -> i8 {
        let operand = self.step.input();
        let channels = usize::from(operand.shape.c);
        let row = row_bytes(window.taps() * channels);
        let mut acc = 0i32;
        for channel in 0..channels {
            for (tap, x) in self.under(window, input, channel).enumerate() {
                let w = self.step.weights[pair_index(self.c, tap * channels + channel, row)];
                acc = acc.wrapping_add(i32::from(x.unwrap_or(operand.zero)) * i32::from(w));
            }
        }
        self.finish(acc, self.c)
    }

    /// The convolution whose filters have these points.
    fn winograd(&self, window: &Window, input: &[i8]) -> i8 {
        let operand = self.step.input();
        let channels = usize::from(operand.shape.c);
        let weight = |point, channel| {
            let at = 2 * winograd::index(self.c, point, channel, channels);
            i16::from_le_bytes([self.step.weights[at] as u8, self.step.weights[at + 1] as u8])
        };
        let mut acc = 0i32;
        for channel in 0..channels {
            let taps = winograd::taps(core::array::from_fn(|point| weight(point, channel)));
            for (w, x) in taps.into_iter().zip(self.under(window, input, channel)) {
                acc = acc.wrapping_add(i32::from(x.unwrap_or(operand.zero)) * i32::from(w));
            }
        }
        self.finish(acc, self.c)
    }

    fn depthwise(&self, window: &Window, input: &[i8]) -> i8 {
        let operand = self.step.input();
        let weights = self.step.weights.iter().skip(self.c).step_by(usize::from(operand.shape.c));
        let products = self
            .under(window, input, self.c)
            .zip(weights)
            .map(|(x, w)| i32::from(x.unwrap_or(operand.zero)) * i32::from(*w));
        self.finish(products.fold(0, i32::wrapping_add), self.c)
    }

    fn dense(&self, input: &[i8]) -> i8 {
        let row = &self.step.weights[self.c * row_bytes(input.len())..];
        let products = input.iter().zip(row).map(|(x, w)| i32::from(*x) * i32::from(*w));
        self.finish(products.fold(0, i32::wrapping_add), self.c)
    }

    fn add(&self, a: i8, b: i8) -> i8 {
        let [factor_a, factor_b, offset] = [0, 1, 2].map(|i| self.step.biases.get(i));
        let acc = i32::from(a).wrapping_mul(factor_a).wrapping_add(i32::from(b).wrapping_mul(factor_b));
        requantize(acc.wrapping_add(offset), self.step.multipliers.get(0), self.step.output.zero)
    }

    fn mul(&self, value: i8, factor: i8) -> i8 {
        let [value, factor] =
            [(value, 0), (factor, 1)].map(|(q, k)| i32::from(q) - i32::from(self.step.inputs()[k].zero));
        requantize(value * factor, self.step.multipliers.get(0), self.step.output.zero)
    }

    fn concat(&self, inputs: Inputs) -> i8 {
        let mut channel = self.c;
        for operand in self.step.inputs() {
            let channels = usize::from(operand.shape.c);
            if channel < channels {
                let pixel = self.y * usize::from(operand.shape.w) + self.x;
                return inputs.get(*operand)[pixel * channels + channel];
            }
            channel -= channels;
        }
        unreachable!("a concatenation has as many channels as its inputs together")
    }

    /// The int8 result of `acc` with the bias and multiplier at `parameter`.
    fn finish(&self, acc: i32, parameter: usize) -> i8 {
        let acc = acc.wrapping_add(self.step.biases.get(parameter));
        requantize(acc, self.step.multipliers.get(parameter), self.step.output.zero)
    }
}

fn sum(values: impl Iterator<Item = i8>) -> i32 {
    values.fold(0, |sum, value| sum.wrapping_add(i32::from(value)))
}
