//! Writes a quantized graph as the plan that a board runs.

use crate::arena::{self, Arena};
use crate::ops;
use crate::quantize::{QuantGraph, Value};
use crate::recipe::Optimize;
use anyhow::{Context, Result};
use ocellus_shared::Op;
use ocellus_shared::op::winograd;
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

/// The same within `room` where that can be: as many layers become Winograd layers as the plan has room for, those first
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
    let (inputs, output, strip_rows) = (graph.input_values(i), graph.values[i + 1], arena.strip_rows[i]);
    let (weights, biases) = ops::of(node.op).pack(node, &inputs, output);
    StepSpec {
        op: node.op,
        inputs: node.inputs.iter().map(|&v| operand(v)).collect(),
        output: operand(i + 1),
        scratch: (arena.scratch[i], node.op.strip_scratch_bytes(inputs[0].shape, output.shape, strip_rows)),
        strip_rows,
        weights,
        biases,
        multipliers: node.multipliers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::quantize::QuantNode;
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
