//! `[net]` of a recipe.

use super::{ActivationKind, Filter, LayerOp, LayerSpec, Pool};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest `net.width`: four times as many channels are what a shape can have.
const MOST_WIDTH: u16 = u16::MAX / 4;

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
    /// Epochs over which these rates fall to 0 on a straight line; 0 for rates that stay. Early dropout: a network that
    /// is under-fitted ends better without (<https://arxiv.org/abs/2303.01500>).
    pub block_dropout_epochs: u32,
    /// Values of the hidden dense layer; 0 for none.
    pub dense: u16,
    /// Drop rate after the hidden dense layer, in `[0, 1)`.
    pub dense_dropout: f64,
    /// The layers of the model `sequential`, without the classifier: `[NAME:] KIND [from=NAME]`, where the kind is `conv CHANNELS`,
    /// `depthwise`, `dense VALUES`, `batch-norm`, `relu`, `relu6`, `sigmoid`, `silu`, `hard-sigmoid`, `hard-swish`, `max-pool SIZE`, `avg-pool
    /// SIZE`, `global-avg-pool`, `flatten`, `dropout RATE`, `add NAME`, `mul NAME` or `concat NAME...`. A convolution may have
    /// `kernel=3 stride=1 padding=1 bias=true`, a pooling `stride= padding=0`, a dense layer `l2=0`, a normalisation `epsilon=1e-5`;
    /// these are the defaults. A layer without a name is called by its kind and number (`conv1`), and what follows a filter
    /// after it (`conv1.relu`).
    pub layers: Vec<LayerSpec>,
    /// Channels of a residual network's first stage, of which the second has twice and the third four times as many; 0 for
    /// as many as it was published with.
    pub width: u16,
    /// What stands on the pooled features of a residual network or an EfficientNet.
    pub head: Head,
    /// Values of both hidden layers of the head `mlp`.
    pub head_widths: [u16; 2],
    /// Drop rate before the classifier, or between the hidden layers of the head `mlp`, in `[0, 1)`; residual networks
    /// for CIFAR have none before a linear head.
    pub head_dropout: f64,
    /// The second hidden layer of the head `mlp` adds this times the sum of its squared weights to the loss.
    pub head_l2: f64,
    /// Where the filters of a MobileNetV2 or an EfficientNet are padded; nothing for what it was published with.
    pub padding: Option<Padding>,
    /// What its normalisations add to the variance; nothing for what it was published with: 1e-5 in a MobileNetV2, 1e-3
    /// in an EfficientNet.
    pub bn_epsilon: Option<f64>,
    /// How many of its blocks a network keeps, from the first, under its head; 0 for all of them and what follows them.
    /// Pretrained weights of the whole network fit.
    pub truncate: u32,
    /// Weights to start from: a run folder, or a checkpoint of timm, torchvision, efficientnet_pytorch or Lightning.
    pub pretrained: Option<PathBuf>,
    /// Whether the statistics of pretrained normalisations are measured anew on the training images, without changing
    /// what the network computes.
    pub bn_statistics: BnStatistics,
}

impl Default for NetRecipe {
    fn default() -> Self {
        Self {
            order: LayerOrder::ConvBnRelu,
            blocks: vec![vec![32, 32], vec![64, 32], vec![128]],
            block_dropout: vec![0.2, 0.2, 0.2],
            block_dropout_epochs: 0,
            dense: 256,
            dense_dropout: 0.45,
            layers: default_layers(),
            width: 0,
            head: Head::Linear,
            head_widths: [128, 256],
            head_dropout: 0.2,
            head_l2: 1e-3,
            padding: None,
            bn_epsilon: None,
            truncate: 0,
            pretrained: None,
            bn_statistics: BnStatistics::Auto,
        }
    }
}

/// Three blocks of two convolutions and a pooling, and a hidden dense layer: where many begin.
fn default_layers() -> Vec<LayerSpec> {
    let relu = || LayerOp::Activation(ActivationKind::Relu);
    let block = |out_channels| {
        let conv = || [LayerOp::Conv { out_channels, filter: Filter::same(3) }, relu()];
        let pool = LayerOp::MaxPool(Pool { size: [2; 2], stride: [2; 2], padding: [0; 4] });
        conv().into_iter().chain(conv()).chain([pool])
    };
    let dense = [LayerOp::Dense { out_channels: 128, l2: 0.0 }, relu()];
    [32, 64, 128].into_iter().flat_map(block).chain(dense).map(LayerSpec::from).collect()
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
        let rates = self.block_dropout.iter().chain([&self.dense_dropout, &self.head_dropout]);
        for rate in rates {
            ensure!((0.0..1.0).contains(rate), "net: the drop rate {rate} is not in [0, 1)");
        }
        ensure!(self.head_widths.iter().all(|&width| width > 0), "net.head-widths has a layer without values");
        ensure!((0.0..1.0).contains(&self.head_l2), "net.head-l2 = {} is not in [0, 1)", self.head_l2);
        ensure!(self.width <= MOST_WIDTH, "net.width = {} is more than {MOST_WIDTH}", self.width);
        let epsilon = self.bn_epsilon.unwrap_or(1e-3);
        ensure!(epsilon > 0.0 && epsilon < 1.0, "net.bn-epsilon = {epsilon} is not in (0, 1)");
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

/// What stands on the mean of each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The classifier.
    #[default]
    Linear,
    /// Two hidden layers, then the classifier.
    Mlp,
}

/// Where filters are padded so that stride 1 keeps the size of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// As TensorFlow does it: as little as possible, and an odd one below and to the right. What timm's `tf_` networks
    /// and Keras' were trained with.
    Same,
    /// Half the kernel on every side. What torchvision's networks, and timm's without `tf_`, were trained with.
    Symmetric,
}

/// Whether the statistics of pretrained normalisations are measured anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BnStatistics {
    /// Where they say nothing: in a file whose normalisations had been folded into the filters.
    #[default]
    Auto,
    /// Never.
    Kept,
    /// Always.
    Measured,
}
