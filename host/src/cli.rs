//! The command line: with `cli/` the only place that knows clap.

mod boards;
mod devices;
mod stray;
mod values;

pub use boards::{
    ActArgs, BenchArgs, BenchCommand, BoardsArgs, CaptureArgs, FlashArgs, HostBenchArgs, MonitorArgs, ProbeArgs,
    ProbesArgs, TrainBenchArgs,
};
pub use devices::{DeviceArgs, ProfileArgs, RunArgs, ValidateArgs};
pub use values::{Backend, Calibration, FrameFormat, ImageCount, Optimize, Place, Smoothing, SplitName, Stage, Target};

use crate::board;
use crate::recipe::{
    CalibrationMethod, DeviceKind, Freeze, LossKind, Model, OptimizerKind, Precision, Recipe, ScheduleKind,
};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Train an image classifier, quantize it, and prove that a microcontroller camera board computes the same.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What the process was called with; ends it where that is no valid command line, or asks for help.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        if let Some((name, options)) = matches.subcommand()
            && let Some(what) = stray::find(name, options)
        {
            let command = command.find_subcommand_mut(name).expect("it was just called");
            command.error(ErrorKind::ArgumentConflict, what).exit();
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

const EXIT_CODES: &str = "Exit codes: 0 good, 1 failed, 2 usage, 3 does not fit the board, 4 host and device disagree";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the whole way work, from images to a label on an emulated board
    Demo(DemoArgs),
    /// Train a network
    Train(TrainArgs),
    /// Fetch, check and look at datasets
    #[command(subcommand)]
    Data(DataCommand),
    /// Say what networks there are and what they cost, before any training
    #[command(subcommand)]
    Model(ModelCommand),
    /// Fetch pretrained weights
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Say what int8 costs a trained network, layer by layer
    Quantize(QuantizeArgs),
    /// Quantize a trained network and write its ONNX files and plan
    Export(ExportArgs),
    /// Say how good a model is: accuracy, top-5 and every class
    Eval(EvalArgs),
    /// Put several models side by side: accuracy, classes, size and cost
    Compare(CompareArgs),
    /// Classify pictures
    Run(RunArgs),
    /// Compare every score of tract, the engine and a board, emulated or real
    Validate(ValidateArgs),
    /// Measure a model on this machine and on every emulated board, and write its card
    Card(CardArgs),
    /// Say whether a plan fits a board, what it needs and what it is expected to cost
    Analyze(AnalyzeArgs),
    /// Count what each layer costs: instructions on an emulated board, cycles on a real one
    Profile(ProfileArgs),
    /// Measure beside others
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Build a board's firmware
    Firmware(FirmwareArgs),
    /// List the boards: chip, core, memory, emulated or real
    Boards(BoardsArgs),
    /// List the debug probes that are plugged in, also those that this user may not open
    Probes(ProbesArgs),
    /// Program a real board: firmware and model, or the model alone
    Flash(FlashArgs),
    /// Show live what a real board sees, or an emulated one that looks at pictures
    Monitor(MonitorArgs),
    /// Take what a board's camera sees into a class folder of photos to train on
    Capture(CaptureArgs),
    /// Say what this machine lacks for building firmware and emulating boards, and install it
    Doctor(DoctorArgs),
}

