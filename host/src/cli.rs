//! The command line: with `cli/` the only place that knows clap.

mod boards;
mod calibration;
mod devices;
mod ensemble;
mod examples;
mod reference;
mod report;
mod serve;
mod stray;
mod sweep;
mod train;
mod values;

pub use boards::{
    ActArgs, BenchArgs, BenchCommand, BoardsArgs, CaptureArgs, FlashArgs, HostBenchArgs, MonitorArgs, ProbeArgs,
    ProbesArgs, TrainBenchArgs,
};
pub use calibration::CalibrationArgs;
pub use devices::{DeviceArgs, ProfileArgs, RunArgs, ValidateArgs};
pub use ensemble::{EnsembleArgs, EnsembleMethod};
pub use reference::{commands, reference};
pub use report::ReportArgs;
pub use serve::ServeArgs;
pub use sweep::{
    Launcher, SweepBestArgs, SweepCommand, SweepReportArgs, SweepRunArgs, SweepScriptArgs, SweepStatusArgs,
};
pub use train::{ComputeArgs, TrainArgs};
pub use values::{
    Backend, Calibration, FrameFormat, ImageCount, MeasureOn, Optimize, Smoothing, SplitName, Stage, Target,
};

use crate::board;
use crate::recipe::Model;
use crate::weights::sources::SOURCES;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::path::PathBuf;

/// Train an image classifier, quantize it to int8 and deploy it to a microcontroller camera board, with bit-exact scores.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What the process was called with; ends it where that is no valid command line, or asks for help.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        let line = sweep::with_run(std::env::args_os().collect());
        let matches = command.try_get_matches_from_mut(line).unwrap_or_else(|error| error.exit());
        if let Some((name, options)) = matches.subcommand()
            && let Some(what) = stray::find(name, options)
        {
            let command = command.find_subcommand_mut(name).expect("it was just called");
            command.error(ErrorKind::ArgumentConflict, what).exit();
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    failure
  2    wrong usage
  3    the model does not fit the board
  4    host and board computed different scores
  130  interrupted (Ctrl-C)

Flags override environment variables, which override the recipe.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole pipeline once: train, quantize, export, and classify on an emulated board
    Demo(DemoArgs),
    /// Train an image classifier
    Train(TrainArgs),
    /// Search recipes: many trainings, to find the network that fits a board; `sweep STUDY` is `sweep run STUDY`
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Download, check and preview datasets
    #[command(subcommand)]
    Data(DataCommand),
    /// List architectures and their cost
    #[command(subcommand)]
    Model(ModelCommand),
    /// Download pretrained weights
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Measure the quantization error of a trained network, layer by layer
    Quantize(QuantizeArgs),
    /// Quantize a trained network to int8, and write its ONNX files and its plan for the board
    Export(ExportArgs),
    /// Evaluate a model: accuracy, top-5 accuracy, and precision and recall of every class
    Eval(EvalArgs),
    /// Compare models side by side: accuracy, size and cost
    Compare(CompareArgs),
    /// Join several models of the same classes into one: mean, weighted mean or stacking
    Ensemble(EnsembleArgs),
    /// Report everything about a model, or several, as one HTML file
    Report(ReportArgs),
    /// Classify images
    Run(RunArgs),
    /// Check that the engine or a board computes the same scores as the ONNX model, bit for bit
    Validate(ValidateArgs),
    /// Measure a model on this machine and on every emulated board, and write its model card
    Card(CardArgs),
    /// Check that a model fits a board: flash, RAM, predicted instructions and latency
    Analyze(AnalyzeArgs),
    /// Profile a model layer by layer: instructions on an emulated board, cycles on a real one
    Profile(ProfileArgs),
    /// Benchmarks: inference on emulated cores, inference and training on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Build the firmware of a board
    Firmware(FirmwareArgs),
    /// List the supported boards: chip, core, memory, emulated or real
    Boards(BoardsArgs),
    /// List the connected debug probes, also those that this user has no permission to open
    Probes(ProbesArgs),
    /// Flash firmware and model, or the model alone, to a real board
    Flash(FlashArgs),
    /// Show live predictions of a real board, or of an emulated board that looks at your images
    Monitor(MonitorArgs),
    /// Collect training images of a class with a board's camera
    Capture(CaptureArgs),
    /// Serve a web page to try models, and an API for programs
    Serve(ServeArgs),
    /// Check this machine for the tools that building and emulating firmware need, and install them
    Doctor(DoctorArgs),
}

/// Parses a value by its name in recipes.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, serde::de::value::Error> {
    T::deserialize(name.into_deserializer())
}

