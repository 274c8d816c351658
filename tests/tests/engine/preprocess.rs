//! The integer preprocessing against its formula in floating point.

use ocellus_shared::plan::Crop;
use ocellus_shared::preprocess::{Region, preprocess, region};
use ocellus_shared::{Frame, PixelFormat, Shape};
use ocellus_tests::random::Random;

/// RGB of one pixel, 0 to 255, as the formats define it.
fn rgb(frame: &Frame, x: usize, y: usize) -> [f64; 3] {
    let width = usize::from(frame.width());
    let at = |byte: usize| f64::from(frame.data()[byte]);
    let pixel = y * width + x;
    match frame.format() {
        PixelFormat::Rgb888 => [0, 1, 2].map(|c| at(3 * pixel + c)),
        PixelFormat::Grey8 => [at(pixel); 3],
        PixelFormat::Rgb565Be | PixelFormat::Rgb565Le => {
            let bytes = [frame.data()[2 * pixel], frame.data()[2 * pixel + 1]];
            let word = match frame.format() {
                PixelFormat::Rgb565Be => u16::from_be_bytes(bytes),
                _ => u16::from_le_bytes(bytes),
            };
            // Repeating the upper bits of a value below multiplies it and drops the fraction.
            let wider = |value: u16, factor: f64| (f64::from(value) * factor).floor();
            [wider(word >> 11, 8.25), wider(word >> 5 & 63, 4.0625), wider(word & 31, 8.25)]
        }
        PixelFormat::Yuv422 => {
            let pair = (y * width + x / 2 * 2) * 2;
            let (luma, u, v) = (at(2 * pixel), at(pair + 1) - 128.0, at(pair + 3) - 128.0);
            [luma + 1.402 * v, luma - 0.344_136 * u - 0.714_136 * v, luma + 1.772 * u].map(|c| c.clamp(0.0, 255.0))
        }
    }
}

/// Mean colour of the part of the frame under one output pixel.
fn mean(frame: &Frame, region: Region, out: Shape, x: usize, y: usize) -> [f64; 3] {
    let span = |index: usize, count: u16, start: u16, size: u16| {
        let unit = f64::from(size) / f64::from(count);
        (f64::from(start) + index as f64 * unit, f64::from(start) + (index + 1) as f64 * unit)
    };
    let (left, right) = span(x, out.w, region.x, region.width);
    let (top, bottom) = span(y, out.h, region.y, region.height);
    let cover = |at: usize, from: f64, to: f64| (to.min(at as f64 + 1.0) - from.max(at as f64)).max(0.0);
    let (mut sums, mut area) = ([0.0; 3], 0.0);
    for sy in top as usize..(bottom.ceil() as usize).min(frame.height().into()) {
        for sx in left as usize..(right.ceil() as usize).min(frame.width().into()) {
            let weight = cover(sy, top, bottom) * cover(sx, left, right);
            area += weight;
            for (sum, value) in sums.iter_mut().zip(rgb(frame, sx, sy)) {
                *sum += weight * value;
            }
        }
    }
    sums.map(|sum| sum / area)
}

/// Compares a random picture of this size, at this output size.
fn compare(random: &mut Random, format: PixelFormat, width: u16, height: u16, crop: Crop, out: Shape) {
    let data = random.bytes(Frame::bytes(format, width, height).unwrap());
    let frame = Frame::new(format, width, height, &data).unwrap();
    let mut image = vec![0; out.len()];
    preprocess(&frame, crop, out, &mut image).unwrap();
    let region = region(crop, width, height, out);
    for (pixel, got) in image.chunks_exact(3).enumerate() {
        let (x, y) = (pixel % usize::from(out.w), pixel / usize::from(out.w));
        for (got, want) in got.iter().zip(mean(&frame, region, out, x, y)) {
            // A source pixel is itself rounded by up to half a level where the format has fewer, and the mean once more.
            let off = (f64::from(*got) + 128.0 - want).abs();
            assert!(off <= 1.0, "{format:?} {width}x{height} {crop:?} to {out}: ({x}, {y}) is {off} off");
        }
    }
}

#[test]
fn every_format_and_size_is_within_one_level() {
    let mut random = Random::new(1);
    for _ in 0..1500 {
        let format = random.choose(&PixelFormat::ALL);
        let mut width = random.between(1, 60) as u16;
        if format == PixelFormat::Yuv422 {
            width += width % 2;
        }
        let height = random.between(1, 60) as u16;
        let out = Shape::new(random.between(1, 40) as u16, random.between(1, 40) as u16, 3);
        let crop = random.choose(&[Crop::Centre, Crop::Stretch]);
        compare(&mut random, format, width, height, crop, out);
    }
}

#[test]
fn camera_and_photo_sizes_are_within_one_level() {
    let mut random = Random::new(2);
    for (format, width, height, side) in [
        (PixelFormat::Rgb565Be, 160, 120, 32),
        (PixelFormat::Rgb565Le, 320, 240, 96),
        (PixelFormat::Rgb565Be, 96, 96, 96),
        (PixelFormat::Yuv422, 160, 120, 32),
        (PixelFormat::Grey8, 640, 480, 48),
        (PixelFormat::Yuv422, 320, 240, 96),
        (PixelFormat::Rgb888, 1999, 1501, 160),
        (PixelFormat::Grey8, 5, 1000, 224),
    ] {
        compare(&mut random, format, width, height, Crop::Centre, Shape::new(side, side, 3));
    }
}

#[test]
fn an_image_of_the_networks_size_passes_unchanged() {
    let pixels = Random::new(3).bytes(32 * 32 * 3);
    let frame = Frame::new(PixelFormat::Rgb888, 32, 32, &pixels).unwrap();
    let mut image = vec![0; pixels.len()];
    for crop in [Crop::Centre, Crop::Stretch] {
        preprocess(&frame, crop, Shape::new(32, 32, 3), &mut image).unwrap();
        assert!(image.iter().zip(&pixels).all(|(q, p)| i16::from(*q) == i16::from(*p) - 128));
    }
}

#[test]
fn the_widest_frames_do_not_overflow() {
    let out = Shape::new(2, 2, 3);
    for (width, height) in [(u16::MAX, 3), (3, u16::MAX), (u16::MAX, 700)] {
        let white = vec![255; usize::from(width) * usize::from(height)];
        let frame = Frame::new(PixelFormat::Grey8, width, height, &white).unwrap();
        let mut image = vec![0; out.len()];
        preprocess(&frame, Crop::Stretch, out, &mut image).unwrap();
        assert!(image.iter().all(|q| *q == 127), "{width}x{height}");
    }
}
