//! Writes a quantized graph as the plan that a board runs.

use crate::arena::{self, Arena};
use crate::quantize::{QuantGraph, QuantNode, Value};
use crate::recipe::Optimize;
use anyhow::{Context, Result};
use ocellus_shared::op::{pair_index, row_bytes, winograd};
use ocellus_shared::plan::Operand;
use ocellus_shared::plan::encode::{self, PlanSpec, StepSpec};
use ocellus_shared::{Op, Shape, Window};

/// The bytes of `graph`'s plan, which [`Plan::parse`](ocellus_shared::plan::Plan::parse) accepts, and how its memory is laid
/// out.
///
/// # Errors
/// The graph breaks a rule of [`QuantGraph::check`], or is too large for the format.
pub fn pack(graph: &QuantGraph, optimize: Optimize) -> Result<Packed> {
    graph.check()?;
    let digest = graph.digest();
    let graph = &match optimize {
        Optimize::Size => graph.clone(),
        Optimize::Speed => faster(graph),
    };
    let arena = arena::plan(graph);
    let operand = |v: usize| {
        let Value { shape, params } = graph.values[v];
        Operand { offset: arena.values[v], shape, zero: params.zero }
    };
    let spec = PlanSpec {
        digest,
        arena_bytes: arena.bytes,
        input: operand(0),
        crop: graph.crop,
        output: operand(graph.nodes.len()),
        output_scale: graph.scores().params.scale,
        labels: graph.labels.clone(),
        steps: (0..graph.nodes.len()).map(|i| step(graph, &arena, i, &operand)).collect(),
    };
    let plan = encode::encode(&spec).context("the model does not fit the plan format")?;
    Ok(Packed { plan, arena })
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its bytes.
    pub plan: Vec<u8>,
    /// Where everything lies while it runs.
    pub arena: Arena,
}

/// `graph` with those convolutions by Winograd's formula that take fewer instructions so.
fn faster(graph: &QuantGraph) -> QuantGraph {
    let mut graph = graph.clone();
    for i in 0..graph.nodes.len() {
        let (input, out) = (graph.values[graph.nodes[i].inputs[0]].shape, graph.values[i + 1].shape);
        if let Op::Conv { window, out_channels } = graph.nodes[i].op
            && winograd::takes(&window, input, out_channels)
            && gains(&window, input, out)
        {
            graph.nodes[i].op = Op::Winograd { window, out_channels };
        }
    }
    graph
}

/// Whether Winograd's formula takes fewer instructions on a core with the DSP extension; by what their loops take there
/// for every value, see `firmware/costs.toml`.
fn gains(window: &Window, input: Shape, out: Shape) -> bool {
    let [pixels, channels, filters] = [out.pixels(), input.c.into(), out.c.into()];
    let groups = (usize::from(out.h).div_ceil(2) * usize::from(out.w).div_ceil(2)).div_ceil(winograd::TILES);
    let direct = pixels * window.taps() * channels * filters * 7 / 8;
    let pair = winograd::POINTS * winograd::filled(channels) * 17 / 4 + 600;
    groups * (pair * filters / 2 + 50 * winograd::TILES * channels) < direct
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
        Op::Winograd { window, .. } => return points(node, values / window.taps()),
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

/// The points of every filter, which sees so many `channels`.
fn points(node: &QuantNode, channels: usize) -> Vec<i8> {
    let filters = node.biases.len();
    let mut packed = vec![0; filters / 2 * winograd::pair_bytes(channels)];
    for (filter, channel) in (0..filters).flat_map(|f| (0..channels).map(move |c| (f, c))) {
        let taps = std::array::from_fn(|tap| node.weights[(filter * 9 + tap) * channels + channel]);
        for (point, value) in winograd::points(taps).into_iter().enumerate() {
            let at = 2 * winograd::index(filter, point, channel, channels);
            packed[at..at + 2].copy_from_slice(&value.to_le_bytes().map(|byte| byte as i8));
        }
    }
    packed
}

/// The biases with the inputs' zero points worked in: `sum((x - zero) * w) = sum(x * w) - zero * sum(w)`.
///
/// Wrapping, because only the whole sum is known to fit an int32, and the engine's wraps back.
fn biases(node: &QuantNode, inputs: &[Value], output: Value) -> Vec<i32> {
    let zero = |k: usize| i32::from(inputs[k].params.zero);
    match node.op {
        Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale => {
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
