//! Scale and offset per channel.

use super::cost::{Core, Kernel};
use super::interval::{Input, Interval};
use super::linear::{self, linear};
use super::node::{Integers, Linear, Node, Params, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{HostOperator, Trained};
use anyhow::{Result, bail};
use ocellus_shared::Shape;
use ocellus_shared::op::ChannelScale;
use ocellus_shared::plan::Step;

const PLAIN: Kernel = Kernel::new("scale", "plain");

impl HostOperator for ChannelScale {
    fn lower(&self, _: &Trained) -> Result<Params> {
        bail!("a channel scale comes from a batch normalisation: use one")
    }

    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let Linear { weights, bias } = linear(node);
        let c = weights.len();
        inputs[0].0.iter().enumerate().map(|(k, v)| v * weights[k % c] + bias[k % c]).collect()
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        linear::quantize(node, inputs, output)
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        linear::largest_sums(node, inputs)
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        linear::intervals(node, output, |c| inputs[0].centred(c).times(node.weights[c].into()))
    }

    fn narrowed(&self, node: &QuantNode, kept: &[usize]) -> QuantNode {
        linear::narrowed(node, kept)
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        let (Linear { weights, bias }, part) = (linear(node), |part: &str| format!("{}/{part}", node.name));
        let dims = [1, bias.len(), 1, 1];
        let scale = writer.onnx.f32s(part("scale"), &dims, weights);
        let offset = writer.onnx.f32s(part("offset"), &dims, bias);
        let scaled = writer.onnx.node("Mul", &[writer.input(0), &scale], &part("scaled"), vec![]);
        writer.onnx.node("Add", &[&scaled, &offset], result, vec![]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        writer.linear(writer.input(0), &writer.node.weights, &writer.node.biases);
    }

    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        (node.weights.clone(), linear::packed_biases(node, inputs))
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[PLAIN]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let out = step.output.shape;
        (PLAIN, vec![1, out.pixels(), out.len()])
    }
}
