//! Where every feature map and every kernel's scratch lies in the board's working memory.
//!
//! A buffer lives from the step that writes it to the last step that reads it; buffers that live at the same time must
//! not overlap, with one exception: a step that is computed in [strips](ocellus_shared::op::Op::strip) may write over the
//! rows that it has read of an input that nobody needs any more. Low strips let buffers overlap most, high ones cost fewest
//! instructions: the placement with the lowest says how little memory is enough, and then each step gets the highest
//! strips, or none, with which everything still has room in it.

mod place;

use crate::ops;
use crate::quantize::QuantGraph;
use ocellus_shared::{Op, Shape};
use place::{Buffer, Placement, Problem};

/// Variations of the best placement that are tried for higher strips of one step.
const TRIES: usize = 30;

/// Offsets in bytes from the start of the working memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// Of each value, the image first.
    pub values: Vec<usize>,
    /// Of each node's scratch memory, 0 where it has none.
    pub scratch: Vec<usize>,
    /// Rows of each node's output that are computed at a time; 0 for all.
    pub strip_rows: Vec<u16>,
    /// Size of the whole.
    pub bytes: usize,
    /// No placement needs less: the most bytes that are needed at one step, in the lowest strips.
    pub lower_bound: usize,
}

/// A graph, and which buffer is what.
struct Layout<'a> {
    graph: &'a QuantGraph,
    /// Of each value. A flattened map is the same bytes as its input.
    values: Vec<usize>,
    /// Of each node's scratch memory.
    scratch: Vec<Option<usize>>,
    problem: Problem,
}

/// Places everything that `graph` needs while it runs.
pub fn plan(graph: &QuantGraph) -> Arena {
    let mut layout = Layout::new(graph);
    let nodes = 0..graph.nodes.len();
    let mut strip_rows: Vec<u16> = nodes.clone().map(|i| layout.choices(i)[0]).collect();
    nodes.clone().for_each(|i| layout.cut(i, strip_rows[i]));
    let lower_bound = nodes.map(|i| layout.least(i)).max().unwrap_or(0);
    let lowest = layout.problem.place(lower_bound);
    let found = layout.relaxed(&lowest, &mut strip_rows).unwrap_or(lowest);
    strip_rows.iter().enumerate().for_each(|(i, &rows)| layout.cut(i, rows));
    let placement = layout.raise(found, &mut strip_rows);
    Arena {
        values: layout.values.iter().map(|&b| placement.offsets[b]).collect(),
        scratch: layout.scratch.iter().map(|b| b.map_or(0, |b| placement.offsets[b])).collect(),
        strip_rows,
        bytes: placement.bytes,
        lower_bound,
    }
}

