//! A camera's bytes become a picture.

use ocellus_shared::frame::{Frame, PixelFormat};

use super::{FourCc, Mode};
use crate::camera;
use crate::data::picture::Picture;

/// How a format stores its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Two neighbours share their colour; where among four bytes Y0, U, Y1 and V are.
    Pairs([usize; 4]),
    /// All brightness first; then U and V by turns, for two by two pixels each.
    Planes,
    /// As frames of a board's sensor.
    Plain(PixelFormat),
    /// Blue first, then green and red.
    Bgr,
    /// A JPEG file.
    Jpeg,
}

impl Coding {
    /// Formats by the names that `videodev2.h` gives them, those first that cost the least, and last the one without colours.
    pub const KNOWN: [(FourCc, Self); 11] = [
        (*b"YUYV", Self::Pairs([0, 1, 2, 3])),
        (*b"UYVY", Self::Pairs([1, 0, 3, 2])),
        (*b"YVYU", Self::Pairs([0, 3, 2, 1])),
        (*b"NV12", Self::Planes),
        (*b"RGB3", Self::Plain(PixelFormat::Rgb888)),
        (*b"BGR3", Self::Bgr),
        (*b"RGBP", Self::Plain(PixelFormat::Rgb565Le)),
        (*b"RGBR", Self::Plain(PixelFormat::Rgb565Be)),
        (*b"MJPG", Self::Jpeg),
        (*b"JPEG", Self::Jpeg),
        (*b"GREY", Self::Plain(PixelFormat::Grey8)),
    ];

    /// That of `code`, if it is known.
    pub fn of(code: FourCc) -> Option<Self> {
        Self::KNOWN.iter().find(|(known, _)| *known == code).map(|(_, coding)| *coding)
    }
}

/// The picture in a frame's bytes; nothing where they are too few or damaged.
pub fn picture(mode: &Mode, bytes: &[u8]) -> Option<Picture> {
    let coding = Coding::of(mode.code)?;
    let [width, height] = mode.size.map(|side| u16::try_from(side).ok());
    let (mut width, height) = (width?, height?);
    let (format, data) = match coding {
        Coding::Jpeg => return Picture::decode(bytes).ok(),
        Coding::Plain(format) => (format, rows(mode, bytes, usize::from(width) * format.bytes_per_pixel())?.concat()),
        Coding::Bgr => {
            let swapped = rows(mode, bytes, usize::from(width) * 3)?.concat();
            (PixelFormat::Rgb888, swapped.as_chunks::<3>().0.iter().flat_map(|[b, g, r]| [*r, *g, *b]).collect())
        }
        Coding::Pairs(_) | Coding::Planes => {
            // An odd column has half a colour only.
            width &= !1;
            (PixelFormat::Yuv422, yuyv(mode, coding, bytes, width.into())?)
        }
    };
    camera::rgb(&Frame::new(format, width, height, &data).ok()?).ok()
}

/// The rows of a frame, `used` bytes of each.
fn rows<'a>(mode: &Mode, bytes: &'a [u8], used: usize) -> Option<Vec<&'a [u8]>> {
    let stride = (mode.stride as usize).max(used);
    (0..mode.size[1] as usize).map(|row| bytes.get(row * stride..)?.get(..used)).collect()
}

/// Y0 U Y1 V of every pair of pixels, each from 0 to 255, as a board's sensor gives them (BT.601).
fn yuyv(mode: &Mode, coding: Coding, bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    let pairs: Vec<[u8; 4]> = match coding {
        Coding::Pairs(order) => {
            let quads = rows(mode, bytes, 2 * width)?.concat();
            quads.as_chunks::<4>().0.iter().map(|quad| order.map(|at| quad[at])).collect()
        }
        _ => {
            let lumas = rows(mode, bytes, width)?;
            let stride = (mode.stride as usize).max(mode.size[0] as usize);
            let colours = bytes.get(lumas.len() * stride..)?;
            let colour_row = |row: usize| colours.get(row / 2 * stride..)?.get(..width);
            let colours: Vec<&[u8]> = (0..lumas.len()).map(colour_row).collect::<Option<_>>()?;
            let pairs = lumas.concat().as_chunks::<2>().0.to_vec();
            let colours = colours.concat().as_chunks::<2>().0.to_vec();
            pairs.iter().zip(colours).map(|([y0, y1], [u, v])| [*y0, u, *y1, v]).collect()
        }
    };
    if mode.full_range {
        return Some(pairs.concat());
    }
    let stretched = |[y0, u, y1, v]: [u8; 4]| [wide_luma(y0), wide_chroma(u), wide_luma(y1), wide_chroma(v)];
    Some(pairs.into_iter().flat_map(stretched).collect())
}

/// Brightness from 16 to 235, stretched to 0 to 255 (BT.601, 2.5.3).
fn wide_luma(level: u8) -> u8 {
    camera::byte((f32::from(level) - 16.0) * 255.0 / 219.0)
}

