//! MobileNet, the second version (Sandler et al., <https://arxiv.org/abs/1801.04381>, table 2): inverted residuals with linear
//! bottlenecks and ReLU6, in the widths that pretrained weights are published of.
//!
//! | name | width | image | parameters at 1000 classes | MACs |
//! |---|---|---|---|---|
//! | `mobilenetv2-035` | 0.35 | 224 | 1.68 M | 59 M |
//! | `mobilenetv2-050` | 0.5 | 224 | 1.97 M | 97 M |
//! | `mobilenetv2-075` | 0.75 | 224 | 2.64 M | 209 M |
//! | `mobilenetv2-100` | 1.0 | 224 | 3.50 M | 301 M |
//!
//! A narrower network has the top of the whole one. timm's and torchvision's are padded symmetrically and add 1e-5 to
//! variances; Keras' have TensorFlow's padding and 1e-3: `net.padding` and `net.bn-epsilon` choose.

use super::LayerKind;
use super::bottleneck::{BlockKind, Design, Stage, scaled, stage};
use crate::recipe::Model;

const STAGES: &[Stage] = &[
    stage(BlockKind::Separable, 1, 3, 1, 1, 16),
    stage(BlockKind::Inverted, 2, 3, 2, 6, 24),
    stage(BlockKind::Inverted, 3, 3, 2, 6, 32),
    stage(BlockKind::Inverted, 4, 3, 2, 6, 64),
    stage(BlockKind::Inverted, 3, 3, 1, 6, 96),
    stage(BlockKind::Inverted, 3, 3, 2, 6, 160),
    stage(BlockKind::Inverted, 1, 3, 1, 6, 320),
];
/// Channels of the stem, before they are scaled.
const STEM: u16 = 32;
/// Channels of the top of every width up to 1.
const TOP: u16 = 1280;

/// What the network `model`, which is a MobileNetV2, is made of.
pub(super) fn design(model: Model) -> Design {
    let width = match model {
        Model::MobileNetV2W035 => 0.35,
        Model::MobileNetV2W050 => 0.5,
        Model::MobileNetV2W075 => 0.75,
        _ => 1.0,
    };
    Design {
        width,
        depth: 1.0,
        stages: STAGES,
        stem: scaled(STEM, width),
        top: TOP,
        fixed_ends: false,
        squeezes: false,
        activation: LayerKind::Relu6,
    }
}
