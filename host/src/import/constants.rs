//! The constants of an ONNX file, by name.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Constants: those of the file, and those that nodes `Constant` make.
pub struct Constants<'g>(HashMap<&'g str, &'g TensorProto>);

impl<'g> Constants<'g> {
    /// Those of `graph`.
    pub fn of(graph: &'g GraphProto) -> Self {
        let own = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let made = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
            let tensor = attribute(node, "value")?.t.as_ref()?;
            Some((node.output.first()?.as_str(), tensor))
        });
        Self(own.chain(made).collect())
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
        let tensor = self.tensor(name)?;
        ensure!(
            tensor.data_type == DataType::Float as i32,
            "its constant `{name}` is not float32: export the float32 network"
        );
        let (bytes, rest) = tensor.raw_data.as_chunks();
        ensure!(rest.is_empty(), "its constant `{name}` ends within a value");
        let values = match bytes {
            [] => tensor.float_data.clone(),
            bytes => bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        };
        let dims = dims(tensor)?;
        ensure!(dims.iter().product::<usize>() == values.len(), "its constant `{name}` has {} values", values.len());
        ensure!(values.iter().all(|value| value.is_finite()), "its constant `{name}` is not all finite numbers");
        Ok((dims, values))
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

    fn tensor(&self, name: &str) -> Result<&'g TensorProto> {
        self.0.get(name).copied().with_context(|| format!("its input `{name}` is no constant"))
    }
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
