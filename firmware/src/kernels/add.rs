//! Residual addition: both inputs are brought to one scale by integer factors, then requantized.

use super::reference::Point;
use super::simd::requantize;
use super::{Inputs, Kernel};
use ocellus_shared::op::Add;
use ocellus_shared::plan::Step;

impl Kernel for Add {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let [a, b] = [0, 1].map(|k| inputs.get(step.inputs()[k]));
        let [factor_a, factor_b, offset] = [0, 1, 2].map(|i| step.biases.get(i));
        let (multiplier, zero) = (step.multipliers.get(0), step.output.zero);
        #[cfg(all(target_arch = "arm", feature = "dsp"))]
        let done = super::simd::dsp::maps::add(a, b, [factor_a, factor_b], offset, multiplier, zero, output);
        #[cfg(target_arch = "x86_64")]
        let done = super::simd::x86::add::run(a, b, [factor_a, factor_b], offset, multiplier, zero, output);
        #[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", feature = "dsp"))))]
        let done = 0;
        for ((a, b), result) in a.iter().zip(b).zip(output).skip(done) {
            let (a, b) = (i32::from(*a).wrapping_mul(factor_a), i32::from(*b).wrapping_mul(factor_b));
            *result = requantize(a.wrapping_add(b).wrapping_add(offset), multiplier, zero);
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let biases = at.step.biases;
        let terms = [0, 1].map(|k| i32::from(inputs.get(at.step.inputs()[k])[at.index]).wrapping_mul(biases.get(k)));
        at.requantized(terms[0].wrapping_add(terms[1]).wrapping_add(biases.get(2)), 0)
    }
}
