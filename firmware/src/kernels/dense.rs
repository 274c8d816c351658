//! Dense layers: every output is the dot product of the whole input and a row of weights.

use super::simd::{dots, requantize};
use ocellus_shared::op::row_bytes;
use ocellus_shared::plan::Step;

/// Computes two outputs at a time, which share each load of the input. A function of its own, so that its loops have all
/// registers.
#[inline(never)]
pub fn run(step: &Step, input: &[i8], output: &mut [i8]) {
    let row = row_bytes(input.len());
    for (index, (results, weights)) in output.chunks_mut(2).zip(step.weights.chunks(2 * row)).enumerate() {
        let (first, second) = weights.split_at(row);
        // A last output without a partner is computed twice: a board's flash need not hold code for one alone.
        let sums = dots(input, [first, if second.is_empty() { first } else { second }]);
        for (channel, (sum, result)) in (2 * index..).zip(sums.into_iter().zip(results)) {
            *result = finish(step, channel, sum);
        }
    }
}

/// The int8 result of `channel`, whose products add up to `sum`.
#[inline(always)]
fn finish(step: &Step, channel: usize, sum: i32) -> i8 {
    requantize(sum.wrapping_add(step.biases.get(channel)), step.multipliers.get(channel), step.output.zero)
}
