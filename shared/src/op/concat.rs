//! Maps one after the other.

use super::error::OpError;
use super::facts::Facts;
use super::{Concat, MAX_INPUTS};
use crate::shape::Shape;

impl Facts for Concat {
    const NAME: &'static str = "concat";
    const TAG: u8 = 10;
    const INPUTS: [usize; 2] = [2, MAX_INPUTS];
    const COPIES: bool = true;

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        let Shape { h, w, .. } = inputs[0];
        let mut c = 0u16;
        for s in inputs {
            if (s.h, s.w) != (h, w) {
                return Err(OpError::Shape);
            }
            c = c.checked_add(s.c).ok_or(OpError::Shape)?;
        }
        Ok(Shape::new(h, w, c))
    }
}
