//! Residual addition.

use super::HostOperator;
use super::cost::{Core, Kernel};
use super::interval::{Bounds, Input, Interval};
use super::node::{Integers, Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::op::{Add, ParamCounts};
use ocellus_shared::plan::Step;

const SUMS: Kernel = Kernel::new("add", "4 sums");
/// The factor of the coarser input: 15 bits.
const FACTOR: f64 = 32767.0;

/// Its biases are the factors of both inputs.
impl HostOperator for Add {
    fn run(&self, _: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        inputs[0].0.iter().zip(inputs[1].0).map(|(a, b)| a + b).collect()
    }

    fn quantize(&self, _: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        let unit = unit(inputs[0].scale(), inputs[1].scale());
        let biases = inputs.iter().map(|v| (v.scale() / unit).round_ties_even() as i32).collect();
        Ok(Integers { biases, ..Integers::multiplier(unit / output.scale()) })
    }

    fn counts(&self, packed: ParamCounts, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts { biases: 2, ..packed }
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        vec![inputs.iter().zip(&node.biases).map(|(x, &factor)| i64::from(factor).abs() * x.reach()).sum()]
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let sum = |c: usize| (0..2).map(|k| inputs[k].centred(c).times(node.biases[k].into())).sum::<Bounds>();
        (0..output.shape.c.into()).map(|c| sum(c).requantized(node.multipliers[0], output)).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        writer.onnx.node("Add", &[writer.input(0), writer.input(1)], result, vec![]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let (name, factors) = (&writer.node.name, &writer.node.biases);
        let terms = [0, 1].map(|k| {
            let x = writer.centred(k, writer.input(k), &format!("{name}/x{k}"));
            let factor = writer.onnx.i32s(format!("{name}/factor{k}"), &[], &[factors[k]]);
            writer.onnx.node("Mul", &[&x, &factor], &format!("{name}/term{k}"), vec![])
        });
        let acc = writer.onnx.node("Add", &[&terms[0], &terms[1]], &format!("{name}/acc"), vec![]);
        writer.requantize(&acc);
    }

    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        let zero = |k: usize| i32::from(inputs[k].params.zero);
        let offset = -(node.biases[0] * zero(0) + node.biases[1] * zero(1));
        (Vec::new(), vec![node.biases[0], node.biases[1], offset])
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[SUMS]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        (SUMS, vec![1, step.output.shape.len()])
    }
}

/// What both scales are integer multiples of, nearly: exactly where they are equal.
fn unit(a: f64, b: f64) -> f64 {
    if a == b { a } else { a.max(b) / FACTOR }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Params};
    use ocellus_shared::Op;
    use ocellus_shared::quant::QuantParams;

    #[test]
    fn equal_scales_stay_exact_and_others_keep_their_ratio() {
        for (scales, factors) in [([0.5, 0.5], [1, 1]), ([0.5, 0.25], [32767, 16384]), ([1e-9, 1.0], [0, 32767])] {
            let (output, params) = (Shape::vector(3), Params::None);
            let (inputs, activation) = (vec![0, 1], Activation::None);
            let add = Node { name: "add".into(), op: Op::Add, inputs, output, params, activation };
            let value = |scale| Value { shape: output, params: QuantParams { scale, zero: -128 } };
            assert_eq!(Add {}.quantize(&add, &scales.map(value), value(1.0)).unwrap().biases, factors);
        }
    }
}
