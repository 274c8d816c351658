//! The tensors of files by name, whatever form they are stored in. None is decoded before a network asks for it.

use super::float::Float;
use super::pytorch::Archive;
use super::{pickle, sealed};
use crate::net::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// What a file tells of the training that made it: our own checkpoints do, as `host/src/checkpoint.rs` says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Origin {
    /// Class names in label order.
    pub classes: Option<Vec<String>>,
    /// Height and width of the images.
    pub input: Option<[u16; 2]>,
}

/// A file of one of the forms.
pub(super) enum Parsed<'a> {
    Safetensors(SafeTensors<'a>),
    Torch(Archive<'a>),
}

/// How files begin that are of no form of weights that can be read, and what they are.
const OTHERS: [(usize, &[u8], &str); 7] = [
    (0, b"\x89HDF", "a Keras file (HDF5): convert it to safetensors, by timm's or torchvision's names"),
    (4, b"TFL3", "a TensorFlow Lite model: its weights are quantized; take the float network's"),
    (0, b"GGUF", "a GGUF file, of a language model"),
    (0, b"\x80\x02", "a pickle without torch.save's frame: save the model's state_dict() with torch.save"),
    (0, b"\x80\x04", "a pickle without torch.save's frame: save the model's state_dict() with torch.save"),
    (0, b"<", "a page of a web site, not the file itself: download it again by the address of the raw file"),
    (0, b"\x08", "an ONNX model: --backbone trains a head on one"),
];

impl<'a> Parsed<'a> {
    /// # Errors
    /// The file is damaged, of no form that is known, or holds code.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self> {
        if Archive::is_one(bytes) {
            return Ok(Self::Torch(Archive::parse(bytes)?));
        }
        if bytes.get(8) == Some(&b'{') {
            sealed::verify(bytes)?;
            let read = SafeTensors::deserialize(bytes);
            return Ok(Self::Safetensors(read.context("the file is damaged or was cut off: fetch or copy it again")?));
        }
        if let Some(size) = lfs_pointer(bytes) {
            bail!("it is a Git LFS pointer to {size} bytes, not the file itself: `git lfs pull` fetches it");
        }
        let known = OTHERS.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        let what = known.map(|(.., what)| format!("; it is {what}")).unwrap_or_default();
        bail!("it is neither a safetensors file nor one that torch.save wrote{what}")
    }

    /// Its tensors by name.
    ///
    /// # Errors
    /// It holds none.
    pub(super) fn tensors(&self) -> Result<BTreeMap<&str, Tensor<'_>>> {
        match self {
            Self::Safetensors(file) => Ok(file.iter().map(|(name, view)| (name, Tensor::Safetensors(view))).collect()),
            Self::Torch(archive) => {
                let tensors = archive.tensors()?.into_iter();
                Ok(tensors.map(|(name, tensor)| (name, Tensor::Torch(archive, tensor))).collect())
            }
        }
    }
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

/// The size that a Git LFS pointer (<https://git-lfs.com/spec>) names.
fn lfs_pointer(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(512))?).ok()?;
    let rest = text.strip_prefix("version https://git-lfs")?;
    rest.lines().find_map(|line| line.strip_prefix("size ")).or(Some("unknown"))
}

/// One tensor, where it is stored.
pub(super) enum Tensor<'a> {
    Safetensors(TensorView<'a>),
    Torch(&'a Archive<'a>, &'a pickle::Tensor),
    /// Decoded already.
    Array(&'a Array),
}

impl Tensor<'_> {
    /// Its number of values along each axis.
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Safetensors(view) => view.shape().to_vec(),
            Self::Torch(archive, tensor) => archive.shape(tensor),
            Self::Array(array) => array.shape.clone(),
        }
    }

    /// Its values as f32, the last axis innermost.
    ///
    /// # Errors
    /// They are no floats, or lie outside their storage.
    pub(super) fn values(&self) -> Result<Vec<f32>> {
        match self {
            Self::Safetensors(view) => floats(view),
            Self::Torch(archive, tensor) => archive.values(tensor),
            Self::Array(array) => Ok(array.values.clone()),
        }
    }
}

/// Arrays as tensors.
pub(super) fn of_arrays(arrays: &Weights) -> BTreeMap<&str, Tensor<'_>> {
    arrays.iter().map(|(name, array)| (name.as_str(), Tensor::Array(array))).collect()
}

/// The tensors of several files together.
///
/// # Errors
/// Two of them hold one of the same name.
pub(super) fn of_all<'a>(parts: &'a [Parsed<'a>]) -> Result<BTreeMap<&'a str, Tensor<'a>>> {
    let mut all = BTreeMap::new();
    for part in parts {
        for (name, tensor) in part.tensors()? {
            ensure!(all.insert(name, tensor).is_none(), "two of its shards hold {name}");
        }
    }
    Ok(all)
}

fn floats(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let float = match view.dtype() {
        Dtype::F64 => Float::F64,
        Dtype::F32 => Float::F32,
        Dtype::F16 => Float::F16,
        Dtype::BF16 => Float::BF16,
        other => bail!("has the type {other:?}; floats of 16, 32 or 64 bits are supported"),
    };
    Ok(float.decode(view.data()))
}
