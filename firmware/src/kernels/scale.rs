//! `x * scale[c] + offset[c]`.

use super::reference::Point;
use super::simd::requantize;
use super::{Inputs, Kernel};
use ocellus_shared::op::ChannelScale;
use ocellus_shared::plan::Step;

impl Kernel for ChannelScale {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let channels = usize::from(step.output.shape.c);
        let pixels = inputs.get(step.input()).chunks_exact(channels);
        for (values, results) in pixels.zip(output.chunks_exact_mut(channels)) {
            for (c, (value, result)) in values.iter().zip(results).enumerate() {
                let acc = (i32::from(*value) * i32::from(step.weights[c])).wrapping_add(step.biases.get(c));
                *result = requantize(acc, step.multipliers.get(c), step.output.zero);
            }
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let value = inputs.get(at.step.input())[at.index];
        at.finish(i32::from(value) * i32::from(at.step.weights[at.c]), at.c)
    }
}
