//! The arguments of the commands that run a model on this machine or on a board.

use super::{FrameFormat, ImageCount, ProbeArgs, Stage, Target, examples, values};
use crate::camera::FrameSize;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `ocellus validate`.
#[derive(Args, Debug)]
#[command(after_help = examples::VALIDATE)]
pub struct ValidateArgs {
    /// Plan, or the folder with the plan and its ONNX file
    pub plan: PathBuf,
    /// What to compare with the ONNX model (run by tract): the engine on this machine, or also a board
    #[arg(long, value_enum, default_value = "engine")]
    pub on: Target,
    /// Board.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// int8 ONNX file, if it is not beside the plan
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images, or `all`
    #[arg(long, default_value = "100", value_name = "N")]
    pub images: ImageCount,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus run`.
#[derive(Args, Debug)]
#[command(after_help = examples::RUN)]
pub struct RunArgs {
    /// Plan, the folder with the plan, or an ensemble
    pub model: PathBuf,
    /// JPEG or PNG files to classify
    #[arg(required = true, value_name = "PICTURE")]
    pub pictures: Vec<PathBuf>,
    /// Where the engine runs
    #[arg(long, value_enum, default_value = "engine")]
    pub on: Target,
    /// Board.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Convert the image to a camera frame of this pixel format first; on a board always, by default rgb565
    #[arg(long, value_enum)]
    pub frame_format: Option<FrameFormat>,
    /// Width and height of the camera frame, by default 160x120
    #[arg(long, value_name = "WxH")]
    pub frame_size: Option<FrameSize>,
    /// Label an image "unsure" if the probability of its best class is below this (0 to 1); the scores stay the same
    #[arg(long, value_name = "THRESHOLD", value_parser = values::probability)]
    pub reject: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus profile`.
#[derive(Args, Debug)]
#[command(after_help = examples::PROFILE)]
pub struct ProfileArgs {
    /// Plan, or the folder with the plan
    pub model: PathBuf,
    /// Where to profile: instructions on an emulated board, or cycles on a real one
    #[arg(long, value_enum, default_value = "sim")]
    pub on: Stage,
    /// Board.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A board and its debug probe.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Board; with --on sim by default the emulated Cortex-M7
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// ELF file of the firmware on the real board, if it is prebuilt
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Debug probe.
    #[command(flatten)]
    pub probe: ProbeArgs,
}
