//! The float graph, for everybody who wants the network before it is quantized.

use super::{crop_name, metadata, open, seal};
use crate::graph::{Activation, Graph, Linear, Node, Origin, Params};
use crate::ops::onnx::{Builder, FloatWriter};
use crate::ops::{self, Channels};
use anyhow::{Context, Result, ensure};
use ocellus_shared::{Op, Shape};
use prost::Message;
use serde_json::json;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto};

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

/// The graph that the file in `bytes` was written from. `like` is one of the same layers with any weights, as the recipe makes it.
///
/// # Errors
/// The file is not intact, or of other layers than `like`.
pub fn read(bytes: &[u8], like: Graph) -> Result<Graph> {
    let model = open(bytes, "float")?;
    let proto = model.graph.as_ref().context("the ONNX file has no graph")?;
    let entry = |key| metadata(&model, key).unwrap_or_default().to_owned();
    let origin = Origin { dataset: entry("ocellus.dataset"), weights: entry("ocellus.weights") };
    let mut graph = Graph { origin, ..like };
    for node in &mut graph.nodes {
        if matches!(node.params, Params::Linear(_)) {
            node.params = Params::Linear(linear(proto, node).with_context(|| format!("layer `{}`", node.name))?);
        }
    }
    // Shapes, operators and their order are compared where they are all written down.
    let again = ModelProto::decode(write(&graph).as_slice()).context("the graph cannot be written again")?;
    ensure!(again.graph == model.graph, "the ONNX file has other layers than the recipe describes");
    Ok(graph)
}

/// Weights and biases of `node`, in the graph's layout.
fn linear(proto: &GraphProto, node: &Node) -> Result<Linear> {
    if node.op == Op::ChannelScale {
        return Ok(Linear { weights: f32s(proto, &node.name, "scale")?, bias: f32s(proto, &node.name, "offset")? });
    }
    let (stored, bias) = (f32s(proto, &node.name, "weight")?, f32s(proto, &node.name, "bias")?);
    let taps = node.op.window().map_or(1, |window| window.taps());
    ensure!(!bias.is_empty() && stored.len() % (bias.len() * taps) == 0, "it has {} weights", stored.len());
    let inputs = stored.len() / (bias.len() * taps);
    let mut weights = vec![0.0; stored.len()];
    for (k, weight) in stored.into_iter().enumerate() {
        // ONNX's filters are `(output, input, h, w)`.
        let (output, input, tap) = (k / (inputs * taps), k / taps % inputs, k % taps);
        let at = match Channels::of(node.op) {
            Channels::Filters => (output * taps + tap) * inputs + input,
            _ => tap * bias.len() + output,
        };
        *weights.get_mut(at).context("its filters have another shape")? = weight;
    }
    Ok(Linear { weights, bias })
}

/// The constants `layer/part`.
fn f32s(proto: &GraphProto, layer: &str, part: &str) -> Result<Vec<f32>> {
    let name = format!("{layer}/{part}");
    let tensor = proto.initializer.iter().find(|tensor| tensor.name == name);
    let tensor = tensor.with_context(|| format!("the ONNX file has no `{name}`"))?;
    let (values, rest) = tensor.raw_data.as_chunks();
    ensure!(tensor.data_type == DataType::Float as i32 && rest.is_empty(), "`{name}` is not of f32");
    Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
