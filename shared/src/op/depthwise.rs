//! Depthwise convolution.

use super::Depthwise;
use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use super::linked::has_kernel;
use super::window::Window;
use crate::shape::Shape;

/// The kernels for windows that [`Bands`] are made for.
const KERNEL_3X3: &str = "depthwise_3x3";
const KERNEL_5X5: &str = "depthwise_5x5";

impl Facts for Depthwise {
    const NAME: &'static str = "depthwise";
    const TAG: u8 = 2;
    const IS_LINKED: bool = has_kernel(Self::NAME) || has_kernel(KERNEL_3X3) || has_kernel(KERNEL_5X5);

    fn record(&self) -> Record {
        Record { window: self.window, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { window: record.window }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        self.window.out_shape(inputs[0], inputs[0].c)
    }

    fn macs(&self, _: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.window.taps() as u64
    }

    fn param_counts(&self, _: Shape, output: Shape) -> ParamCounts {
        ParamCounts::of_filters(usize::from(output.c) * self.window.taps(), output)
    }

    fn scratch_bytes(&self, input: Shape, _: Shape) -> usize {
        Bands::new(&self.window, input).map_or(0, |bands| bands.scratch_bytes())
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }

    fn with_window(&self, window: Window) -> Self {
        Self { window }
    }

    fn kernel(&self, input: Shape) -> &'static str {
        match Bands::new(&self.window, input) {
            Some(Bands { kernel: 3, .. }) => KERNEL_3X3,
            Some(_) => KERNEL_5X5,
            None => Self::NAME,
        }
    }

    fn has_kernel(&self, input: Shape) -> bool {
        match Bands::new(&self.window, input) {
            Some(Bands { kernel: 3, .. }) => const { has_kernel(KERNEL_3X3) },
            Some(_) => const { has_kernel(KERNEL_5X5) },
            None => const { has_kernel(Self::NAME) },
        }
    }
}

/// How a 3x3 or 5x5 depthwise convolution is cut into pieces: [`Bands::CHANNELS`] channels and as many rows as a little memory
/// holds, with every channel's pixels together and widened to 16 bits.
///
/// Two neighbouring pixels make a 32-bit word. The memory holds the words of one channel after those of the other, each
/// row after row; then the weights of these channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Rows and columns of the window, 3 or 5.
    pub kernel: usize,
    /// Outputs of a row.
    pub out_width: usize,
    /// Most rows of outputs in a band.
    pub out_rows: usize,
    /// Rows of input that such a band needs, padding included.
    pub rows: usize,
    /// Words of a row, padding included.
    pub row_words: usize,
}

impl Bands {
    /// Channels of a band.
    pub const CHANNELS: usize = 4;
    /// Neighbouring outputs that are computed together.
    pub const OUTPUTS: usize = 4;
    /// Words of input that a band aims to stay within.
    const WORDS: usize = 1024;

    /// The bands of a depthwise convolution of `input`; nothing where the window is of another kind or there are fewer
    /// channels than a band has.
    pub fn new(window: &Window, input: Shape) -> Option<Self> {
        let [down, right] = window.stride.map(usize::from);
        let kernel = usize::from(window.kernel[0]);
        let is_known = matches!(window.kernel, [3, 3] | [5, 5]) && (1..=2).contains(&right);
        if !is_known || usize::from(input.c) < Self::CHANNELS {
            return None;
        }
        let out = window.out_shape(input, input.c).ok()?;
        let out_width = usize::from(out.w);
        let row_words = out_width.div_ceil(Self::OUTPUTS) * (Self::OUTPUTS / 2) * right + kernel / 2;
        let rows = (Self::WORDS / Self::CHANNELS / row_words).max(kernel);
        let out_rows = ((rows - kernel) / down + 1).min(out.h.into());
        Some(Self { kernel, out_width, out_rows, rows: (out_rows - 1) * down + kernel, row_words })
    }

    /// Words of a channel's weights: for each row of the window, every weight but the last with its right neighbour.
    pub const fn weight_words(&self) -> usize {
        self.kernel * (self.kernel - 1)
    }

    /// Words of one channel of a band.
    pub const fn plane_words(&self) -> usize {
        self.rows * self.row_words
    }

    /// Bytes of memory for a band and its weights, at any alignment.
    pub const fn scratch_bytes(&self) -> usize {
        4 * Self::CHANNELS * (self.plane_words() + self.weight_words()) + 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_kernels() {
        let kernel = |size, channels| Depthwise { window: Window::same(size) }.kernel(Shape::new(8, 8, channels));
        assert_eq!([kernel(3, 4), kernel(5, 8)], [KERNEL_3X3, KERNEL_5X5]);
        assert_eq!([kernel(7, 4), kernel(3, 3)], ["depthwise"; 2]);
    }
}
