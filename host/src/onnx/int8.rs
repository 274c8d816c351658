//! The int8 graph, in operator form: the integers, and nothing that a judge could work out in another way.

use super::builder::{Builder, Filter, int, window, without_idle_strides};
use crate::quantize::{QuantGraph, QuantNode, Value};
use ocellus_shared::{Op, Shape, Window};
use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Scale 1, shared by all nodes: their physical scales are in the multipliers.
const ONE: &str = "/one";

/// The graph of `quant`.
pub(super) fn graph(quant: &QuantGraph) -> GraphProto {
    let mut writer = Writer { quant, onnx: Builder::default() };
    writer.onnx.f32s(ONE.to_owned(), &[], &[1.0]);
    for i in 0..quant.nodes.len() {
        writer.node(i);
        let Value { shape, .. } = quant.values[i + 1];
        writer.onnx.describe(&quant.nodes[i].name, DataType::Int8, shape);
    }
    writer.head();
    let outputs = [("scores", DataType::Int8), ("logits", DataType::Float)];
    writer.onnx.finish((DataType::Int8, quant.values[0].shape), &outputs, quant.labels.len())
}

struct Writer<'a> {
    quant: &'a QuantGraph,
    onnx: Builder,
}

impl Writer<'_> {
    fn node(&mut self, i: usize) -> String {
        let node = &self.quant.nodes[i];
        let x = self.quant.value_name(node.inputs[0]).to_owned();
        let name = node.name.as_str();
        match self.op(i) {
            Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::ChannelScale => {
                self.linear(i, &x, &node.weights, &node.biases)
            }
            Op::Dense { .. } => {
                let shape = self.quant.values[node.inputs[0]].shape;
                let is_map = shape != Shape::vector(shape.c);
                let x = if is_map { self.onnx.flatten(&x, shape, &format!("{name}/flat")) } else { x };
                self.linear(i, &x, &node.weights, &node.biases)
            }
            Op::AvgPool { window } => {
                // A sum is a depthwise convolution with ones.
                let channels = node.multipliers.len();
                self.linear(i, &x, &vec![1; window.taps() * channels], &vec![0; channels])
            }
            Op::MaxPool { window: w } => self.onnx.node("MaxPool", &[&x], name, window(w)),
            Op::Flatten => self.onnx.flatten(&x, self.quant.values[node.inputs[0]].shape, name),
            Op::Concat => {
                let inputs: Vec<&str> = node.inputs.iter().map(|&v| self.quant.value_name(v)).collect();
                self.onnx.node("Concat", &inputs, name, vec![int("axis", 1)])
            }
            Op::GlobalAvgPool => self.global_avg_pool(i, &x),
            Op::Add => self.add(i),
            Op::Mul => self.mul(i),
            Op::Lut => self.lut(node, &x),
        }
    }

    fn op(&self, i: usize) -> Op {
        let node = &self.quant.nodes[i];
        without_idle_strides(node.op, self.quant.values[node.inputs[0]].shape)
    }

    /// `QLinearConv` with all scales in `w_scale`: tract folds `x_scale * w_scale / y_scale` in various orders, which
    /// differ by rounding, but not if two of them are 1.
    fn linear(&mut self, i: usize, x: &str, weights: &[i8], biases: &[i32]) -> String {
        let QuantNode { name, inputs, multipliers, .. } = &self.quant.nodes[i];
        let filter = Filter::new(self.op(i), weights, multipliers.len());
        let x_zero = self.zero(&format!("{name}/x_zero_point"), inputs[0]);
        if multipliers.len() == 1 {
            return self.single_channel(i, x, &x_zero, &filter, biases);
        }
        let channels = [multipliers.len()];
        let weight = self.onnx.i8s(format!("{name}/weight"), &filter.dims, &filter.weights);
        let scale = self.onnx.f32s(format!("{name}/multiplier"), &channels, multipliers);
        let w_zero = self.onnx.i8s(format!("{name}/w_zero_point"), &channels, &vec![0; biases.len()]);
        let y_zero = self.zero(&format!("{name}/y_zero_point"), i + 1);
        let bias = self.onnx.i32s(format!("{name}/bias"), &channels, biases);
        let inputs = [x, ONE, &x_zero, &weight, &scale, &w_zero, ONE, &y_zero, &bias];
        self.onnx.node("QLinearConv", &inputs, name, filter.attributes())
    }

    /// A linear operator with one output channel. tract requantizes a `QLinearConv` with a single multiplier by an exact
    /// product instead of one in f32, so this one requantizes by itself; and it cannot run all `ConvInteger`s that look
    /// at one pixel, so those are written out.
    fn single_channel(&mut self, i: usize, x: &str, x_zero: &str, filter: &Filter<i8>, bias: &[i32]) -> String {
        let name = &self.quant.nodes[i].name;
        let part = |part: &str| format!("{name}/{part}");
        let sum = if filter.window == Window::valid(1, 1) {
            let x = self.centred(x, self.quant.nodes[i].inputs[0], &part("x"));
            let weights: Vec<i32> = filter.weights.iter().map(|&w| w.into()).collect();
            let weight = self.onnx.i32s(part("weight"), &[1, weights.len(), 1, 1], &weights);
            let products = self.onnx.node("Mul", &[&x, &weight], &part("products"), vec![]);
            let axes = self.onnx.i64s(part("axes"), &[1]);
            self.onnx.node("ReduceSum", &[&products, &axes], &part("sum"), vec![int("keepdims", 1)])
        } else {
            let weight = self.onnx.i8s(part("weight"), &filter.dims, &filter.weights);
            self.onnx.node("ConvInteger", &[x, &weight, x_zero], &part("sum"), filter.attributes())
        };
        let bias = self.onnx.i32s(part("bias"), &[1, 1, 1, 1], bias);
        let acc = self.onnx.node("Add", &[&sum, &bias], &part("acc"), vec![]);
        self.requantize(i, &acc)
    }

    fn global_avg_pool(&mut self, i: usize, x: &str) -> String {
        let node = &self.quant.nodes[i];
        let name = &node.name;
        let Value { shape, params } = self.quant.values[node.inputs[0]];
        let x = self.cast(x, &format!("{name}/int32"));
        let axes = self.onnx.i64s(format!("{name}/axes"), &[2, 3]);
        let sum = self.onnx.node("ReduceSum", &[&x, &axes], &format!("{name}/sum"), vec![int("keepdims", 1)]);
        let offset = shape.pixels() as i32 * i32::from(params.zero);
        let offset = self.onnx.i32s(format!("{name}/offset"), &[], &[offset]);
        let acc = self.onnx.node("Sub", &[&sum, &offset], &format!("{name}/acc"), vec![]);
        self.requantize(i, &acc)
    }

    fn add(&mut self, i: usize) -> String {
        let node = &self.quant.nodes[i];
        let name = &node.name;
        let terms = [0, 1].map(|k| {
            let v = node.inputs[k];
            let x = self.centred(self.quant.value_name(v), v, &format!("{name}/x{k}"));
            let factor = self.onnx.i32s(format!("{name}/factor{k}"), &[], &[node.biases[k]]);
            self.onnx.node("Mul", &[&x, &factor], &format!("{name}/term{k}"), vec![])
        });
        let acc = self.onnx.node("Add", &[&terms[0], &terms[1]], &format!("{name}/acc"), vec![]);
        self.requantize(i, &acc)
    }

    fn mul(&mut self, i: usize) -> String {
        let node = &self.quant.nodes[i];
        let name = &node.name;
        let [x, factor] = [0, 1].map(|k| {
            let v = node.inputs[k];
            self.centred(self.quant.value_name(v), v, &format!("{name}/x{k}"))
        });
        let acc = self.onnx.node("Mul", &[&x, &factor], &format!("{name}/acc"), vec![]);
        self.requantize(i, &acc)
    }

    fn lut(&mut self, node: &QuantNode, x: &str) -> String {
        let name = &node.name;
        let x = self.cast(x, &format!("{name}/int32"));
        let first = self.onnx.i32s(format!("{name}/first"), &[], &[i8::MIN.into()]);
        let index = self.onnx.node("Sub", &[&x, &first], &format!("{name}/index"), vec![]);
        let table = self.onnx.i8s(format!("{name}/table"), &[256], &node.weights);
        self.onnx.node("Gather", &[&table, &index], name, vec![int("axis", 0)])
    }

    /// int32 `acc` times the only multiplier of node `i`, rounded and clamped.
    fn requantize(&mut self, i: usize, acc: &str) -> String {
        let QuantNode { name, multipliers, .. } = &self.quant.nodes[i];
        let scale = self.onnx.f32s(format!("{name}/multiplier"), &[], multipliers);
        let real = self.onnx.node("DequantizeLinear", &[acc, &scale], &format!("{name}/product"), vec![]);
        let zero = self.zero(&format!("{name}/y_zero_point"), i + 1);
        self.onnx.node("QuantizeLinear", &[&real, ONE, &zero], name, vec![])
    }

    /// `scores` and `logits` from the last value.
    fn head(&mut self) {
        let last = self.quant.nodes.len();
        let rows = self.onnx.i64s("/shape".to_owned(), &[0, self.quant.labels.len() as i64]);
        self.onnx.node("Reshape", &[self.quant.value_name(last), &rows], "scores", vec![]);
        let scale = self.onnx.f32s("/scale".to_owned(), &[], &[self.quant.scores().params.scale]);
        let zero = self.zero("/zero_point", last);
        self.onnx.node("DequantizeLinear", &["scores", &scale, &zero], "logits", vec![]);
    }

    /// `x - zero` in int32, where `x` holds the integers of value `v`.
    fn centred(&mut self, x: &str, v: usize, name: &str) -> String {
        let x = self.cast(x, &format!("{name}/int32"));
        let zero = self.onnx.i32s(format!("{name}/zero_point"), &[], &[self.quant.values[v].params.zero.into()]);
        self.onnx.node("Sub", &[&x, &zero], &format!("{name}/centred"), vec![])
    }

    fn cast(&mut self, x: &str, output: &str) -> String {
        self.onnx.node("Cast", &[x], output, vec![int("to", DataType::Int32 as i64)])
    }

    /// A constant with the zero point of value `v`.
    fn zero(&mut self, name: &str, v: usize) -> String {
        self.onnx.i8s(name.to_owned(), &[], &[self.quant.values[v].params.zero])
    }
}
