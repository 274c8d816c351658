//! Maps seen as vectors.

use super::cost::{Core, Kernel};
use super::interval::{Input, Interval};
use super::node::{Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{Channels, HostOperator};
use ocellus_shared::Shape;
use ocellus_shared::op::Flatten;
use ocellus_shared::plan::Step;

/// What any step takes for being read from the plan.
pub const READING: Kernel = Kernel::new("flatten", "no work");

impl HostOperator for Flatten {
    fn run(&self, _: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        inputs[0].0.to_vec()
    }

    fn channels(&self) -> Channels {
        Channels::Flattened
    }

    fn intervals(&self, _: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        inputs[0].intervals.iter().copied().cycle().take(output.shape.len()).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        let (x, shape) = writer.inputs[0];
        writer.onnx.flatten(x, shape, result);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let (x, value) = writer.inputs[0];
        writer.onnx.flatten(x, value.shape, &writer.node.name);
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[READING]
    }

    fn loops(&self, _: Core, _: &Step) -> (Kernel, Vec<usize>) {
        (READING, vec![1])
    }
}
