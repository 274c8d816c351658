//! Dense layers: every output is the dot product of the whole input and a row of weights.

use super::reference::Point;
use super::simd::{ROWS, dots, requantize};
use super::{Inputs, Kernel};
use ocellus_shared::op::{Dense, row_bytes};
use ocellus_shared::plan::Step;

impl Kernel for Dense {
    /// Computes [`ROWS`] outputs at a time. A function of its own, so that its loops have all registers.
    #[inline(never)]
    fn run(&self, step: &Step, inputs: Inputs, _: &mut [i8], output: &mut [i8]) {
        let input = inputs.get(step.input());
        let (row, channels) = (row_bytes(input.len()), output.len());
        // So few that they do not make one group are computed one by one, each as often as there are rows in a group.
        let (count, apart) = if channels < ROWS { (1, 0) } else { (ROWS, row) };
        let mut next = 0;
        while next < channels {
            // Where the last outputs are fewer, those before them are computed once more.
            let first = next.min(channels - count);
            next += count;
            let sums = dots(input, &step.weights[first * row..], row, apart);
            for (channel, sum) in (first..).zip(sums).take(count) {
                let acc = sum.wrapping_add(step.biases.get(channel));
                output[channel] = requantize(acc, step.multipliers.get(channel), step.output.zero);
            }
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let input = inputs.get(at.step.input());
        let row = &at.step.weights[at.c * row_bytes(input.len())..];
        let products = input.iter().zip(row).map(|(x, w)| i32::from(*x) * i32::from(*w));
        at.finish(products.fold(0, i32::wrapping_add), at.c)
    }
}
