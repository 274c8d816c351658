//! Pictures from JPEG and PNG files, as RGB of any size.

use crate::recipe::{Enlarge, Fit};
use anyhow::{Context, Result, ensure};
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use ocellus_shared::Shape;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Crop;
use ocellus_shared::preprocess::{Region, pixel_of_int8, preprocess, region};
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;

/// Files that are longer are refused before they are read.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Pictures of more pixels are refused before they are decoded.
const MAX_PIXELS: u64 = 100_000_000;
/// Pictures of more pixels are decoded one at a time, however many threads there are.
const LARGE_PIXELS: u64 = 16_000_000;
/// Bytes for each pixel that a decoder may take: four channels of 16 bits, and as much again to work with.
const MAX_DECODER_BYTES: u64 = 2 * 8;

static LARGE: Mutex<()> = Mutex::new(());

/// How the names of pictures end.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

/// Whether a file of this name is taken for a picture, by one of [`EXTENSIONS`] in any case.
pub fn has_picture_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns, at least 1.
    pub width: u16,
    /// Rows, at least 1.
    pub height: u16,
    /// RGB pixels, `(height, width, 3)`.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Reads a JPEG or PNG file; its content decides which, not its name.
    ///
    /// The picture is turned upright as its EXIF orientation says. Grey becomes RGB, 16 bits become 8, and what is
    /// transparent is laid over black.
    ///
    /// # Errors
    /// The file cannot be read, is cut off or damaged (a JPEG file has no checksum: one whose headers and end are there may
    /// have lost some of what is between), is of another format, or has more than 100 million pixels or a side of more than
    /// 65,535.
    pub fn open(path: &Path) -> Result<Self> {
        let length = fs::metadata(path).context("cannot be read")?.len();
        ensure!(length > 0, "is empty");
        ensure!(length <= MAX_FILE_BYTES, "is too large: {length} bytes, at most {MAX_FILE_BYTES} are read");
        Self::decode(&fs::read(path).context("cannot be read")?)
    }

    /// Decodes the bytes of a JPEG or PNG file; see [`Picture::open`].
    ///
    /// # Errors
    /// See [`Picture::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_up_to(bytes, MAX_PIXELS)
    }

    /// The same of at most so many pixels.
    ///
    /// # Errors
    /// See [`Picture::open`].
    pub fn decode_up_to(bytes: &[u8], most_pixels: u64) -> Result<Self> {
        ensure!(!jpeg_is_cut_off(bytes), "is cut off: the JPEG has no end");
        let most = most_pixels.min(MAX_PIXELS);
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(u32::from(u16::MAX));
        limits.max_image_height = Some(u32::from(u16::MAX));
        limits.max_alloc = Some(MAX_DECODER_BYTES * most);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().context("is no JPEG or PNG file, or is damaged")?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        ensure!(pixels <= most, "is too large: {width}x{height}, at most {most} pixels are read");
        // A thread that panicked in here left nothing behind that could be wrong.
        let _alone = (pixels > LARGE_PIXELS).then(|| LARGE.lock().unwrap_or_else(|poison| poison.into_inner()));
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).context("is damaged")?;
        image.apply_orientation(orientation);
        let image = over_black(image);
        Ok(Self {
            width: u16::try_from(image.width()).context("is too wide")?,
            height: u16::try_from(image.height()).context("is too high")?,
            pixels: image.into_raw(),
        })
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// The number of pixels is not that of rows and columns.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let image = RgbImage::from_raw(self.width.into(), self.height.into(), self.pixels.clone());
        let mut bytes = Cursor::new(Vec::new());
        image.context("the picture has not as many pixels as its size says")?.write_to(&mut bytes, ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }

    /// Writes the picture, cut or stretched to a square of `side` x `side` pixels, into `image`, `(side, side, 3)`: shrunk
    /// as on the board, and enlarged as `fit` says.
    pub fn square(&self, side: u16, fit: Fit, image: &mut [u8]) {
        if fit.enlarge == Enlarge::Smooth && self.is_smaller_than(side) {
            image.copy_from_slice(&self.enlarged(side, fit.crop).pixels);
        } else {
            square(self, side, fit.crop, image);
        }
    }

    /// Whether one of its sides, and so its centred square, has fewer than `side` pixels.
    pub fn is_smaller_than(&self, side: u16) -> bool {
        self.width.min(self.height) < side
    }

    /// The picture, cut or stretched to a square of `side` x `side` pixels, by Catmull and Rom's spline.
    pub fn enlarged(&self, side: u16, crop: Crop) -> Self {
        let Region { x, y, width, height } = region(crop, self.width, self.height, Shape::new(side, side, 3));
        let whole = RgbImage::from_raw(self.width.into(), self.height.into(), self.pixels.clone());
        let whole = whole.expect("three bytes for each pixel");
        let part = imageops::crop_imm(&whole, x.into(), y.into(), width.into(), height.into()).to_image();
        let large = imageops::resize(&part, side.into(), side.into(), FilterType::CatmullRom);
        Self { width: side, height: side, pixels: large.into_raw() }
    }
}

