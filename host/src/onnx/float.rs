//! The float graph, for everybody who wants the network before it is quantized.

use super::builder::{Builder, Filter, float, int, window, without_idle_strides};
use super::{crop_name, seal};
use crate::graph::{Activation, Graph, Linear, Node, Params};
use crate::net::Function;
use ocellus_shared::{Op, Shape};
use serde_json::json;
use tract_onnx::pb::tensor_proto::DataType;

/// `graph` as a float ONNX file: `image` has pixels in `[0, 1]`, the output is `logits`, `(batch, classes)`.
pub fn write(graph: &Graph) -> Vec<u8> {
    let mut writer = Writer { graph, onnx: Builder::default() };
    for i in 0..graph.nodes.len() {
        writer.node(i);
        writer.onnx.describe(&graph.nodes[i].name, DataType::Float, graph.nodes[i].output);
    }
    let rows = writer.onnx.i64s("/shape".to_owned(), &[0, graph.labels.len() as i64]);
    writer.onnx.node("Reshape", &[graph.value_name(graph.nodes.len()), &rows], "logits", vec![]);
    let proto = writer.onnx.finish((DataType::Float, graph.input), &[("logits", DataType::Float)], graph.labels.len());
    let preprocessing = json!({
        "crop": crop_name(graph.crop),
        "size": [graph.input.h, graph.input.w],
        "colour": "RGB",
        "normalization": "pixel / 255",
    });
    let metadata = [
        ("ocellus.kind", "float".to_owned()),
        ("ocellus.labels", json!(graph.labels).to_string()),
        ("ocellus.preprocessing", preprocessing.to_string()),
        ("ocellus.dataset", graph.origin.dataset.clone()),
        ("ocellus.weights", graph.origin.weights.clone()),
    ];
    seal(proto, &metadata)
}

struct Writer<'a> {
    graph: &'a Graph,
    onnx: Builder,
}

impl Writer<'_> {
    fn node(&mut self, i: usize) {
        let node = &self.graph.nodes[i];
        let result = match node.activation {
            Activation::None => node.name.clone(),
            _ => format!("{}/linear", node.name),
        };
        self.operator(node, &result);
        match node.activation {
            Activation::None => result,
            Activation::Relu => self.onnx.node("Relu", &[&result], &node.name, vec![]),
            Activation::Relu6 => {
                let bounds = [("min", 0.0), ("max", 6.0)];
                let [lo, hi] = bounds.map(|(part, v)| self.onnx.f32s(format!("{}/{part}", node.name), &[], &[v]));
                self.onnx.node("Clip", &[&result, &lo, &hi], &node.name, vec![])
            }
        };
    }

    fn operator(&mut self, node: &Node, result: &str) -> String {
        let inputs: Vec<&str> = node.inputs.iter().map(|&v| self.graph.value_name(v)).collect();
        let (x, shape) = (inputs[0], self.graph.shape(node.inputs[0]));
        match (without_idle_strides(node.op, shape), &node.params) {
            (Op::ChannelScale, Params::Linear(linear)) => self.channel_scale(node, linear, x, result),
            (Op::Dense { .. }, Params::Linear(linear)) if shape != Shape::vector(shape.c) => {
                let x = self.onnx.flatten(x, shape, &format!("{}/flat", node.name));
                self.conv(node, linear, &x, result)
            }
            (_, Params::Linear(linear)) => self.conv(node, linear, x, result),
            (_, Params::Function(function)) => self.function(*function, &node.name, x, result),
            (Op::MaxPool { window: w }, _) => self.onnx.node("MaxPool", &[x], result, window(w)),
            (Op::AvgPool { window: w }, _) => self.onnx.node("AveragePool", &[x], result, window(w)),
            (Op::GlobalAvgPool, _) => self.onnx.node("GlobalAveragePool", &[x], result, vec![]),
            (Op::Flatten, _) => self.onnx.flatten(x, shape, result),
            (Op::Concat, _) => self.onnx.node("Concat", &inputs, result, vec![int("axis", 1)]),
            (Op::Add, _) => self.onnx.node("Add", &inputs, result, vec![]),
            (Op::Mul, _) => self.onnx.node("Mul", &inputs, result, vec![]),
            (op, Params::None) => unreachable!("{} without its parameters", op.name()),
        }
    }

    fn conv(&mut self, node: &Node, linear: &Linear, x: &str, result: &str) -> String {
        let op = without_idle_strides(node.op, self.graph.shape(node.inputs[0]));
        let filter = Filter::new(op, &linear.weights, linear.bias.len());
        let weight = self.onnx.f32s(format!("{}/weight", node.name), &filter.dims, &filter.weights);
        let bias = self.onnx.f32s(format!("{}/bias", node.name), &[linear.bias.len()], &linear.bias);
        self.onnx.node("Conv", &[x, &weight, &bias], result, filter.attributes())
    }

    fn channel_scale(&mut self, node: &Node, linear: &Linear, x: &str, result: &str) -> String {
        let dims = [1, linear.bias.len(), 1, 1];
        let scale = self.onnx.f32s(format!("{}/scale", node.name), &dims, &linear.weights);
        let offset = self.onnx.f32s(format!("{}/offset", node.name), &dims, &linear.bias);
        let scaled = self.onnx.node("Mul", &[x, &scale], &format!("{}/scaled", node.name), vec![]);
        self.onnx.node("Add", &[&scaled, &offset], result, vec![])
    }

    fn function(&mut self, function: Function, name: &str, x: &str, result: &str) -> String {
        let gate = format!("{name}/gate");
        let hard = || vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
        match function {
            Function::Sigmoid => self.onnx.node("Sigmoid", &[x], result, vec![]),
            Function::HardSigmoid => self.onnx.node("HardSigmoid", &[x], result, hard()),
            Function::Silu => {
                let gate = self.onnx.node("Sigmoid", &[x], &gate, vec![]);
                self.onnx.node("Mul", &[x, &gate], result, vec![])
            }
            Function::HardSwish => {
                let gate = self.onnx.node("HardSigmoid", &[x], &gate, hard());
                self.onnx.node("Mul", &[x, &gate], result, vec![])
            }
        }
    }
}
