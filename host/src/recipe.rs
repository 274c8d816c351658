//! The recipe: everything that decides what a training run produces, in one TOML file.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that decides what a training run produces. Keys that are left out have the defaults documented here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recipe {
    /// Family of network architectures.
    pub model: Model,
    /// What the result is called in reports and file metadata; empty for the model's name.
    pub name: String,
    /// Where the images come from.
    pub data: DataRecipe,
    /// Widths and drop rates of the network.
    pub net: NetRecipe,
    /// How its weights are fitted.
    pub train: TrainRecipe,
    /// How training images are varied.
    pub augment: AugmentRecipe,
    /// How activations are calibrated for int8.
    pub quant: QuantRecipe,
}

impl Recipe {
    /// Reads and validates the recipe at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key, or has a value that makes no sense; the message names
    /// the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the recipe {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the recipe {}", path.display()))
    }

    /// Reads and validates a recipe from TOML text.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML with every key written out, so that later defaults do not change what a run meant.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe has only string keys and TOML values")
    }

    /// What the result is called: `name`, or the model's name.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { self.model.name() } else { &self.name }
    }

    /// Dotted names of the keys in which two recipes train differently. A name and the calibration change no weight,
    /// and a dataset is compared by its hash.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| toml::Table::try_from(recipe).expect("a recipe is a TOML table");
        let (ours, theirs) = (table(self), table(other));
        let mut keys = Vec::new();
        for section in ["model", "net", "train", "augment"] {
            match (&ours[section], &theirs[section]) {
                (toml::Value::Table(a), toml::Value::Table(b)) => {
                    keys.extend(a.keys().filter(|key| a[*key] != b[*key]).map(|key| format!("{section}.{key}")));
                }
                (a, b) if a != b => keys.push(section.to_owned()),
                _ => {}
            }
        }
        keys
    }

    /// Checks every value that a later stage relies on.
    ///
    /// # Errors
    /// The first key whose value is out of its range.
    pub fn validate(&self) -> Result<()> {
        let name = self.name.as_str();
        ensure!(!name.contains(['/', '\\']) && name != "." && name != "..", "name = {name:?} cannot name a folder");
        let d = &self.data;
        ensure!(
            d.val_fraction > 0.0 && d.val_fraction < 1.0,
            "data.val-fraction = {} is not between 0 and 1",
            d.val_fraction
        );
        ensure!(
            d.test_fraction > 0.0 && d.test_fraction < 1.0,
            "data.test-fraction = {} is not between 0 and 1",
            d.test_fraction
        );
        ensure!(d.img_size != Some(0), "data.img-size must be at least 1");
        self.net.validate()?;
        self.train.validate()?;
        self.augment.validate()?;
        self.quant.validate()
    }
}

/// Families of network architectures, each written down in one file of `net/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Blocks of 3x3 convolutions and max pooling, then a hidden dense layer.
    #[default]
    Cnn,
    /// One dense layer on the pixels: the baseline that a dataset must not be solvable by.
    Linear,
}

impl Model {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Linear => "linear",
        }
    }
}

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DataRecipe {
    /// A dataset's folder in any supported layout; nothing for the built-in one.
    pub path: Option<PathBuf>,
    /// Which labels to use where a dataset has two kinds (CIFAR-100).
    pub labels: LabelKind,
    /// Height and width that images are brought to; nothing for the dataset's own.
    pub img_size: Option<u16>,
    /// Part of the training images held out for validation where the dataset has no split of its own, in `(0, 1)`.
    pub val_fraction: f64,
    /// Part of the images held out for the test where a folder has no split of its own, in `(0, 1)`.
    pub test_fraction: f64,
    /// Seed of the splits, and of the built-in dataset's pictures.
    pub seed: u64,
}

/// Granularity of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelKind {
    /// The finest there is.
    #[default]
    Fine,
    /// Superclasses.
    Coarse,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self { path: None, labels: LabelKind::Fine, img_size: None, val_fraction: 0.1, test_fraction: 0.2, seed: 0 }
    }
}

