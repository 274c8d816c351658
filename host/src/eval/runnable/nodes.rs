//! What an ONNX file says of its nodes and constants, checked before tract reads it: tract takes most of it for granted.

use super::operators;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Nodes of a network, and as many constants. The largest of timm's exports have some six thousand.
pub const MOST_NODES: usize = 1 << 14;
/// Values that a node may read, and outputs and attributes that it may have.
const MOST_VALUES: usize = 1 << 12;
/// Axes of a value.
pub const MOST_AXES: usize = 8;
/// The largest size of a window, step between windows, padding, group, block.
const MOST_STEP: i64 = 1 << 14;
/// The largest of the other integers of an attribute.
const MOST_INTEGER: i64 = 1 << 31;

/// How an error calls a node: by its name, or else by its first output, as tract does.
pub fn called(node: &NodeProto) -> String {
    let output = node.output.first().map_or("", String::as_str);
    let name = if node.name.is_empty() { output } else { &node.name };
    format!("its node `{name}` ({})", node.op_type)
}

/// Checks everything of `proto` that needs no shapes.
///
/// # Errors
/// It has too many nodes, an operator that is not supported, an attribute that makes no sense, a constant of another length than
/// its dimensions say, or a name that nothing before it has. Of a node's, the message names it.
pub fn check(proto: &ModelProto) -> Result<()> {
    let graph = proto.graph.as_ref().context("it is no ONNX file: it has no graph")?;
    for (count, what) in [(graph.node.len(), "nodes"), (graph.initializer.len(), "constants")] {
        ensure!(count <= MOST_NODES, "it has {count} {what}, more than the {MOST_NODES} of any network known");
    }
    ensure!(graph.sparse_initializer.is_empty(), "it has sparse weights, which are not supported: export it without");
    ensure!(!graph.output.is_empty(), "it has no output");
    graph.initializer.iter().try_for_each(check_tensor)?;
    check_names(graph)?;
    graph.node.iter().try_for_each(|node| check_node(node).with_context(|| called(node)))
}

/// Each value is made once, and before it is read, so that there are no circles.
fn check_names(graph: &GraphProto) -> Result<()> {
    let mut known = HashSet::new();
    let mut constants = HashSet::new();
    for tensor in &graph.initializer {
        ensure!(!tensor.name.is_empty(), "one of its constants has no name");
        ensure!(constants.insert(tensor.name.as_str()), "it has two constants `{}`", tensor.name);
    }
    for input in &graph.input {
        ensure!(known.insert(input.name.as_str()), "it has two inputs `{}`", input.name);
    }
    // A constant may be a default of an input.
    known.extend(constants);
    for node in &graph.node {
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            ensure!(known.contains(input.as_str()), "{} reads `{input}`, which nothing before it makes", called(node));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            ensure!(known.insert(output), "{} makes `{output}`, which is there already", called(node));
        }
    }
    let missing = graph.output.iter().find(|output| !known.contains(output.name.as_str()));
    missing.map_or(Ok(()), |output| bail!("nothing makes its output `{}`", output.name))
}

fn check_node(node: &NodeProto) -> Result<()> {
    ensure!(operators::is_known(&node.op_type), "its operator is not supported: {}", node.op_type);
    for (count, what) in
        [(node.input.len(), "inputs"), (node.output.len(), "outputs"), (node.attribute.len(), "attributes")]
    {
        ensure!(count <= MOST_VALUES, "it has {count} {what}");
    }
    ensure!(node.output.iter().any(|output| !output.is_empty()), "it has no output");
    let mut names = HashSet::new();
    for attribute in &node.attribute {
        ensure!(names.insert(attribute.name.as_str()), "it has two attributes {}", attribute.name);
        check_attribute(&node.op_type, attribute).with_context(|| format!("its attribute {}", attribute.name))?;
    }
    Ok(())
}

