//! `[data]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

impl DataRecipe {
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
        Ok(())
    }
}
