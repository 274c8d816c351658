//! `[train]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// How the weights are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainRecipe {
    /// Number of epochs.
    pub epochs: u32,
    /// Batch size; what does not fill a last batch is left for another epoch's shuffle.
    pub batch_size: usize,
    /// Parts that a batch is computed in, side by side, each with batch statistics of its own. The result depends on
    /// this number and not on the number of threads.
    pub shards: usize,
    /// Optimizer.
    pub opt: OptimizerKind,
    /// Peak learning rate: warmed up to linearly, then lowered as the schedule says.
    pub lr: f64,
    /// How the learning rate changes after the warm-up.
    pub sched: ScheduleKind,
    /// Epochs from one step down to the next of the schedule `step`.
    pub step_epochs: u32,
    /// What the learning rate is multiplied by at each of them, in `(0, 1]`.
    pub step_gamma: f64,
    /// What the learning rate is multiplied by after each epoch of the schedule `exponential`, in `(0, 1]`.
    pub gamma: f64,
    /// Epochs after which the schedule `cosine` begins anew at the peak, ascending: `[60]` in a run of 120 epochs goes down
    /// twice. A run is prolonged by `--resume` with its own length here and more epochs.
    pub restarts: Vec<u32>,
    /// Epochs without a lower validation loss that the schedule `plateau` waits for before it lowers the learning rate.
    pub plateau_patience: u32,
    /// What it multiplies the learning rate by then, in `(0, 1)`.
    pub plateau_factor: f64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Nesterov momentum of SGD.
    pub momentum: f64,
    /// L2 penalty (SGD) or decoupled weight decay (Adam) of convolution and dense weights, not of biases and
    /// normalisations.
    pub weight_decay: f64,
    /// Loss function.
    pub loss: LossKind,
    /// Focusing exponent of the focal loss; 0 makes it the cross-entropy.
    pub focal_gamma: f64,
    /// Label smoothing: this share of the target is spread evenly over all classes.
    pub smoothing: f64,
    /// Decay per step of the moving average of the weights that is evaluated and kept; 0 for the weights themselves.
    pub ema: f64,
    /// Which epoch's weights are the result.
    pub keep: Keep,
    /// Epochs without a better validation accuracy before training stops; 0 for never.
    pub patience: u32,
    /// Seed of initial weights, shuffling, augmentation and dropout.
    pub seed: u64,
    /// Compute device.
    pub device: DeviceKind,
    /// Mixed precision: what a GPU multiplies in while it trains; weights, normalisations, losses and sums stay f32.
    pub precision: Precision,
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 128,
            shards: 2,
            opt: OptimizerKind::Sgd,
            lr: 0.05,
            sched: ScheduleKind::Cosine,
            step_epochs: 10,
            step_gamma: 0.1,
            gamma: 0.95,
            restarts: Vec::new(),
            plateau_patience: 10,
            plateau_factor: 0.1,
            warmup_epochs: 1.0,
            momentum: 0.9,
            weight_decay: 5e-4,
            loss: LossKind::CrossEntropy,
            focal_gamma: 2.0,
            smoothing: 0.05,
            ema: 0.998,
            keep: Keep::Best,
            patience: 0,
            seed: 0,
            device: DeviceKind::Flex,
            precision: Precision::Auto,
        }
    }
}

