//! Writes a quantized graph as the plan that a board runs.

use crate::arena::{self, Arena};
use crate::quantize::{QuantGraph, QuantNode, Value};
use crate::recipe::Optimize;
use anyhow::{Context, Result};
use ocellus_shared::Op;
use ocellus_shared::op::{pair_index, row_bytes, winograd};
use ocellus_shared::plan::Operand;
use ocellus_shared::plan::encode::{self, PlanSpec, StepSpec};

/// The bytes of `graph`'s plan, which [`Plan::parse`](ocellus_shared::plan::Plan::parse) accepts, and how its memory is laid
/// out.
///
/// # Errors
/// The graph breaks a rule of [`QuantGraph::check`], or is too large for the format.
pub fn pack(graph: &QuantGraph, optimize: Optimize) -> Result<Packed> {
    graph.check()?;
    match optimize {
        Optimize::Size => packed(graph, graph.digest()),
        Optimize::Speed => packed(&faster(graph, usize::MAX), graph.digest()),
    }
}

/// The memory of a board, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For the plan.
    pub plan: usize,
    /// For feature maps and scratch.
    pub arena: usize,
}

/// The same within `room` where that can be: as many layers are packed for speed as the plan has room for, those first
/// that gain most for a byte; none where they need more working memory than there is.
///
/// # Errors
/// As [`pack`].
pub fn pack_within(graph: &QuantGraph, optimize: Optimize, room: Room) -> Result<Packed> {
    let size = pack(graph, Optimize::Size)?;
    if optimize == Optimize::Size {
        return Ok(size);
    }
    let speed = packed(&faster(graph, room.plan.saturating_sub(size.plan.len())), graph.digest())?;
    Ok(if speed.arena.bytes <= room.arena.max(size.arena.bytes) { speed } else { size })
}

/// `graph` as it is, with the `digest` of the quantized graph.
fn packed(graph: &QuantGraph, digest: [u8; 8]) -> Result<Packed> {
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

/// `graph` with those convolutions by Winograd's formula that take fewer instructions so, in at most `room` more bytes.
fn faster(graph: &QuantGraph, mut room: usize) -> QuantGraph {
    let mut graph = graph.clone();
    let mut candidates: Vec<(usize, Candidate)> =
        (0..graph.nodes.len()).filter_map(|i| Some((i, Candidate::new(&graph, i)?))).collect();
    candidates.sort_by(|(_, a), (_, b)| (b.gain * a.bytes).cmp(&(a.gain * b.bytes)));
    for (i, candidate) in candidates {
        if candidate.bytes <= room {
            room -= candidate.bytes;
            graph.nodes[i].op = candidate.op;
        }
    }
    graph
}

/// A convolution that takes fewer instructions by Winograd's formula.
struct Candidate {
    op: Op,
    /// Instructions that it saves, about.
    gain: usize,
    /// Bytes that its weights take more.
    bytes: usize,
}

impl Candidate {
    /// What node `i` would gain on a core with the DSP extension, by what its loops take there for every value, see
    /// `firmware/costs.toml`; nothing where it would not.
    fn new(graph: &QuantGraph, i: usize) -> Option<Self> {
        let Op::Conv { window, out_channels } = graph.nodes[i].op else { return None };
        let (input, out) = (graph.values[graph.nodes[i].inputs[0]].shape, graph.values[i + 1].shape);
        if !winograd::takes(&window, input, out_channels) {
            return None;
        }
        let [pixels, channels, filters] = [out.pixels(), input.c.into(), out.c.into()];
        let groups = (usize::from(out.h).div_ceil(2) * usize::from(out.w).div_ceil(2)).div_ceil(winograd::TILES);
        let direct = pixels * window.taps() * channels * filters * 7 / 8;
        let pair = winograd::POINTS * winograd::filled(channels) * 17 / 4 + 800;
        let gain = direct.checked_sub(groups * (pair * filters / 2 + 70 * winograd::TILES * channels))?;
        let op = Op::Winograd { window, out_channels };
        let weights = |op: Op| op.param_counts(input, out).weights;
        let bytes = weights(op).checked_sub(weights(graph.nodes[i].op))?;
        Some(Self { op, gain, bytes })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use ocellus_shared::plan::{Crop, Plan};
    use ocellus_shared::quant::QuantParams;
    use ocellus_shared::{Shape, Window};

    /// Two convolutions of 32 channels at 16x16 and one of 64 at 8x8, which gains less for a byte.
    fn graph() -> QuantGraph {
        let value = |shape| Value { shape, params: QuantParams { scale: 0.5, zero: 3 } };
        let mut graph = QuantGraph {
            crop: Crop::Centre,
            labels: (0..64 * 64).map(|i| i.to_string()).collect(),
            origin: Origin::default(),
            values: vec![value(Shape::new(16, 16, 32))],
            nodes: Vec::new(),
        };
        let same = Window::same(3);
        for (window, out_channels) in [(same, 32), (same, 32), (Window { stride: [2; 2], ..same }, 64), (same, 64)] {
            let (op, input) = (Op::Conv { window, out_channels }, graph.scores().shape);
            let filters = usize::from(out_channels);
            graph.nodes.push(QuantNode {
                name: format!("conv{}", graph.nodes.len()),
                op,
                inputs: vec![graph.nodes.len()],
                weights: (0..filters * 9 * usize::from(input.c)).map(|k| (k % 251) as u8 as i8 >> 1).collect(),
                biases: vec![7; filters],
                multipliers: (0..filters).map(|k| 1e-4 + 1e-7 * k as f32).collect(),
            });
            graph.values.push(value(op.out_shape(&[input]).unwrap()));
        }
        graph
    }

    #[test]
    fn the_room_decides_which_layers_are_packed_for_speed() {
        let graph = graph();
        let size = pack(&graph, Optimize::Size).unwrap();
        let chosen = |room: Room| {
            let packed = pack_within(&graph, Optimize::Speed, room).unwrap();
            let plan = Plan::parse(&packed.plan).unwrap();
            assert_eq!(plan.digest(), graph.digest());
            assert!(packed.plan.len() <= room.plan.max(size.plan.len()) && plan.arena_bytes() == packed.arena.bytes);
            plan.steps().map(|step| matches!(step.op, Op::Winograd { .. })).collect::<Vec<_>>()
        };
        let room = |more: usize| Room { plan: size.plan.len() + more, arena: usize::MAX };
        // An int16 at 16 points instead of 9 taps of a byte.
        let [first, last] = [32, 64].map(|channels| channels * channels * (32 - 9));
        assert_eq!(chosen(room(0)), [false; 4]);
        assert_eq!(chosen(room(first)), [true, false, false, false]);
        assert_eq!(chosen(room(2 * first + last - 1)), [true, true, false, false]);
        assert_eq!(chosen(room(2 * first + last)), [true, true, false, true]);
        assert_eq!(chosen(Room { plan: 0, ..room(0) }), [false; 4]);
        assert_eq!(chosen(Room { arena: size.arena.bytes, ..room(usize::MAX / 2) }), [false; 4]);
    }
}
