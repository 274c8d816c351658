//! One scale and zero point for every value.
//!
//! Max pools, flattens and concatenations copy integers, so the values that they connect share theirs.

use crate::calibrate::{Range, Ranges};
use crate::graph::{Activation, Graph};
use anyhow::{Result, ensure};
use ocellus_shared::preprocess::int8_of_pixel;
use ocellus_shared::quant::QuantParams;

/// Scale and zero point of every value of `graph`.
///
/// # Errors
/// Values that must share a scale cannot; [`fold`](crate::fold::fold) separates them.
pub(super) fn params(graph: &Graph, ranges: &Ranges) -> Result<Vec<QuantParams>> {
    ensure!(ranges.0.len() == graph.nodes.len() + 1, "the ranges are of another graph");
    let groups = groups(graph);
    let mut of_group: Vec<Option<Range>> = vec![None; groups.len()];
    for (v, &group) in groups.iter().enumerate() {
        let range = clipped(graph, v, ranges.0[v]);
        of_group[group] = Some(of_group[group].map_or(range, |other| other.union(range)));
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let range = of_group[groups[i + 1]].unwrap_or(ranges.0[i + 1]);
        // The end of int8 does the clipping, so it must be where the activation's is.
        let clips = match node.activation {
            Activation::None => true,
            Activation::Relu => range.lo == 0.0,
            Activation::Relu6 => range.lo == 0.0 && range.hi <= 6.0,
        };
        let as_image = groups[i + 1] == groups[0] && node.activation != Activation::None;
        ensure!(clips && !as_image, "layer `{}` shares a scale with values that it must not clip", node.name);
    }
    let shared = |&group: &usize| match of_group[group] {
        Some(range) if group != groups[0] => range.params(),
        _ => QuantParams { zero: int8_of_pixel(graph.zero_pixel), ..QuantParams::IMAGE },
    };
    Ok(groups.iter().map(shared).collect())
}

/// For each value the smallest value that it shares its scale with.
fn groups(graph: &Graph) -> Vec<usize> {
    let mut group: Vec<usize> = (0..=graph.nodes.len()).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        if !node.op.copies() {
            continue;
        }
        for &v in &node.inputs {
            let (a, b) = (group[v], group[i + 1]);
            group.iter_mut().filter(|g| **g == a || **g == b).for_each(|g| *g = a.min(b));
        }
    }
    group
}

/// The part of `range` that value `v` can have after its activation.
fn clipped(graph: &Graph, v: usize, range: Range) -> Range {
    let activation = v.checked_sub(1).map_or(Activation::None, |i| graph.nodes[i].activation);
    Range::new(activation.apply(range.lo), activation.apply(range.hi))
}