/// Widths and drop rates of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetRecipe {
    /// Whether normalisation comes before or after the activation.
    pub order: LayerOrder,
    /// Output channels of each convolution of each block; a block ends with a 2x2 max pooling and dropout.
    pub blocks: Vec<Vec<u16>>,
    /// Drop rate at the end of each block, in `[0, 1)`.
    pub block_dropout: Vec<f64>,
    /// Values of the hidden dense layer; 0 for none.
    pub dense: u16,
    /// Drop rate after the hidden dense layer, in `[0, 1)`.
    pub dense_dropout: f64,
}

impl Default for NetRecipe {
    fn default() -> Self {
        Self {
            order: LayerOrder::ConvBnRelu,
            blocks: vec![vec![32, 32], vec![64, 32], vec![128]],
            block_dropout: vec![0.2, 0.2, 0.2],
            dense: 256,
            dense_dropout: 0.45,
        }
    }
}

impl NetRecipe {
    fn validate(&self) -> Result<()> {
        ensure!(
            self.blocks.len() == self.block_dropout.len(),
            "net.blocks has {} blocks but net.block-dropout {} rates; give one rate for each block",
            self.blocks.len(),
            self.block_dropout.len()
        );
        let widths = self.blocks.iter().flatten();
        ensure!(widths.clone().all(|&width| width > 0), "net.blocks has a convolution without output channels");
        ensure!(self.blocks.iter().all(|block| !block.is_empty()), "net.blocks has a block without convolutions");
        let rates = self.block_dropout.iter().chain([&self.dense_dropout]);
        for rate in rates {
            ensure!((0.0..1.0).contains(rate), "net: the drop rate {rate} is not in [0, 1)");
        }
        Ok(())
    }
}

/// Whether normalisation comes before or after the activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerOrder {
    /// The normalisation folds into the convolution.
    #[default]
    ConvBnRelu,
    /// The normalisation folds into the layer after it, where that has no padding.
    ConvReluBn,
}

/// How the weights are fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainRecipe {
    /// Times that every training image is seen.
    pub epochs: u32,
    /// Images of one step; what does not fill a last batch is left for another epoch's shuffle.
    pub batch_size: usize,
    /// Parts that a batch is computed in, side by side, each with batch statistics of its own. The result depends on
    /// this number and not on the number of threads.
    pub shards: usize,
    /// The update rule.
    pub opt: OptimizerKind,
    /// Peak learning rate: warmed up to linearly, then lowered to 0 on half a cosine.
    pub lr: f64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Nesterov momentum of SGD.
    pub momentum: f64,
    /// L2 penalty (SGD) or decoupled weight decay (Adam) of convolution and dense weights, not of biases and
    /// normalisations.
    pub weight_decay: f64,
    /// Label smoothing: this share of the target is spread evenly over all classes.
    pub smoothing: f64,
    /// Decay per step of the moving average of the weights that is evaluated and kept; 0 for the weights themselves.
    pub ema: f64,
    /// Epochs without a better validation accuracy before training stops; 0 for never.
    pub patience: u32,
    /// Seed of initial weights, shuffling, augmentation and dropout.
    pub seed: u64,
    /// What computes.
    pub device: DeviceKind,
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 128,
            shards: 2,
            opt: OptimizerKind::Sgd,
            lr: 0.05,
            warmup_epochs: 1.0,
            momentum: 0.9,
            weight_decay: 5e-4,
            smoothing: 0.05,
            ema: 0.998,
            patience: 0,
            seed: 0,
            device: DeviceKind::Flex,
        }
    }
}

impl TrainRecipe {
    fn validate(&self) -> Result<()> {
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
        ensure!((0.0..1.0).contains(&self.momentum), "train.momentum = {} is not in [0, 1)", self.momentum);
        ensure!((0.0..1.0).contains(&self.weight_decay), "train.weight-decay = {} is not in [0, 1)", self.weight_decay);
        ensure!((0.0..1.0).contains(&self.smoothing), "train.smoothing = {} is not in [0, 1)", self.smoothing);
        ensure!((0.0..1.0).contains(&self.ema), "train.ema = {} is not in [0, 1)", self.ema);
        Ok(())
    }
}

/// Update rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with Nesterov momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay.
    Adam,
}

/// What computes the training.
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

impl DeviceKind {
    /// Whether its tensors live in this process's memory.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }
}

