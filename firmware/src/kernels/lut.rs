//! Functions of one value, as a table.

use super::reference::Point;
use super::{Inputs, Kernel};
use ocellus_shared::op::Lut;
use ocellus_shared::plan::Step;

impl Kernel for Lut {
    /// Looks four values up at a time: one load, and one store where the core has no code of its own.
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let input = inputs.get(step.input());
        // A parsed plan's table has as many entries as a byte has values.
        let Some(table) = step.weights.first_chunk::<256>() else { return };
        // The table starts with the result for -128, and flipping the sign bit adds 128.
        let entry = |value: i8| table[usize::from(value as u8 ^ 0x80)];
        #[cfg(all(target_arch = "arm", feature = "dsp"))]
        let done = super::simd::dsp::maps::lut(table, input, output);
        #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
        let done = {
            let (words, results) = (input.as_chunks::<4>().0, output.as_chunks_mut::<4>().0);
            for (word, results) in words.iter().zip(results) {
                let flipped = u32::from_ne_bytes(word.map(|value| value as u8)) ^ 0x8080_8080;
                *results = flipped.to_ne_bytes().map(|index| table[usize::from(index)]);
            }
            4 * words.len()
        };
        for (value, result) in input.iter().zip(output).skip(done) {
            *result = entry(*value);
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        at.step.weights[(i32::from(inputs.get(at.step.input())[at.index]) + 128) as usize]
    }
}
