//! `[augment]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

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
    pub(super) fn validate(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.flip), "augment.flip = {} is not a probability", self.flip);
        let p = self.cutout_probability;
        ensure!((0.0..=1.0).contains(&p), "augment.cutout-probability = {p} is not a probability");
        Ok(())
    }
}
