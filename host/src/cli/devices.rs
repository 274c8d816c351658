//! The arguments of the commands that run a model on this machine or on a board.

use super::{FrameFormat, ImageCount, ProbeArgs, Stage, Target};
use crate::camera::FrameSize;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `ocellus validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Plan, or the folder that holds it and its ONNX file
    pub plan: PathBuf,
    /// What to compare with tract: the engine on this machine, or also a board
    #[arg(long, value_enum, default_value = "engine")]
    pub on: Target,
    /// The board of `--on`.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// int8 ONNX file, where it does not lie beside the plan
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// Folder of the dataset; else the one of the model's recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images, from the first, or `all`
    #[arg(long, default_value = "100", value_name = "N")]
    pub images: ImageCount,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Plan, or the folder that holds it
    pub model: PathBuf,
    /// JPEG or PNG files
    #[arg(required = true, value_name = "PICTURE")]
    pub pictures: Vec<PathBuf>,
    /// Where the engine runs
    #[arg(long, value_enum, default_value = "engine")]
    pub on: Target,
    /// The board of `--on`.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Show the picture as a camera frame of this format (on a board always; rgb565 by default)
    #[arg(long, value_enum)]
    pub frame_format: Option<FrameFormat>,
    /// Columns and rows of the camera frame (160x120 by default)
    #[arg(long, value_name = "WxH")]
    pub frame_size: Option<FrameSize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus profile`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// Plan, or the folder that holds it
    pub model: PathBuf,
    /// Where to count: instructions on an emulated board, or cycles on a real one
    #[arg(long, value_enum, default_value = "sim")]
    pub on: Stage,
    /// The board of `--on`.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A board, and how to reach it.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Board; for `--on sim` the emulated Cortex-M7 where none is named
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// Program on the board of `--on board`, where it was built before
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// How to reach the board of `--on board`.
    #[command(flatten)]
    pub probe: ProbeArgs,
}
