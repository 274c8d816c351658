//! The graph with some channels only.

use crate::ops::interval::{Interval, Tap, taps};
use crate::ops::{self, Channels, some};
use crate::quantize::{QuantGraph, QuantNode, Value};
use ocellus_shared::Shape;

/// `graph` with the channels `kept` of each value. What constants among the others add to a sum goes into its bias: that
/// cannot overflow, because what the weights that are left can add is less by at least as much.
pub(super) fn cut(graph: &QuantGraph, intervals: &[Vec<Interval>], kept: &[Vec<usize>]) -> QuantGraph {
    let value = |(value, kept): (&Value, &Vec<usize>)| Value {
        // No more channels than before.
        shape: Shape { c: kept.len() as u16, ..value.shape },
        ..*value
    };
    QuantGraph {
        values: graph.values.iter().zip(kept).map(value).collect(),
        nodes: (0..graph.nodes.len()).map(|i| node(graph, i, intervals, kept)).collect(),
        ..graph.clone()
    }
}

fn node(graph: &QuantGraph, i: usize, intervals: &[Vec<Interval>], kept: &[Vec<usize>]) -> QuantNode {
    let node = &graph.nodes[i];
    let x = node.inputs[0];
    let (inputs, filters) = (&kept[x], &kept[i + 1]);
    let channels = intervals[x].len();
    if Channels::of(node.op) != Channels::Filters {
        return ops::of(node.op).narrowed(node, filters);
    }
    let taps = taps(node.op.window(), graph.values[x].shape, graph.values[i + 1].shape);
    let pixels = |f: &usize| node.weights.chunks_exact(channels).skip(f * taps.len()).take(taps.len());
    let constants = constants(&intervals[x], inputs, graph.values[x].params.zero);
    QuantNode {
        op: node.op.with_out_channels(filters.len() as u16),
        weights: filters.iter().flat_map(pixels).flat_map(|pixel| some(pixel, inputs)).collect(),
        biases: filters.iter().map(|&f| node.biases[f] + added(node, &taps, channels, f, &constants)).collect(),
        multipliers: some(&node.multipliers, filters),
        ..node.clone()
    }
}

/// The constants among the channels that are not `kept`, and what they are, less the zero point.
fn constants(intervals: &[Interval], kept: &[usize], zero: i8) -> Vec<(usize, i32)> {
    let gone = (0..intervals.len()).filter(|c| kept.binary_search(c).is_err());
    gone.filter_map(|c| Some((c, i32::from(intervals[c].constant()?) - i32::from(zero)))).collect()
}

/// What `constants` add to the sum of filter `f`. Where a tap falls on padding too, they are the zero point or their
/// weight is 0.
fn added(node: &QuantNode, taps: &[Tap], channels: usize, f: usize, constants: &[(usize, i32)]) -> i32 {
    let on_map = taps.iter().enumerate().filter(|(_, tap)| **tap != Tap::Padding);
    let rows = on_map.map(|(tap, _)| (f * taps.len() + tap) * channels);
    let weight = |row: usize, c: usize| i32::from(node.weights[row + c]);
    rows.map(|row| constants.iter().map(|&(c, value)| value * weight(row, c)).sum::<i32>()).sum()
}
