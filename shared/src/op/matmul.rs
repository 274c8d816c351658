//! Products of two maps.
//!
//! A map is a matrix with a row for each pixel, and its channels are the columns of as many matrices side by side as there are
//! *heads*, as in multi-head attention (Vaswani et al., *Attention Is All You Need*, 2017). Each head of the first input, A, is
//! multiplied by the same head of the second, B, or by its transpose:
//!
//! | | A | B | result |
//! |---|---|---|---|
//! | `A * B'`: queries by keys | `(h, w, heads * depth)` | `(h2, w2, heads * depth)` | `(h, w, heads * h2 * w2)` |
//! | `A * B`: attention by values | `(h, w, heads * h2 * w2)` | `(h2, w2, heads * columns)` | `(h, w, heads * columns)` |
//!
//! The result has the pixels of A, so that the one may follow on the other and nothing has to be moved between them.

use super::MatMul;
use super::conv::{PATCHES, row_bytes};
use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use crate::shape::Shape;

impl MatMul {
    /// Products that each sum of a head has, for the first input's shape.
    pub fn depth(&self, input: Shape) -> usize {
        usize::from(input.c / self.parts())
    }

    /// Values that a head gives for each pixel, for the result's shape.
    pub fn columns(&self, output: Shape) -> usize {
        usize::from(output.c / self.parts())
    }

    /// Heads; one where there are none, which no shape is right for.
    fn parts(&self) -> u16 {
        u16::from(self.heads).max(1)
    }
}

impl Facts for MatMul {
    const NAME: &'static str = "matmul";
    const TAG: u8 = 14;
    const INPUTS: [usize; 2] = [2, 2];

    fn record(&self) -> Record {
        Record { own: [self.heads, self.transpose_b.into(), 0, 0], ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { heads: record.own[0], transpose_b: record.own[1] == 1 }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        let [a, b] = [inputs[0], inputs[1]];
        let (pixels, heads) = (b.pixels() * usize::from(self.heads), self.parts());
        let (depth, columns) = if self.transpose_b { (b.c.into(), pixels) } else { (pixels, usize::from(b.c)) };
        if self.heads == 0 || usize::from(a.c) != depth || !a.c.is_multiple_of(heads) || !b.c.is_multiple_of(heads) {
            return Err(OpError::Shape);
        }
        u16::try_from(columns).map(|c| Shape { c, ..a }).map_err(|_| OpError::Shape)
    }

    fn macs(&self, input: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.depth(input) as u64
    }

    fn param_counts(&self, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts::of_tensor(0)
    }

    /// The columns of one head, an even number, and as many rows as are multiplied together, each value widened to 16 bits, at
    /// a multiple of 4 bytes.
    fn scratch_bytes(&self, input: Shape, output: Shape) -> usize {
        let lines = self.columns(output).next_multiple_of(2) + PATCHES;
        lines.saturating_mul(2 * row_bytes(self.depth(input))).saturating_add(4)
    }

    /// The second input is needed for every row.
    fn reads_rows(&self, index: usize) -> bool {
        index == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    #[test]
    fn shapes_follow_on_each_other_and_others_are_refused() {
        let [a, b] = [Shape::new(5, 3, 8), Shape::new(2, 4, 8)];
        let scores = Op::MatMul { heads: 2, transpose_b: true };
        let values = Op::MatMul { heads: 2, transpose_b: false };
        assert_eq!(scores.out_shape(&[a, b]), Ok(Shape::new(5, 3, 16)));
        assert_eq!(values.out_shape(&[Shape::new(5, 3, 16), Shape { c: 6, ..b }]), Ok(Shape::new(5, 3, 6)));
        for (op, inputs) in [
            // Other channels; heads that do not divide them, or that are none; too many channels of the result.
            (scores, [a, Shape { c: 6, ..b }]),
            (values, [a, b]),
            (values, [Shape::new(5, 3, 16), Shape { c: 7, ..b }]),
            (Op::MatMul { heads: 3, transpose_b: true }, [a, b]),
            (Op::MatMul { heads: 0, transpose_b: true }, [a, b]),
            (Op::MatMul { heads: 0, transpose_b: false }, [a, b]),
            (scores, [a, Shape { h: 200, w: 200, ..b }]),
        ] {
            assert_eq!(op.out_shape(&inputs), Err(OpError::Shape), "{op:?} {inputs:?}");
        }
        assert_eq!(scores.out_shape(&[a]), Err(OpError::Arity));
        let out = Shape::new(5, 3, 16);
        assert_eq!((scores.macs(a, out), scores.scratch_bytes(a, out)), (15 * 16 * 4, 2 * 4 * (8 + PATCHES) + 4));
        // The largest shapes do not overflow, not even where an address has 32 bits.
        let most = Shape::new(1, 1, u16::MAX);
        assert!(Op::MatMul { heads: 1, transpose_b: true }.scratch_bytes(most, most) > u32::MAX as usize / 2);
    }

    #[test]
    fn the_second_input_is_read_whole() {
        let op = Op::MatMul { heads: 1, transpose_b: true };
        let map = Shape::new(4, 4, 16);
        assert_eq!([0, 1].map(|index| op.strip_lead(index, map, map, 1)), [4 * 16, map.len()]);
    }
}
