//! Where every feature map and every kernel's scratch lies in the board's working memory.
//!
//! A buffer lives from the step that writes it to the last step that reads it; buffers that live at the same time must
//! not overlap. Placing them in the least memory is an NP-hard packing problem, so several orders of first-fit are
//! tried and the best is kept; [`Arena::lower_bound`] says how far from perfect it can be.

use crate::quantize::QuantGraph;
use ocellus_shared::Op;
use std::ops::RangeInclusive;

/// Buffers start at multiples of this many bytes, so that kernels may load whole words.
const ALIGN: usize = 8;

/// Offsets in bytes from the start of the working memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// Of each value, the image first.
    pub values: Vec<usize>,
    /// Of each node's scratch memory, 0 where it has none.
    pub scratch: Vec<usize>,
    /// Size of the whole.
    pub bytes: usize,
    /// No placement needs less: the most bytes that are alive at one step.
    pub lower_bound: usize,
}

/// Something that needs memory for some of the steps.
struct Buffer {
    bytes: usize,
    steps: RangeInclusive<usize>,
}

impl Buffer {
    fn meets(&self, other: &Self) -> bool {
        self.steps.start() <= other.steps.end() && other.steps.start() <= self.steps.end()
    }
}

/// Places everything that `graph` needs while it runs.
pub fn plan(graph: &QuantGraph) -> Arena {
    let (values, mut buffers) = value_buffers(graph);
    let with_scratch: Vec<usize> = (0..graph.nodes.len()).filter(|&i| scratch_bytes(graph, i) > 0).collect();
    let value_count = buffers.len();
    buffers.extend(with_scratch.iter().map(|&i| Buffer { bytes: scratch_bytes(graph, i), steps: i..=i }));
    let (offsets, bytes) = place(&buffers);
    let mut scratch = vec![0; graph.nodes.len()];
    for (k, i) in with_scratch.into_iter().enumerate() {
        scratch[i] = offsets[value_count + k];
    }
    let alive = |step: usize| -> usize { buffers.iter().filter(|b| b.steps.contains(&step)).map(|b| b.bytes).sum() };
    Arena {
        values: values.into_iter().map(|b| offsets[b]).collect(),
        scratch,
        bytes,
        lower_bound: (0..graph.nodes.len()).map(alive).max().unwrap_or(0),
    }
}

fn scratch_bytes(graph: &QuantGraph, i: usize) -> usize {
    let node = &graph.nodes[i];
    node.op.scratch_bytes(graph.values[node.inputs[0]].shape)
}

/// The buffer of each value, and the buffers. A flattened map is the same bytes as its input.
fn value_buffers(graph: &QuantGraph) -> (Vec<usize>, Vec<Buffer>) {
    let mut of_value = vec![0];
    let mut buffers = vec![Buffer { bytes: graph.values[0].shape.len(), steps: 0..=0 }];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &v in &node.inputs {
            let buffer = &mut buffers[of_value[v]];
            buffer.steps = *buffer.steps.start()..=i;
        }
        of_value.push(if node.op == Op::Flatten { of_value[node.inputs[0]] } else { buffers.len() });
        if node.op != Op::Flatten {
            buffers.push(Buffer { bytes: graph.values[i + 1].shape.len(), steps: i..=i });
        }
    }
    // The scores stay until somebody has read them.
    let scores = &mut buffers[of_value[graph.nodes.len()]];
    scores.steps = *scores.steps.start()..=graph.nodes.len();
    (of_value, buffers)
}

/// Offsets of the buffers and the total, from the best of several orders.
fn place(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let by = |key: &dyn Fn(&Buffer) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&b| std::cmp::Reverse(key(&buffers[b])));
        first_fit(buffers, &order)
    };
    let lifetime = |b: &Buffer| b.steps.end() - b.steps.start() + 1;
    let orders = [
        by(&|b| (b.bytes, lifetime(b))),
        by(&|b| (lifetime(b), b.bytes)),
        by(&|b| (b.bytes * lifetime(b), b.bytes)),
        by(&|b| (usize::MAX - b.steps.start(), b.bytes)),
        by(&|b| (*b.steps.end(), b.bytes)),
    ];
    orders.into_iter().min_by_key(|(_, bytes)| *bytes).expect("there are several orders")
}

