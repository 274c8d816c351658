//! A camera in software: turns pictures into the frames that a sensor would deliver. [`webcam`] has pictures of this
//! machine's own camera.

pub mod webcam;

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use ocellus_shared::Shape;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Crop;
use ocellus_shared::preprocess::{pixel_of_int8, preprocess};

use crate::data::picture::Picture;

/// What a sensor is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// How a pixel is stored.
    pub format: PixelFormat,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Default for Sensor {
    /// Small sensors' usual choice for machine vision: RGB565, 160x120.
    fn default() -> Self {
        Self { format: PixelFormat::Rgb565Be, width: 160, height: 120 }
    }
}

/// Columns and rows, written `160x120`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl FromStr for FrameSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        match sides {
            Some((width @ 1.., height @ 1..)) => Ok(Self { width, height }),
            _ => bail!("expected columns and rows such as 160x120"),
        }
    }
}

/// Bytes of the frame that `sensor` makes of a picture of `width` x `height` RGB pixels.
///
/// A network sees of it what it would see of the picture itself. For one that looks at the centre, the picture's largest
/// centred square fills the frame's; beside it the frame shows what the picture has left, and black where that ends. For
/// one that looks at everything, the picture is stretched to the frame.
///
/// # Errors
/// The picture's bytes do not match its size, or the format cannot have the sensor's size.
pub fn shoot(sensor: Sensor, crop: Crop, width: u16, height: u16, rgb: &[u8]) -> Result<Vec<u8>> {
    let picture = Frame::new(PixelFormat::Rgb888, width, height, rgb).context("the picture")?;
    let (part, whole) = (u32::from(width.min(height)), u32::from(sensor.width.min(sensor.height)));
    let shown = |side: u16, most: u16| (u32::from(side) * whole / part).clamp(1, u32::from(most)) as u16;
    let view = match crop {
        Crop::Centre => Shape::new(shown(height, sensor.height), shown(width, sensor.width), 3),
        Crop::Stretch => Shape::new(sensor.height, sensor.width, 3),
    };
    let mut seen = vec![0i8; view.len()];
    preprocess(&picture, crop, view, &mut seen)?;
    let pixels: Vec<u8> = seen.into_iter().map(pixel_of_int8).collect();
    let data = encode(sensor.format, &framed(&pixels, view, sensor));
    Frame::new(sensor.format, sensor.width, sensor.height, &data)
        .with_context(|| format!("no {:?} frame of {}x{}", sensor.format, sensor.width, sensor.height))?;
    Ok(data)
}

/// What a frame shows: every pixel of it, in RGB.
///
/// # Errors
/// None that a frame could cause.
pub fn rgb(frame: &Frame) -> Result<Picture> {
    // The whole frame at its own size is only converted.
    stretched(frame, frame.width(), frame.height())
}

/// What a frame shows, brought to this many columns and rows as a model's input is.
///
/// # Errors
/// There are no columns or no rows.
pub fn stretched(frame: &Frame, width: u16, height: u16) -> Result<Picture> {
    let shape = Shape::new(height, width, 3);
    let mut levels = vec![0i8; shape.len()];
    preprocess(frame, Crop::Stretch, shape, &mut levels)?;
    let pixels = levels.into_iter().map(pixel_of_int8).collect();
    Ok(Picture { width, height, pixels })
}

/// The RGB pixels of `view` in the middle of a black picture of the sensor's size.
fn framed(pixels: &[u8], view: Shape, sensor: Sensor) -> Vec<u8> {
    let (row, full_row) = (3 * usize::from(view.w), 3 * usize::from(sensor.width));
    let mut frame = vec![0; full_row * usize::from(sensor.height)];
    let (top, left) = (usize::from(sensor.height - view.h) / 2, usize::from(sensor.width - view.w) / 2);
    for (line, target) in pixels.chunks_exact(row).zip(frame.chunks_exact_mut(full_row).skip(top)) {
        target[3 * left..][..row].copy_from_slice(line);
    }
    frame
}

/// RGB pixels, row by row, in another format.
pub fn encode(format: PixelFormat, rgb: &[u8]) -> Vec<u8> {
    let pixels = rgb.as_chunks::<3>().0;
    match format {
        PixelFormat::Rgb888 => rgb.to_vec(),
        PixelFormat::Rgb565Be => pixels.iter().flat_map(|p| rgb565(p).to_be_bytes()).collect(),
        PixelFormat::Rgb565Le => pixels.iter().flat_map(|p| rgb565(p).to_le_bytes()).collect(),
        PixelFormat::Yuv422 => pixels.chunks(2).flat_map(yuyv).collect(),
        PixelFormat::Grey8 => pixels.iter().map(|p| byte(luma(p))).collect(),
    }
}

/// The nearest levels that 5, 6 and 5 bits can hold.
fn rgb565([r, g, b]: &[u8; 3]) -> u16 {
    let nearest = |value: u8, most: u16| (u16::from(value) * most + 127) / 255;
    nearest(*r, 31) << 11 | nearest(*g, 63) << 5 | nearest(*b, 31)
}

