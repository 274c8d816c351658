//! Dense layers.

use super::Dense;
use super::conv::row_bytes;
use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use crate::shape::Shape;

impl Facts for Dense {
    const NAME: &'static str = "dense";
    const TAG: u8 = 3;

    fn record(&self) -> Record {
        Record { out_channels: self.out_channels, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { out_channels: record.out_channels }
    }

    fn out_shape(&self, _: &[Shape]) -> Result<Shape, OpError> {
        Ok(Shape::vector(self.out_channels))
    }

    fn macs(&self, input: Shape, output: Shape) -> u64 {
        output.len() as u64 * input.len() as u64
    }

    fn param_counts(&self, input: Shape, output: Shape) -> ParamCounts {
        ParamCounts::of_filters(usize::from(output.c).saturating_mul(row_bytes(input.len())), output)
    }

    fn reads_rows(&self, _: usize) -> bool {
        false
    }

    fn with_out_channels(&self, out_channels: u16) -> Self {
        Self { out_channels }
    }
}