/// Arguments of `ocellus train`. Each beats its key of the recipe.
#[derive(Args, Debug, Default)]
pub struct TrainArgs {
    /// Recipe to train by; with --resume the run's own
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Folder of the dataset; else the recipe's, else the built-in pictures
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run folder to write; else the first free one of runs/NAME, runs/NAME-2, ...
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in the folder --out, exactly where it stopped
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Network; `ocellus model list` says which there are
    #[arg(long, env = "OCELLUS_MODEL", value_parser = named::<Model>, value_name = "NAME")]
    pub model: Option<Model>,
    /// Times that every training image is seen
    #[arg(long, env = "OCELLUS_EPOCHS", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub epochs: Option<u32>,
    /// Images of one step
    #[arg(long, env = "OCELLUS_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Peak learning rate
    #[arg(long, env = "OCELLUS_LR", value_name = "RATE")]
    pub lr: Option<f64>,
    /// Update rule: sgd, adam
    #[arg(long, env = "OCELLUS_OPT", value_parser = named::<OptimizerKind>, value_name = "NAME")]
    pub opt: Option<OptimizerKind>,
    /// L2 penalty (sgd) or decoupled weight decay (adam)
    #[arg(long, env = "OCELLUS_WEIGHT_DECAY", value_name = "FACTOR")]
    pub weight_decay: Option<f64>,
    /// Label smoothing
    #[arg(long, env = "OCELLUS_SMOOTHING", value_name = "SHARE")]
    pub smoothing: Option<f64>,
    /// Epochs of linear warm-up
    #[arg(long, env = "OCELLUS_WARMUP_EPOCHS", value_name = "N")]
    pub warmup_epochs: Option<f64>,
    /// Epochs without a better validation accuracy before training stops; 0 for never
    #[arg(long, env = "OCELLUS_PATIENCE", value_name = "N")]
    pub patience: Option<u32>,
    /// Seed of initial weights, shuffling, augmentation and dropout
    #[arg(long, env = "OCELLUS_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// What computes, and in which numbers.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Height and width that images are brought to
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// How the learning rate changes: constant, step, exponential, cosine, plateau
    #[arg(long, env = "OCELLUS_SCHED", value_parser = named::<ScheduleKind>, value_name = "NAME")]
    pub sched: Option<ScheduleKind>,
    /// What training makes small: cross-entropy, focal
    #[arg(long, env = "OCELLUS_LOSS", value_parser = named::<LossKind>, value_name = "NAME")]
    pub loss: Option<LossKind>,
    /// Decay per step of the moving average of the weights; 0 for none
    #[arg(long, env = "OCELLUS_EMA", value_name = "DECAY")]
    pub ema: Option<f64>,
    /// Layers that keep their weights: none, stem, all (but the head), or the first N groups (stem and blocks)
    #[arg(long, env = "OCELLUS_FREEZE", value_name = "PART")]
    pub freeze: Option<Freeze>,
    /// Epoch, from 1, from which on everything is trained
    #[arg(long, env = "OCELLUS_UNFREEZE_AT", value_name = "EPOCH")]
    pub unfreeze_at: Option<u32>,
    /// Factor of the learning rate for each group of layers from the head down
    #[arg(long, env = "OCELLUS_LAYER_DECAY", value_name = "FACTOR")]
    pub layer_decay: Option<f64>,
    /// Keep no features of a frozen backbone on the disk
    #[arg(long)]
    pub no_cache: bool,
    /// Float ONNX file to use as a frozen backbone: only a head on its features is trained
    #[arg(long, env = "OCELLUS_BACKBONE", value_name = "FILE")]
    pub backbone: Option<PathBuf>,
    /// Weights to start from: a checkpoint of this tool, of timm or of torchvision
    #[arg(long, env = "OCELLUS_PRETRAINED", value_name = "FILE")]
    pub pretrained: Option<PathBuf>,
    /// Any other key of the recipe, by its section: --set augment.cutout=8
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// CPU threads; else all. The result does not depend on it
    #[arg(long, env = "OCELLUS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print the final figures as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What trains. Each beats its key of the recipe.
#[derive(Args, Clone, Debug, Default)]
pub struct ComputeArgs {
    /// What computes: flex, ndarray, cuda, wgpu
    #[arg(long, env = "OCELLUS_DEVICE", value_parser = named::<DeviceKind>, value_name = "NAME")]
    pub device: Option<DeviceKind>,
    /// NVIDIA GPUs that share each step's shards, by number: 0,1; with --device cuda, and NCCL installed
    #[arg(long, env = "OCELLUS_DEVICES", value_delimiter = ',', value_name = "N,N..")]
    pub devices: Vec<usize>,
    /// What a GPU multiplies in: auto (bf16 on cuda), f32, bf16
    #[arg(long, env = "OCELLUS_PRECISION", value_parser = named::<Precision>, value_name = "NAME")]
    pub precision: Option<Precision>,
}

/// Parses a value by its name in recipes.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, serde::de::value::Error> {
    T::deserialize(name.into_deserializer())
}

/// What `ocellus data` can do.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download a dataset into the cache and print its folder; a broken download goes on where it stopped
    Fetch(DataFetchArgs),
    /// Look for unreadable and duplicate images, unbalanced classes and leaking splits
    Check(DataCheckArgs),
    /// Draw training images as the network sees them: one row per image, the first column as it is
    Preview(DataPreviewArgs),
}