/// The commands of `ocellus data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download a dataset into the cache and print its folder; resumes a partial download
    Fetch(DataFetchArgs),
    /// Find unreadable and duplicate images, class imbalance and leakage between splits
    Check(DataCheckArgs),
    /// Render augmented training images: one row per image, the first column without augmentation
    Preview(DataPreviewArgs),
}

/// Arguments of `ocellus data fetch`.
#[derive(Args, Debug)]
#[command(after_help = examples::DATA_FETCH)]
pub struct DataFetchArgs {
    /// Dataset to download
    #[arg(value_parser = ["cifar10", "cifar100"])]
    pub name: String,
    /// Folder to write, instead of $OCELLUS_CACHE, else $XDG_CACHE_HOME/ocellus, else ~/.cache/ocellus
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// URL of the archive, instead of the official one
    #[arg(long, value_name = "URL", requires = "sha256")]
    pub url: Option<String>,
    /// SHA-256 of the archive, instead of the published one
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
}

/// Arguments of `ocellus data check`.
#[derive(Args, Debug)]
#[command(after_help = examples::DATA_CHECK)]
pub struct DataCheckArgs {
    /// Dataset folder; by default the built-in shapes dataset
    #[arg(env = "OCELLUS_DATA", value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Run folder, model folder or dataset to compare with: warns of a dataset shift in brightness, contrast or colours
    #[arg(long, value_name = "PATH", requires = "path")]
    pub against: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus data preview`.
#[derive(Args, Debug)]
#[command(after_help = examples::DATA_PREVIEW)]
pub struct DataPreviewArgs {
    /// Recipe file whose augmentation is shown; by default the default recipe
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// PNG file to write
    #[arg(long, default_value = "preview.png", value_parser = values::png_file, value_name = "FILE")]
    pub out: PathBuf,
    /// Number of images
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..=32), value_name = "N")]
    pub images: u16,
    /// Height and width of the network's input, in pixels
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Set any other key of the recipe: --set augment.rotate=15
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The commands of `ocellus weights`.
#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// Download weights pretrained on ImageNet into the cache and print the file's path; resumes a partial download
    Fetch(WeightsFetchArgs),
}

/// Arguments of `ocellus weights fetch`.
#[derive(Args, Debug)]
#[command(after_help = examples::WEIGHTS_FETCH)]
pub struct WeightsFetchArgs {
    /// Architecture
    #[arg(value_parser = PossibleValuesParser::new(SOURCES.iter().map(|source| source.model.name())))]
    pub name: String,
    /// Folder to write, instead of weights/ in the cache
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// URL of the file, instead of the official one
    #[arg(long, value_name = "URL", requires = "sha256")]
    pub url: Option<String>,
    /// Full SHA-256 of the file, of which only the first digits are published
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Be content with the published digits of the SHA-256, which somebody could forge
    #[arg(long)]
    pub accept_short_checksum: bool,
}

/// The commands of `ocellus model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// List all architectures: parameters, multiply-accumulates and int8 size
    List(ModelListArgs),
    /// Show the layers of one architecture
    Show(ModelShowArgs),
    /// Import a float ONNX classifier of another program, to fine-tune or quantize it
    Import(ModelImportArgs),
}

