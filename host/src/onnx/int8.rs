//! The int8 graph, in operator form: the integers, and nothing that a judge could work out in another way.

use crate::ops;
use crate::ops::onnx::{Builder, Int8Writer, ONE};
use crate::quantize::{QuantGraph, Value};
use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;

/// The graph of `quant`.
pub(super) fn graph(quant: &QuantGraph) -> GraphProto {
    let mut onnx = Builder::default();
    onnx.f32s(ONE.to_owned(), &[], &[1.0]);
    for (i, node) in quant.nodes.iter().enumerate() {
        let inputs: Vec<(&str, Value)> = node.inputs.iter().map(|&v| (quant.value_name(v), quant.values[v])).collect();
        let output = quant.values[i + 1];
        ops::of(node.op).write_int8(&mut Int8Writer { onnx: &mut onnx, node, inputs: &inputs, output });
        onnx.describe(&node.name, DataType::Int8, output.shape);
    }
    head(quant, &mut onnx);
    let outputs = [("scores", DataType::Int8), ("logits", DataType::Float)];
    onnx.finish((DataType::Int8, quant.values[0].shape), &outputs, quant.labels.len())
}

/// `scores` and `logits` from the last value.
fn head(quant: &QuantGraph, onnx: &mut Builder) {
    let rows = onnx.i64s("/shape".to_owned(), &[0, quant.labels.len() as i64]);
    onnx.node("Reshape", &[quant.value_name(quant.nodes.len()), &rows], "scores", vec![]);
    let params = quant.scores().params;
    let scale = onnx.f32s("/scale".to_owned(), &[], &[params.scale]);
    let zero = onnx.i8s("/zero_point".to_owned(), &[], &[params.zero]);
    onnx.node("DequantizeLinear", &["scores", &scale, &zero], "logits", vec![]);
}
