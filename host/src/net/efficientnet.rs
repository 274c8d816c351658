//! EfficientNets: stages of mobile inverted bottlenecks (MBConv).
//!
//! The first version (Tan and Le, <https://arxiv.org/abs/1905.11946>, table 1) widens and deepens one base network;
//! `lite` is its form without squeeze-excite and with ReLU6. A lite network never scales the widths of its stem and top, nor
//! how many blocks its first and last stages have
//! (<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>). The second version
//! (<https://arxiv.org/abs/2104.00298>, table 4) has fused blocks, one full convolution for the first two of an MBConv,
//! in its early stages.
//!
//! | name | width | depth | image | parameters at 1000 classes | MACs |
//! |---|---|---|---|---|---|
//! | `efficientnet-lite0` | 1.0 | 1.0 | 224 | 4.65 M | 0.40 G |
//! | `efficientnet-lite1` | 1.0 | 1.1 | 240 | 5.42 M | 0.63 G |
//! | `efficientnet-lite2` | 1.1 | 1.2 | 260 | 6.09 M | 0.90 G |
//! | `efficientnet-lite3` | 1.2 | 1.4 | 280 | 8.20 M | 1.44 G |
//! | `efficientnet-lite4` | 1.4 | 1.8 | 300 | 13.01 M | 2.64 G |
//! | `efficientnet-b0` | 1.0 | 1.0 | 224 | 5.29 M | 0.39 G |
//! | `efficientnet-b2` | 1.1 | 1.2 | 260 | 9.11 M | 1.0 G |
//! | `efficientnet-b4` | 1.4 | 1.8 | 380 | 19.34 M | 4.4 G |
//! | `efficientnetv2-b1` | 1.0 | 1.1 | 240 | 8.14 M | 1.2 G |
//! | `efficientnetv2-s` | 1.0 | 1.0 | 384 | 21.46 M | 8.4 G |

use super::bottleneck::{BlockKind, Design, Stage, scaled, stage};
use super::{Function, LayerKind};
use crate::recipe::Model;

const VERSION_1: &[Stage] = &[
    stage(BlockKind::Separable, 1, 3, 1, 1, 16),
    stage(BlockKind::Inverted, 2, 3, 2, 6, 24),
    stage(BlockKind::Inverted, 2, 5, 2, 6, 40),
    stage(BlockKind::Inverted, 3, 3, 2, 6, 80),
    stage(BlockKind::Inverted, 3, 5, 1, 6, 112),
    stage(BlockKind::Inverted, 4, 5, 2, 6, 192),
    stage(BlockKind::Inverted, 1, 3, 1, 6, 320),
];

const VERSION_2_BASE: &[Stage] = &[
    stage(BlockKind::Conv, 1, 3, 1, 1, 16),
    stage(BlockKind::Fused, 2, 3, 2, 4, 32),
    stage(BlockKind::Fused, 2, 3, 2, 4, 48),
    stage(BlockKind::Inverted, 3, 3, 2, 4, 96),
    stage(BlockKind::Inverted, 5, 3, 1, 6, 112),
    stage(BlockKind::Inverted, 8, 3, 2, 6, 192),
];

const VERSION_2_SMALL: &[Stage] = &[
    stage(BlockKind::Conv, 2, 3, 1, 1, 24),
    stage(BlockKind::Fused, 4, 3, 2, 4, 48),
    stage(BlockKind::Fused, 4, 3, 2, 4, 64),
    stage(BlockKind::Inverted, 6, 3, 2, 4, 128),
    stage(BlockKind::Inverted, 9, 3, 1, 6, 160),
    stage(BlockKind::Inverted, 15, 3, 2, 6, 256),
];

/// Channels of the top of all of them, before they are scaled.
const TOP: u16 = 1280;
/// Channels of the stem of all but one of them, before they are scaled.
const STEM: u16 = 32;

/// What the network `model`, which is an EfficientNet, is made of.
pub(super) fn design(model: Model) -> Design {
    let (width, depth) = match model {
        Model::EfficientNetLite1 | Model::EfficientNetV2B1 => (1.0, 1.1),
        Model::EfficientNetB2 | Model::EfficientNetLite2 => (1.1, 1.2),
        Model::EfficientNetLite3 => (1.2, 1.4),
        Model::EfficientNetB4 | Model::EfficientNetLite4 => (1.4, 1.8),
        _ => (1.0, 1.0),
    };
    let (stages, stem) = match model {
        Model::EfficientNetV2B1 => (VERSION_2_BASE, STEM),
        Model::EfficientNetV2S => (VERSION_2_SMALL, 24),
        _ => (VERSION_1, STEM),
    };
    let lite = model.is_lite();
    let [stem, top] = [stem, TOP].map(|channels| if lite { channels } else { scaled(channels, width) });
    let activation = if lite { LayerKind::Relu6 } else { LayerKind::Function(Function::Silu) };
    Design { width, depth, stages, stem, top, fixed_ends: lite, squeezes: !lite, activation }
}
