//! Maps one after the other.

use super::cost::{Core, Kernel};
use super::interval::{Input, Interval};
use super::node::{Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer, int};
use super::{Channels, HostOperator};
use ocellus_shared::Shape;
use ocellus_shared::op::Concat;
use ocellus_shared::plan::Step;

const PLAIN: Kernel = Kernel::new("concat", "plain");

impl HostOperator for Concat {
    fn run(&self, _: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let pixels = inputs[0].1.pixels();
        let pixel =
            |p: usize| inputs.iter().flat_map(move |(x, shape)| &x[p * usize::from(shape.c)..][..shape.c.into()]);
        (0..pixels).flat_map(pixel).copied().collect()
    }

    fn channels(&self) -> Channels {
        Channels::Joined
    }

    fn intervals(&self, _: &QuantNode, inputs: &[Input], _: Value) -> Vec<Interval> {
        inputs.iter().flat_map(|input| input.intervals).copied().collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        let inputs: Vec<&str> = writer.inputs.iter().map(|(name, _)| *name).collect();
        writer.onnx.node("Concat", &inputs, result, vec![int("axis", 1)]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let inputs: Vec<&str> = writer.inputs.iter().map(|(name, _)| *name).collect();
        writer.onnx.node("Concat", &inputs, &writer.node.name, vec![int("axis", 1)]);
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[PLAIN]
    }

    /// Copies of whole words are cheaper.
    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let out = step.output.shape;
        let (parts, odd) = (out.pixels() * step.inputs().len(), usize::from(!step.input().shape.c.is_multiple_of(4)));
        (PLAIN, vec![1, out.pixels(), parts, out.len(), odd * parts, odd * out.len()])
    }
}
