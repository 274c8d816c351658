//! MobileNet, the first version (Howard et al., <https://arxiv.org/abs/1704.04861>, table 1): a convolution, then 13 pairs
//! of a depthwise and a pointwise convolution, each with a normalisation and a ReLU.
//!
//! | name | width | image | weights of filters at 2 classes | MACs |
//! |---|---|---|---|---|
//! | `mobilenetv1-025` | 0.25 | 96 | 208,112 | 7.49 M |
//!
//! It is MLPerf Tiny's network for visual wake words
//! (<https://github.com/mlcommons/tiny>, `visual_wake_words/vww_model.py`), with TensorFlow's padding.

use super::{Builder, TENSORFLOW_EPSILON, window};
use crate::recipe::Padding;
use anyhow::Result;
use ocellus_shared::{Op, Shape};

/// Output channels of the first convolution, at a quarter of the paper's width.
const STEM: u16 = 8;
/// Stride and output channels of each pair, at a quarter of the paper's width.
const PAIRS: [(u8, u16); 13] = [
    (1, 16),
    (2, 32),
    (1, 32),
    (2, 64),
    (1, 64),
    (2, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (2, 256),
    (1, 256),
];

/// Writes down what is below the head, for images of `input` size.
///
/// # Errors
/// The layers do not fit together; names the layer.
pub(super) fn backbone(input: Shape) -> Result<Builder> {
    let mut net = Builder::new(input);
    let stem = window(Padding::Same, 3, 2, net.shape());
    filter(&mut net, "stem", Op::Conv { window: stem, out_channels: STEM })?;
    for (i, (stride, out_channels)) in PAIRS.into_iter().enumerate() {
        let name = format!("block{}", i + 1);
        let depthwise = window(Padding::Same, 3, stride, net.shape());
        filter(&mut net, &format!("{name}.depthwise"), Op::Depthwise { window: depthwise })?;
        let pointwise = window(Padding::Same, 1, 1, net.shape());
        filter(&mut net, &format!("{name}.pointwise"), Op::Conv { window: pointwise, out_channels })?;
    }
    Ok(net)
}

/// A convolution with its normalisation and its ReLU.
fn filter(net: &mut Builder, name: &str, op: Op) -> Result<()> {
    net.filter(name, op, false)?;
    net.batch_norm(&format!("{name}.bn"), TENSORFLOW_EPSILON);
    net.relu(&format!("{name}.relu"));
    Ok(())
}
