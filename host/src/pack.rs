//! Writes a quantized graph as the plan that a board runs.

use crate::arena::{self, Arena};
use crate::quantize::{QuantGraph, QuantNode, Value};
use anyhow::{Context, Result};
use ocellus_shared::Op;
use ocellus_shared::op::{pair_index, row_bytes};
use ocellus_shared::plan::Operand;
use ocellus_shared::plan::encode::{self, PlanSpec, StepSpec};

/// The bytes of `graph`'s plan, which [`Plan::parse`](ocellus_shared::plan::Plan::parse) accepts.
///
/// # Errors
/// The graph breaks a rule of [`QuantGraph::check`], or is too large for the format.
pub fn pack(graph: &QuantGraph) -> Result<Vec<u8>> {
    graph.check()?;
    let arena = arena::plan(graph);
    let operand = |v: usize| {
        let Value { shape, params } = graph.values[v];
        Operand { offset: arena.values[v], shape, zero: params.zero }
    };
    let spec = PlanSpec {
        digest: graph.digest(),
        arena_bytes: arena.bytes,
        input: operand(0),
        crop: graph.crop,
        output: operand(graph.nodes.len()),
        output_scale: graph.scores().params.scale,
        labels: graph.labels.clone(),
        steps: (0..graph.nodes.len()).map(|i| step(graph, &arena, i, &operand)).collect(),
    };
    encode::encode(&spec).context("the model does not fit the plan format")
}

fn step(graph: &QuantGraph, arena: &Arena, i: usize, operand: &dyn Fn(usize) -> Operand) -> StepSpec {
    let node = &graph.nodes[i];
    let inputs: Vec<Value> = node.inputs.iter().map(|&v| graph.values[v]).collect();
    let (output, strip_rows) = (graph.values[i + 1].shape, arena.strip_rows[i]);
    StepSpec {
        op: node.op,
        inputs: node.inputs.iter().map(|&v| operand(v)).collect(),
        output: operand(i + 1),
        scratch: (arena.scratch[i], node.op.strip_scratch_bytes(inputs[0].shape, output, strip_rows)),
        strip_rows,
        weights: weights(node),
        biases: biases(node, &inputs, graph.values[i + 1]),
        multipliers: node.multipliers.clone(),
    }
}

/// The weights in the plan's layout.
fn weights(node: &QuantNode) -> Vec<i8> {
    let values = node.weights.len() / node.biases.len().max(1);
    let row = row_bytes(values);
    let index: &dyn Fn(usize, usize) -> usize = match node.op {
        Op::Conv { .. } => &|filter, k| pair_index(filter, k, row),
        Op::Dense { .. } => &|filter, k| filter * row + k,
        _ => return node.weights.clone(),
    };
    let filters = node.biases.len();
    let filters = if let Op::Conv { .. } = node.op { filters.next_multiple_of(2) } else { filters };
    let mut packed = vec![0; filters * row];
    for (at, &weight) in node.weights.iter().enumerate() {
        packed[index(at / values, at % values)] = weight;
    }
    packed
}

/// The biases with the inputs' zero points worked in: `sum((x - zero) * w) = sum(x * w) - zero * sum(w)`.
///
/// Wrapping, because only the whole sum is known to fit an int32, and the engine's wraps back.
fn biases(node: &QuantNode, inputs: &[Value], output: Value) -> Vec<i32> {
    let zero = |k: usize| i32::from(inputs[k].params.zero);
    match node.op {
        Op::Conv { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale => {
            let mut biases = node.biases.clone();
            for (k, w) in node.weights.iter().enumerate() {
                let channel = crate::graph::out_channel(node.op, k, node.weights.len(), node.biases.len());
                biases[channel] = biases[channel].wrapping_sub(zero(0) * i32::from(*w));
            }
            biases
        }
        Op::AvgPool { window } => vec![-(window.taps() as i32) * zero(0); output.shape.c.into()],
        Op::GlobalAvgPool => vec![-(inputs[0].shape.pixels() as i32) * zero(0)],
        Op::Add => {
            let offset = -(node.biases[0] * zero(0) + node.biases[1] * zero(1));
            vec![node.biases[0], node.biases[1], offset]
        }
        Op::MaxPool { .. } | Op::Mul | Op::Lut | Op::Flatten | Op::Concat => Vec::new(),
    }
}
