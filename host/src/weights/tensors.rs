//! A file's tensors as f32, whatever they were stored as.

use crate::net::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::Path;

/// What a file tells of the training that made it: our own checkpoints do, as `host/src/checkpoint.rs` says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Origin {
    /// Class names in label order.
    pub classes: Option<Vec<String>>,
    /// Height and width of the images.
    pub input: Option<[u16; 2]>,
}

impl Origin {
    /// Of a file's bytes, as far as it can be made out.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let metadata = SafeTensors::read_metadata(bytes).ok().and_then(|(_, header)| header.metadata().clone());
        let metadata = metadata.unwrap_or_default();
        let json = |key| metadata.get(key).map(String::as_str).unwrap_or_default();
        Self { classes: serde_json::from_str(json("classes")).ok(), input: serde_json::from_str(json("input")).ok() }
    }
}

/// Reads every tensor of floats in the file at `path`; integers are counters of the trainer that wrote it.
///
/// # Errors
/// The file cannot be read, is damaged, or is of no format that is known.
pub(super) fn read(path: &Path) -> Result<(Weights, Origin)> {
    let bytes = std::fs::read(path).context("the file cannot be read")?;
    Ok((parse(&bytes)?, Origin::of(&bytes)))
}

/// The tensors of a file's bytes; see [`read`].
pub(super) fn parse(bytes: &[u8]) -> Result<Weights> {
    if super::pytorch::is_one(bytes) {
        return super::pytorch::parse(bytes);
    }
    ensure!(bytes.get(8) == Some(&b'{'), "it is neither a safetensors file nor one that torch.save wrote");
    let tensors =
        SafeTensors::deserialize(bytes).context("the file is damaged or was cut off: fetch or copy it again")?;
    let mut weights = Weights::new();
    for (name, view) in tensors.iter() {
        if !matches!(view.dtype(), Dtype::I64 | Dtype::I32) {
            let values = floats(&view).with_context(|| format!("its tensor {name}"))?;
            weights.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
    }
    Ok(weights)
}

fn floats(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let kind = match view.dtype() {
        Dtype::F64 => Float::F64,
        Dtype::F32 => Float::F32,
        Dtype::F16 => Float::F16,
        Dtype::BF16 => Float::BF16,
        other => bail!("has the type {other:?}; floats of 16, 32 or 64 bits are supported"),
    };
    Ok(kind.decode(view.data()))
}

/// How a float is stored, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    /// Bytes of one.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The nearest f32 of each.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let each = bytes.chunks_exact(self.bytes());
        match self {
            Self::F64 => each.map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32).collect(),
            Self::F32 => each.map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect(),
            Self::F16 => each.map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Self::BF16 => each.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        }
    }
}