fn check_attribute(op_type: &str, attribute: &AttributeProto) -> Result<()> {
    ensure!(attribute.g.is_none() && attribute.graphs.is_empty(), "is a graph of its own, which is not supported");
    ensure!(attribute.ref_attr_name.is_empty(), "refers to that of a function, which is not supported");
    attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
    ensure!(attribute.ints.len() <= MOST_VALUES || op_type == "Constant", "has {} numbers", attribute.ints.len());
    let range = match (op_type, attribute.name.as_str()) {
        ("Constant", _) | ("Slice", "starts" | "ends") => return Ok(()),
        (
            _,
            "kernel_shape" | "strides" | "dilations" | "group" | "blocksize" | "num_groups" | "num_outputs" | "size",
        ) => 1..=MOST_STEP,
        (_, "pads" | "output_padding" | "output_shape" | "split" | "shape") => 0..=MOST_STEP,
        (_, "axis" | "axes" | "perm" | "batch_dims") => -(MOST_AXES as i64)..=MOST_AXES as i64,
        _ => -MOST_INTEGER..=MOST_INTEGER,
    };
    let is_single = attribute.r#type == AttributeType::Int as i32 || attribute.i != 0;
    let mut numbers = attribute.ints.iter().chain(is_single.then_some(&attribute.i));
    match numbers.find(|number| !range.contains(number)) {
        Some(number) => bail!("is {number}, not within {} and {}", range.start(), range.end()),
        None => check_order(attribute),
    }
}

/// The axes of a transposition: each once.
fn check_order(attribute: &AttributeProto) -> Result<()> {
    let axes = &attribute.ints;
    let is_order = (0..axes.len() as i64).all(|axis| axes.contains(&axis));
    ensure!(attribute.name != "perm" || is_order, "is {axes:?}, no order of axes");
    Ok(())
}

/// How many bytes one value of a type takes, if that is supported.
fn width(data_type: i32) -> Option<u64> {
    Some(match DataType::try_from(data_type).ok()? {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        _ => return None,
    })
}

/// How many values `tensor` has by its dimensions, and how many bytes they take.
///
/// # Errors
/// Those are negative or too many, or its type is not supported.
fn size(tensor: &TensorProto) -> Result<(u64, u64)> {
    let of = &tensor.name;
    ensure!(tensor.dims.len() <= MOST_AXES, "its constant `{of}` has {} axes", tensor.dims.len());
    let each = width(tensor.data_type);
    let each =
        each.with_context(|| format!("its constant `{of}` is of a type that is not supported ({})", tensor.data_type))?;
    let product = |product: u64, &dim: &i64| product.checked_mul(u64::try_from(dim).ok()?);
    let count = tensor.dims.iter().try_fold(1, product);
    let bytes = count.and_then(|count| Some((count, count.checked_mul(each)?)));
    bytes.with_context(|| format!("its constant `{of}` has the dimensions {:?}", tensor.dims))
}

/// How many bytes the values of `tensor` take by its dimensions.
///
/// # Errors
/// Those are negative or too many, or its type is not supported.
pub fn bytes(tensor: &TensorProto) -> Result<u64> {
    Ok(size(tensor)?.1)
}

/// Checks that `tensor` has as many values as its dimensions say, unless they are in another file.
///
/// # Errors
/// It has not, or is of a type that is not supported.
pub fn check_tensor(tensor: &TensorProto) -> Result<()> {
    let (count, bytes) = size(tensor)?;
    if tensor.data_location == Some(DataLocation::External as i32) {
        return Ok(());
    }
    let (raw, of) = (tensor.raw_data.len() as u64, &tensor.name);
    ensure!(tensor.segment.is_none(), "its constant `{of}` is a part of another");
    let typed = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
    ];
    let fits = if raw > 0 { raw == bytes } else { typed.contains(&(count as usize)) };
    ensure!(fits, "its constant `{of}` has not as many values as its dimensions {:?} say", tensor.dims);
    Ok(())
}
