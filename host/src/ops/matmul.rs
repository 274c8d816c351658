//! Products of two maps.

use super::cost::{Core, Kernel};
use super::interval::{Bounds, Input, Interval};
use super::node::{Integers, Node, Params, QuantNode, Value};
use super::onnx::{Builder, FloatWriter, Int8Writer, ints};
use super::{Channels, HostOperator};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::op::{BLOCK, MatMul, PATCHES, row_bytes};
use ocellus_shared::plan::Step;

const ROWS: Kernel = Kernel::new("matmul", "3 rows x 2 columns");
/// Pixels of a strip that are worth bringing the second input into order once more.
const LEAST_STRIP_PIXELS: u16 = 32;
/// Columns whose sums a Cortex-M55 holds before it requantizes them.
const HELD: usize = 32;

impl HostOperator for MatMul {
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let [(a, shape), (b, _)] = [inputs[0], inputs[1]];
        let (depth, columns, factor) = (self.depth(shape), self.columns(node.output), factor(node));
        let value = |index: usize| {
            let (pixel, channel) = (index / usize::from(node.output.c), index % usize::from(node.output.c));
            let (head, column) = (channel / columns, channel % columns);
            let row = &a[pixel * usize::from(shape.c) + head * depth..][..depth];
            let (first, apart) = match self.transpose_b {
                true => (column * usize::from(shape.c) + head * depth, 1),
                false => (channel, node.output.c.into()),
            };
            let products = row.iter().zip(b[first..].iter().step_by(apart)).map(|(a, b)| a * b);
            factor * products.sum::<f32>()
        };
        (0..node.output.len()).map(value).collect()
    }

    fn channels(&self) -> Channels {
        Channels::Mixed
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        let scale = f64::from(factor(node)) * inputs[0].scale() * inputs[1].scale();
        Ok(Integers::multiplier(scale / output.scale()))
    }

    fn largest_sums(&self, _: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        vec![self.depth(inputs[0].shape) as i64 * inputs[0].reach() * inputs[1].reach()]
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let (depth, columns) = (self.depth(inputs[0].value.shape), self.columns(output.shape));
        let sum = |c: usize| {
            let products = (0..depth).map(|k| {
                let channel = c / columns * depth + k;
                let other = if self.transpose_b { channel } else { c };
                inputs[0].centred(channel).product(inputs[1].centred(other))
            });
            products.sum::<Bounds>()
        };
        (0..output.shape.c.into()).map(|c| sum(c).requantized(node.multipliers[0], output)).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        let (inputs, shapes) = ([0, 1].map(|k| writer.input(k)), [0, 1].map(|k| writer.inputs[k].1));
        if factor(node) == 1.0 {
            return sums(self, writer.onnx, &node.name, (inputs, shapes), node.output, result);
        }
        let part = |part: &str| format!("{}/{part}", node.name);
        let all = part("sums");
        sums(self, writer.onnx, &node.name, (inputs, shapes), node.output, &all);
        let scale = writer.onnx.f32s(part("factor"), &[], &[factor(node)]);
        writer.onnx.node("Mul", &[&all, &scale], result, vec![]);
    }

    /// In int32: of `MatMulInteger` with zero points tract 0.23.9 makes operators that it cannot run where maps have one pixel.
    fn write_int8(&self, writer: &mut Int8Writer) {
        let name = &writer.node.name;
        let shapes = [0, 1].map(|k| writer.inputs[k].1.shape);
        let [a, b] = [0, 1].map(|k| writer.centred(k, writer.input(k), &format!("{name}/x{k}")));
        let acc = format!("{name}/acc");
        sums(self, writer.onnx, name, ([&a, &b], shapes), writer.output.shape, &acc);
        writer.requantize(&acc);
    }

    fn least_strip_rows(&self, output: Shape) -> u16 {
        LEAST_STRIP_PIXELS.div_ceil(output.w)
    }

    /// The second input is brought into order anew.
    fn strip_overhead(&self, output: Shape) -> usize {
        output.c.into()
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[ROWS]
    }

    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let (input, out) = (step.input().shape, step.output.shape);
        let (heads, depth, columns) = (usize::from(self.heads), self.depth(input), self.columns(out));
        let [rows, lines] = [out.pixels(), columns].map(|count| heads * count);
        // Three rows times two columns.
        let groups = heads * out.pixels().div_ceil(PATCHES);
        let tiles = groups * columns.div_ceil(2);
        let counts = match core {
            Core::Dsp => {
                // Fours of values that are brought into order as they lie, or value by value.
                let (words, rest) = (depth / 4, usize::from(!depth.is_multiple_of(4)));
                let as_they_lie = if self.transpose_b { rows + lines } else { rows };
                let by_value = as_they_lie * rest + (rows + lines - as_they_lie) * depth.div_ceil(4);
                let left = tiles - heads * (out.pixels() / PATCHES) * (columns / 2);
                let in_order = [rows, lines, as_they_lie * words, by_value];
                let sums = [groups, tiles, tiles * depth.div_ceil(4), left];
                [&[1], &in_order[..], &sums, &[rows * columns.div_ceil(4)]].concat()
            }
            Core::Vector => {
                // Values that are brought into order sixteen at a time or, where a pixel lies between them, one by one.
                let blocks = depth.div_ceil(BLOCK);
                let alone = if self.transpose_b { 0 } else { lines * depth };
                let [whole, rest] = [row_bytes(depth) / BLOCK, usize::from(!row_bytes(depth).is_multiple_of(BLOCK))];
                let in_order = [rows, rows * blocks, lines, lines * blocks, alone];
                let sums = [groups, groups * columns.div_ceil(HELD), tiles, tiles * whole, tiles * rest];
                [&[1], &in_order[..], &sums, &[rows * columns.div_ceil(4)]].concat()
            }
        };
        (ROWS, counts)
    }
}

