//! `[data]` of a recipe.

use anyhow::{Result, ensure};
use ocellus_shared::plan::Crop;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DataRecipe {
    /// A dataset's folder in any supported layout; nothing for the built-in one. A relative path that leads nowhere from where
    /// the command is called is looked for beside the recipe.
    pub path: Option<PathBuf>,
    /// Which labels to use where a dataset has two kinds (CIFAR-100).
    pub labels: LabelKind,
    /// Height and width that images are brought to; nothing for the dataset's own.
    pub img_size: Option<u16>,
    /// How pictures of another shape become a square, and the board's frames with them.
    #[serde(with = "CropName")]
    pub crop: Crop,
    /// How pictures are brought to that size that have fewer pixels; nothing for `area`. `ocellus train` chooses `smooth`
    /// for EfficientNets and backbones of other programs, whose weights were trained on photos without steps in them.
    pub enlarge: Option<Enlarge>,
    /// What the network subtracts from each channel of a pixel in `[0, 1]`; nothing for the model's own.
    pub mean: Option<[f64; 3]>,
    /// What it then divides the channel by; nothing for the model's own.
    pub std: Option<[f64; 3]>,
    /// Part of the training images held out for validation where the dataset has no split of its own, in `(0, 1)`.
    pub val_fraction: f64,
    /// Part of the images held out for the test where a folder has no split of its own, in `(0, 1)`.
    pub test_fraction: f64,
    /// Seed of the splits, and of the built-in dataset's pictures.
    pub seed: u64,
}

/// What a network does to the pixels first: `(pixel / 255 - mean) / std`, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Subtracted, in `[0, 1]`.
    pub mean: [f64; 3],
    /// Divided by, positive.
    pub std: [f64; 3],
}

impl Normalise {
    /// Nothing: pixels stay in `[0, 1]`.
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };
    /// To `[-1, 1]`, as networks take it that descend from Inception.
    pub const CENTRED: Self = Self { mean: [0.5; 3], std: [0.5; 3] };
    /// By the statistics of ImageNet's training images, as torchvision and timm have them.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// The same as `pixel / 255 * factor + offset`: factor and offset of each channel.
    pub fn affine(&self) -> [(f32, f32); 3] {
        std::array::from_fn(|c| ((1.0 / self.std[c]) as f32, (-self.mean[c] / self.std[c]) as f32))
    }
}

impl Default for Normalise {
    fn default() -> Self {
        Self::NONE
    }
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

/// What a recipe calls each [`Crop`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Crop", rename_all = "kebab-case")]
enum CropName {
    Centre,
    Stretch,
}

/// How a picture of any size becomes the network's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// How it becomes a square.
    pub crop: Crop,
    /// How it gets more pixels than it has.
    pub enlarge: Enlarge,
}

/// How a picture gets more pixels than it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enlarge {
    /// By the mean of the part that a pixel covers, as the board does it: in steps.
    #[default]
    Area,
    /// By Catmull and Rom's cubic spline through the pixels, as viewers of photos do it.
    Smooth,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            path: None,
            labels: LabelKind::Fine,
            img_size: None,
            crop: Crop::Centre,
            enlarge: None,
            mean: None,
            std: None,
            val_fraction: 0.1,
            test_fraction: 0.2,
            seed: 0,
        }
    }
}

impl DataRecipe {
    /// How its pictures become the network's image.
    pub fn fit(&self) -> Fit {
        Fit { crop: self.crop, enlarge: self.enlarge.unwrap_or_default() }
    }

    pub(super) fn validate(&self) -> Result<()> {
        ensure!(
            self.val_fraction > 0.0 && self.val_fraction < 1.0,
            "data.val-fraction = {} is not between 0 and 1",
            self.val_fraction
        );
        ensure!(
            self.test_fraction > 0.0 && self.test_fraction < 1.0,
            "data.test-fraction = {} is not between 0 and 1",
            self.test_fraction
        );
        ensure!(self.img_size != Some(0), "data.img-size must be at least 1");
        for mean in self.mean.iter().flatten() {
            ensure!((0.0..=1.0).contains(mean), "data.mean = {mean} is not in [0, 1], where pixels are");
        }
        for std in self.std.iter().flatten() {
            ensure!((0.001..=1000.0).contains(std), "data.std = {std} is not between 0.001 and 1000");
        }
        Ok(())
    }
}
