//! The constants of an ONNX file, by name.

use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Constants: those of the file, those that nodes `Constant` make, and what `Identity` and `Transpose` make of them. PyTorch writes
/// `Identity` where two layers have equal values, and `Transpose` where weights are too large for it to do that itself.
pub struct Constants<'g>(HashMap<&'g str, Cow<'g, TensorProto>>);

impl<'g> Constants<'g> {
    /// Those of `graph`.
    pub fn of(graph: &'g GraphProto) -> Self {
        let own = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), Cow::Borrowed(tensor)));
        let mut all = Self(own.collect());
        for node in &graph.node {
            let input = || all.0.get(node.input.first()?.as_str()).cloned();
            let made = match node.op_type.as_str() {
                "Constant" => attribute(node, "value").and_then(|value| value.t.as_ref()).map(Cow::Borrowed),
                "Identity" => input(),
                "Transpose" => input().and_then(|matrix| transposed(node, &matrix)).map(Cow::Owned),
                _ => None,
            };
            if let (Some(tensor), Some(name)) = (made, node.output.first()) {
                all.0.insert(name, tensor);
            }
        }
        all
    }

    /// Whether `name` is one.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The dimensions and values of the f32 constant `name`.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn f32s(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        f32s(self.tensor(name)?).with_context(|| format!("its constant `{name}`"))
    }

    /// The values of the int64 constant `name`.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn i64s(&self, name: &str) -> Result<Vec<i64>> {
        let tensor = self.tensor(name)?;
        ensure!(tensor.data_type == DataType::Int64 as i32, "its constant `{name}` is not of int64");
        let (bytes, _) = tensor.raw_data.as_chunks();
        Ok(match bytes {
            [] => tensor.int64_data.clone(),
            bytes => bytes.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
        })
    }

    fn tensor(&self, name: &str) -> Result<&TensorProto> {
        self.0.get(name).map(Cow::as_ref).with_context(|| format!("its input `{name}` is no constant"))
    }
}

/// The dimensions and values of an f32 tensor.
fn f32s(tensor: &TensorProto) -> Result<(Vec<usize>, Vec<f32>)> {
    ensure!(tensor.data_type == DataType::Float as i32, "it is not float32: export the float32 network");
    let (bytes, rest) = tensor.raw_data.as_chunks();
    ensure!(rest.is_empty(), "it ends within a value");
    let values = match bytes {
        [] => tensor.float_data.clone(),
        bytes => bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
    };
    let dims = dims(tensor)?;
    ensure!(dims.iter().product::<usize>() == values.len(), "it has {} values", values.len());
    ensure!(values.iter().all(|value| value.is_finite()), "its values are not all finite numbers");
    Ok((dims, values))
}

/// What the `Transpose` `node` makes of a matrix of f32; nothing of anything else.
fn transposed(node: &NodeProto, matrix: &TensorProto) -> Option<TensorProto> {
    let (dims, values) = f32s(matrix).ok()?;
    let swaps = attribute(node, "perm").is_none_or(|perm| perm.ints == [1, 0]);
    let ([rows, columns], true) = (&dims[..], swaps) else { return None };
    let (rows, columns) = (*rows, *columns);
    Some(TensorProto {
        data_type: DataType::Float as i32,
        dims: vec![columns as i64, rows as i64],
        float_data: (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect(),
        ..TensorProto::default()
    })
}

fn dims(tensor: &TensorProto) -> Result<Vec<usize>> {
    tensor.dims.iter().map(|&dim| usize::try_from(dim).context("a constant has a negative size")).collect()
}

/// The attribute `name` of `node`.
pub fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// An integer attribute, or its default.
pub fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

/// A float attribute, or its default.
pub fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |attribute| attribute.f)
}

/// An attribute of integers, of which there are as many as in its default.
///
/// # Errors
/// It has another number of them, or one is not from 0 to 255.
pub fn bytes<const N: usize>(node: &NodeProto, name: &str, default: [u8; N]) -> Result<[u8; N]> {
    let Some(attribute) = attribute(node, name) else { return Ok(default) };
    let bytes: Option<Vec<u8>> = attribute.ints.iter().map(|&value| value.try_into().ok()).collect();
    match bytes.and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(bytes),
        None => bail!("its {name} {:?} are not {N} numbers from 0 to 255", attribute.ints),
    }
}