impl TrainRecipe {
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(self.epochs > 0, "train.epochs must be at least 1");
        ensure!(self.batch_size > 0, "train.batch-size must be at least 1");
        ensure!(self.shards > 0, "train.shards must be at least 1");
        ensure!(self.lr.is_finite() && self.lr > 0.0, "train.lr = {} is not a positive number", self.lr);
        ensure!(
            (0.0..=f64::from(self.epochs)).contains(&self.warmup_epochs),
            "train.warmup-epochs = {} is not between 0 and train.epochs = {}",
            self.warmup_epochs,
            self.epochs
        );
        self.validate_schedule()?;
        ensure!(
            self.patience == 0 || self.keep == Keep::Best,
            "train.patience counts epochs from the best one, which train.keep = \"last\" does not look for: leave one out"
        );
        let gamma = self.focal_gamma;
        ensure!((0.0..=10.0).contains(&gamma), "train.focal-gamma = {gamma} is not in [0, 10]");
        ensure!((0.0..1.0).contains(&self.momentum), "train.momentum = {} is not in [0, 1)", self.momentum);
        ensure!((0.0..1.0).contains(&self.weight_decay), "train.weight-decay = {} is not in [0, 1)", self.weight_decay);
        ensure!((0.0..1.0).contains(&self.smoothing), "train.smoothing = {} is not in [0, 1)", self.smoothing);
        ensure!((0.0..1.0).contains(&self.ema), "train.ema = {} is not in [0, 1)", self.ema);
        ensure!(
            self.precision != Precision::Bf16 || !self.device.is_cpu(),
            "train.precision = \"bf16\" is for a GPU, and train.device is a CPU, where f32 is faster: leave it out"
        );
        Ok(())
    }

    /// Whether convolutions and dense layers multiply in bf16.
    pub fn is_mixed(&self) -> bool {
        match self.precision {
            Precision::Auto => self.device == DeviceKind::Cuda,
            Precision::F32 => false,
            Precision::Bf16 => true,
        }
    }

    fn validate_schedule(&self) -> Result<()> {
        ensure!(self.step_epochs > 0, "train.step-epochs must be at least 1");
        for (key, factor) in [("step-gamma", self.step_gamma), ("gamma", self.gamma)] {
            ensure!(factor > 0.0 && factor <= 1.0, "train.{key} = {factor} is not in (0, 1]");
        }
        let restarts = &self.restarts;
        ensure!(
            restarts.is_empty() || self.sched == ScheduleKind::Cosine,
            "train.restarts = {restarts:?} is for the schedule cosine: leave it out, or choose train.sched = \"cosine\""
        );
        ensure!(
            restarts.is_sorted_by(|a, b| a < b)
                && restarts.iter().all(|&at| at < self.epochs && f64::from(at) > self.warmup_epochs),
            "train.restarts = {restarts:?} must be ascending epochs between train.warmup-epochs = {} and train.epochs = {}",
            self.warmup_epochs,
            self.epochs
        );
        let factor = self.plateau_factor;
        ensure!(factor > 0.0 && factor < 1.0, "train.plateau-factor = {factor} is not in (0, 1)");
        Ok(())
    }
}

/// Which epoch's weights are the result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The first with the best validation accuracy.
    #[default]
    Best,
    /// The last: where so few images are held out that the best of them would be chance, and the learning rate ends at
    /// 0 anyway.
    Last,
}

/// How the learning rate changes over a run, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Not at all.
    Constant,
    /// By a factor every few epochs.
    Step,
    /// By a factor every epoch.
    Exponential,
    /// Down to 0 on half a cosine.
    #[default]
    Cosine,
    /// By a factor whenever the validation loss has stopped falling.
    Plateau,
}

/// Loss functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Cross-entropy.
    #[default]
    CrossEntropy,
    /// Cross-entropy in which what is classified well already counts little (<https://arxiv.org/abs/1708.02002>).
    Focal,
}

/// Optimizers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with Nesterov momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay.
    Adam,
}

/// Compute devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// burn-flex on the CPU.
    #[default]
    Flex,
    /// burn-ndarray on the CPU: slow, a second opinion.
    Ndarray,
    /// An NVIDIA GPU; needs the cargo feature `cuda`.
    Cuda,
    /// Any GPU through Vulkan, Metal or Direct3D; needs the cargo feature `wgpu`.
    Wgpu,
}

/// Precision of the products in convolutions and dense layers while training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bf16 on CUDA, whose matrix units it is for; f32 elsewhere.
    #[default]
    Auto,
    /// f32.
    F32,
    /// bf16, with f32 for everything that is summed over many steps or values (<https://arxiv.org/abs/1905.12322>).
    Bf16,
}

impl DeviceKind {
    /// Whether its tensors live in this process's memory.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_for_gpus() {
        let is_mixed = |device, precision| TrainRecipe { device, precision, ..TrainRecipe::default() }.is_mixed();
        assert!(is_mixed(DeviceKind::Cuda, Precision::Auto) && is_mixed(DeviceKind::Wgpu, Precision::Bf16));
        assert!(!is_mixed(DeviceKind::Cuda, Precision::F32) && !is_mixed(DeviceKind::Flex, Precision::Auto));
        let refused = TrainRecipe { precision: Precision::Bf16, ..TrainRecipe::default() };
        assert!(refused.validate().unwrap_err().to_string().contains("is for a GPU"));
    }
}
