//! What `torch.save` writes: a pickle that describes tensors, and their numbers.
//!
//! | since | form |
//! |---|---|
//! | PyTorch 1.6 | a ZIP archive without compression: `*/data.pkl` and one `*/data/KEY` for each storage |
//! | before | a magic number, a version, sizes of types, the pickle, the storages' keys, each a pickle; then each storage's length in 8 bytes and its numbers |
//!
//! The file may hold a state dictionary, or a training checkpoint with one in it.

use super::pickle::{self, Pickle, Storage, Tensor, Value};
use super::tensors::Float;
use super::zip;
use crate::net::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// The pickled magic number that older files begin with.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Where training checkpoints keep the state dictionary; the moving average first, which is what its trainer evaluates.
const NESTED: [&str; 6] = ["state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net"];

/// Whether the bytes are of one of the forms.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(MAGIC)
}

/// Reads every tensor of floats.
///
/// # Errors
/// The file is cut off or damaged, holds code, or no state dictionary.
pub(super) fn parse(bytes: &[u8]) -> Result<Weights> {
    let (pickle, storages) = if bytes.starts_with(MAGIC) { legacy(bytes)? } else { archive(bytes)? };
    let mut weights = Weights::new();
    for (name, tensor) in tensors(&pickle)? {
        if tensor.storage.kind.is_some() {
            let array = gather(tensor, &storages).with_context(|| format!("its tensor {name}"))?;
            weights.insert(name.to_owned(), array);
        }
    }
    Ok(weights)
}

/// Bytes of each storage by its key.
type Storages<'a> = BTreeMap<String, &'a [u8]>;

fn archive(bytes: &[u8]) -> Result<(Pickle, Storages<'_>)> {
    let (mut pickle, mut storages) = (None, Storages::new());
    for (name, content) in zip::entries(bytes)? {
        let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner);
        match (inner, inner.strip_prefix("data/")) {
            ("data.pkl", _) => pickle = Some(pickle::read(content)?),
            ("byteorder", _) => ensure!(content == b"little", "its numbers are stored most significant byte first"),
            (_, Some(key)) => drop(storages.insert(key.to_owned(), content)),
            _ => {}
        }
    }
    Ok((pickle.context("the archive has no data.pkl: it was not written by torch.save")?, storages))
}

fn legacy(bytes: &[u8]) -> Result<(Pickle, Storages<'_>)> {
    let mut at = MAGIC.len();
    let mut next = || -> Result<(Pickle, usize)> {
        let pickle = pickle::read(&bytes[at..])?;
        at += pickle.len;
        Ok((pickle, at))
    };
    let (_version, _) = next()?;
    let (_sizes, _) = next()?;
    let (pickle, _) = next()?;
    let (keys, mut at) = next()?;
    let Value::List(list) = keys.root else { bail!("it has no list of storages") };
    let sizes = storage_sizes(&pickle);
    let mut storages = Storages::new();
    for key in &keys.lists[list] {
        let Value::Text(key) = key else { bail!("a storage has no name") };
        let cut = || format!("the file was cut off in storage {key}: fetch or copy it again");
        let count = bytes.get(at..at + 8).with_context(cut)?;
        let count = u64::from_le_bytes(count.try_into().expect("8 bytes"));
        let Some(&size) = sizes.get(key.as_str()) else { bail!("nothing refers to storage {key}") };
        let end = usize::try_from(count).ok().and_then(|n| n.checked_mul(size)).and_then(|n| n.checked_add(at + 8));
        let content = end.and_then(|end| bytes.get(at + 8..end)).with_context(cut)?;
        at += 8 + content.len();
        storages.insert(key.clone(), content);
    }
    Ok((pickle, storages))
}

/// Bytes of a number of each storage. Of those that hold no floats only the counters of batches occur, 8 bytes each.
fn storage_sizes(pickle: &Pickle) -> BTreeMap<&str, usize> {
    let mut sizes = BTreeMap::new();
    for (_, value) in pickle.dicts.iter().flatten() {
        if let Value::Tensor(Tensor { storage: Storage { kind, key }, .. }) = value {
            sizes.insert(key.as_str(), kind.map_or(8, Float::bytes));
        }
    }
    sizes
}

