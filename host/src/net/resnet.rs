//! Residual networks for small images (He et al., <https://arxiv.org/abs/1512.03385>, section 4.2): three stages of
//! blocks of two 3x3 convolutions, each stage with half the size and twice the channels of the one before.
//!
//! Where a block changes the shape, its shortcut is a 1x1 convolution (the paper's option B): subsampling and filling
//! channels with zeros (option A) is no operator of the board.
//!
//! | name | blocks a stage | channels | weights of filters | MACs at 32x32 |
//! |---|---|---|---|---|
//! | `resnet8` | 1 | 16, 32, 64 | 77,360 | 12.5 M |
//! | `resnet8-w40` | 1 | 40, 80, 160 | 479,480 | 76.5 M |
//! | `resnet20` | 3 | 16, 32, 64 | 270,896 | 41.0 M |
//! | `resnet56` | 9 | 16, 32, 64 | 851,504 | 126.0 M |
//!
//! The first two follow MLPerf Tiny's reference
//! (<https://github.com/mlcommons/tiny>, `image_classification/keras_model.py`): TensorFlow's padding, convolutions
//! with biases, and no normalisation on a shortcut. The others follow the paper.

use super::{Builder, PYTORCH_EPSILON, TENSORFLOW_EPSILON, window};
use crate::recipe::{Model, Padding};
use anyhow::Result;
use ocellus_shared::{Op, Shape};

/// What tells one network from another.
struct Config {
    /// Blocks of each stage.
    blocks: u32,
    /// Channels of the first stage.
    width: u16,
    /// Whether it is MLPerf Tiny's.
    tiny: bool,
}

impl Config {
    /// Of `model`, with `width` channels in its first stage unless that is 0.
    fn of(model: Model, width: u16) -> Self {
        let config = match model {
            Model::ResNet8W40 => Self { blocks: 1, width: 40, tiny: true },
            Model::ResNet20 => Self { blocks: 3, width: 16, tiny: false },
            Model::ResNet56 => Self { blocks: 9, width: 16, tiny: false },
            _ => Self { blocks: 1, width: 16, tiny: true },
        };
        Self { width: if width == 0 { config.width } else { width }, ..config }
    }

    fn convolution(&self, net: &mut Builder, name: &str, kernel: u8, stride: u8, out_channels: u16) -> Result<()> {
        let padding = if self.tiny { Padding::Same } else { Padding::Symmetric };
        let window = window(padding, kernel, stride, net.shape());
        net.filter(name, Op::Conv { window, out_channels }, self.tiny)
    }

    fn normalisation(&self, net: &mut Builder, name: &str) {
        net.batch_norm(&format!("{name}.bn"), if self.tiny { TENSORFLOW_EPSILON } else { PYTORCH_EPSILON });
    }

    fn block(&self, net: &mut Builder, name: &str, stride: u8, out_channels: u16) -> Result<()> {
        let input = net.value();
        let changes = stride != 1 || net.shape().c != out_channels;
        let [first, second] = ["conv1", "conv2"].map(|conv| format!("{name}.{conv}"));
        self.convolution(net, &first, 3, stride, out_channels)?;
        self.normalisation(net, &first);
        net.relu(&format!("{first}.relu"));
        self.convolution(net, &second, 3, 1, out_channels)?;
        self.normalisation(net, &second);
        let residual = net.value();
        net.go_to(input);
        if changes {
            let shortcut = format!("{name}.shortcut");
            self.convolution(net, &shortcut, 1, stride, out_channels)?;
            if !self.tiny {
                self.normalisation(net, &shortcut);
            }
        }
        net.join(&format!("{name}.add"), Op::Add, residual)?;
        net.relu(&format!("{name}.relu"));
        Ok(())
    }
}

/// Writes down what is below the head of the network `model`, for images of `input` size, with `width` channels in the first stage;
/// 0 for as many as it was published with.
///
/// # Errors
/// The layers do not fit together; names the layer.
pub(super) fn backbone(model: Model, width: u16, input: Shape) -> Result<Builder> {
    let config = Config::of(model, width);
    let mut net = Builder::new(input);
    config.convolution(&mut net, "stem", 3, 1, config.width)?;
    config.normalisation(&mut net, "stem");
    net.relu("stem.relu");
    for stage in 0..3 {
        for block in 0..config.blocks {
            let name = format!("block{}", stage * config.blocks + block + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            config.block(&mut net, &name, stride, config.width << stage)?;
        }
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_follow_from_the_width() {
        let channels = |width| {
            let net = backbone(Model::ResNet20, width, Shape::new(32, 32, 3)).unwrap();
            net.shape()
        };
        assert_eq!([0, 9].map(channels), [Shape::new(8, 8, 64), Shape::new(8, 8, 36)]);
    }
}
