//! Map times factors.

use super::HostOperator;
use super::cost::{Core, Kernel};
use super::interval::{Input, Interval};
use super::node::{Integers, Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::op::Mul;
use ocellus_shared::plan::Step;

const PLAIN: Kernel = Kernel::new("mul", "plain");

impl HostOperator for Mul {
    fn run(&self, _: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        inputs[0].0.iter().zip(inputs[1].0.iter().cycle()).map(|(a, b)| a * b).collect()
    }

    fn quantize(&self, _: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        Ok(Integers::multiplier(inputs[0].scale() * inputs[1].scale() / output.scale()))
    }

    fn largest_sums(&self, _: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        vec![inputs[0].reach() * inputs[1].reach()]
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let product = |c: usize| inputs[0].centred(c).product(inputs[1].centred(c));
        (0..output.shape.c.into()).map(|c| product(c).requantized(node.multipliers[0], output)).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        writer.onnx.node("Mul", &[writer.input(0), writer.input(1)], result, vec![]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let name = &writer.node.name;
        let [x, factor] = [0, 1].map(|k| writer.centred(k, writer.input(k), &format!("{name}/x{k}")));
        let acc = writer.onnx.node("Mul", &[&x, &factor], &format!("{name}/acc"), vec![]);
        writer.requantize(&acc);
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[PLAIN]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let out = step.output.shape;
        let [words, rest] = [out.c / 4, out.c % 4].map(|count| out.pixels() * usize::from(count));
        (PLAIN, vec![1, out.pixels(), words, rest])
    }
}
