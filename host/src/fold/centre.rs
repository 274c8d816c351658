//! The pixels' normalisation, absorbed by a padded first layer where int8 can paint its padding.

use super::{absorb_previous, linear, linear_mut};
use crate::graph::{Activation, Graph};
use ocellus_shared::Op;

/// How far a pixel value may be from a mean that it stands for: half a step, and what f32 leaves uncertain of a mean that
/// lies between two.
const HALF_STEP: f64 = 0.5 + 1e-4;

/// Prepares a folded graph for quantization: where a normalisation of the pixels stands before a padded convolution,
/// and one pixel value is every channel's mean to within half a step, that value becomes the image's zero, and the
/// normalisation goes into the convolution. Inside the image that is exact; on its padding, which counts as that pixel
/// instead of the mean, off by at most half a step of int8. Otherwise the graph stays as it is.
pub fn centre(mut graph: Graph) -> Graph {
    let Some(zero_pixel) = common_mean(&graph) else { return graph };
    let mut scale = graph.nodes[0].clone();
    graph.zero_pixel = zero_pixel;
    // In values that count from the zero pixel, the offset is what the rounding of the mean left.
    let own = linear_mut(&mut scale);
    for (offset, factor) in own.bias.iter_mut().zip(&own.weights) {
        let exact = f64::from(*offset) + f64::from(*factor) * f64::from(zero_pixel) / 255.0;
        *offset = exact as f32;
    }
    absorb_previous(&mut graph.nodes[1], &scale);
    graph.bypass(0);
    graph
}

/// The pixel value nearest to every channel's mean, if there is one and the first two nodes are a normalisation and a
/// convolution that alone reads it.
fn common_mean(graph: &Graph) -> Option<u8> {
    let [scale, reader, ..] = &graph.nodes[..] else { return None };
    let is_scale = scale.op == Op::ChannelScale && scale.activation == Activation::None && graph.zero_pixel == 0;
    let is_filter = matches!(reader.op, Op::Conv { .. } | Op::Depthwise { .. });
    if !is_scale || !is_filter || graph.only_reader(0) != Some(0) || graph.only_reader(1) != Some(1) {
        return None;
    }
    let scale = linear(scale);
    let means: Vec<f64> =
        scale.bias.iter().zip(&scale.weights).map(|(b, w)| -255.0 * f64::from(*b) / f64::from(*w)).collect();
    let nearest = means.first()?.round();
    let is_common = means.iter().all(|mean| (mean - nearest).abs() <= HALF_STEP);
    (is_common && (0.0..=255.0).contains(&nearest)).then_some(nearest as u8)
}
