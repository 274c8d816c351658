//! Tables.

use super::Lut;
use super::facts::{Facts, ParamCounts};
use crate::shape::Shape;

impl Facts for Lut {
    const NAME: &'static str = "lut";
    const TAG: u8 = 8;

    fn param_counts(&self, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts { weights: 256, ..ParamCounts::default() }
    }
}
