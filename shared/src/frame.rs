//! Camera frames: pixel formats as sensors deliver them, and their one conversion to RGB.

/// How a pixel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PixelFormat {
    /// Red, green, blue; one byte each.
    Rgb888 = 0,
    /// 5 bits of red, 6 of green, 5 of blue, the byte with the red first: how most sensors send it.
    Rgb565Be = 1,
    /// The same with its two bytes swapped.
    Rgb565Le = 2,
    /// Y0 U Y1 V: two neighbouring pixels share their colour (YUYV, BT.601, full range). The width must be even.
    Yuv422 = 3,
    /// One byte of brightness.
    Grey8 = 4,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Rgb888, Self::Rgb565Be, Self::Rgb565Le, Self::Yuv422, Self::Grey8];

    /// The format that `code` stands for in a message, if any.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|format| *format as u8 == code)
    }

    /// Bytes of one pixel.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb888 => 3,
            Self::Rgb565Be | Self::Rgb565Le | Self::Yuv422 => 2,
            Self::Grey8 => 1,
        }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Width or height is zero, or the width is odd where two pixels share their colour.
    Size,
    /// The data has another length than the size and format ask for.
    Length {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size => f.write_str("width and height must be at least 1, and the width even in YUV 4:2:2"),
            Self::Length { needed, given } => write!(f, "the frame needs {needed} bytes, got {given}"),
        }
    }
}

impl core::error::Error for FrameError {}

/// One picture, row by row without gaps, `(height, width)` pixels of one format.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    format: PixelFormat,
    width: u16,
    height: u16,
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A frame over `data`.
    ///
    /// # Errors
    /// An empty or impossible size, or `data` of another length than [`Frame::bytes`] says.
    pub fn new(format: PixelFormat, width: u16, height: u16, data: &'a [u8]) -> Result<Self, FrameError> {
        let pairs = format == PixelFormat::Yuv422;
        if width == 0 || height == 0 || (pairs && !width.is_multiple_of(2)) {
            return Err(FrameError::Size);
        }
        match Self::bytes(format, width, height) {
            Some(needed) if needed == data.len() => Ok(Self { format, width, height, data }),
            needed => Err(FrameError::Length { needed: needed.unwrap_or(usize::MAX), given: data.len() }),
        }
    }

    /// Bytes of a frame; `None` where this machine cannot address them.
    pub const fn bytes(format: PixelFormat, width: u16, height: u16) -> Option<usize> {
        // Two u16 always multiply within 32 bits.
        (width as usize * height as usize).checked_mul(format.bytes_per_pixel())
    }

    /// How its pixels are stored.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Columns.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Its bytes, row by row.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes of row `y`; panics below the last row.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let bytes = self.width as usize * self.format.bytes_per_pixel();
        &self.data[y * bytes..][..bytes]
    }
}

/// Widens a value of `bits` bits to 8 by repeating its upper bits, so that 0 and the maximum stay what they are.
const fn widen(value: u16, bits: u32) -> u8 {
    let high = value << (8 - bits);
    (high | high >> bits) as u8
}

/// Red, green and blue of an RGB565 pixel.
#[inline(always)]
pub(crate) const fn rgb565(pixel: u16) -> [u8; 3] {
    [widen(pixel >> 11, 5), widen(pixel >> 5 & 63, 6), widen(pixel & 31, 5)]
}

/// BT.601, full range, in 16-bit fixed point: `R = Y + 1.402 V`, `G = Y - 0.344136 U - 0.714136 V`, `B = Y + 1.772 U`.
#[inline(always)]
pub(crate) fn yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let base = (i32::from(y) << 16) + (1 << 15);
    [91_881 * v, -22_554 * u - 46_802 * v, 116_130 * u].map(|part| ((base + part) >> 16).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths_are_checked() {
        let data = [0; 12];
        for (format, width, height, good) in [
            (PixelFormat::Rgb888, 2, 2, true),
            (PixelFormat::Rgb888, 2, 3, false),
            (PixelFormat::Rgb565Be, 3, 2, true),
            (PixelFormat::Yuv422, 2, 3, true),
            // The last pixel's colour would be missing.
            (PixelFormat::Yuv422, 3, 2, false),
            (PixelFormat::Grey8, 12, 1, true),
            (PixelFormat::Grey8, 0, 12, false),
            (PixelFormat::Grey8, u16::MAX, u16::MAX, false),
        ] {
            assert_eq!(Frame::new(format, width, height, &data).is_ok(), good, "{format:?} {width}x{height}");
        }
    }

    #[test]
    fn rgb565_reaches_both_ends_of_every_channel() {
        assert_eq!(rgb565(0), [0, 0, 0]);
        assert_eq!(rgb565(0xffff), [255, 255, 255]);
        assert_eq!(rgb565(16 << 11 | 1), [132, 0, 8]);
        assert_eq!(rgb565(32 << 5), [0, 130, 0]);
    }

    #[test]
    fn yuv_is_within_one_level_of_the_formula() {
        for (y, u, v) in (0..=255).flat_map(|y| (0..=255).map(move |u| (y, u, (y * 7 + u * 13) as u8))) {
            let (y, u) = (y as u8, u as u8);
            let (fy, fu, fv) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
            let expected = [fy + 1.402 * fv, fy - 0.344136 * fu - 0.714136 * fv, fy + 1.772 * fu];
            for (got, want) in yuv(y, u, v).into_iter().zip(expected) {
                assert!((f64::from(got) - want.clamp(0.0, 255.0)).abs() <= 0.51, "{y} {u} {v}");
            }
        }
    }

    #[test]
    fn neutral_colour_is_grey() {
        assert!((0..=255).all(|y| yuv(y, 128, 128) == [y; 3]));
    }
}
