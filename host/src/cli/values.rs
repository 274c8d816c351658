//! The values that arguments take.

use crate::recipe::{self, CalibrationMethod};
use clap::ValueEnum;
use ocellus_shared::frame::PixelFormat;
use std::path::PathBuf;

/// How activation ranges are determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Calibration {
    /// Smallest and largest value
    MinMax,
    /// Percentile: clips outliers
    Percentile,
    /// Smallest mean squared error
    Mse,
    /// The one of several methods whose scores are closest to the float network's
    Auto,
}

impl From<Calibration> for CalibrationMethod {
    fn from(calibration: Calibration) -> Self {
        match calibration {
            Calibration::MinMax => Self::MinMax,
            Calibration::Percentile => Self::Percentile,
            Calibration::Mse => Self::Mse,
            Calibration::Auto => Self::Auto,
        }
    }
}

/// Optimization goal of a plan. The scores are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Optimize {
    /// One byte of flash per weight
    Size,
    /// Winograd convolutions: fewer instructions for 3x3 on Cortex-M4, M7 and M33, 3.6 times their flash
    Speed,
}

impl From<Optimize> for recipe::Optimize {
    fn from(optimize: Optimize) -> Self {
        match optimize {
            Optimize::Size => Self::Size,
            Optimize::Speed => Self::Speed,
        }
    }
}

/// Three numbers with commas between them.
pub(super) fn three(text: &str) -> Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let three = numbers.and_then(|numbers| numbers.try_into().ok());
    three.ok_or_else(|| "expected three numbers, such as 0.485,0.456,0.406".to_owned())
}

/// Backend that computes scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Float network, before quantization
    Float,
    /// int8 ONNX model, run by tract
    Tract,
    /// Plan, run by the board's engine on this machine
    Engine,
    /// Plan, run by the engine on an emulated board
    Sim,
}

/// Where the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MeasureOn {
    /// On this machine
    Engine,
    /// On an emulated board
    Sim,
}

/// Where the engine runs, or what is compared with tract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// On this machine
    Engine,
    /// On an emulated board
    Sim,
    /// On a real board, through a debug probe
    Board,
}

/// Kind of board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Real board, through a debug probe
    Board,
    /// Emulated board
    Sim,
}

/// Dataset split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// Test set, used for neither training nor calibration
    Test,
    /// Validation set, used to choose the best checkpoint
    Val,
}

/// Pixel format of a camera frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FrameFormat {
    /// RGB565, 16 bits per pixel
    Rgb565,
    /// YUV 4:2:2 (YUYV), 16 bits per pixel
    Yuv422,
    /// RGB888, 24 bits per pixel
    Rgb888,
}

impl From<FrameFormat> for PixelFormat {
    fn from(format: FrameFormat) -> Self {
        match format {
            FrameFormat::Rgb565 => Self::Rgb565Be,
            FrameFormat::Yuv422 => Self::Yuv422,
            FrameFormat::Rgb888 => Self::Rgb888,
        }
    }
}

/// How many images to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCount {
    /// Every one.
    All,
    /// The first so many.
    First(usize),
}

impl std::str::FromStr for ImageCount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(count @ 1..)) => Ok(Self::First(count)),
            _ => Err("expected a number above 0, or `all`"),
        }
    }
}

impl std::fmt::Display for ImageCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::First(count) => count.fmt(f),
        }
    }
}

impl ImageCount {
    /// How many of `available` images to take.
    pub fn of(self, available: usize) -> usize {
        match self {
            Self::All => available,
            Self::First(count) => count.min(available),
        }
    }
}

/// The path of a file to write as PNG: one with that extension, or with none.
pub(super) fn png_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().is_none_or(|extension| extension.eq_ignore_ascii_case("png")) {
        true => Ok(path),
        false => Err(format!("expected the name of a PNG file, such as {}", path.with_extension("png").display())),
    }
}

/// The path of a picture of a chart: of an SVG or a PNG file, or without an extension.
pub(super) fn chart_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_known = |e: &std::ffi::OsStr| ["svg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known));
    match path.extension().is_none_or(is_known) && !path.is_dir() {
        true => Ok(path),
        false => {
            Err(format!("expected the name of an SVG or PNG file, such as {}", path.with_extension("svg").display()))
        }
    }
}

/// A probability.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a probability from 0 to 1, such as 0.8".to_owned())
}

/// How a real board smooths its labels, as its program reads it: `SHIFT,LEAD,HOLD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smoothing([u8; 3]);

impl std::str::FromStr for Smoothing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u8>> = text.split(',').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[shift @ 0..=8, lead, hold @ 1..=255]) => Ok(Self([shift, lead, hold])),
            _ => Err("expected three numbers such as 2,3,3: 0 to 8, 0 to 255, and 1 to 255".to_owned()),
        }
    }
}

impl std::fmt::Display for Smoothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [shift, lead, hold] = self.0;
        write!(f, "{shift},{lead},{hold}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_files_are_called_so() {
        for good in ["a/b.PNG", "/dev/stdout"] {
            assert_eq!(png_file(good), Ok(PathBuf::from(good)));
        }
        assert!(png_file("sheet.jpg").unwrap_err().contains("such as sheet.png"));
    }

    #[test]
    fn charts_are_svg_or_png_files() {
        for good in ["a/b.PNG", "c.svg", "/dev/stdout"] {
            assert_eq!(chart_file(good), Ok(PathBuf::from(good)));
        }
        for bad in ["plot.jpg", "/"] {
            assert!(chart_file(bad).unwrap_err().contains("SVG or PNG"), "{bad}");
        }
    }

    #[test]
    fn probabilities_are_parts_of_one() {
        assert_eq!(["0", "0.8", "1"].map(probability), [0.0, 0.8, 1.0].map(Ok));
        for bad in ["", "80", "80%", "-0.1", "1.01", "nan"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_counts() {
        assert_eq!("all".parse::<ImageCount>().unwrap().of(7), 7);
        assert_eq!("3".parse::<ImageCount>().unwrap().of(7), 3);
        assert_eq!("9".parse::<ImageCount>().unwrap().of(7), 7);
        for bad in ["0", "-1", "", "ALL", "1.5"] {
            assert!(bad.parse::<ImageCount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn smoothing_is_three_numbers_in_their_ranges() {
        assert_eq!("2,3,3".parse::<Smoothing>().unwrap().to_string(), "2,3,3");
        // Written as the firmware's source reads it.
        assert_eq!("02,+3,3".parse::<Smoothing>().unwrap().to_string(), "2,3,3");
        for bad in ["", "2", "2,3", "2,3,3,3", "9,3,3", "2,256,3", "2,3,0", "2,3,x", "-1,3,3"] {
            assert!(bad.parse::<Smoothing>().is_err(), "{bad:?}");
        }
    }
}
