//! Small ONNX files, node by node.

#![allow(dead_code, reason = "each of the tests that share it uses a part")]

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{self, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};

/// What an image of 8x8 pixels is.
pub const IMAGE: [i64; 4] = [1, 3, 8, 8];

/// An attribute with one integer.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// An attribute with a fraction.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

/// An attribute with several.
pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let ints = ints.to_vec();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// An attribute with a text.
pub fn text(name: &str, text: &str) -> AttributeProto {
    let s = text.into();
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s, ..AttributeProto::default() }
}

/// A node that is called as its first result.
pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str], attribute: &[AttributeProto]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: op_type.into(),
        name: format!("the {}", outputs[0]),
        input: names(inputs),
        output: names(outputs),
        attribute: attribute.to_vec(),
        ..NodeProto::default()
    }
}

/// A constant of integers.
pub fn i64s(name: &str, values: &[i64]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (dims, data_type) = (vec![values.len() as i64], DataType::Int64 as i32);
    TensorProto { name: name.into(), dims, data_type, raw_data, ..TensorProto::default() }
}

/// A constant of floats, small ones of either sign.
pub fn f32s(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    let raw_data = (0..count).flat_map(|i| (((i * 7) % 11 - 5) as f32 / 8.0).to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// A constant without axes.
pub fn scalar(tensor: TensorProto) -> TensorProto {
    TensorProto { dims: vec![], ..tensor }
}

/// A float value of this shape.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension { value: Some(dimension::Value::DimValue(size)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..ValueInfoProto::default() }
}

/// A file of opset 13 with these nodes and constants, from the image `x` of `dims` to the last node's first result.
pub fn file(dims: &[i64], node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    of_opset(13, dims, node, initializer)
}

/// The same of another opset.
pub fn of_opset(version: i64, dims: &[i64], node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    let output = vec![value(&node[node.len() - 1].output[0], &[])];
    let graph = GraphProto {
        name: "g".into(),
        input: vec![value("x", dims)],
        node,
        initializer,
        output,
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

/// A file with one node, which reads the image and then these constants.
pub fn alone(op_type: &str, constants: Vec<TensorProto>, attributes: &[AttributeProto]) -> Vec<u8> {
    let names: Vec<&str> = std::iter::once("x").chain(constants.iter().map(|tensor| tensor.name.as_str())).collect();
    let only = node(op_type, &names, &["y"], attributes);
    file(&IMAGE, vec![only], constants)
}
