//! The arguments of the commands for boards and probes.

use super::{ComputeArgs, FrameFormat, Smoothing, Stage, named};
use crate::camera::FrameSize;
use crate::probe;
use crate::recipe::Model;
use clap::{Args, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What `ocellus bench` measures.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Count an inference on every emulated core, beside what other engines take
    Engine(BenchArgs),
    /// Time an inference on one thread of this machine
    Host(HostBenchArgs),
    /// Time the training of a recipe on this machine, CPU or GPU, on images of noise
    Train(TrainBenchArgs),
}

/// Arguments of `ocellus bench train`.
#[derive(Args, Debug)]
pub struct TrainBenchArgs {
    /// Recipe to time; else the default one
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Network; `ocellus model list` says which there are
    #[arg(long, env = "OCELLUS_MODEL", value_parser = named::<Model>, value_name = "NAME")]
    pub model: Option<Model>,
    /// Height and width of the images; else the recipe's, else the size that the network was published for
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Number of classes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..), value_name = "N")]
    pub classes: u16,
    /// Images of one step
    #[arg(long, env = "OCELLUS_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// What computes, and in which numbers.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Any other key of the recipe, by its section: --set augment.rotate=15
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// CPU threads; else all
    #[arg(long, env = "OCELLUS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seconds to train for, after a fifth of it to warm up
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus bench host`.
#[derive(Args, Debug)]
pub struct HostBenchArgs {
    /// Plans, or folders that hold them; else ResNet-8 and MobileNetV1-0.25 with random weights
    pub models: Vec<PathBuf>,
    /// Seconds to repeat each for; the best repetition counts
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus bench engine`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Plans, or folders that hold them; else ResNet-8 and MobileNetV1-0.25 with random weights, on which the count does
    /// not depend
    pub models: Vec<PathBuf>,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus boards`.
#[derive(Args, Debug)]
pub struct BoardsArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus probes`. It succeeds where there are none, too.
#[derive(Args, Debug)]
pub struct ProbesArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// What a real board's program does with labels, which is decided when it is built.
#[derive(Args, Debug)]
pub struct ActArgs {
    /// Label for which a real board's LED lights; else it lights for any
    #[arg(long, env = "OCELLUS_LOOK_FOR", value_name = "LABEL")]
    pub look_for: Option<String>,
    /// How a real board smooths labels: a frame counts 1 / 2^SHIFT in a moving average, and a new label must lead by LEAD
    /// steps of int8 scores for HOLD frames; 2,3,3 by default
    #[arg(long, alias = "steady", env = "OCELLUS_SMOOTHING", value_name = "SHIFT,LEAD,HOLD")]
    pub smoothing: Option<Smoothing>,
}

impl ActArgs {
    /// The variables that the firmware's source reads.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let label = self.look_for.clone().map(|label| ("OCELLUS_LOOK_FOR", label));
        let smoothing = self.smoothing.map(|smoothing| ("OCELLUS_SMOOTHING", smoothing.to_string()));
        label.into_iter().chain(smoothing).collect()
    }
}

/// Arguments of `ocellus flash`.
#[derive(Args, Debug)]
pub struct FlashArgs {
    /// Plan, or the run or model folder that holds it
    pub model: PathBuf,
    /// Board to program
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: String,
    /// Replace the model only; the program on the board stays
    #[arg(long = "model", id = "model_only", conflicts_with = "elf")]
    pub model_only: bool,
    /// Program that was built before; else it is built
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// What the program does.
    #[command(flatten)]
    pub act: ActArgs,
    /// How to reach the board.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Let a locked chip be unlocked, which erases all of its flash
    #[arg(long)]
    pub allow_erase_all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus monitor`.
#[derive(Args, Debug)]
pub struct MonitorArgs {
    /// Plan that the board runs, or the run or model folder that holds it
    pub model: PathBuf,
    /// Which kind of board to watch; a real one is restarted
    #[arg(long, value_enum, default_value = "board")]
    pub on: Stage,
    /// Board to watch; for `--on sim` the emulated Cortex-M7 where none is named
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// Picture, folder of pictures, or camera of this machine such as /dev/video0, that the camera of `--on sim` looks at,
    /// again and again
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Program on the real board, where it was built before
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// How to reach a real board.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Draw each frame in the terminal; a real board is then asked for its frames, and their labels are computed here
    #[arg(long)]
    pub picture: bool,
    /// Save each frame as a PNG file in this folder; asks for frames as --picture does
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Frames after which to stop; else Ctrl-C does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub frames: Option<u32>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus capture`.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// Class that the pictures show: the name of their folder
    #[arg(long, value_name = "CLASS")]
    pub label: String,
    /// Pictures to take; Ctrl-C keeps those that are there
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Folder of the photos, with one folder per class
    #[arg(long, env = "OCELLUS_DATA", default_value = "photos", value_name = "DIR")]
    pub out: PathBuf,
    /// Least time between two pictures
    #[arg(long, default_value = "200", value_name = "ms")]
    pub every: u64,
    /// Mean difference in levels of grey, of 255, below which a frame is the same picture as another and is left out
    #[arg(long, default_value = "4", value_name = "LEVELS")]
    pub difference: f32,
    /// Whose camera to take pictures with; a real board is restarted
    #[arg(long, value_enum, default_value = "board")]
    pub on: Stage,
    /// Real board
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// Picture, folder of pictures, or camera of this machine such as /dev/video0, that the camera of `--on sim` looks at;
    /// each picture once
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Pixel format of the camera of `--on sim` (rgb565 by default)
    #[arg(long, value_enum)]
    pub frame_format: Option<FrameFormat>,
    /// Columns and rows of the camera of `--on sim` (160x120 by default)
    #[arg(long, value_name = "WxH")]
    pub frame_size: Option<FrameSize>,
    /// Program on the real board, where it was built before
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// How to reach a real board.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// How to reach a board.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// Probe to use where there are several, as `ocellus probes` names them; `simulated` rehearses without a board
    #[arg(long, env = "OCELLUS_PROBE", value_name = "VID:PID[:SERIAL]")]
    pub probe: Option<probe::Selector>,
    /// Clock of the debug connection
    #[arg(long, env = "OCELLUS_SPEED", value_name = "kHz", value_parser = clap::value_parser!(u32).range(1..))]
    pub speed: Option<u32>,
    /// Hold the chip in reset while connecting: for one whose program is in the way
    #[arg(long)]
    pub connect_under_reset: bool,
}