/// Writes the sums of `op` over inputs of these names and shapes as one map, called `result`; what lies between is called after
/// `name`.
fn sums(
    op: &MatMul,
    onnx: &mut Builder,
    name: &str,
    (inputs, shapes): ([&str; 2], [Shape; 2]),
    output: Shape,
    result: &str,
) {
    // Rows times a single column. Of matrices tract 0.23.9 takes the axes away that have one element, and rows that a stride leaves
    // out. Where nothing is left of the result's axes, it takes `ab,ab->` for a product that was not said the axes of ("Trying to
    // substitute", of its pass `MergeConsecutiveSameRoleAxes`).
    if output.c == 1 {
        let b = onnx.as_vector(inputs[1], shapes[1], name);
        return onnx.dot(inputs[0], &b, name, result);
    }
    let [a, b] = factors(op, onnx, name, inputs, shapes);
    let products = onnx.node("MatMul", &[&a, &b], &format!("{name}/products"), vec![]);
    joined(onnx, &products, output, result);
}

/// What ONNX is to multiply for `op`: rows of pixels, `(batch, heads, h, w, depth)`, and columns `(batch, heads, 1, depth,
/// columns)`.
///
/// Rows and columns of the first input's pixels are never joined to one axis: tract 0.23.9 cannot run a window with a stride behind
/// a `Reshape` that takes them apart again ("Downsample over Reshape: Invalid axis").
fn factors(op: &MatMul, onnx: &mut Builder, name: &str, inputs: [&str; 2], shapes: [Shape; 2]) -> [String; 2] {
    let [a, b] = shapes;
    let heads = i64::from(op.heads);
    let part = |part: &str| format!("{name}/{part}");
    let dims = [0, heads, i64::from(a.c) / heads, a.h.into(), a.w.into()];
    let dims = onnx.i64s(part("a/shape"), &dims);
    let rows = onnx.node("Reshape", &[inputs[0], &dims], &part("a/heads"), vec![]);
    let rows = onnx.node("Transpose", &[&rows], &part("a"), vec![ints("perm", &[0, 1, 3, 4, 2])]);
    let dims = [0, heads, 1, i64::from(b.c) / heads, b.pixels() as i64];
    let dims = onnx.i64s(part("b/shape"), &dims);
    let columns = onnx.node("Reshape", &[inputs[1], &dims], &part("b/heads"), vec![]);
    // The channels of a map come before its pixels, as in a transposed matrix.
    let columns = match op.transpose_b {
        true => columns,
        false => onnx.node("Transpose", &[&columns], &part("b"), vec![ints("perm", &[0, 1, 2, 4, 3])]),
    };
    [rows, columns]
}

