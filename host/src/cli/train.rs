//! Arguments of `ocellus train`, and of what else computes as it does.

use super::{examples, named};
use crate::recipe::{DeviceKind, Freeze, LossKind, Model, OptimizerKind, Precision, ScheduleKind};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Arguments of `ocellus train`. Each beats its key of the recipe.
#[derive(Args, Debug, Default)]
#[command(after_help = examples::TRAIN)]
pub struct TrainArgs {
    /// Recipe file with all hyper-parameters; with --resume the run's own
    #[arg(long, env = "OCELLUS_RECIPE", value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run folder to write; by default the first free one of runs/NAME, runs/NAME-2, ...
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Resume the run in the folder --out, exactly where it stopped
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Architecture; `ocellus model list` lists them
    #[arg(long, env = "OCELLUS_MODEL", value_parser = named::<Model>, value_name = "NAME")]
    pub model: Option<Model>,
    /// Number of epochs
    #[arg(long, env = "OCELLUS_EPOCHS", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub epochs: Option<u32>,
    /// Batch size
    #[arg(long, env = "OCELLUS_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Peak learning rate
    #[arg(long, env = "OCELLUS_LR", value_name = "RATE")]
    pub lr: Option<f64>,
    /// Optimizer: sgd, adam
    #[arg(long, env = "OCELLUS_OPT", value_parser = named::<OptimizerKind>, value_name = "NAME")]
    pub opt: Option<OptimizerKind>,
    /// Weight decay: L2 penalty (sgd) or decoupled (adam)
    #[arg(long, env = "OCELLUS_WEIGHT_DECAY", value_name = "FACTOR")]
    pub weight_decay: Option<f64>,
    /// Label smoothing
    #[arg(long, env = "OCELLUS_SMOOTHING", value_name = "SHARE")]
    pub smoothing: Option<f64>,
    /// Number of epochs of linear learning-rate warm-up
    #[arg(long, env = "OCELLUS_WARMUP_EPOCHS", value_name = "N")]
    pub warmup_epochs: Option<f64>,
    /// Early stopping: number of epochs without a better validation accuracy; 0 for none
    #[arg(long, env = "OCELLUS_PATIENCE", value_name = "N")]
    pub patience: Option<u32>,
    /// Random seed of weight initialization, shuffling, augmentation and dropout
    #[arg(long, env = "OCELLUS_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Compute device and precision.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Height and width of the network's input, in pixels
    #[arg(long, env = "OCELLUS_IMG_SIZE", value_parser = clap::value_parser!(u16).range(1..), value_name = "PIXELS")]
    pub img_size: Option<u16>,
    /// Learning-rate schedule: constant, step, exponential, cosine, plateau
    #[arg(long, env = "OCELLUS_SCHED", value_parser = named::<ScheduleKind>, value_name = "NAME")]
    pub sched: Option<ScheduleKind>,
    /// Loss function: cross-entropy, focal
    #[arg(long, env = "OCELLUS_LOSS", value_parser = named::<LossKind>, value_name = "NAME")]
    pub loss: Option<LossKind>,
    /// Decay per step of the exponential moving average (EMA) of the weights; 0 for none
    #[arg(long, env = "OCELLUS_EMA", value_name = "DECAY")]
    pub ema: Option<f64>,
    /// Layers to freeze: none, stem, all (except the head), or the first N groups (the stem, then each block)
    #[arg(long, env = "OCELLUS_FREEZE", value_name = "PART")]
    pub freeze: Option<Freeze>,
    /// Epoch, counted from 1, at which frozen layers are unfrozen
    #[arg(long, env = "OCELLUS_UNFREEZE_AT", value_name = "EPOCH")]
    pub unfreeze_at: Option<u32>,
    /// Layer-wise learning-rate decay: factor per group of layers, from the head down
    #[arg(long, env = "OCELLUS_LAYER_DECAY", value_name = "FACTOR")]
    pub layer_decay: Option<f64>,
    /// Do not cache the features of a frozen backbone, or the soft labels of a teacher, on disk
    #[arg(long)]
    pub no_cache: bool,
    /// Float ONNX file of an external backbone: only a head (linear probe or MLP) is trained on its features
    #[arg(long, env = "OCELLUS_BACKBONE", value_name = "FILE")]
    pub backbone: Option<PathBuf>,
    /// Pretrained weights to start from: a run folder, or a checkpoint of timm, torchvision, efficientnet_pytorch or Lightning
    #[arg(long, env = "OCELLUS_PRETRAINED", value_name = "FILE")]
    pub pretrained: Option<PathBuf>,
    /// Teacher for knowledge distillation: a run folder, model folder, ensemble, checkpoint or plan with the same classes
    #[arg(long, env = "OCELLUS_TEACHER", value_name = "MODEL")]
    pub teacher: Option<PathBuf>,
    /// Temperature of the distillation; the other settings are keys of the recipe, such as --set distill.standardise=true
    #[arg(long, env = "OCELLUS_TEMPERATURE", value_name = "T")]
    pub temperature: Option<f64>,
    /// Set any other key of the recipe: --set augment.cutout=8
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Number of CPU threads, by default all; the result does not depend on it
    #[arg(long, env = "OCELLUS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print the final metrics as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Compute device and precision. Each overrides its key of the recipe.
#[derive(Args, Clone, Debug, Default)]
pub struct ComputeArgs {
    /// Compute device: flex or ndarray (CPU), cuda or wgpu (GPU)
    #[arg(long, env = "OCELLUS_DEVICE", value_parser = named::<DeviceKind>, value_name = "NAME")]
    pub device: Option<DeviceKind>,
    /// Indices of the NVIDIA GPUs for data-parallel training, such as 0,1; needs --device cuda and NCCL
    #[arg(long, env = "OCELLUS_DEVICES", value_delimiter = ',', value_name = "N,N..")]
    pub devices: Vec<usize>,
    /// Precision of matrix products on a GPU: auto (bf16 on cuda), f32, bf16
    #[arg(long, env = "OCELLUS_PRECISION", value_parser = named::<Precision>, value_name = "NAME")]
    pub precision: Option<Precision>,
}
