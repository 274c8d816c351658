//! `x * scale[c] + offset[c]`.

use super::simd::requantize;
use ocellus_shared::plan::Step;

pub fn run(step: &Step, input: &[i8], output: &mut [i8]) {
    let channels = usize::from(step.output.shape.c);
    for (values, results) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        for (c, (value, result)) in values.iter().zip(results).enumerate() {
            let acc = (i32::from(*value) * i32::from(step.weights[c])).wrapping_add(step.biases.get(c));
            *result = requantize(acc, step.multipliers.get(c), step.output.zero);
        }
    }
}
