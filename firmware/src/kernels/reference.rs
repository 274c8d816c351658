//! The operators as their definitions say, one output value at a time: what the kernels are tested against.

use super::{Inputs, Kernel, Views};
use ocellus_shared::plan::Step;
use ocellus_shared::quant::requantize;
use ocellus_shared::{Shape, Window, with_operator};

/// Runs one step in the `arena` of its plan, with the same result as [`super::run`].
pub fn run(step: &Step, arena: &mut [i8]) {
    step.each_strip(|strip| run_strip(strip, Views::new(strip, arena)));
}

/// Runs one strip, or a step that is not cut, on its memory.
fn run_strip(step: &Step, views: Views) {
    let Views { inputs, output, .. } = views;
    let Shape { w, c, .. } = step.output.shape;
    for (index, output) in output.iter_mut().enumerate() {
        let (pixel, c) = (index / usize::from(c), index % usize::from(c));
        let point = Point { step, index, y: pixel / usize::from(w), x: pixel % usize::from(w), c };
        *output = with_operator!(step.op, op => op.value(&point, inputs));
    }
}

/// One output value.
pub(super) struct Point<'a> {
    pub step: &'a Step<'a>,
    /// Its place among all values.
    pub index: usize,
    pub y: usize,
    pub x: usize,
    pub c: usize,
}

impl Point<'_> {
    /// The values of `channel` under the window, tap by tap; `None` on padding.
    pub fn under(&self, window: &Window, inputs: Inputs, channel: usize) -> impl Iterator<Item = Option<i8>> {
        let input = inputs.get(self.step.input());
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

    /// The same with the zero point on padding.
    pub fn padded(&self, window: &Window, inputs: Inputs, channel: usize) -> impl Iterator<Item = i32> {
        let zero = self.step.input().zero;
        self.under(window, inputs, channel).map(move |x| i32::from(x.unwrap_or(zero)))
    }

    /// The int8 result of `acc` with the bias and multiplier at `parameter`.
    pub fn finish(&self, acc: i32, parameter: usize) -> i8 {
        self.requantized(acc.wrapping_add(self.step.biases.get(parameter)), parameter)
    }

    /// The int8 result of `acc` with the multiplier at `parameter`.
    pub fn requantized(&self, acc: i32, parameter: usize) -> i8 {
        requantize(acc, self.step.multipliers.get(parameter), self.step.output.zero)
    }
}