/// The tensors of the state dictionary by name.
fn tensors(pickle: &Pickle) -> Result<Vec<(&str, &Tensor)>> {
    let entries = |value: &Value| match value {
        Value::Dict(dict) => Some(&pickle.dicts[*dict]),
        _ => None,
    };
    let root = entries(&pickle.root).context("it holds no state dictionary")?;
    let named = |name: &str| root.iter().find(|(key, _)| *key == Value::Text(name.to_owned()));
    let nested = NESTED.iter().find_map(|name| entries(&named(name)?.1));
    let found: Vec<_> = nested
        .unwrap_or(root)
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Tensor(tensor)) => Some((name.as_str(), tensor)),
            _ => None,
        })
        .collect();
    ensure!(!found.is_empty(), "it holds no state dictionary with tensors; save the model's state_dict()");
    Ok(found)
}

/// A tensor's numbers, the last axis innermost, however its view lies on its storage.
fn gather(tensor: &Tensor, storages: &Storages<'_>) -> Result<Array> {
    let Tensor { storage, offset, shape, strides } = tensor;
    let kind = storage.kind.context("is of whole numbers")?;
    let bytes = storages.get(&storage.key).with_context(|| format!("its storage {} is missing", storage.key))?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let available = bytes.len() / kind.bytes();
    let count =
        count.filter(|&count| count <= available).with_context(|| format!("its storage is too short for {shape:?}"))?;
    ensure!(shape.len() == strides.len(), "has {} axes but {} strides", shape.len(), strides.len());
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(*offset, |at, (&size, &stride)| at.checked_add(size.saturating_sub(1).checked_mul(stride)?));
    ensure!(count == 0 || last.is_some_and(|last| last < available), "reaches beyond its storage");
    let values = kind.decode(bytes);
    let place = |mut index: usize| {
        let mut at = *offset;
        for (&size, &stride) in shape.iter().zip(strides).rev() {
            at += index % size * stride;
            index /= size;
        }
        values[at]
    };
    Ok(Array { shape: shape.clone(), values: (0..count).map(place).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &[u8]); 3] = [
        ("state.pth", include_bytes!("../../../tests/golden/state.pth")),
        ("training.pth", include_bytes!("../../../tests/golden/training.pth")),
        ("legacy.pth", include_bytes!("../../../tests/golden/legacy.pth")),
    ];

    #[test]
    fn what_pytorch_wrote_is_read() {
        for (name, bytes) in FILES {
            assert!(is_one(bytes), "{name}");
            let found = parse(bytes).unwrap();
            let expected: [(&str, &[usize], &[f32]); 7] = [
                ("brain", &[1], &[-1.5]),
                ("conv.weight", &[2, 1, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
                ("double", &[1], &[0.1]),
                ("half", &[2], &[-1.5, 2.0]),
                ("learned", &[1], &[3.0]),
                ("part", &[3], &[4.0, 5.0, 6.0]),
                ("transposed", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            ];
            let found: Vec<_> =
                found.iter().map(|(name, a)| (name.as_str(), a.shape.as_slice(), a.values.as_slice())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn the_moving_average_is_preferred() {
        let found = parse(include_bytes!("../../../tests/golden/average.pth")).unwrap();
        assert_eq!(found["module.conv.weight"].values, [0.0, 1.0, 2.0]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn truncated_files_are_errors() {
        for (name, bytes) in FILES {
            for len in 0..bytes.len() {
                assert!(parse(&bytes[..len]).is_err(), "{name} cut to {len} bytes");
            }
        }
    }

    #[test]
    fn damage_never_panics() {
        for (_, bytes) in FILES {
            for at in 0..bytes.len() {
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[at] ^= flip;
                    let _ = parse(&damaged);
                }
            }
        }
    }

    #[test]
    fn views_stay_inside_their_storage() {
        let storages = Storages::from([("0".to_owned(), &[0u8; 16][..])]);
        let tensor = |offset, shape: &[usize], strides: &[usize]| Tensor {
            storage: Storage { kind: Some(Float::F32), key: "0".into() },
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        };
        assert!(gather(&tensor(1, &[3], &[1]), &storages).is_ok());
        for (bad, word) in [
            (tensor(2, &[3], &[1]), "beyond"),
            (tensor(0, &[2], &[usize::MAX]), "beyond"),
            (tensor(0, &[usize::MAX, 2], &[0, 0]), "too short"),
            (tensor(0, &[2, 2], &[1]), "axes"),
        ] {
            assert!(gather(&bad, &storages).unwrap_err().to_string().contains(word), "{bad:?}");
        }
    }
}
