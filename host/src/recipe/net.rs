//! `[net]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

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
    pub(super) fn validate(&self) -> Result<()> {
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
