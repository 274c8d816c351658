//! The graph with some channels only.

use super::range::{Range, Tap, taps};
use crate::quantize::{QuantGraph, QuantNode, Value};
use ocellus_shared::{Op, Shape};

/// `graph` with the channels `kept` of each value. What constants among the others add to a sum goes into its bias: that
/// cannot overflow, because what the weights that are left can add is less by at least as much.
pub(super) fn cut(graph: &QuantGraph, ranges: &[Vec<Range>], kept: &[Vec<usize>]) -> QuantGraph {
    let value = |(value, kept): (&Value, &Vec<usize>)| Value {
        // No more channels than before.
        shape: Shape { c: kept.len() as u16, ..value.shape },
        ..*value
    };
    QuantGraph {
        values: graph.values.iter().zip(kept).map(value).collect(),
        nodes: (0..graph.nodes.len()).map(|i| node(graph, i, ranges, kept)).collect(),
        ..graph.clone()
    }
}

fn node(graph: &QuantGraph, i: usize, ranges: &[Vec<Range>], kept: &[Vec<usize>]) -> QuantNode {
    let node = &graph.nodes[i];
    let x = node.inputs[0];
    let (inputs, filters, out_channels) = (&kept[x], &kept[i + 1], kept[i + 1].len() as u16);
    let channels = ranges[x].len();
    let mut cut = node.clone();
    match node.op {
        Op::Conv { .. } | Op::Winograd { .. } | Op::Dense { .. } => {
            let taps = taps(node.op, graph.values[x].shape, graph.values[i + 1].shape);
            let pixels = |f: &usize| node.weights.chunks_exact(channels).skip(f * taps.len()).take(taps.len());
            cut.weights = filters.iter().flat_map(pixels).flat_map(|pixel| of(pixel, inputs)).collect();
            let constants = constants(&ranges[x], inputs, graph.values[x].params.zero);
            cut.biases =
                filters.iter().map(|&f| node.biases[f] + added(node, &taps, channels, f, &constants)).collect();
            cut.multipliers = of(&node.multipliers, filters);
            cut.op = match node.op {
                Op::Conv { window, .. } => Op::Conv { window, out_channels },
                Op::Winograd { window, .. } => Op::Winograd { window, out_channels },
                _ => Op::Dense { out_channels },
            };
        }
        Op::Depthwise { .. } | Op::ChannelScale => {
            cut.weights = node.weights.chunks_exact(channels).flat_map(|tap| of(tap, filters)).collect();
            cut.biases = of(&node.biases, filters);
            cut.multipliers = of(&node.multipliers, filters);
        }
        Op::AvgPool { .. } => cut.multipliers = of(&node.multipliers, filters),
        Op::GlobalAvgPool | Op::Add | Op::Mul | Op::Lut | Op::MaxPool { .. } | Op::Flatten | Op::Concat => {}
    }
    cut
}

/// Some of `all`.
fn of<T: Copy>(all: &[T], which: &[usize]) -> Vec<T> {
    which.iter().map(|&c| all[c]).collect()
}

/// The constants among the channels that are not `kept`, and what they are, less the zero point.
fn constants(ranges: &[Range], kept: &[usize], zero: i8) -> Vec<(usize, i32)> {
    let gone = (0..ranges.len()).filter(|c| kept.binary_search(c).is_err());
    gone.filter_map(|c| Some((c, i32::from(ranges[c].constant()?) - i32::from(zero)))).collect()
}

/// What `constants` add to the sum of filter `f`. Where a tap falls on padding too, they are the zero point or their
/// weight is 0.
fn added(node: &QuantNode, taps: &[Tap], channels: usize, f: usize, constants: &[(usize, i32)]) -> i32 {
    let on_map = taps.iter().enumerate().filter(|(_, tap)| **tap != Tap::Padding);
    let rows = on_map.map(|(tap, _)| (f * taps.len() + tap) * channels);
    let weight = |row: usize, c: usize| i32::from(node.weights[row + c]);
    rows.map(|row| constants.iter().map(|&(c, value)| value * weight(row, c)).sum::<i32>()).sum()
}
