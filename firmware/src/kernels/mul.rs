//! A map times one factor per channel: the product of both inputs' distances from their zero points, requantized.

use super::reference::Point;
use super::simd::requantize;
use super::{Inputs, Kernel};
use ocellus_shared::op::Mul;
use ocellus_shared::plan::Step;

impl Kernel for Mul {
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let [map, factors] = [0, 1].map(|k| inputs.get(step.inputs()[k]));
        let zeros = [0, 1].map(|k| step.inputs()[k].zero);
        let (multiplier, zero, channels) = (step.multipliers.get(0), step.output.zero, factors.len());
        #[cfg(all(target_arch = "arm", feature = "dsp"))]
        let done = super::simd::dsp::maps::mul(map, factors, zeros, multiplier, zero, output);
        #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
        let done = 0;
        if done == channels {
            return;
        }
        for (values, results) in map.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            for ((value, factor), result) in values.iter().zip(factors).zip(results).skip(done) {
                let [value, factor] =
                    [(*value, zeros[0]), (*factor, zeros[1])].map(|(q, zero)| i32::from(q) - i32::from(zero));
                *result = requantize(value * factor, multiplier, zero);
            }
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let centred = |k: usize, index: usize| {
            let operand = at.step.inputs()[k];
            i32::from(inputs.get(operand)[index]) - i32::from(operand.zero)
        };
        at.requantized(centred(0, at.index) * centred(1, at.c), 0)
    }
}