impl<'a> Layout<'a> {
    /// The buffers of `graph`, with no step cut into strips.
    fn new(graph: &'a QuantGraph) -> Self {
        let (values, mut buffers) = value_buffers(graph);
        let mut scratch = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            let bytes = node.op.scratch_bytes(graph.values[node.inputs[0]].shape, graph.values[i + 1].shape);
            scratch.push((bytes > 0).then_some(buffers.len()));
            if bytes > 0 {
                buffers.push(Buffer { bytes, steps: i..=i, over: Vec::new() });
            }
        }
        Self { graph, values, scratch, problem: Problem::new(buffers) }
    }

    fn shapes(&self, i: usize) -> (Op, Shape, Shape) {
        let node = &self.graph.nodes[i];
        (node.op, self.graph.values[node.inputs[0]].shape, self.graph.values[i + 1].shape)
    }

    /// Heights of strips that node `i` may be computed in, from the lowest on; the last is 0, for all rows at once.
    fn choices(&self, i: usize) -> Vec<u16> {
        let (op, input, out) = self.shapes(i);
        let least = if op.reads_rows(0) { ops::of(op).least_strip_rows(out) } else { out.h };
        let gains =
            !self.dying(i).is_empty() || op.strip_scratch_bytes(input, out, least) < op.scratch_bytes(input, out);
        let heights = std::iter::successors(Some(least), |rows| rows.checked_mul(2));
        heights.take_while(|&rows| gains && rows < out.h).chain([0]).collect()
    }

    /// The inputs of node `i` that nobody reads after it, which its output may overlap.
    fn dying(&self, i: usize) -> Vec<usize> {
        let node = &self.graph.nodes[i];
        let mut inputs: Vec<usize> = node.inputs.iter().map(|&v| self.values[v]).collect();
        inputs.retain(|&b| b != self.values[i + 1] && *self.problem.buffers[b].steps.end() == i);
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// Computes node `i` in strips of `strip_rows` rows.
    fn cut(&mut self, i: usize, strip_rows: u16) {
        let (op, input, out) = self.shapes(i);
        if let Some(scratch) = self.scratch[i] {
            self.problem.buffers[scratch].bytes = op.strip_scratch_bytes(input, out, strip_rows);
        }
        if op == Op::Flatten {
            return;
        }
        let inputs = &self.graph.nodes[i].inputs;
        let lead = |buffer: usize| {
            let same = inputs.iter().enumerate().filter(|(_, v)| self.values[**v] == buffer);
            same.map(|(k, &v)| op.strip_lead(k, self.graph.values[v].shape, out, strip_rows)).max().unwrap_or(out.len())
        };
        let over = self.dying(i).into_iter().map(|b| (b, lead(b))).collect();
        self.problem.buffers[self.values[i + 1]].over = over;
    }

    /// The least memory in which node `i` can be computed as it is cut.
    fn least(&self, i: usize) -> usize {
        let buffers = &self.problem.buffers;
        let alive: usize = buffers.iter().filter(|b| b.steps.contains(&i)).map(|b| b.bytes).sum();
        let output = &buffers[self.values[i + 1]];
        // Dying inputs lie apart from each other, so that the output saves what it shares with them all but the lead
        // before the first; nor is it ever shorter than itself.
        let dying: usize = output.over.iter().map(|(b, _)| buffers[*b].bytes).sum();
        match output.over.iter().map(|(_, lead)| *lead).min() {
            Some(lead) => alive - dying - output.bytes + output.bytes.max(lead + dying),
            None => alive,
        }
    }

    /// A placement as small as `enough` in the highest strips of each node that could have room in it alone, or in lower
    /// ones where several do not have it together; then `strip_rows` are those. Nothing where it is not found.
    fn relaxed(&mut self, enough: &Placement, strip_rows: &mut [u16]) -> Option<Placement> {
        let choices: Vec<Vec<u16>> = (0..strip_rows.len()).map(|i| self.choices(i)).collect();
        let mut levels = vec![0; choices.len()];
        for (i, choices) in choices.iter().enumerate() {
            let has_room = |layout: &mut Self, level: usize| {
                layout.cut(i, choices[level]);
                layout.least(i) <= enough.bytes
            };
            levels[i] = (1..choices.len()).rev().find(|&level| has_room(self, level)).unwrap_or(0);
            self.cut(i, choices[levels[i]]);
        }
        loop {
            let found = self.problem.place(enough.bytes);
            if found.bytes <= enough.bytes {
                strip_rows.iter_mut().enumerate().for_each(|(i, rows)| *rows = choices[i][levels[i]]);
                return Some(found);
            }
            let reaches_out = |i: usize| {
                let ends = found.offsets.iter().zip(&self.problem.buffers).filter(|(_, b)| b.steps.contains(&i));
                ends.map(|(at, b)| at + b.bytes).any(|end| end > enough.bytes)
            };
            let lower: Vec<usize> = (0..levels.len()).filter(|&i| levels[i] > 0 && reaches_out(i)).collect();
            if lower.is_empty() {
                return None;
            }
            for i in lower {
                levels[i] -= 1;
                self.cut(i, choices[i][levels[i]]);
            }
        }
    }

    /// Gives each node the highest strips that leave the whole as small as `best`.
    fn raise(&mut self, mut best: Placement, strip_rows: &mut [u16]) -> Placement {
        let mut nodes: Vec<usize> = (0..strip_rows.len()).collect();
        // Those first that lose most by strips.
        let strips = |i: usize| usize::from(self.shapes(i).2.h).div_ceil(strip_rows[i].max(1).into());
        nodes.sort_by_key(|&i| {
            let (op, _, out) = self.shapes(i);
            std::cmp::Reverse(strips(i) * ops::of(op).strip_overhead(out))
        });
        for i in nodes {
            for rows in self.choices(i).into_iter().rev().take_while(|&rows| rows != strip_rows[i]) {
                self.cut(i, rows);
                let out = [Some(self.values[i + 1]), self.scratch[i]];
                // Where they are, or where they go in the same order or one like it.
                let has_room = |b: usize| {
                    let end = best.offsets[b] + self.problem.buffers[b].bytes;
                    end <= best.bytes && self.problem.is_sound(b, &best.offsets)
                };
                if !out.into_iter().flatten().all(has_room) {
                    let next = self.problem.first_fit(best.order.clone());
                    let next = self.problem.vary(next, best.bytes, TRIES);
                    if next.bytes > best.bytes {
                        continue;
                    }
                    best = next;
                }
                strip_rows[i] = rows;
                break;
            }
            self.cut(i, strip_rows[i]);
        }
        best
    }
}

