//! The float graph, for everybody who wants the network before it is quantized.

use super::{crop_name, seal};
use crate::graph::{Activation, Graph};
use crate::ops;
use crate::ops::onnx::{Builder, FloatWriter};
use ocellus_shared::Shape;
use serde_json::json;
use tract_onnx::pb::tensor_proto::DataType;

/// `graph` as a float ONNX file: `image` has pixels in `[0, 1]`, the output is `logits`, `(batch, classes)`.
pub fn write(graph: &Graph) -> Vec<u8> {
    let mut onnx = Builder::default();
    for i in 0..graph.nodes.len() {
        write_node(graph, i, &mut onnx);
        onnx.describe(&graph.nodes[i].name, DataType::Float, graph.nodes[i].output);
    }
    let rows = onnx.i64s("/shape".to_owned(), &[0, graph.labels.len() as i64]);
    onnx.node("Reshape", &[graph.value_name(graph.nodes.len()), &rows], "logits", vec![]);
    let proto = onnx.finish((DataType::Float, graph.input), &[("logits", DataType::Float)], graph.labels.len());
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

fn write_node(graph: &Graph, i: usize, onnx: &mut Builder) {
    let node = &graph.nodes[i];
    let result = match node.activation {
        Activation::None => node.name.clone(),
        _ => format!("{}/linear", node.name),
    };
    let inputs: Vec<(&str, Shape)> = node.inputs.iter().map(|&v| (graph.value_name(v), graph.shape(v))).collect();
    ops::of(node.op).write_float(&mut FloatWriter { onnx, inputs: &inputs }, node, &result);
    match node.activation {
        Activation::None => {}
        Activation::Relu => {
            onnx.node("Relu", &[&result], &node.name, vec![]);
        }
        Activation::Relu6 => {
            let bounds = [("min", 0.0), ("max", 6.0)];
            let [lo, hi] = bounds.map(|(part, v)| onnx.f32s(format!("{}/{part}", node.name), &[], &[v]));
            onnx.node("Clip", &[&result, &lo, &hi], &node.name, vec![]);
        }
    }
}