/// As [`Picture::square`], by areas.
fn square(picture: &Picture, side: u16, crop: Crop, image: &mut [u8]) {
    let Picture { width, height, pixels } = picture;
    let frame = Frame::new(PixelFormat::Rgb888, *width, *height, pixels).expect("three bytes for each pixel");
    let mut levels = vec![0i8; image.len()];
    preprocess(&frame, crop, Shape::new(side, side, 3), &mut levels).expect("the image is a square of RGB");
    for (byte, level) in image.iter_mut().zip(levels) {
        *byte = pixel_of_int8(level);
    }
}

fn over_black(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let over = |colour: u8, alpha: u8| ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8;
    let (width, height) = image.dimensions();
    let pixels = image.pixels().flat_map(|&image::Rgba([r, g, b, a])| [over(r, a), over(g, a), over(b, a)]).collect();
    RgbImage::from_raw(width, height, pixels).expect("three bytes for each pixel")
}

/// Whether `bytes` begin as a JPEG file but stop before its end marker. The decoder would fill the rest with grey.
fn jpeg_is_cut_off(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return false;
    }
    let mut at = 2;
    loop {
        // Within compressed data, 0xff is followed by 0 or a restart marker; before a marker it may be repeated.
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
        let Some(skipped) = bytes.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) else { return true };
        at += skipped + 2;
        if bytes[at - 1] == END {
            return false;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return true };
        at += usize::from(u16::from_be_bytes([high, low]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> RgbImage {
        RgbImage::from_fn(64, 48, |x, y| Rgb([4 * x as u8, 5 * y as u8, 128]))
    }

    fn error(bytes: &[u8]) -> String {
        format!("{:#}", Picture::decode(bytes).unwrap_err())
    }

    #[test]
    fn every_kind_of_pixel_becomes_rgb() {
        let grey = ImageBuffer::from_pixel(2, 1, Luma([7u8]));
        assert_eq!(Picture::decode(&encode(grey, ImageFormat::Png)).unwrap().pixels, [7; 6]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgb([0x1234u16, 0x8000, 0xffff]));
        assert_eq!(Picture::decode(&encode(deep, ImageFormat::Png)).unwrap().pixels, [0x12, 0x80, 0xff]);
        let clear = ImageBuffer::from_pixel(1, 1, Rgba([200u8, 100, 50, 128]));
        assert_eq!(Picture::decode(&encode(clear, ImageFormat::Png)).unwrap().pixels, [100, 50, 25]);
        let clear_grey = ImageBuffer::from_pixel(1, 1, LumaA([200u8, 51]));
        assert_eq!(Picture::decode(&encode(clear_grey, ImageFormat::Png)).unwrap().pixels, [40; 3]);
        let deep_grey = ImageBuffer::from_pixel(1, 1, Luma([0x8000u16]));
        assert_eq!(Picture::decode(&encode(deep_grey, ImageFormat::Png)).unwrap().pixels, [0x80; 3]);
    }

    #[test]
    fn exif_turns_the_picture_upright() {
        // Orientation 6: the first row is the right side.
        let exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let plain = encode(gradient(), ImageFormat::Jpeg);
        let turned = [&plain[..2], exif, &plain[2..]].concat();
        let picture = Picture::decode(&turned).unwrap();
        assert_eq!((picture.width, picture.height), (48, 64));
        assert!(picture.pixels[0] < 10 && picture.pixels[1] > 220, "the lower left corner is first");
    }

    #[test]
    fn a_cut_off_file_is_refused_wherever_it_is_cut() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encode(gradient(), format);
            for length in (0..whole.len() - 12).step_by(7) {
                assert!(Picture::decode(&whole[..length]).is_err(), "{format:?} of {length} bytes");
            }
            Picture::decode(&[&whole[..], b"trailing bytes"].concat()).unwrap();
        }
    }

    #[test]
    fn other_content_is_refused() {
        assert!(error(b"GIF89a whatever").contains("is no JPEG or PNG file"));
        assert!(error(b"<html>not found</html>").contains("is no JPEG or PNG file"));
    }

    #[test]
    fn a_huge_picture_is_refused_before_it_is_decoded() {
        let mut header = encode(gradient(), ImageFormat::Png)[..33].to_vec();
        header[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]); // 16384 x 16384
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&header[12..29]);
        header[29..].copy_from_slice(&crc.to_be_bytes());
        header.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
        let message = error(&header);
        assert!(message.contains("16384x16384"), "{message}");
    }

    #[test]
    fn the_square_is_the_middle() {
        let picture = Picture { width: 4, height: 2, pixels: (0..24).collect() };
        let mut image = [0; 12];
        picture.square(2, Fit::default(), &mut image);
        assert_eq!(image, [3, 4, 5, 6, 7, 8, 15, 16, 17, 18, 19, 20]);
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn inks_become_light() {
        // Pillow 13, 8x8, quality 90, with Adobe's marker, that is inverted: cyan ink, and (0, 200, 100, 50) of 255.
        let head = "ffd8ffee000e41646f626500640000000000ffdb0043000302020302020303030304030304050805050404050a070706080c0a\
                    0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc000140800080008044311004d\
                    11005911004b1100";
        let cyan = "ffc40014000100000000000000000000000000000009ffc40014100100000000000000000000000000000000ffda000e04\
                    43004d0059004b00003f002a8a99532a6fffd9";
        let mixed = "ffc400160001010100000000000000000000000000080709ffc40014100100000000000000000000000000000000ffda00\
                     0e0443004d0059004b00003f00d530f148335fffd9";
        for (rest, expected) in [(cyan, [0, 255, 255]), (mixed, [205, 44, 125])] {
            let picture = Picture::decode(&bytes(&[head, rest].concat())).unwrap();
            let pixel = &picture.pixels[3 * 27..3 * 28];
            assert!(pixel.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) < 4), "{pixel:?} instead of {expected:?}");
        }
    }

    #[test]
    fn palettes_are_looked_up() {
        // Pillow 13: two pixels of a palette of two; in the second file, the second colour is transparent.
        let head =
            "89504e470d0a1a0a0000000d4948445200000002000000010103000000ceecedc900000006504c54450a141ec8643277a0b39c";
        let clear = "0000000274524e53ff00e5b7304a";
        let rest = "0000000a49444154789c63700000004200412937f4ef0000000049454e44ae426082";
        let opaque = Picture::decode(&bytes(&[head, rest].concat())).unwrap();
        assert_eq!(opaque.pixels, [10, 20, 30, 200, 100, 50]);
        let clear = Picture::decode(&bytes(&[head, clear, rest].concat())).unwrap();
        assert_eq!(clear.pixels, [10, 20, 30, 0, 0, 0]);
    }

    #[test]
    fn all_eight_orientations_are_turned_upright() {
        let plain = encode(gradient(), ImageFormat::Jpeg);
        let stored = Picture::decode(&plain).unwrap();
        let (w, h) = (usize::from(stored.width), usize::from(stored.height));
        for orientation in 1..=8u8 {
            let mut exif = *b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
            exif[29] = orientation;
            let upright = Picture::decode(&[&plain[..2], &exif, &plain[2..]].concat()).unwrap();
            for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
                // Exif 2.32, table 5: at which sides of the picture the first row and the first column are.
                let (y, x) = match orientation {
                    1 => (row, column),
                    2 => (row, w - 1 - column),
                    3 => (h - 1 - row, w - 1 - column),
                    4 => (h - 1 - row, column),
                    5 => (column, row),
                    6 => (column, h - 1 - row),
                    7 => (w - 1 - column, h - 1 - row),
                    _ => (w - 1 - column, row),
                };
                let (to, from) = (3 * (y * usize::from(upright.width) + x), 3 * (row * w + column));
                assert_eq!(upright.pixels[to..to + 3], stored.pixels[from..from + 3], "{orientation}: {row} {column}");
            }
        }
    }

    /// Every way to make a picture a square.
    fn fits() -> impl Iterator<Item = Fit> {
        let crops = [Crop::Centre, Crop::Stretch].into_iter();
        crops.flat_map(|crop| [Enlarge::Area, Enlarge::Smooth].map(|enlarge| Fit { crop, enlarge }))
    }

    #[test]
    fn a_wide_picture_is_cut_or_stretched() {
        // Columns of 0, 100, 100 and 200: the outer ones are not in the centred square.
        let pixels: Vec<u8> = [0, 100, 100, 200].repeat(2).into_iter().flat_map(|grey| [grey; 3]).collect();
        let picture = Picture { width: 4, height: 2, pixels };
        let seen = |fit| {
            let mut image = [0; 2 * 2 * 3];
            picture.square(2, fit, &mut image);
            [image[0], image[3], image[6], image[9]]
        };
        for fit in fits() {
            let expected = if fit.crop == Crop::Centre { [100; 4] } else { [50, 150, 50, 150] };
            assert_eq!(seen(fit), expected, "{fit:?}");
        }
    }

    #[test]
    fn pictures_of_any_size_become_squares() {
        for (width, height) in [(1, 1), (1, 3000), (3000, 1), (7, 5), (2000, 1500)] {
            let mut image = vec![0; 48 * 48 * 3];
            let pixels = [40, 90, 200].repeat(width * height);
            let picture = Picture { width: width as u16, height: height as u16, pixels };
            for fit in fits() {
                picture.square(48, fit, &mut image);
                assert!(image.chunks(3).all(|pixel| pixel == [40, 90, 200]), "{width}x{height}");
            }
        }
    }

    #[test]
    fn shrinking_takes_means_rather_than_samples() {
        // Stripes finer than the square's pixels become grey instead of other stripes.
        let stripe = |i: usize| if (i / 3).is_multiple_of(2) { 0 } else { 200 };
        let picture = Picture { width: 64, height: 64, pixels: (0..64 * 64 * 3).map(stripe).collect() };
        let mut image = vec![0; 16 * 16 * 3];
        for fit in fits() {
            picture.square(16, fit, &mut image);
            assert_eq!(image, [100; 16 * 16 * 3]);
        }
    }

    #[test]
    fn small_pictures_grow_in_steps_or_smoothly() {
        // A ramp of grey from column to column, with a row more above and below than the square has.
        let picture = Picture { width: 8, height: 10, pixels: (0..240).map(|i| (i / 3 % 8 * 20) as u8).collect() };
        let middle = |enlarge| {
            let mut image = vec![0; 24 * 24 * 3];
            picture.square(24, Fit { enlarge, ..Fit::default() }, &mut image);
            image[24 * 3 * 12..].chunks(3).skip(6).take(12).map(|pixel| pixel[0]).collect::<Vec<_>>()
        };
        assert_eq!(middle(Enlarge::Area), [40, 40, 40, 60, 60, 60, 80, 80, 80, 100, 100, 100]);
        // A third of 20 further at every pixel: the spline reproduces straight lines.
        assert_eq!(middle(Enlarge::Smooth), [33, 40, 47, 53, 60, 67, 73, 80, 87, 93, 100, 107]);
    }

    #[test]
    fn a_png_is_read_back() {
        let picture = Picture { width: 3, height: 2, pixels: (0..18).collect() };
        assert_eq!(Picture::decode(&picture.to_png().unwrap()).unwrap(), picture);
        assert!(Picture { width: 4, ..picture }.to_png().is_err());
    }
}
