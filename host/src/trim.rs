//! Dead-channel elimination: takes channels out of a quantized graph without changing a single score.
//!
//! Training leaves dead channels behind: a filter whose weights became zero, or whose results all end where the
//! activation clips. Three steps:
//!
//! 1. Interval arithmetic over the integers ([`crate::ops::interval`]) gives the least and the largest value that every
//!    channel can have for any image. Where both are one, the channel is a constant.
//! 2. `choose`: a channel can go where everything that reads it can do without: a filter whose weights for it are zero,
//!    or one that takes the constant's part into its bias. Under padding a constant's part is the same everywhere only if
//!    the constant is the zero point, which is what padding counts as. Channels that an operator maps one to one
//!    (depthwise, addition, pooling, ...) go together or stay together; what only channels that go have read, goes too.
//! 3. `cut`: the graph without them. Its sums are the same integers, so that its results are too.

mod choose;
mod cut;

use crate::ops::interval::{Input, Interval};
use crate::ops::{self, is_filter};
use crate::quantize::QuantGraph;
use anyhow::Result;
use serde::Serialize;

/// A graph without dead channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Trimmed {
    /// The graph.
    pub graph: QuantGraph,
    /// For each of its values the channels of the original value that it still has, from the first to the last.
    pub kept: Vec<Vec<usize>>,
    /// What is gone.
    pub removed: Removed,
}

/// What [`trim`] took out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Filters of convolutions and dense layers.
    pub filters: usize,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Bytes of parameters in the plan.
    pub bytes: usize,
    /// The layers that lost filters, in the order they run.
    pub layers: Vec<Narrowed>,
}

/// A layer that lost filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Narrowed {
    /// Its name.
    pub name: String,
    /// Filters that it had.
    pub before: usize,
    /// Filters that it has.
    pub after: usize,
}

/// Takes every dead channel out of `graph`; the image and the scores keep theirs, and every value at least
/// one.
///
/// A map whose pixels are whole 32-bit words stays one, and keeps up to three channels for it: kernels read four channels
/// at a time, and gathering odd ones costs more than they do.
///
/// # Errors
/// The graph breaks a rule of [`QuantGraph::check`].
pub fn trim(graph: &QuantGraph) -> Result<Trimmed> {
    graph.check()?;
    let intervals = intervals(graph);
    let kept = choose::kept(graph, &intervals);
    let trimmed = cut::cut(graph, &intervals, &kept);
    trimmed.check()?;
    let removed = removed(graph, &trimmed);
    Ok(Trimmed { graph: trimmed, kept, removed })
}

/// Bounds of every channel of every value.
fn intervals(graph: &QuantGraph) -> Vec<Vec<Interval>> {
    let mut intervals = vec![vec![Interval::ANY; graph.values[0].shape.c.into()]];
    for (i, node) in graph.nodes.iter().enumerate() {
        let input = |&v: &usize| Input { value: graph.values[v], intervals: &intervals[v] };
        let inputs: Vec<Input> = node.inputs.iter().map(input).collect();
        let results = ops::of(node.op).intervals(node, &inputs, graph.values[i + 1]);
        intervals.push(results);
    }
    intervals
}

fn removed(before: &QuantGraph, after: &QuantGraph) -> Removed {
    let filters = |graph: &QuantGraph, i: usize| usize::from(graph.values[i + 1].shape.c);
    let layers: Vec<Narrowed> = (before.nodes.iter().enumerate())
        .filter(|(_, node)| is_filter(node.op))
        .map(|(i, node)| Narrowed { name: node.name.clone(), before: filters(before, i), after: filters(after, i) })
        .filter(|layer| layer.before != layer.after)
        .collect();
    let [(macs, bytes), (macs_left, bytes_left)] = [before, after].map(size);
    Removed {
        filters: layers.iter().map(|layer| layer.before - layer.after).sum(),
        macs: macs - macs_left,
        bytes: bytes - bytes_left,
        layers,
    }
}

/// Multiply-accumulates of one inference, and bytes of parameters.
fn size(graph: &QuantGraph) -> (u64, usize) {
    let each = graph.nodes.iter().enumerate().map(|(i, node)| {
        let (input, output) = (graph.values[node.inputs[0]].shape, graph.values[i + 1].shape);
        let counts = node.op.param_counts(input, output);
        (node.op.macs(input, output), counts.weights + 4 * (counts.biases + counts.multipliers))
    });
    each.fold((0, 0), |(macs, bytes), (m, b)| (macs + m, bytes + b))
}