/// Puts each buffer, in this order, at the lowest offset that is free while it lives.
fn first_fit(buffers: &[Buffer], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    for &b in order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&o| buffers[o].meets(&buffers[b]))
            .map(|&o| (offsets[o], buffers[o].bytes))
            .collect();
        taken.sort_unstable();
        let mut at = 0;
        for (offset, bytes) in taken {
            if at + buffers[b].bytes <= offset {
                break;
            }
            at = at.max((offset + bytes).next_multiple_of(ALIGN));
        }
        offsets[b] = at;
        placed.push(b);
    }
    let bytes = (0..buffers.len()).map(|b| offsets[b] + buffers[b].bytes).max().unwrap_or(0);
    (offsets, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{QuantNode, Value};
    use ocellus_shared::plan::Crop;
    use ocellus_shared::quant::QuantParams;
    use ocellus_shared::{Shape, Window};

    /// A graph of these operators and inputs on an image; its parameters do not matter here.
    fn graph(image: Shape, layers: &[(Op, &[usize])]) -> QuantGraph {
        let params = QuantParams::IMAGE;
        let mut values = vec![Value { shape: image, params }];
        let mut nodes = Vec::new();
        for (i, &(op, inputs)) in layers.iter().enumerate() {
            let shapes: Vec<Shape> = inputs.iter().map(|&v| values[v].shape).collect();
            values.push(Value { shape: op.out_shape(&shapes).unwrap(), params });
            let (weights, biases, multipliers) = (Vec::new(), Vec::new(), Vec::new());
            nodes.push(QuantNode { name: i.to_string(), op, inputs: inputs.to_vec(), weights, biases, multipliers });
        }
        QuantGraph { crop: Crop::Centre, labels: Vec::new(), dataset_hash: String::new(), values, nodes }
    }

    /// Runs the steps on a memory whose bytes know which buffer's content they hold.
    fn assert_sound(graph: &QuantGraph) {
        let arena = plan(graph);
        assert!(arena.bytes >= arena.lower_bound);
        let mut memory = vec![usize::MAX; arena.bytes];
        let range = |v: usize| arena.values[v]..arena.values[v] + graph.values[v].shape.len();
        // A flattened map is the content of its input.
        let mut content: Vec<usize> = vec![0];
        memory[range(0)].fill(0);
        for (i, node) in graph.nodes.iter().enumerate() {
            content.push(if node.op == Op::Flatten { content[node.inputs[0]] } else { i + 1 });
            memory[arena.scratch[i]..][..scratch_bytes(graph, i)].fill(usize::MAX);
            memory[range(i + 1)].fill(content[i + 1]);
            let whole = |v: usize| memory[range(v)].iter().all(|&c| c == content[v]);
            assert!(node.inputs.iter().all(|&v| whole(v)), "step {i} reads what it or an earlier step overwrote");
            assert!(whole(i + 1));
        }
    }

    const CONV: Op = Op::Conv { window: Window::same(3), out_channels: 8 };
    const POOL: Op = Op::MaxPool { window: Window::valid(2, 2) };
    const DENSE: Op = Op::Dense { out_channels: 10 };

    #[test]
    fn a_chain_needs_no_more_than_its_largest_step() {
        let graph = graph(
            Shape::new(16, 16, 3),
            &[(CONV, &[0]), (POOL, &[1]), (CONV, &[2]), (Op::Flatten, &[3]), (DENSE, &[4])],
        );
        assert_sound(&graph);
        let arena = plan(&graph);
        assert_eq!(arena.values[3], arena.values[4], "a flattened map stays where it is");
        // The first convolution: image, result and the patches of 3x3x3 pixels.
        assert_eq!(arena.lower_bound, 768 + 2048 + CONV.scratch_bytes(Shape::new(16, 16, 3)));
        assert!(arena.bytes < arena.lower_bound + 2 * ALIGN);
    }

    #[test]
    fn values_that_are_read_again_later_stay() {
        let layers: [(Op, &[usize]); 6] =
            [(CONV, &[0]), (CONV, &[1]), (CONV, &[2]), (Op::Add, &[1, 3]), (Op::Concat, &[4, 1, 0]), (DENSE, &[5])];
        assert_sound(&graph(Shape::new(9, 7, 3), &layers));
    }

    #[test]
    fn a_map_flattened_while_somebody_else_still_reads_it() {
        let layers: [(Op, &[usize]); 5] =
            [(CONV, &[0]), (Op::Flatten, &[1]), (DENSE, &[2]), (Op::GlobalAvgPool, &[1]), (Op::Concat, &[3, 4])];
        assert_sound(&graph(Shape::new(5, 5, 2), &layers));
    }

    #[test]
    fn the_image_may_be_the_result() {
        assert_sound(&graph(Shape::new(2, 3, 4), &[(Op::Flatten, &[0])]));
    }
}
