//! Tables of functions.

use super::cost::{Core, Kernel};
use super::interval::{Input, Interval};
use super::node::{Integers, Node, Params, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer, float, int};
use super::{HostOperator, Trained};
use crate::net::Function;
use anyhow::{Result, bail};
use ocellus_shared::Shape;
use ocellus_shared::op::Lut;
use ocellus_shared::plan::Step;

const ENTRIES: Kernel = Kernel::new("lut", "4 entries");

fn function(node: &Node) -> Function {
    match node.params {
        Params::Function(function) => function,
        _ => unreachable!("a table without its function"),
    }
}

impl HostOperator for Lut {
    fn lower(&self, _: &Trained) -> Result<Params> {
        bail!("a table needs to be told its function: use a function layer")
    }

    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        inputs[0].0.iter().map(|&v| function(node).eval(v)).collect()
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        let exact = |q| node.activation.apply(function(node).eval(inputs[0].params.dequantize(q)));
        let weights = (i8::MIN..=i8::MAX).map(|q| output.params.quantize(exact(q))).collect();
        Ok(Integers { weights, ..Integers::default() })
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], _: Value) -> Vec<Interval> {
        inputs[0].intervals.iter().map(|&range| looked_up(&node.weights, range)).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        let (x, gate) = (writer.input(0), format!("{}/gate", node.name));
        let hard = || vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
        let onnx = &mut writer.onnx;
        let gate = match function(node) {
            Function::Sigmoid => return drop(onnx.node("Sigmoid", &[x], result, vec![])),
            Function::HardSigmoid => return drop(onnx.node("HardSigmoid", &[x], result, hard())),
            Function::Silu => onnx.node("Sigmoid", &[x], &gate, vec![]),
            Function::HardSwish => onnx.node("HardSigmoid", &[x], &gate, hard()),
        };
        onnx.node("Mul", &[x, &gate], result, vec![]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let QuantNode { name, weights, .. } = writer.node;
        let x = writer.cast(writer.input(0), &format!("{name}/int32"));
        let first = writer.onnx.i32s(format!("{name}/first"), &[], &[i8::MIN.into()]);
        let index = writer.onnx.node("Sub", &[&x, &first], &format!("{name}/index"), vec![]);
        let table = writer.onnx.i8s(format!("{name}/table"), &[256], weights);
        writer.onnx.node("Gather", &[&table, &index], name, vec![int("axis", 0)]);
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[ENTRIES]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        (ENTRIES, vec![1, step.output.shape.len()])
    }
}

/// The least and the largest entry of a table for arguments in `range`.
fn looked_up(table: &[i8], range: Interval) -> Interval {
    let [first, last] = [range.lo, range.hi].map(|q| (i32::from(q) + 128) as usize);
    let entry = |all: Interval, &q: &i8| Interval { lo: all.lo.min(q), hi: all.hi.max(q) };
    table[first..=last].iter().fold(Interval { lo: i8::MAX, hi: i8::MIN }, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_looked_through() {
        let table: Vec<i8> = (-128..=127).map(|q: i32| (q * q / 200) as i8).collect();
        assert_eq!(looked_up(&table, Interval { lo: -20, hi: 40 }), Interval { lo: 0, hi: 8 });
        assert_eq!(looked_up(&table, Interval { lo: 30, hi: 30 }).constant(), Some(4));
    }
}
