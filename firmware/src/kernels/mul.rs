//! A map times one factor per channel: the product of both inputs' distances from their zero points, requantized.

use super::simd::requantize;
use ocellus_shared::plan::Step;

pub fn run(step: &Step, map: &[i8], factors: &[i8], output: &mut [i8]) {
    let [zero_map, zero_factor] = [0, 1].map(|k| i32::from(step.inputs()[k].zero));
    let multiplier = step.multipliers.get(0);
    for (values, results) in map.chunks_exact(factors.len()).zip(output.chunks_exact_mut(factors.len())) {
        for ((value, factor), result) in values.iter().zip(factors).zip(results) {
            let product = (i32::from(*value) - zero_map) * (i32::from(*factor) - zero_factor);
            *result = requantize(product, multiplier, step.output.zero);
        }
    }
}