/// Arguments of `ocellus data fetch`.
#[derive(Args, Debug)]
pub struct DataFetchArgs {
    /// Dataset to fetch
    #[arg(value_parser = ["cifar10", "cifar100"])]
    pub name: String,
    /// Folder to put it into, instead of $OCELLUS_CACHE, else $XDG_CACHE_HOME/ocellus, else ~/.cache/ocellus
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Address of its archive, instead of the official one
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// SHA-256 of its archive, instead of the published one
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
}

/// Arguments of `ocellus data check`.
#[derive(Args, Debug)]
pub struct DataCheckArgs {
    /// Folder of the dataset; nothing for the built-in one
    #[arg(env = "OCELLUS_DATA", value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Run, model folder or dataset whose images these should look like: warns where brightness, contrast or colours
    /// differ
    #[arg(long, value_name = "PATH", requires = "path")]
    pub against: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus data preview`.
#[derive(Args, Debug)]
pub struct DataPreviewArgs {
    /// Recipe whose `[augment]` is shown; else the default one
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Folder of the dataset; else the recipe's, else the built-in pictures
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// PNG file to write
    #[arg(long, default_value = "preview.png", value_name = "FILE")]
    pub out: PathBuf,
    /// Number of images
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..=32), value_name = "N")]
    pub images: u16,
    /// Height and width that images are brought to
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Any other key of the recipe, by its section: --set augment.rotate=15
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What `ocellus weights` can do.
#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// Download weights trained on ImageNet into the cache and print their file; a broken download goes on where it
    /// stopped
    Fetch(WeightsFetchArgs),
}

/// Arguments of `ocellus weights fetch`.
#[derive(Args, Debug)]
pub struct WeightsFetchArgs {
    /// Network that they are of
    #[arg(value_parser = ["efficientnet-lite0", "efficientnet-b0", "efficientnet-b2", "efficientnet-b4", "efficientnetv2-b1", "efficientnetv2-s"])]
    pub name: String,
    /// Folder to put them into, instead of weights/ in the cache
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Address of the file, instead of the official one
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Whole SHA-256 of the file, instead of the first digits that are published
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
}

/// What `ocellus model` can do.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// List all networks with their parameters, multiply-accumulates and int8 sizes
    List(ModelListArgs),
    /// Show the layers of one network
    Show(ModelShowArgs),
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
pub struct ModelShowArgs {
    /// Network to show
    #[arg(value_parser = named::<Model>)]
    pub name: Model,
    /// Height and width of the images; else the size that it was published for
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Number of classes
    #[arg(long, default_value = "10", value_name = "N")]
    pub classes: usize,
    /// A key of the recipe that it is built by: --set net.head=mlp
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus export`. Those of calibration beat their keys of the recipe.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Run folder, or one checkpoint
    pub run: PathBuf,
    /// Folder to write float.onnx, model.onnx and model.plan into, by default the run's
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder of the dataset; else the one of the recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What to pack the plan for, by default what the recipe says
    #[arg(long, value_enum, value_name = "GOAL")]
    pub optimize: Option<Optimize>,
    /// The board whose flash the plan must fit: for speed, only as many layers are packed as it has room for
    #[arg(long, env = "OCELLUS_BOARD", value_name = "NAME")]
    pub board: Option<String>,
    /// How to calibrate.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus quantize`.
#[derive(Args, Debug)]
pub struct QuantizeArgs {
    /// Run folder, or one checkpoint
    pub run: PathBuf,
    /// Print the signal-to-quantization-noise ratio of every layer
    #[arg(long)]
    pub report: bool,
    /// The same, worst layers first
    #[arg(long)]
    pub worst: bool,
    /// Folder of the dataset; else the one of the recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How to calibrate.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Training images to measure on: a number, or all
    #[arg(long, value_name = "N", default_value = "64")]
    pub images: ImageCount,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How to calibrate. Each beats its key of the run's recipe.
#[derive(Args, Debug)]
pub struct CalibrationArgs {
    /// How ranges follow from what calibration sees
    #[arg(long, value_enum, value_name = "METHOD")]
    pub calib: Option<Calibration>,
    /// Training images to calibrate with
    #[arg(long, value_name = "N")]
    pub calib_images: Option<usize>,
    /// Part of the values, in percent, that `--calib percentile` keeps, which this stands for too
    #[arg(long, value_name = "PERCENT")]
    pub percentile: Option<f64>,
    /// Any other key of the recipe's section `[quant]`: --set quant.equalise=true
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl CalibrationArgs {
    /// `recipe` with these arguments in place of its keys.
    ///
    /// # Errors
    /// An unknown key, one that the calibration has no part in, or a value that makes no sense.
    pub fn apply(&self, recipe: &Recipe) -> anyhow::Result<Recipe> {
        for change in &self.set {
            anyhow::ensure!(
                change.starts_with("quant."),
                "--set {change}: a trained network has only its quant.* keys left to set"
            );
        }
        let names_method = self.set.iter().any(|change| change.starts_with("quant.method"));
        let implied = (self.percentile.is_some() && !names_method).then_some(CalibrationMethod::Percentile);
        let mut recipe = recipe.with(&self.set)?;
        let quant = &mut recipe.quant;
        quant.method = self.calib.map(Into::into).or(implied).unwrap_or(quant.method);
        quant.percentile = self.percentile.unwrap_or(quant.percentile);
        quant.images = self.calib_images.unwrap_or(quant.images);
        recipe.validate()?;
        Ok(recipe)
    }
}

/// Arguments of `ocellus eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Model folder, run folder, plan, ONNX file or checkpoint
    pub model: PathBuf,
    /// Folder of the dataset; else the one of the model's recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What computes the scores; by default what the named file is for, and of a folder the engine where there is a plan, else
    /// float
    #[arg(long, value_enum)]
    pub with: Option<Backend>,
    /// Board of `--with sim`
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Number of images, from the first, or `all`
    #[arg(long, default_value = "all", value_name = "N")]
    pub images: ImageCount,
    /// Part of the dataset
    #[arg(long, value_enum, default_value = "test")]
    pub split: SplitName,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Run folders, model folders, plans or checkpoints of the same classes
    #[arg(required = true, num_args = 2.., value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Folder of the dataset; else the one of each model's recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images, from the first, or `all`
    #[arg(long, default_value = "all", value_name = "N")]
    pub images: ImageCount,
    /// With `sim`, measure program and instructions on an emulated board; else they come from the models' cards
    #[arg(long, value_enum, default_value = "engine")]
    pub on: Place,
    /// Board whose program and instructions are shown
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Also write the table, with the F1 of every class, to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder of the dataset; else CIFAR-10 where it was fetched, else the built-in pictures
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Emulated board
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Folder for the model and everything else that comes out, by default a new one in runs/
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Train for a moment only: to see that everything works
    #[arg(long)]
    pub fast: bool,
}

/// Arguments of `ocellus card`.
#[derive(Args, Debug)]
pub struct CardArgs {
    /// Run folder, or model folder with its float ONNX file
    pub model: PathBuf,
    /// Folder of the dataset; else the one of the model's recipe, a fetched one, or the built-in one
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Test images for the default emulated board, or `all`; the others see at most 200 of them
    #[arg(long, default_value = "200", value_name = "N")]
    pub images: ImageCount,
    /// File to write, by default README.md in the model's folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `ocellus analyze`.
#[derive(Args, Debug)]
pub struct AnalyzeArgs {
    /// Plan, or the folder that holds it
    pub model: PathBuf,
    /// Board
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus firmware`.
#[derive(Args, Debug)]
pub struct FirmwareArgs {
    /// Board to build for
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Build for every board
    #[arg(long, conflicts_with = "board")]
    pub all: bool,
    /// Link only the operators that this model needs, a plan or the folder that holds it; the board refuses others
    #[arg(long, value_name = "MODEL")]
    pub ops_of: Option<PathBuf>,
    /// What a real board's program does.
    #[command(flatten)]
    pub act: ActArgs,
    /// Fail where the compiler warns
    #[arg(long)]
    pub deny_warnings: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Install what is missing, with apt where this user may
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
    fn a_percentile_says_how_to_calibrate() {
        let quant = |arguments: &[&str]| {
            let cli = Cli::parse_from([&["ocellus", "quantize", "run"], arguments].concat());
            let Command::Quantize(args) = cli.command else { unreachable!() };
            args.calibration.apply(&Recipe::default()).unwrap().quant
        };
        let percentile = quant(&["--percentile", "99"]);
        assert_eq!((percentile.method, percentile.percentile), (CalibrationMethod::Percentile, 99.0));
        // Another method that was asked for stays, for the command to refuse.
        assert_eq!(quant(&["--percentile", "99", "--calib", "mse"]).method, CalibrationMethod::Mse);
        let set = ["--set", "quant.method=min-max", "--percentile", "99"];
        assert_eq!(quant(&set).method, CalibrationMethod::MinMax);
        assert_eq!(quant(&[]), Recipe::default().quant);
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
