//! Scale and offset per channel.

use super::ChannelScale;
use super::facts::{Facts, ParamCounts};
use crate::shape::Shape;

impl Facts for ChannelScale {
    const NAME: &'static str = "channel_scale";
    const TAG: u8 = 11;

    fn macs(&self, _: Shape, output: Shape) -> u64 {
        output.len() as u64
    }

    fn param_counts(&self, _: Shape, output: Shape) -> ParamCounts {
        ParamCounts::of_filters(output.c.into(), output)
    }
}