/// The buffer of each value, and the buffers.
fn value_buffers(graph: &QuantGraph) -> (Vec<usize>, Vec<Buffer>) {
    let buffer =
        |v: usize, step: usize| Buffer { bytes: graph.values[v].shape.len(), steps: step..=step, over: Vec::new() };
    let mut of_value = vec![0];
    let mut buffers = vec![buffer(0, 0)];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &v in &node.inputs {
            let buffer = &mut buffers[of_value[v]];
            buffer.steps = *buffer.steps.start()..=i;
        }
        of_value.push(if node.op == Op::Flatten { of_value[node.inputs[0]] } else { buffers.len() });
        if node.op != Op::Flatten {
            buffers.push(buffer(i + 1, i));
        }
    }
    // The scores stay until somebody has read them.
    let scores = &mut buffers[of_value[graph.nodes.len()]];
    scores.steps = *scores.steps.start()..=graph.nodes.len();
    (of_value, buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::quantize::{QuantNode, Value};
    use ocellus_shared::Window;
    use ocellus_shared::op::strip_ranges;
    use ocellus_shared::plan::Crop;
    use ocellus_shared::quant::QuantParams;
    use place::ALIGN;

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
        QuantGraph { crop: Crop::Centre, labels: Vec::new(), origin: Origin::default(), values, nodes }
    }

    /// Runs the steps, strip after strip, on a memory whose bytes know which value's content they hold; how many of the
    /// steps overlapped an input.
    fn assert_sound(graph: &QuantGraph) -> usize {
        let arena = plan(graph);
        assert!(arena.bytes >= arena.lower_bound);
        let mut memory = vec![usize::MAX; arena.bytes];
        let shape = |v: usize| graph.values[v].shape;
        let rows = |v: usize, rows: std::ops::Range<u16>| {
            let row = usize::from(shape(v).w) * usize::from(shape(v).c);
            arena.values[v] + usize::from(rows.start) * row..arena.values[v] + usize::from(rows.end) * row
        };
        let whole = |v: usize| arena.values[v]..arena.values[v] + shape(v).len();
        // A flattened map is the content of its input.
        let mut content: Vec<usize> = vec![0];
        memory[whole(0)].fill(0);
        let mut overlaps = 0;
        for (i, node) in graph.nodes.iter().enumerate() {
            let (input, strip_rows) = (shape(node.inputs[0]), arena.strip_rows[i]);
            content.push(if node.op == Op::Flatten { content[node.inputs[0]] } else { i + 1 });
            let scratch = node.op.strip_scratch_bytes(input, shape(i + 1), strip_rows);
            for out in strip_ranges(shape(i + 1).h, strip_rows) {
                let strip = node.op.strip(input, out.clone()).filter(|_| strip_rows > 0);
                memory[arena.scratch[i]..][..scratch].fill(usize::MAX);
                for (k, &v) in node.inputs.iter().enumerate() {
                    let part = strip.as_ref().filter(|_| node.op.reads_rows(k)).map(|s| rows(v, s.input.clone()));
                    let read = &memory[part.unwrap_or_else(|| whole(v))];
                    assert!(read.iter().all(|&c| c == content[v]), "step {i} reads what was overwritten");
                }
                memory[rows(i + 1, out)].fill(content[i + 1]);
            }
            assert!(memory[whole(i + 1)].iter().all(|&c| c == content[i + 1]), "step {i} overwrote its own result");
            let meets = |v: usize| whole(v).start < whole(i + 1).end && whole(i + 1).start < whole(v).end;
            overlaps += usize::from(node.op != Op::Flatten && node.inputs.iter().any(|&v| meets(v)));
        }
        overlaps
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
        // The first convolution: what of its result, 128 bytes a row, has been written at the end of the fifth strip, before
        // what of the image, 48 bytes a row, that strip read; the image; and the patches of 3x3x3 pixels.
        let first = 15 * 128 - 11 * 48 + 768 + CONV.scratch_bytes(Shape::new(16, 16, 3), Shape::new(16, 16, 8));
        assert_eq!(arena.lower_bound, first);
        assert!(arena.bytes < arena.lower_bound + 2 * ALIGN);
        assert!(arena.strip_rows[0] > 0, "the first convolution lies over the image");
        assert_eq!(arena.strip_rows[2..], [0; 3], "there is room for small maps beside each other");
    }

    #[test]
    fn a_residual_block_needs_two_maps_and_a_few_rows() {
        let conv = Op::Conv { window: Window::same(3), out_channels: 16 };
        let map = Shape::new(32, 32, 16);
        let layers: [(Op, &[usize]); 5] =
            [(conv, &[0]), (conv, &[1]), (conv, &[2]), (Op::Add, &[1, 3]), (Op::GlobalAvgPool, &[4])];
        let graph = graph(map, &layers);
        assert!(assert_sound(&graph) > 0);
        // The last convolution of the block: three rows of its result are written when the second row is still needed.
        let arena = plan(&graph);
        assert_eq!(arena.lower_bound, 2 * map.len() + 4 * 32 * 16 + conv.scratch_bytes(map, map));
        assert_eq!(arena.bytes, arena.lower_bound.next_multiple_of(4));
    }

    #[test]
    fn random_chains_of_windows_are_sound() {
        let mut overlaps = 0;
        for seed in 0..300usize {
            let pick = |k: usize, n: usize| seed.wrapping_mul(2_654_435_761).wrapping_add(k * 40_503) / 7 % n;
            let window = |k: usize| Window {
                kernel: [1 + pick(k, 4) as u8; 2],
                stride: [1 + pick(k + 1, 2) as u8; 2],
                pad: [pick(k + 2, 1 + pick(k, 4)) as u8; 4],
            };
            let image = Shape::new(12 + pick(1, 20) as u16, 12 + pick(2, 20) as u16, 4);
            let layers: [(Op, &[usize]); 6] = [
                (Op::Conv { window: window(3), out_channels: 1 + pick(4, 30) as u16 }, &[0]),
                (Op::Depthwise { window: Window::same(3) }, &[1]),
                (Op::Add, &[1, 2]),
                (Op::Depthwise { window: window(5) }, &[3]),
                (Op::Concat, &[4, 4]),
                (Op::Conv { window: Window::valid(1, 1), out_channels: 1 + pick(9, 40) as u16 }, &[5]),
            ];
            overlaps += assert_sound(&graph(image, &layers));
        }
        assert!(overlaps > 300, "{overlaps}");
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