/// Colour from 16 to 240, stretched about 128.
fn wide_chroma(level: u8) -> u8 {
    camera::byte((f32::from(level) - 128.0) * 255.0 / 224.0 + 128.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(code: &FourCc, size: [u32; 2], stride: u32) -> Mode {
        Mode { code: *code, size, stride, full_range: true }
    }

    #[track_caller]
    fn shows(mode: &Mode, bytes: &[u8], expected: &[u8]) {
        let picture = picture(mode, bytes).unwrap();
        assert_eq!([picture.width, picture.height].map(u32::from), mode.size);
        for (level, expected) in picture.pixels.iter().zip(expected) {
            assert!(level.abs_diff(*expected) <= 2, "{:?} instead of {expected:?}", picture.pixels);
        }
        assert_eq!(picture.pixels.len(), expected.len());
        assert_eq!(super::picture(mode, &bytes[..bytes.len() - 1]), None, "it is too short");
    }

    /// Red beside a dark grey, whose colours are averaged, and the same pixels with gaps behind each row.
    #[test]
    fn pairs_are_read_in_any_order_and_over_gaps() {
        // Y = 0.299 * 255; V = 128 + (255 - 76) / 1.402, cut to 255.
        let red = [76, 85, 76, 255];
        let expected = [254, 0, 0].repeat(2);
        shows(&mode(b"YUYV", [2, 1], 0), &red, &expected);
        shows(&mode(b"UYVY", [2, 1], 0), &[85, 76, 255, 76], &expected);
        shows(&mode(b"YVYU", [2, 1], 4), &[76, 255, 76, 85], &expected);
        let gaps = [&red[..], &[9; 3], &[50, 128, 200, 128]].concat();
        shows(&mode(b"YUYV", [2, 2], 7), &gaps, &[&expected[..], &[50, 50, 50, 200, 200, 200]].concat());
    }

    #[test]
    fn colours_of_two_by_two_pixels_are_found_behind_their_brightness() {
        let bytes = [&[76, 76, 0, 76, 76, 0][..], &[40, 50, 0, 60, 70, 0], &[85, 255, 0, 128, 128, 0]].concat();
        let seen = picture(&mode(b"NV12", [2, 4], 3), &bytes).unwrap();
        let (red, grey) = seen.pixels.split_at(12);
        assert!(red.as_chunks::<3>().0.iter().all(|[r, g, b]| *r > 250 && *g < 4 && *b < 4), "{red:?}");
        assert_eq!(grey, [[40; 3], [50; 3], [60; 3], [70; 3]].as_flattened());
        assert_eq!(picture(&mode(b"NV12", [2, 4], 3), &bytes[..16]), None);
    }

    #[test]
    fn a_camera_of_few_levels_shows_black_as_black_and_white_as_white() {
        let narrow = Mode { full_range: false, ..mode(b"YUYV", [2, 1], 0) };
        shows(&narrow, &[16, 128, 235, 128], &[0, 0, 0, 255, 255, 255]);
        // Beyond the range, as cameras do at times.
        shows(&narrow, &[0, 128, 255, 128], &[0, 0, 0, 255, 255, 255]);
        // Y = 16 + 219 * 0.299; V at its most.
        shows(&narrow, &[81, 90, 81, 240], &[254, 0, 0, 254, 0, 0]);
    }

    #[test]
    fn other_formats_are_read_as_they_are_named() {
        shows(&mode(b"RGB3", [1, 2], 5), &[1, 2, 3, 0, 0, 4, 5, 6], &[1, 2, 3, 4, 5, 6]);
        shows(&mode(b"BGR3", [1, 2], 0), &[3, 2, 1, 6, 5, 4], &[1, 2, 3, 4, 5, 6]);
        shows(&mode(b"RGBP", [1, 1], 0), &[0x00, 0xf8], &[255, 0, 0]);
        shows(&mode(b"RGBR", [1, 1], 0), &[0xf8, 0x00], &[255, 0, 0]);
        shows(&mode(b"GREY", [3, 1], 0), &[0, 100, 255], &[0, 0, 0, 100, 100, 100, 255, 255, 255]);
        assert_eq!(picture(&mode(b"H264", [1, 1], 0), &[0; 9]), None);
    }

    #[test]
    fn an_odd_column_is_left_out() {
        let picture = picture(&mode(b"YUYV", [3, 1], 6), &[10, 128, 20, 128, 30, 128]).unwrap();
        assert_eq!((picture.width, picture.pixels), (2, vec![10, 10, 10, 20, 20, 20]));
    }

    #[test]
    fn compressed_frames_are_decoded_and_broken_ones_are_none() {
        let shown = Picture { width: 16, height: 8, pixels: [200, 100, 50].repeat(128) };
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
        let colour = image::ExtendedColorType::Rgb8;
        image::ImageEncoder::write_image(encoder, &shown.pixels, 16, 8, colour).unwrap();
        let seen = picture(&mode(b"MJPG", [16, 8], 0), &jpeg).unwrap();
        assert_eq!((seen.width, seen.height), (16, 8));
        assert!(seen.pixels.iter().zip(&shown.pixels).all(|(a, b)| a.abs_diff(*b) < 8), "{:?}", &seen.pixels[..6]);
        assert_eq!(picture(&mode(b"MJPG", [16, 8], 0), &jpeg[..20]), None);
        assert_eq!(picture(&mode(b"JPEG", [16, 8], 0), b""), None);
    }
}
