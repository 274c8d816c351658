//! The arguments of the commands for boards and probes.

use super::{ComputeArgs, FrameFormat, Smoothing, Stage, examples, named, values};
use crate::camera::FrameSize;
use crate::probe;
use crate::recipe::Model;
use clap::{Args, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The commands of `ocellus bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Count the instructions of an inference on every emulated core, compared with other engines
    Engine(BenchArgs),
    /// Measure the inference throughput of one thread of this machine
    Host(HostBenchArgs),
    /// Measure the training throughput of a recipe on this machine (CPU or GPU) with random images
    Train(TrainBenchArgs),
}

/// Arguments of `ocellus bench train`.
#[derive(Args, Debug)]
#[command(after_help = examples::BENCH_TRAIN)]
pub struct TrainBenchArgs {
    /// Recipe file; by default the default recipe
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Architecture; `ocellus model list` lists them
    #[arg(long, env = "OCELLUS_MODEL", value_parser = named::<Model>, value_name = "NAME")]
    pub model: Option<Model>,
    /// Height and width of the input, in pixels; by default the recipe's, or the size the architecture was published for
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Number of classes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..), value_name = "N")]
    pub classes: u16,
    /// Batch size
    #[arg(long, env = "OCELLUS_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Compute device and precision.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Set any other key of the recipe: --set augment.rotate=15
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Number of CPU threads, by default all
    #[arg(long, env = "OCELLUS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seconds to train for, after a warm-up of a fifth of that
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus bench host`.
#[derive(Args, Debug)]
#[command(after_help = examples::BENCH_HOST)]
pub struct HostBenchArgs {
    /// Plans, or folders with plans; by default ResNet-8 and MobileNetV1-0.25 with random weights
    pub models: Vec<PathBuf>,
    /// Seconds to repeat each model for; the fastest repetition counts
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus bench engine`.
#[derive(Args, Debug)]
#[command(after_help = examples::BENCH_ENGINE)]
pub struct BenchArgs {
    /// Plans, or folders with plans; by default ResNet-8 and MobileNetV1-0.25 with random weights (the count does not
    /// depend on weights)
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

/// What a real board's firmware does with labels, which is decided when it is built.
#[derive(Args, Debug)]
pub struct ActArgs {
    /// Label for which a real board's LED lights up; by default any label
    #[arg(long, env = "OCELLUS_LOOK_FOR", value_name = "LABEL")]
    pub look_for: Option<String>,
    /// How a real board smooths labels: a frame counts 1 / 2^SHIFT in a moving average, and a new label must lead by LEAD
    /// steps of int8 scores for HOLD frames; 2,3,3 by default
    #[arg(long, alias = "steady", env = "OCELLUS_BOARD_SMOOTHING", value_name = "SHIFT,LEAD,HOLD")]
    pub smoothing: Option<Smoothing>,
}

impl ActArgs {
    /// The variables that the firmware's source reads.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let label = self.look_for.clone().map(|label| ("OCELLUS_LOOK_FOR", label));
        let smoothing = self.smoothing.map(|smoothing| ("OCELLUS_BOARD_SMOOTHING", smoothing.to_string()));
        label.into_iter().chain(smoothing).collect()
    }
}

/// Arguments of `ocellus flash`.
#[derive(Args, Debug)]
#[command(after_help = examples::FLASH)]
pub struct FlashArgs {
    /// Plan, or the run or model folder with the plan
    pub model: PathBuf,
    /// Board to flash
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: String,
    /// Flash the model only; the firmware on the board stays
    #[arg(long = "model", id = "model_only", conflicts_with = "elf")]
    pub model_only: bool,
    /// ELF file of prebuilt firmware; by default it is built
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Behaviour of the firmware.
    #[command(flatten)]
    pub act: ActArgs,
    /// Debug probe.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Allow unlocking a locked chip, which erases all of its flash
    #[arg(long)]
    pub allow_erase_all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus monitor`.
#[derive(Args, Debug)]
#[command(after_help = examples::MONITOR)]
pub struct MonitorArgs {
    /// Plan that the board runs, or the run or model folder with the plan
    pub model: PathBuf,
    /// Kind of board to monitor; a real board is reset
    #[arg(long, value_enum, default_value = "board")]
    pub on: Stage,
    /// Board to monitor; with --on sim by default the emulated Cortex-M7
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// What the camera of --on sim looks at, in a loop: an image, a folder of images, or a webcam such as /dev/video0
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// ELF file of the firmware on the real board, if it is prebuilt
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Debug probe.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Show each frame in the terminal; a real board then sends its frames, and this machine computes their labels
    #[arg(long)]
    pub picture: bool,
    /// Save each frame as a PNG file in this folder; a real board then sends its frames, as with --picture
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Label a frame "unsure" if the probability of its best class is below this (0 to 1); the scores stay the same
    #[arg(long, value_name = "THRESHOLD", value_parser = values::probability)]
    pub reject: Option<f64>,
    /// Stop after this number of frames; by default on Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub frames: Option<u32>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus capture`.
#[derive(Args, Debug)]
#[command(after_help = examples::CAPTURE)]
pub struct CaptureArgs {
    /// Class of the images, which names their folder
    #[arg(long, value_name = "CLASS")]
    pub label: String,
    /// Number of images to take; Ctrl-C stops early and keeps them
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Dataset folder to write to, with one folder per class
    #[arg(long, env = "OCELLUS_DATA", default_value = "photos", value_name = "DIR")]
    pub out: PathBuf,
    /// Minimum time between two images
    #[arg(long, default_value = "200", value_name = "ms")]
    pub every: u64,
    /// Mean difference in grey levels (0 to 255) below which a frame counts as a duplicate and is skipped
    #[arg(long, default_value = "4", value_name = "LEVELS")]
    pub difference: f32,
    /// Kind of board whose camera takes the images; a real board is reset
    #[arg(long, value_enum, default_value = "board")]
    pub on: Stage,
    /// Real board
    #[arg(long, env = "OCELLUS_BOARD")]
    pub board: Option<String>,
    /// What the camera of --on sim looks at: an image, a folder of images (each once), or a webcam such as /dev/video0
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Pixel format of the camera of --on sim, by default rgb565
    #[arg(long, value_enum)]
    pub frame_format: Option<FrameFormat>,
    /// Width and height of the frames of --on sim, by default 160x120
    #[arg(long, value_name = "WxH")]
    pub frame_size: Option<FrameSize>,
    /// ELF file of the firmware on the real board, if it is prebuilt
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Debug probe.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Debug probe.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// Debug probe to use if there are several, as listed by `ocellus probes`; `simulated` for a dry run without a board
    #[arg(long, env = "OCELLUS_PROBE", value_name = "VID:PID[:SERIAL]")]
    pub probe: Option<probe::Selector>,
    /// Clock of the debug port (SWD)
    #[arg(long, env = "OCELLUS_SPEED", value_name = "kHz", value_parser = clap::value_parser!(u32).range(1..))]
    pub speed: Option<u32>,
    /// Connect under reset, for a chip whose firmware disables the debug port
    #[arg(long)]
    pub connect_under_reset: bool,
}
