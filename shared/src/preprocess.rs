//! From a camera frame to the network's int8 image: the only implementation, so that training, evaluation and the
//! board see the same numbers.
//!
//! The frame is cropped, and every output pixel becomes the mean of the part of the frame that it covers, source pixels
//! at the edge counting by the area covered:
//!
//! ```text
//! out[y][x] = round(sum(cover_y * cover_x * pixel) / (rows * columns)) - 128
//! ```
//!
//! Lengths are measured in units in which both grids fall on integers (a source pixel is as wide as the output has
//! columns), so every weight is an integer and the result is exact on every machine. An image that already has the
//! network's size passes through unchanged.

use crate::frame::{Frame, PixelFormat, rgb565, yuv};
use crate::plan::Crop;
use crate::shape::Shape;

/// Why an image cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreprocessError {
    /// The network's input is empty or has another number of channels than three.
    Shape,
    /// The output slice is not as long as the shape says.
    Length {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
}

impl core::fmt::Display for PreprocessError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Shape => f.write_str("the network's input is not an image of three channels"),
            Self::Length { needed, given } => write!(f, "the image needs {needed} bytes, got room for {given}"),
        }
    }
}

impl core::error::Error for PreprocessError {}

/// Part of a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub x: u16,
    /// First row.
    pub y: u16,
    /// Columns, at least 1.
    pub width: u16,
    /// Rows, at least 1.
    pub height: u16,
}

/// The part of a `width` x `height` frame that an output of shape `out` shows. None of the sizes may be zero.
pub fn region(crop: Crop, width: u16, height: u16, out: Shape) -> Region {
    let whole = Region { x: 0, y: 0, width, height };
    // Side that keeps the output's aspect ratio, in whole pixels: at least 1 and at most what there is.
    let fit = |other: u16, part: u16, whole: u16, most: u16| {
        let side = (u32::from(other) * u32::from(part) + u32::from(whole) / 2) / u32::from(whole);
        side.clamp(1, u32::from(most)) as u16
    };
    let (wide, tall) = (u32::from(width) * u32::from(out.h), u32::from(height) * u32::from(out.w));
    match crop {
        Crop::Centre if wide > tall => {
            let part = fit(height, out.w, out.h, width);
            Region { x: (width - part) / 2, width: part, ..whole }
        }
        Crop::Centre if tall > wide => {
            let part = fit(width, out.h, out.w, height);
            Region { y: (height - part) / 2, height: part, ..whole }
        }
        Crop::Centre | Crop::Stretch => whole,
    }
}

/// Writes `frame` as the int8 image `image`, `(h, w, 3)` in the shape `out`.
///
/// # Errors
/// The shape is not an image's, or `image` is not as long as it says.
pub fn preprocess(frame: &Frame, crop: Crop, out: Shape, image: &mut [i8]) -> Result<(), PreprocessError> {
    let needed = out.checked_len().filter(|_| out.c == 3).ok_or(PreprocessError::Shape)?;
    if image.len() != needed {
        return Err(PreprocessError::Length { needed, given: image.len() });
    }
    let region = region(crop, frame.width(), frame.height(), out);
    // One copy of the loop per format, so that none asks for it at every pixel.
    match frame.format() {
        PixelFormat::Rgb888 => resize(frame, region, out, image, |row, x| [row[3 * x], row[3 * x + 1], row[3 * x + 2]]),
        PixelFormat::Rgb565Be => {
            resize(frame, region, out, image, |row, x| rgb565(u16::from_be_bytes([row[2 * x], row[2 * x + 1]])));
        }
        PixelFormat::Rgb565Le => {
            resize(frame, region, out, image, |row, x| rgb565(u16::from_le_bytes([row[2 * x], row[2 * x + 1]])));
        }
        PixelFormat::Yuv422 => resize(frame, region, out, image, |row, x| {
            let pair = 4 * (x / 2);
            yuv(row[2 * x], row[pair + 1], row[pair + 3])
        }),
        PixelFormat::Grey8 => resize(frame, region, out, image, |row, x| [row[x]; 3]),
    }
    Ok(())
}

/// Source pixels under one output pixel, along one axis.
#[derive(Clone, Copy)]
struct Span {
    /// First pixel that is covered.
    first: usize,
    /// Last pixel that is covered.
    last: usize,
    /// How much of the first one is covered; `full` is all of it.
    first_cover: u32,
    /// How much of the last one, where it is not the first.
    last_cover: u32,
    /// How much a pixel in between counts.
    full: u32,
}

impl Span {
    /// The pixels of a source of `size` from `start` that output `index` of `count` covers. In units of `1 / count`
    /// of a source pixel, the output is `size` long and a source pixel `count`.
    fn new(index: usize, count: u16, start: u16, size: u16) -> Self {
        let (count, start) = (u32::from(count), usize::from(start));
        let from = index as u32 * u32::from(size);
        let to = from + u32::from(size);
        let (first, last) = (from / count, (to - 1) / count);
        let first_end = ((first + 1) * count).min(to);
        Self {
            first: start + first as usize,
            last: start + last as usize,
            first_cover: first_end - from,
            last_cover: to - last * count,
            full: count,
        }
    }

    /// How much the pixel at `at` counts; it must lie within the span.
    fn cover(&self, at: usize) -> u32 {
        if at == self.first {
            self.first_cover
        } else if at == self.last {
            self.last_cover
        } else {
            self.full
        }
    }
}

/// The int8 value that the network sees for a pixel's: `pixel - 128`.
pub const fn int8_of_pixel(pixel: u8) -> i8 {
    pixel.wrapping_sub(128) as i8
}

