//! Pooling.

use super::HostOperator;
use super::cost::{Core, Kernel, LANES, Reached, groups};
use super::interval::{Input, Interval};
use super::linear::{for_each_tap, some};
use super::node::{Integers, Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer, int, window};
use anyhow::Result;
use ocellus_shared::op::{AvgPool, GlobalAvgPool, MaxPool, ParamCounts};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

const LARGEST: Kernel = Kernel::new("max-pool", "plain");
const MEAN: Kernel = Kernel::new("avg-pool", "plain");
const GLOBAL_MEAN: Kernel = Kernel::new("global-avg-pool", "plain");

impl HostOperator for MaxPool {
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        merged(inputs[0], self.window, node.output, f32::NEG_INFINITY, f32::max)
    }

    fn moves_scale(&self, factors: &[f32]) -> bool {
        factors.iter().all(|&w| w > 0.0)
    }

    fn intervals(&self, _: &QuantNode, inputs: &[Input], _: Value) -> Vec<Interval> {
        inputs[0].intervals.to_vec()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        writer.onnx.node("MaxPool", &[writer.input(0)], result, window(writer.window(self.window)));
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let attributes = window(writer.window(self.window));
        writer.onnx.node("MaxPool", &[writer.input(0)], &writer.node.name, attributes);
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[LARGEST]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let out = step.output.shape;
        let reach = Reached::of(&self.window, step.input().shape, out);
        let [words, rest] = [out.c / 4, out.c % 4].map(|count| reach.taps * usize::from(count));
        (LARGEST, vec![1, out.pixels(), reach.rows, reach.taps, words, rest, out.len()])
    }
}

impl HostOperator for AvgPool {
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let taps = self.window.taps() as f32;
        let sums = merged(inputs[0], self.window, node.output, 0.0, |a, b| a + b);
        sums.into_iter().map(|sum| sum / taps).collect()
    }

    fn moves_scale(&self, _: &[f32]) -> bool {
        true
    }

    fn quantize(&self, _: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        let mean = inputs[0].scale() / output.scale() / self.window.taps() as f64;
        Ok(Integers { multipliers: vec![mean as f32; output.shape.c.into()], ..Integers::default() })
    }

    fn counts(&self, packed: ParamCounts, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts { biases: 0, ..packed }
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        vec![self.window.taps() as i64 * inputs[0].reach(); node.multipliers.len()]
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let sum = |c: usize| inputs[0].centred(c).times(self.window.taps() as i64);
        node.multipliers.iter().enumerate().map(|(c, m)| sum(c).requantized(*m, output)).collect()
    }

    fn narrowed(&self, node: &QuantNode, kept: &[usize]) -> QuantNode {
        QuantNode { multipliers: some(&node.multipliers, kept), ..node.clone() }
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        writer.onnx.node("AveragePool", &[writer.input(0)], result, window(writer.window(self.window)));
    }

    /// A sum is a depthwise convolution with ones.
    fn write_int8(&self, writer: &mut Int8Writer) {
        let channels = writer.node.multipliers.len();
        writer.linear(writer.input(0), &vec![1; self.window.taps() * channels], &vec![0; channels]);
    }

    fn pack(&self, _: &QuantNode, inputs: &[Value], output: Value) -> (Vec<i8>, Vec<i32>) {
        let offset = -(self.window.taps() as i32) * i32::from(inputs[0].params.zero);
        (Vec::new(), vec![offset; output.shape.c.into()])
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[MEAN]
    }

    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let out = step.output.shape;
        let [groups, alone] = channel_groups(core, out.c.into()).map(|count| out.pixels() * count);
        let (rows, taps) = (usize::from(self.window.kernel[0]), self.window.taps());
        (MEAN, vec![1, out.pixels(), groups, groups * rows, groups * taps, alone, alone * rows, alone * taps])
    }
}

impl HostOperator for GlobalAvgPool {
    fn run(&self, _: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let (x, shape) = inputs[0];
        let (c, pixels) = (usize::from(shape.c), shape.pixels() as f32);
        (0..c).map(|i| x.iter().skip(i).step_by(c).sum::<f32>() / pixels).collect()
    }

    fn moves_scale(&self, _: &[f32]) -> bool {
        true
    }

    fn quantize(&self, _: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        let x = inputs[0];
        Ok(Integers::multiplier(x.scale() / output.scale() / x.shape.pixels() as f64))
    }

    fn counts(&self, packed: ParamCounts, _: Shape, _: Shape) -> ParamCounts {
        ParamCounts { biases: 0, ..packed }
    }

    fn largest_sums(&self, _: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        vec![inputs[0].shape.pixels() as i64 * inputs[0].reach()]
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let pixels = inputs[0].value.shape.pixels() as i64;
        let one = |c: usize| inputs[0].centred(c).times(pixels).requantized(node.multipliers[0], output);
        (0..output.shape.c.into()).map(one).collect()
    }

    fn write_float(&self, writer: &mut FloatWriter, _: &Node, result: &str) {
        writer.onnx.node("GlobalAveragePool", &[writer.input(0)], result, vec![]);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        let name = &writer.node.name;
        let Value { shape, params } = writer.inputs[0].1;
        let x = writer.cast(writer.input(0), &format!("{name}/int32"));
        let axes = writer.onnx.i64s(format!("{name}/axes"), &[2, 3]);
        let sum = writer.onnx.node("ReduceSum", &[&x, &axes], &format!("{name}/sum"), vec![int("keepdims", 1)]);
        let offset = shape.pixels() as i32 * i32::from(params.zero);
        let offset = writer.onnx.i32s(format!("{name}/offset"), &[], &[offset]);
        let acc = writer.onnx.node("Sub", &[&sum, &offset], &format!("{name}/acc"), vec![]);
        writer.requantize(&acc);
    }

    fn pack(&self, _: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        let Value { shape, params } = inputs[0];
        (Vec::new(), vec![-(shape.pixels() as i32) * i32::from(params.zero)])
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[GLOBAL_MEAN]
    }

    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let [groups, alone] = channel_groups(core, step.output.shape.c.into());
        let pixels = step.input().shape.pixels();
        (GLOBAL_MEAN, vec![1, groups, groups * pixels, alone, alone * pixels])
    }
}

/// The values under every window, merged one after the other.
fn merged(
    (x, shape): (&[f32], Shape),
    window: Window,
    output: Shape,
    start: f32,
    merge: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    let c = usize::from(shape.c);
    let mut out = vec![start; output.len()];
    for_each_tap(shape, window, output, |o, _, i| {
        for (out, x) in out[o * c..][..c].iter_mut().zip(&x[i * c..][..c]) {
            *out = merge(*out, *x);
        }
    });
    out
}

/// Groups of channels that a mean is computed for, and channels where there are too few for a group.
fn channel_groups(core: Core, channels: usize) -> [usize; 2] {
    let each = if core == Core::Dsp { 4 } else { LANES };
    if channels < each { [0, channels] } else { [groups(channels, each), 0] }
}
