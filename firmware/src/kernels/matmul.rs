//! Products of two maps, head by head: the columns of a head are brought into the order in which they are multiplied, then
//! [`PATCHES`] rows of the first input at a time are multiplied by them all. Both inputs count from their zero points.

use super::reference::Point;
use super::simd::Product;
use super::{Inputs, Kernel};
use ocellus_shared::op::{MatMul, PATCHES};
use ocellus_shared::plan::Step;

impl Kernel for MatMul {
    fn run(&self, step: &Step, inputs: Inputs, scratch: &mut [i8], output: &mut [i8]) {
        let [a, b] = [0, 1].map(|k| inputs.get(step.inputs()[k]));
        // From pixel to pixel.
        let [a_pitch, b_pitch] = [0, 1].map(|k| usize::from(step.inputs()[k].shape.c));
        let pitch = usize::from(step.output.shape.c);
        let (depth, columns) = (self.depth(step.input().shape), self.columns(step.output.shape));
        let mut product = Product::new(step, scratch, depth, columns);
        for head in 0..usize::from(self.heads) {
            for column in 0..columns {
                let (at, apart) = match self.transpose_b {
                    true => (column * b_pitch + head * depth, 1),
                    false => (head * columns + column, b_pitch),
                };
                product.set_column(column, &b[at..], apart);
            }
            for (rows, results) in a.chunks(PATCHES * a_pitch).zip(output.chunks_mut(PATCHES * pitch)) {
                let mut count = 0;
                for row in rows.chunks_exact(a_pitch) {
                    product.set_row(count, &row[head * depth..][..depth]);
                    count += 1;
                }
                product.write(count, &mut results[head * columns..], pitch);
            }
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let (input, out) = (at.step.input().shape, at.step.output.shape);
        let (depth, columns) = (self.depth(input), self.columns(out));
        let (head, column) = (at.c / columns, at.c % columns);
        let centred = |k: usize, pixel: usize, channel: usize| {
            let operand = at.step.inputs()[k];
            i32::from(inputs.get(operand)[pixel * usize::from(operand.shape.c) + channel]) - i32::from(operand.zero)
        };
        let products = (0..depth).map(|k| {
            let (pixel, channel) =
                if self.transpose_b { (column, head * depth + k) } else { (k, head * columns + column) };
            centred(0, at.index / usize::from(out.c), head * depth + k) * centred(1, pixel, channel)
        });
        at.requantized(products.fold(0, i32::wrapping_add), 0)
    }
}
