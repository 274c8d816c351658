//! Map times factors.

use super::Mul;
use super::error::OpError;
use super::facts::{Facts, ParamCounts};
use crate::shape::Shape;

impl Facts for Mul {
    const NAME: &'static str = "mul";
    const TAG: u8 = 12;
    const INPUTS: [usize; 2] = [2, 2];

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        if inputs[1] == Shape::vector(inputs[0].c) { Ok(inputs[0]) } else { Err(OpError::Shape) }
    }

    fn param_counts(&self, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts::of_tensor(0)
    }

    /// The factors are needed for every row.
    fn reads_rows(&self, index: usize) -> bool {
        index == 0
    }
}
