//! Maps seen as vectors.

use super::Flatten;
use super::error::OpError;
use super::facts::Facts;
use crate::shape::Shape;

impl Facts for Flatten {
    const NAME: &'static str = "flatten";
    const TAG: u8 = 9;
    const COPIES: bool = true;

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        u16::try_from(inputs[0].len()).map(Shape::vector).map_err(|_| OpError::Shape)
    }

    fn reads_rows(&self, _: usize) -> bool {
        false
    }
}