/// Writes `product`, `(batch, heads, h, w, columns)`, as one map, called `result`.
fn joined(onnx: &mut Builder, product: &str, shape: Shape, result: &str) {
    let perm = vec![ints("perm", &[0, 1, 4, 2, 3])];
    let product = onnx.node("Transpose", &[product], &format!("{result}/heads"), perm);
    let dims = [0, shape.c.into(), shape.h.into(), shape.w.into()];
    let dims = onnx.i64s(format!("{result}/shape"), &dims);
    onnx.node("Reshape", &[&product, &dims], result, vec![]);
}

/// What the products of `node` are multiplied by.
fn factor(node: &Node) -> f32 {
    match node.params {
        Params::Factor(factor) => factor,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Activation;
    use ocellus_shared::Op;
    use ocellus_shared::quant::QuantParams;

    fn node(op: MatMul, output: Shape, params: Params) -> Node {
        let (inputs, activation) = (vec![0, 1], Activation::None);
        Node { name: "product".into(), op: op.into(), inputs, output, params, activation }
    }

    /// Two heads: by hand, value by value.
    #[test]
    fn heads_are_multiplied_apart() {
        let a = ([1.0, 2.0, 3.0, 4.0, -1.0, 0.5, 2.0, -2.0], Shape::new(1, 2, 4));
        let b = ([1.0, 0.0, 2.0, 1.0, 0.0, 1.0, -1.0, 3.0, 2.0, 2.0, 0.0, 1.0], Shape::new(3, 1, 4));
        let transposed = MatMul { heads: 2, transpose_b: true };
        let scores =
            transposed.run(&node(transposed, Shape::new(1, 2, 6), Params::None), &[(&a.0[..], a.1), (&b.0[..], b.1)]);
        assert_eq!(scores, [1.0, 2.0, 6.0, 10.0, 9.0, 4.0, -1.0, 0.5, -1.0, 2.0, -8.0, -2.0]);
        let plain = MatMul { heads: 2, transpose_b: false };
        let node = node(plain, Shape::new(1, 2, 4), Params::Factor(0.5));
        let values = plain.run(&node, &[(&scores, Shape::new(1, 2, 6)), (&b.0, b.1)]);
        assert_eq!(values, [6.5, 7.0, 5.5, 20.5, -1.5, -0.75, 6.0, -12.0]);
    }

    #[test]
    fn one_multiplier_holds_all_scales() {
        let op = MatMul { heads: 1, transpose_b: true };
        let value = |scale, c| Value { shape: Shape::new(2, 2, c), params: QuantParams { scale, zero: 5 } };
        let inputs = [value(0.5, 64), value(0.25, 64)];
        let node = node(op, Shape::new(2, 2, 4), Params::Factor(0.125));
        assert_eq!(op.quantize(&node, &inputs, value(0.0625, 4)).unwrap().multipliers, [0.25]);
        let quantized = QuantNode {
            name: "product".into(),
            op: Op::from(op),
            inputs: vec![0, 1],
            weights: vec![],
            biases: vec![],
            multipliers: vec![0.25],
        };
        assert_eq!(op.largest_sums(&quantized, &inputs), [64 * 133 * 133]);
    }
}
