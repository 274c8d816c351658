//! Concatenation: the channels of one map after those of the other, at every pixel.

use super::reference::Point;
use super::{Inputs, Kernel};
use ocellus_shared::op::Concat;
use ocellus_shared::plan::Step;

impl Kernel for Concat {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let channels = usize::from(step.output.shape.c);
        let mut first = 0;
        for operand in step.inputs() {
            let part = usize::from(operand.shape.c);
            let pixels = inputs.get(*operand).chunks_exact(part);
            for (to, from) in output.chunks_exact_mut(channels).zip(pixels) {
                to[first..first + part].copy_from_slice(from);
            }
            first += part;
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let mut channel = at.c;
        for operand in at.step.inputs() {
            let channels = usize::from(operand.shape.c);
            if channel < channels {
                let pixel = at.y * usize::from(operand.shape.w) + at.x;
                return inputs.get(*operand)[pixel * channels + channel];
            }
            channel -= channels;
        }
        unreachable!("a concatenation has as many channels as its inputs together")
    }
}
