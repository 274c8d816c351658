//! Pooling.

use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use super::window::Window;
use super::{AvgPool, GlobalAvgPool, MaxPool};
use crate::shape::Shape;

impl Facts for MaxPool {
    const NAME: &'static str = "max_pool";
    const TAG: u8 = 4;
    const COPIES: bool = true;

    fn record(&self) -> Record {
        Record { window: self.window, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { window: record.window }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        self.window.out_shape(inputs[0], inputs[0].c)
    }

    fn work(&self, _: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.window.taps() as u64
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }

    fn with_window(&self, window: Window) -> Self {
        Self { window }
    }
}

impl Facts for AvgPool {
    const NAME: &'static str = "avg_pool";
    const TAG: u8 = 5;

    fn record(&self) -> Record {
        Record { window: self.window, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { window: record.window }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        if self.window.is_padded() { Err(OpError::Window) } else { self.window.out_shape(inputs[0], inputs[0].c) }
    }

    fn work(&self, _: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.window.taps() as u64
    }

    fn param_counts(&self, _: Shape, output: Shape) -> ParamCounts {
        ParamCounts::of_filters(0, output)
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }

    fn with_window(&self, window: Window) -> Self {
        Self { window }
    }
}

impl Facts for GlobalAvgPool {
    const NAME: &'static str = "global_avg_pool";
    const TAG: u8 = 6;

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        Ok(Shape::vector(inputs[0].c))
    }

    fn work(&self, input: Shape, _: Shape) -> u64 {
        input.len() as u64
    }

    fn param_counts(&self, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts::of_tensor(1)
    }

    fn reads_rows(&self, _: usize) -> bool {
        false
    }
}
