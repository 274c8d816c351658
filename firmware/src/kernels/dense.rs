//! Dense layers: every output is the dot product of the whole input and a row of weights.

use super::simd::{dots, requantize};
use ocellus_shared::op::row_bytes;
use ocellus_shared::plan::Step;

/// Computes four outputs at a time where the core has registers for them, and two elsewhere, which share each load of the
/// input. A function of its own, so that its loops have all registers.
#[inline(never)]
pub fn run(step: &Step, input: &[i8], output: &mut [i8]) {
    let row = row_bytes(input.len());
    let mut channel = 0;
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    for rows in step.weights.chunks_exact(4 * row) {
        for sum in super::simd::dsp::four_dots(input, rows, row) {
            output[channel] = finish(step, channel, sum);
            channel += 1;
        }
    }
    for weights in step.weights[channel * row..].chunks(2 * row) {
        let (first, second) = weights.split_at(row);
        // A last output without a partner is computed twice: a board's flash need not hold code for one alone.
        let sums = dots(input, [first, if second.is_empty() { first } else { second }]);
        for (sum, result) in sums.into_iter().zip(output[channel..].iter_mut()) {
            *result = finish(step, channel, sum);
            channel += 1;
        }
    }
}

/// The int8 result of `channel`, whose products add up to `sum`.
#[inline(always)]
fn finish(step: &Step, channel: usize, sum: i32) -> i8 {
    requantize(sum.wrapping_add(step.biases.get(channel)), step.multipliers.get(channel), step.output.zero)
}
