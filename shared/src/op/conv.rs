//! Convolution.

use super::Conv;
use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use super::window::Window;
use crate::shape::Shape;

/// Outputs that the kernel computes together.
pub const PATCHES: usize = 3;

/// Values of one filter that lie together in a pair of filters.
pub const BLOCK: usize = 16;

impl Facts for Conv {
    const NAME: &'static str = "conv";
    const TAG: u8 = 1;

    fn record(&self) -> Record {
        Record { window: self.window, out_channels: self.out_channels, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { window: record.window, out_channels: record.out_channels }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        self.window.out_shape(inputs[0], self.out_channels)
    }

    fn macs(&self, input: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.window.taps() as u64 * u64::from(input.c)
    }

    fn param_counts(&self, input: Shape, output: Shape) -> ParamCounts {
        let filters = usize::from(output.c).next_multiple_of(2);
        ParamCounts::of_filters(filters.saturating_mul(row_bytes(self.window.taps() * usize::from(input.c))), output)
    }

    /// The input under the window of [`PATCHES`] neighbouring outputs, each value widened to 16 bits, at a multiple of 4
    /// bytes; one more patch is gathered before it is widened.
    fn scratch_bytes(&self, input: Shape, _: Shape) -> usize {
        let patch = row_bytes(self.window.taps() * usize::from(input.c));
        (2 * PATCHES + 1).saturating_mul(patch).saturating_add(4)
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }

    fn with_window(&self, window: Window) -> Self {
        Self { window, ..*self }
    }

    fn with_out_channels(&self, out_channels: u16) -> Self {
        Self { out_channels, ..*self }
    }
}

/// Where value `k` of `filter` lies among the weights of a convolution whose filters have [`row_bytes`] `row`.
///
/// Kernels read two filters at a time with one pointer: a block of [`BLOCK`] values of the one, then as many of the
/// other, and so on; what does not fill the last block makes a shorter one. Filters are zero-filled to `row`, and where
/// their number is odd, so is the other half of the last pair.
pub const fn pair_index(filter: usize, k: usize, row: usize) -> usize {
    let start = k / BLOCK * BLOCK;
    let len = if row - start < BLOCK { row - start } else { BLOCK };
    filter / 2 * 2 * row + 2 * start + filter % 2 * len + k % BLOCK
}

/// Length of a row of `len` int8 values once filled up to whole 32-bit words. Saturating: a count that leaves 32 bits is
/// one that no file can hold, and must not wrap into one that it can.
pub const fn row_bytes(len: usize) -> usize {
    len.saturating_add(3) & !3
}