/// Brightness by BT.601, full range.
fn luma([r, g, b]: &[u8; 3]) -> f32 {
    0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b)
}

/// Two neighbours as Y0 U Y1 V: each its brightness, together the mean of their colours.
fn yuyv(pair: &[[u8; 3]]) -> [u8; 4] {
    let [first, second] = [&pair[0], pair.last().unwrap_or(&pair[0])];
    let mean = |channel: usize| (f32::from(first[channel]) + f32::from(second[channel])) / 2.0;
    let brightness = (luma(first) + luma(second)) / 2.0;
    let (u, v) = ((mean(2) - brightness) / 1.772, (mean(0) - brightness) / 1.402);
    [byte(luma(first)), byte(u + 128.0), byte(luma(second)), byte(v + 128.0)]
}

fn byte(level: f32) -> u8 {
    level.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_columns_by_rows() {
        assert_eq!("160x120".parse::<FrameSize>().unwrap(), FrameSize { width: 160, height: 120 });
        for bad in ["", "160", "0x9", "9x0", "-1x2", "70000x1", "1x2x3"] {
            assert!(bad.parse::<FrameSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_format_shows_the_picture_again_within_its_precision() {
        let rgb: Vec<u8> = (0..16).flat_map(|_| [200, 100, 50]).collect();
        for (format, tolerance) in
            [(PixelFormat::Rgb888, 0), (PixelFormat::Rgb565Be, 4), (PixelFormat::Rgb565Le, 4), (PixelFormat::Yuv422, 2)]
        {
            let sensor = Sensor { format, width: 4, height: 4 };
            let data = shoot(sensor, Crop::Centre, 4, 4, &rgb).unwrap();
            let frame = Frame::new(format, 4, 4, &data).unwrap();
            let mut seen = [0i8; 3];
            preprocess(&frame, Crop::Centre, Shape::new(1, 1, 3), &mut seen).unwrap();
            for (level, expected) in seen.into_iter().zip([200, 100, 50]) {
                let error = (i32::from(level) + 128 - expected).abs();
                assert!(error <= tolerance, "{format:?}: off by {error}");
            }
        }
        let grey = shoot(Sensor { format: PixelFormat::Grey8, width: 1, height: 1 }, Crop::Centre, 4, 4, &rgb).unwrap();
        assert_eq!(grey, [124]);
    }

    #[test]
    fn a_square_picture_is_whole_in_the_middle_of_a_wide_frame() {
        let rgb: Vec<u8> = (0..4).flat_map(|i| [10 + 50 * i; 3]).collect();
        let sensor = Sensor { format: PixelFormat::Rgb888, width: 8, height: 4 };
        let data = shoot(sensor, Crop::Centre, 2, 2, &rgb).unwrap();
        let frame = Frame::new(PixelFormat::Rgb888, 8, 4, &data).unwrap();
        let mut seen = [0i8; 12];
        preprocess(&frame, Crop::Centre, Shape::new(2, 2, 3), &mut seen).unwrap();
        assert_eq!(seen.map(pixel_of_int8).as_slice(), rgb);
        assert_eq!(data[..6], [0; 6], "black beside it");
    }

    #[test]
    fn a_wide_picture_fills_a_wide_frame() {
        let sensor = Sensor { format: PixelFormat::Grey8, width: 8, height: 4 };
        assert_eq!(shoot(sensor, Crop::Centre, 9, 3, &[200; 81]).unwrap(), [200; 32]);
    }

    #[test]
    fn a_square_picture_is_stretched_for_a_network_that_looks_at_everything() {
        let rgb: Vec<u8> = (0..4).flat_map(|i| [10 + 50 * i; 3]).collect();
        let sensor = Sensor { format: PixelFormat::Rgb888, width: 8, height: 4 };
        let data = shoot(sensor, Crop::Stretch, 2, 2, &rgb).unwrap();
        let frame = Frame::new(PixelFormat::Rgb888, 8, 4, &data).unwrap();
        let mut seen = [0i8; 12];
        preprocess(&frame, Crop::Stretch, Shape::new(2, 2, 3), &mut seen).unwrap();
        assert_eq!(seen.map(pixel_of_int8).as_slice(), rgb);
        assert_eq!(data[..6], [10; 6], "nothing is black");
    }

    #[test]
    fn a_frame_is_shown_whole_pixel_by_pixel() {
        let rgb: Vec<u8> = (0..7 * 5 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let frame = Frame::new(PixelFormat::Rgb888, 7, 5, &rgb).unwrap();
        assert_eq!(super::rgb(&frame).unwrap(), Picture { width: 7, height: 5, pixels: rgb });
        let frame = Frame::new(PixelFormat::Rgb565Be, 2, 1, &[0xf8, 0x00, 0x00, 0x1f]).unwrap();
        assert_eq!(super::rgb(&frame).unwrap().pixels, [255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn an_odd_width_cannot_share_colours() {
        let sensor = Sensor { format: PixelFormat::Yuv422, width: 3, height: 2 };
        assert!(shoot(sensor, Crop::Centre, 1, 1, &[1, 2, 3]).is_err());
    }
}
