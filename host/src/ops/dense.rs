//! Dense layers.

use super::cost::{Core, Kernel, groups};
use super::interval::{Input, Interval};
use super::linear::{self, linear};
use super::node::{Integers, Linear, Node, Params, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{Channels, HostOperator, Trained, flat_order};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::op::{Dense, ParamCounts, row_bytes};
use ocellus_shared::plan::Step;

const ROWS: Kernel = Kernel::new("dense", "rows together");

impl HostOperator for Dense {
    fn lower(&self, layer: &Trained) -> Result<Params> {
        let len = layer.input.len();
        let w = (layer.array)("weight", &[self.out_channels.into(), len])?;
        // A map that was not flattened is flattened here, in the same order.
        let element = flat_order(layer.origin);
        let weights = w.chunks_exact(len).flat_map(|row| element.iter().map(|&i| row[i])).collect();
        Ok(Params::Linear(Linear { weights, bias: layer.bias(self.out_channels.into())? }))
    }

    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        linear::product(inputs[0].0, 1, linear(node))
    }

    fn channels(&self) -> Channels {
        Channels::Filters
    }

    fn absorbs(&self, _: &Linear) -> bool {
        true
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        linear::quantize(node, inputs, output)
    }

    fn counts(&self, packed: ParamCounts, input: Shape, output: Shape) -> ParamCounts {
        ParamCounts { weights: usize::from(output.c) * input.len(), ..packed }
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        linear::largest_sums(node, inputs)
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        linear::filter_intervals(node, inputs, output)
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        let x = writer.flat(0, &node.name);
        writer.conv(node, linear(node), &x, result);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let x = writer.flat(0);
        writer.linear(&x, &writer.node.weights, &writer.node.biases);
    }

    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        let filters = node.biases.len();
        let row = row_bytes(node.weights.len() / filters);
        let weights = linear::packed(node, filters * row, |filter, k| filter * row + k);
        (weights, linear::packed_biases(node, inputs))
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[ROWS]
    }

    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let len = step.input().shape.len();
        let groups = groups(step.output.shape.c.into(), if core == Core::Dsp { 4 } else { 2 });
        let (words, rest) = (len / 4, usize::from(!len.is_multiple_of(4)));
        (ROWS, vec![1, groups, groups * words, groups * rest])
    }
}
