//! Sliding windows.

use super::error::OpError;
use crate::shape::Shape;
use core::ops::Range;

/// A sliding window: kernel, stride and explicit zero padding, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// Kernel rows and columns, each at least 1.
    pub kernel: [u8; 2],
    /// Step between outputs, down and right, each at least 1.
    pub stride: [u8; 2],
    /// Padding at top, left, bottom and right; each less than the kernel on its axis.
    pub pad: [u8; 4],
}

impl Window {
    /// A square window without padding.
    pub const fn valid(kernel: u8, stride: u8) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], pad: [0; 4] }
    }

    /// A square window of odd size at stride 1 whose output is as large as its input.
    pub const fn same(kernel: u8) -> Self {
        Self { kernel: [kernel; 2], stride: [1; 2], pad: [(kernel - 1) / 2; 4] }
    }

    /// Whether any side is padded.
    pub const fn is_padded(&self) -> bool {
        self.pad[0] | self.pad[1] | self.pad[2] | self.pad[3] != 0
    }

    /// Kernel rows times columns.
    pub const fn taps(&self) -> usize {
        self.kernel[0] as usize * self.kernel[1] as usize
    }

    /// Output of so many channels for `input`, or the rule that it breaks.
    pub(super) fn out_shape(&self, input: Shape, channels: u16) -> Result<Shape, OpError> {
        let [kh, kw] = self.kernel;
        let [top, left, bottom, right] = self.pad;
        let axis = |size: u16, kernel: u8, stride: u8, before: u8, after: u8| {
            if kernel == 0 || stride == 0 || before >= kernel || after >= kernel {
                return Err(OpError::Window);
            }
            let padded = u32::from(size) + u32::from(before) + u32::from(after);
            let room = padded.checked_sub(u32::from(kernel)).ok_or(OpError::Window)?;
            u16::try_from(room / u32::from(stride) + 1).map_err(|_| OpError::Shape)
        };
        let h = axis(input.h, kh, self.stride[0], top, bottom)?;
        Ok(Shape::new(h, axis(input.w, kw, self.stride[1], left, right)?, channels))
    }

    /// The rows of an input of `height` rows that lie under the output rows `rows`, and a window that has only what of
    /// the padding falls there.
    pub(super) fn rows(self, height: u16, rows: &Range<u16>) -> (Self, Range<u16>) {
        let (top, stride) = (usize::from(self.pad[0]), usize::from(self.stride[0]));
        // From the start of the padding on: the rows under the windows, and where the input ends.
        let start = usize::from(rows.start) * stride;
        let end = usize::from(rows.end - 1) * stride + usize::from(self.kernel[0]);
        let bottom = top + usize::from(height);
        let on_input = start.max(top) - top..end.min(bottom) - top;
        // Padding is narrower than the window, so that these fit, and some row of every window lies on the input.
        let mut cut = self;
        cut.pad[0] = top.saturating_sub(start) as u8;
        cut.pad[2] = end.saturating_sub(bottom) as u8;
        (cut, on_input.start as u16..on_input.end as u16)
    }
}
