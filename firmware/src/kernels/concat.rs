//! Concatenation: the channels of one map after those of the other, at every pixel.

use super::Inputs;
use ocellus_shared::plan::Step;

pub fn run(step: &Step, inputs: Inputs, output: &mut [i8]) {
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