/// How training images are varied, anew in every epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AugmentRecipe {
    /// Probability of mirroring left and right.
    pub flip: f64,
    /// Most pixels of a random shift along each axis; the border is reflected.
    pub shift: u16,
    /// Side in pixels of a square that is painted grey.
    pub cutout: u16,
    /// Probability of that square.
    pub cutout_probability: f64,
}

impl Default for AugmentRecipe {
    fn default() -> Self {
        Self { flip: 0.5, shift: 4, cutout: 8, cutout_probability: 0.5 }
    }
}

impl AugmentRecipe {
    fn validate(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.flip), "augment.flip = {} is not a probability", self.flip);
        let p = self.cutout_probability;
        ensure!((0.0..=1.0).contains(&p), "augment.cutout-probability = {p} is not a probability");
        Ok(())
    }
}

/// How activations are calibrated for int8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct QuantRecipe {
    /// How a value's range follows from what calibration saw of it.
    pub method: CalibrationMethod,
    /// Part of the values, in percent, that the percentile method keeps inside the range; in `(50, 100]`.
    pub percentile: f64,
    /// Calibration images.
    pub images: usize,
}

impl Default for QuantRecipe {
    fn default() -> Self {
        Self { method: CalibrationMethod::Mse, percentile: 99.99, images: 512 }
    }
}

impl QuantRecipe {
    fn validate(&self) -> Result<()> {
        let p = self.percentile;
        ensure!(p > 50.0 && p <= 100.0, "quant.percentile = {p} is not above 50 and at most 100");
        ensure!(self.images > 0, "quant.images must be at least 1");
        Ok(())
    }
}

/// How a value's range follows from what calibration saw of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationMethod {
    /// From the smallest to the largest.
    MinMax,
    /// Without the outermost values.
    Percentile,
    /// The range with the smallest squared quantization error.
    #[default]
    Mse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_toml() {
        let mut recipe = Recipe { model: Model::Linear, name: "a".into(), ..Recipe::default() };
        recipe.data.path = Some("some/folder".into());
        recipe.data.img_size = Some(48);
        recipe.train.seed = 7;
        recipe.train.lr = 0.1 + 0.2;
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
        assert_eq!(Recipe::parse("").unwrap(), Recipe::default());
    }

    #[test]
    fn mistakes_name_the_key() {
        let cases = [
            ("name = \"../x\"", "name"),
            ("[train]\nlearning-rate = 1", "learning-rate"),
            ("[train]\nopt = \"lion\"", "lion"),
            ("[train]\nlr = nan", "train.lr"),
            ("[train]\nlr = -1.0", "train.lr"),
            ("[train]\nepochs = 0", "train.epochs"),
            ("[train]\nbatch-size = 0", "train.batch-size"),
            ("[train]\nshards = 0", "train.shards"),
            ("[train]\nwarmup-epochs = 21", "train.warmup-epochs"),
            ("[train]\nema = 1.0", "train.ema"),
            ("[train]\nsmoothing = -0.1", "train.smoothing"),
            ("[net]\nblock-dropout = [0.5]", "net.block-dropout"),
            ("[net]\nblocks = [[8], [], [8]]", "net.blocks"),
            ("[net]\nblocks = [[8], [0], [8]]", "net.blocks"),
            ("[net]\ndense-dropout = 1.0", "drop rate"),
            ("[augment]\nflip = 2", "augment.flip"),
            ("[data]\nimg-size = 0", "data.img-size"),
            ("[data]\nval-fraction = 1.0", "data.val-fraction"),
            ("[quant]\npercentile = 50", "quant.percentile"),
            ("[quant]\nimages = 0", "quant.images"),
        ];
        for (text, key) in cases {
            let message = format!("{:#}", Recipe::parse(text).unwrap_err());
            assert!(message.contains(key), "{text}: {message}");
        }
    }

    #[test]
    fn only_what_changes_the_weights_differs() {
        let mut other = Recipe { name: "other".into(), ..Recipe::default() };
        other.data.path = Some("elsewhere".into());
        other.quant.images = 1;
        assert!(other.differing_keys(&Recipe::default()).is_empty());
        other.model = Model::Linear;
        other.net.dense = 0;
        other.train.ema = 0.0;
        assert_eq!(other.differing_keys(&Recipe::default()), ["model", "net.dense", "train.ema"]);
    }
}