/// Arguments of `ocellus model list`.
#[derive(Args, Debug)]
pub struct ModelListArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus model show`.
#[derive(Args, Debug)]
#[command(after_help = examples::MODEL_SHOW)]
pub struct ModelShowArgs {
    /// Architecture to show
    #[arg(value_parser = named::<Model>)]
    pub name: Model,
    /// Height and width of the input, in pixels; by default the size it was published for
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Number of classes
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u16).range(2..), value_name = "N")]
    pub classes: u16,
    /// Set a key of the recipe: --set net.head=mlp
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus model import`.
#[derive(Args, Debug)]
#[command(after_help = examples::MODEL_IMPORT)]
pub struct ModelImportArgs {
    /// Float ONNX file of an image classifier, as PyTorch exports it
    #[arg(value_name = "FILE.onnx")]
    pub file: PathBuf,
    /// Run folder to write recipe and weights to, by default runs/NAME of the file
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// File with the names of its classes, one a line; by default they are numbered
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Height and width of the images, in pixels, where the file takes any
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Mean of the pixels that it was trained with, red, green and blue in [0, 1]
    #[arg(long, value_name = "R,G,B", value_parser = values::three, default_value = "0.485,0.456,0.406")]
    pub mean: [f64; 3],
    /// Standard deviation likewise
    #[arg(long, value_name = "R,G,B", value_parser = values::three, default_value = "0.229,0.224,0.225")]
    pub std: [f64; 3],
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus export`. Those of calibration beat their keys of the recipe.
#[derive(Args, Debug)]
#[command(after_help = examples::EXPORT)]
pub struct ExportArgs {
    /// Run folder, or a checkpoint
    pub run: PathBuf,
    /// Folder to write float.onnx, model.onnx and model.plan to, by default the run folder
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Optimization goal of the plan, by default the recipe's; scores are the same
    #[arg(long, value_enum, value_name = "GOAL")]
    pub optimize: Option<Optimize>,
    /// Board whose flash the plan must fit; limits how many layers --optimize speed changes
    #[arg(long, env = "OCELLUS_BOARD", value_name = "NAME")]
    pub board: Option<String>,
    /// Calibration.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus quantize`.
#[derive(Args, Debug)]
#[command(after_help = examples::QUANTIZE)]
pub struct QuantizeArgs {
    /// Run folder, or a checkpoint
    pub run: PathBuf,
    /// Print the signal-to-quantization-noise ratio (SQNR) of every layer; with FILE, also write it as an SVG or PNG file
    #[arg(long, num_args = 0..=1, value_parser = values::chart_file, value_name = "FILE")]
    pub report: Option<Option<PathBuf>>,
    /// The same, sorted by SQNR, worst layers first
    #[arg(long)]
    pub worst: bool,
    /// Dataset folder; by default the recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Calibration.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Number of training images to measure on, or `all`
    #[arg(long, value_name = "N", default_value = "64")]
    pub images: ImageCount,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus eval`.
#[derive(Args, Debug)]
#[command(after_help = examples::EVAL)]
pub struct EvalArgs {
    /// Model folder, run folder, ensemble, plan, ONNX file or checkpoint
    pub model: PathBuf,
    /// Dataset folder; by default the recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Backend that computes the scores; by default the one of the given file type; for a folder the engine if there is a
    /// plan, else float
    #[arg(long, value_enum)]
    pub with: Option<Backend>,
    /// Emulated board of --with sim
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Number of images, or `all`
    #[arg(long, default_value = "all", value_name = "N")]
    pub images: ImageCount,
    /// Dataset split
    #[arg(long, value_enum, default_value = "test")]
    pub split: SplitName,
    /// Folder to write plots to: confusion.svg, classes.svg, reliability.svg and coverage.svg
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus compare`.
#[derive(Args, Debug)]
#[command(after_help = examples::COMPARE)]
pub struct CompareArgs {
    /// Run folders, model folders, ensembles, plans or checkpoints with the same classes
    #[arg(required = true, num_args = 2.., value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Dataset folder; by default each recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images, or `all`
    #[arg(long, default_value = "all", value_name = "N")]
    pub images: ImageCount,
    /// Where instructions come from: `sim` counts them on an emulated board, `engine` reads them from the model cards
    #[arg(long, value_enum, default_value = "engine")]
    pub on: MeasureOn,
    /// Board whose instructions are shown
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Also write the table, with the F1 score of every class, to this CSV file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Also plot accuracy against flash, RAM and instructions, with the Pareto front, to this SVG or PNG file
    #[arg(long, value_parser = values::chart_file, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Dataset folder; by default CIFAR-10 if it was downloaded, else the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Emulated board
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Run folder to write, by default a new one in runs/
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Train for a few seconds only, as a smoke test
    #[arg(long)]
    pub fast: bool,
}

/// Arguments of `ocellus card`.
#[derive(Args, Debug)]
#[command(after_help = examples::CARD)]
pub struct CardArgs {
    /// Run folder, or model folder with its float ONNX file
    pub model: PathBuf,
    /// Dataset folder; by default the recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images for the default emulated board, or `all`; at most 200 for the other boards
    #[arg(long, default_value = "200", value_name = "N")]
    pub images: ImageCount,
    /// File to write, by default README.md in the model folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `ocellus analyze`.
#[derive(Args, Debug)]
#[command(after_help = examples::ANALYZE)]
pub struct AnalyzeArgs {
    /// Plan, or the folder with the plan
    pub model: PathBuf,
    /// Board
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Plot the working memory over the steps, and the instructions of every layer, to this SVG or PNG file
    #[arg(long, value_parser = values::chart_file, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus firmware`.
#[derive(Args, Debug)]
#[command(after_help = examples::FIRMWARE)]
pub struct FirmwareArgs {
    /// Board to build for
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Build for all boards
    #[arg(long, conflicts_with = "board")]
    pub all: bool,
    /// Link only the kernels that this model needs (a plan or its folder); the board then rejects other operators
    #[arg(long, value_name = "MODEL")]
    pub ops_of: Option<PathBuf>,
    /// Behaviour of a real board's firmware.
    #[command(flatten)]
    pub act: ActArgs,
    /// Treat compiler warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus doctor`.
#[derive(Args, Debug)]
#[command(after_help = examples::DOCTOR)]
pub struct DoctorArgs {
    /// Install missing tools with rustup or apt, as far as this user has permission
    #[arg(long)]
    pub install: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
