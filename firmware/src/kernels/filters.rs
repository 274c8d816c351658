//! Filters as rows of a matrix, applied to one or more patches of the input at a time.

use super::simd::dots;
use super::simd::requantize;
use ocellus_shared::op::row_bytes;
use ocellus_shared::plan::Step;

/// Applies every filter of `step` to each of `patches`, all of one length; the results go to `outputs`, one value per
/// filter. Two filters share each load of a patch. A function of its own, so that its loops have all registers.
#[inline(never)]
pub fn apply<const P: usize>(step: &Step, patches: [&[i8]; P], mut outputs: [&mut [i8]; P]) {
    let row = row_bytes(patches[0].len());
    let mut pairs = step.weights.chunks_exact(2 * row);
    let mut channel = 0;
    for pair in &mut pairs {
        let (first, second) = pair.split_at(row);
        let sums = dots(patches, [first, second]);
        for (output, [one, two]) in outputs.iter_mut().zip(sums) {
            output[channel] = finish(step, channel, one);
            output[channel + 1] = finish(step, channel + 1, two);
        }
        channel += 2;
    }
    if !pairs.remainder().is_empty() {
        let sums = dots(patches, [pairs.remainder()]);
        for (output, [one]) in outputs.iter_mut().zip(sums) {
            output[channel] = finish(step, channel, one);
        }
    }
}

/// The int8 result of `channel`, whose products add up to `sum`.
#[inline(always)]
fn finish(step: &Step, channel: usize, sum: i32) -> i8 {
    requantize(sum.wrapping_add(step.biases.get(channel)), step.multipliers.get(channel), step.output.zero)
}