/// The pixel's value of an int8 one: the opposite of [`int8_of_pixel`].
pub const fn pixel_of_int8(value: i8) -> u8 {
    (value as u8).wrapping_add(128)
}

/// Averages `region` down (or spreads it up) to `out`; `rgb` reads pixel `x` of a row.
fn resize(
    frame: &Frame,
    region: Region,
    out: Shape,
    image: &mut [i8], // (h, w, 3)
    rgb: impl Fn(&[u8], usize) -> [u8; 3],
) {
    let area = u64::from(region.width) * u64::from(region.height);
    for (y, row) in image.chunks_exact_mut(usize::from(out.w) * 3).enumerate() {
        let rows = Span::new(y, out.h, region.y, region.height);
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let columns = Span::new(x, out.w, region.x, region.width);
            let mut sums = [0u64; 3];
            for source in rows.first..=rows.last {
                let weight = u64::from(rows.cover(source));
                for (sum, part) in sums.iter_mut().zip(row_sum(frame.row(source), columns, &rgb)) {
                    *sum += weight * u64::from(part);
                }
            }
            *pixel = sums.map(|sum| int8_of_pixel(mean(sum, area)));
        }
    }
}

/// Weighted sum of one row's pixels; at most 255 * 65535, which leaves room in 32 bits.
#[inline(always)]
fn row_sum(row: &[u8], columns: Span, rgb: &impl Fn(&[u8], usize) -> [u8; 3]) -> [u32; 3] {
    let mut sums = rgb(row, columns.first).map(|v| u32::from(v) * columns.first_cover);
    if columns.last > columns.first {
        let mut inner = [0u32; 3];
        for x in columns.first + 1..columns.last {
            let pixel = rgb(row, x);
            for (sum, v) in inner.iter_mut().zip(pixel) {
                *sum += u32::from(v);
            }
        }
        let last = rgb(row, columns.last);
        for ((sum, inner), last) in sums.iter_mut().zip(inner).zip(last) {
            *sum += inner * columns.full + u32::from(last) * columns.last_cover;
        }
    }
    sums
}

/// `sum / area`, to nearest, halves up; at most 255. A 32-bit division where it suffices: a small core has no other.
fn mean(sum: u64, area: u64) -> u8 {
    let sum = sum + area / 2;
    match (u32::try_from(sum), u32::try_from(area)) {
        (Ok(sum), Ok(area)) => (sum / area) as u8,
        _ => (sum / area) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u16, height: u16, data: &[u8], crop: Crop, out: Shape) -> std::vec::Vec<u8> {
        let frame = Frame::new(PixelFormat::Grey8, width, height, data).unwrap();
        let mut image = std::vec![0; out.len()];
        preprocess(&frame, crop, out, &mut image).unwrap();
        image.chunks_exact(3).map(|p| pixel_of_int8(p[0])).collect()
    }

    #[test]
    fn regions_are_centred_and_keep_the_aspect_ratio() {
        for (size, out, expected) in [
            // Landscape to square, portrait to square, square stays.
            ((160, 120), (32, 32), (20, 0, 120, 120)),
            ((120, 160), (32, 32), (0, 20, 120, 120)),
            ((32, 32), (32, 32), (0, 0, 32, 32)),
            // At least one pixel remains.
            ((1, 9), (100, 1), (0, 4, 1, 1)),
            ((65535, 1), (65535, 65535), (32767, 0, 1, 1)),
        ] {
            let shape = Shape::new(out.1, out.0, 3);
            let Region { x, y, width, height } = region(Crop::Centre, size.0, size.1, shape);
            assert_eq!((x, y, width, height), expected, "{size:?} to {out:?}");
        }
    }

    #[test]
    fn means_round_to_nearest_with_halves_up() {
        // 1 row: pairs (0, 1) -> 0.5, (4, 4) -> 4, (255, 254) -> 254.5
        let out = Shape::new(1, 3, 3);
        assert_eq!(grey(6, 1, &[0, 1, 4, 4, 255, 254], Crop::Stretch, out), [1, 4, 255]);
    }

    #[test]
    fn pixels_at_the_edge_count_by_their_area() {
        // Three columns to two: the middle one is shared.
        assert_eq!(grey(3, 1, &[0, 90, 200], Crop::Stretch, Shape::new(1, 2, 3)), [30, 163]);
        // Two columns to three: the middle output lies half on each.
        assert_eq!(grey(2, 1, &[10, 20], Crop::Stretch, Shape::new(1, 3, 3)), [10, 15, 20]);
    }

    #[test]
    fn one_pixel_fills_any_output() {
        assert!(grey(1, 1, &[77], Crop::Centre, Shape::new(5, 3, 3)).iter().all(|p| *p == 77));
    }

    #[test]
    fn a_full_white_wall_stays_white_at_the_largest_sums() {
        let data = std::vec![255; 4099 * 4099];
        assert_eq!(grey(4099, 4099, &data, Crop::Centre, Shape::new(1, 1, 3)), [255]);
    }

    #[test]
    fn other_shapes_are_refused() {
        let frame = Frame::new(PixelFormat::Grey8, 1, 1, &[0]).unwrap();
        let mut image = [0; 4];
        for shape in [Shape::new(2, 2, 1), Shape::new(0, 2, 3), Shape::new(1, 1, 4)] {
            assert_eq!(preprocess(&frame, Crop::Centre, shape, &mut image), Err(PreprocessError::Shape));
        }
        let wrong = preprocess(&frame, Crop::Centre, Shape::new(1, 1, 3), &mut image);
        assert_eq!(wrong, Err(PreprocessError::Length { needed: 3, given: 4 }));
    }
}
