//! What `torch.save` writes: a pickle that describes tensors, and their numbers.
//!
//! | since | form |
//! |---|---|
//! | PyTorch 1.6 | a ZIP archive without compression: `*/data.pkl` and one `*/data/KEY` for each storage |
//! | before | a magic number, a version, sizes of types, the pickle, the storages' keys, each a pickle; then each storage's length in 8 bytes and its numbers |
//!
//! The file may hold a state dictionary, or a training checkpoint with one in it.

use super::float::Float;
use super::pickle::{self, Kind, Pickle, Storage, Tensor, Value};
use super::zip;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// The pickled magic number that older files begin with.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Where training checkpoints keep the state dictionary; the moving average first, which is what its trainer evaluates.
const NESTED: [&str; 6] = ["state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net"];
/// Entries that an archive of TorchScript has and one of weights has not.
const SCRIPT: [&str; 2] = ["constants.pkl", "code/"];

/// A file of one of the forms.
pub(super) struct Archive<'a> {
    pickle: Pickle<'a>,
    storages: Storages<'a>,
}

/// Bytes of each storage by its key.
type Storages<'a> = BTreeMap<String, &'a [u8]>;

impl<'a> Archive<'a> {
    /// Whether the bytes are of one of the forms.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(MAGIC)
    }

    /// Reads what describes the tensors.
    ///
    /// # Errors
    /// The file is cut off or damaged, or holds code.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (pickle, storages) = if bytes.starts_with(MAGIC) { legacy(bytes)? } else { archive(bytes)? };
        Ok(Self { pickle, storages })
    }

    /// The tensors of the state dictionary by name.
    ///
    /// # Errors
    /// There is no such dictionary.
    pub(super) fn tensors(&self) -> Result<Vec<(&str, &Tensor)>> {
        let root = self.pickle.dict(self.pickle.root).context("it holds no state dictionary")?;
        let named = |name: &str| root.iter().rev().find(|(key, _)| self.pickle.text(*key) == Some(name));
        let nested = NESTED.iter().filter_map(|name| self.pickle.dict(named(name)?.1));
        // What is empty, or holds settings of the average alone, has the weights elsewhere.
        let found = nested.chain([root]).map(|entries| self.tensors_in(entries)).find(|found| !found.is_empty());
        found.context("it holds no state dictionary with tensors; save the model's state_dict()")
    }

    fn tensors_in(&self, entries: &[(Value, Value)]) -> Vec<(&str, &Tensor)> {
        entries.iter().filter_map(|(key, value)| Some((self.pickle.text(*key)?, self.pickle.tensor(*value)?))).collect()
    }

    /// A tensor's number of values along each axis.
    pub(super) fn shape(&self, tensor: &Tensor) -> Vec<usize> {
        self.pickle.view(tensor).0
    }

    /// A tensor's floats, the last axis innermost, however its view lies on its storage.
    ///
    /// # Errors
    /// It holds no floats, or its storage is missing or too short.
    pub(super) fn values(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let (shape, strides) = self.pickle.view(tensor);
        let Storage { kind: Kind::Float(float), key } = self.pickle.storage(tensor) else {
            bail!("holds whole numbers; floats of 16, 32 or 64 bits are supported")
        };
        let bytes = self.storages.get(key).with_context(|| format!("its storage {key} is missing"))?;
        gather(bytes, float, tensor.offset, &shape, &strides)
    }
}

fn archive(bytes: &[u8]) -> Result<(Pickle<'_>, Storages<'_>)> {
    let (mut pickle, mut storages, mut is_script) = (None, Storages::new(), false);
    for (name, content) in zip::entries(bytes)? {
        let inner = name.split_once('/').map_or(name.as_str(), |(_, inner)| inner);
        is_script |= SCRIPT.iter().any(|script| inner.starts_with(script));
        match (inner, inner.strip_prefix("data/")) {
            ("data.pkl", _) => {
                ensure!(pickle.is_none(), "the archive has two data.pkl: it is refused");
                pickle = Some(pickle::read(content)?);
            }
            ("byteorder", _) => ensure!(content == b"little", "its numbers are stored most significant byte first"),
            (_, Some(key)) => {
                let other = storages.insert(key.to_owned(), content);
                ensure!(other.is_none(), "the archive has two storages {key}: it is refused");
            }
            _ => {}
        }
    }
    ensure!(!is_script, "it is a TorchScript archive, which holds code: save the model's state_dict() with torch.save");
    Ok((pickle.context("the archive has no data.pkl: it was not written by torch.save")?, storages))
}

fn legacy(bytes: &[u8]) -> Result<(Pickle<'_>, Storages<'_>)> {
    let mut at = MAGIC.len();
    let mut next = || -> Result<(Pickle<'_>, usize)> {
        let pickle = pickle::read(&bytes[at..])?;
        at += pickle.len;
        Ok((pickle, at))
    };
    let (_version, _) = next()?;
    let (_sizes, _) = next()?;
    let (pickle, _) = next()?;
    let (keys, mut at) = next()?;
    let list = keys.list(keys.root).context("it has no list of storages")?;
    let mut storages = Storages::new();
    for key in list {
        let key = keys.text(*key).context("a storage has no name")?;
        let kind = pickle.kind(key).with_context(|| format!("nothing refers to storage {key}"))?;
        let cut = || format!("the file was cut off in storage {key}: fetch or copy it again");
        let count = bytes.get(at..at + 8).with_context(cut)?;
        let count = u64::from_le_bytes(count.try_into().expect("8 bytes"));
        let end =
            usize::try_from(count).ok().and_then(|n| n.checked_mul(kind.bytes())).and_then(|n| n.checked_add(at + 8));
        let content = end.and_then(|end| bytes.get(at + 8..end)).with_context(cut)?;
        at += 8 + content.len();
        ensure!(storages.insert(key.to_string(), content).is_none(), "it has storage {key} twice: it is refused");
    }
    Ok((pickle, storages))
}

/// The floats of a view on a storage.
fn gather(bytes: &[u8], float: Float, offset: usize, shape: &[usize], strides: &[usize]) -> Result<Vec<f32>> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let available = bytes.len() / float.bytes();
    let count =
        count.filter(|&count| count <= available).with_context(|| format!("its storage is too short for {shape:?}"))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |at, (&size, &stride)| at.checked_add((size - 1).checked_mul(stride)?));
    last.filter(|&last| last < available).context("reaches beyond its storage")?;
    let mut at = offset;
    let mut index = vec![0; shape.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(float.read(&bytes[at * float.bytes()..(at + 1) * float.bytes()]));
        // The next place, like a counter whose digits are the axes.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                at += strides[axis];
                break;
            }
            index[axis] = 0;
            at -= (shape[axis] - 1) * strides[axis];
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Array, Weights};

    const FILES: [(&str, &[u8]); 3] = [
        ("state.pth", include_bytes!("../../../tests/golden/state.pth")),
        ("training.pth", include_bytes!("../../../tests/golden/training.pth")),
        ("legacy.pth", include_bytes!("../../../tests/golden/legacy.pth")),
    ];

    /// Every tensor of floats.
    fn parse(bytes: &[u8]) -> Result<Weights> {
        let archive = Archive::parse(bytes)?;
        let mut weights = Weights::new();
        for (name, tensor) in archive.tensors()? {
            if matches!(archive.pickle.storage(tensor).kind, Kind::Float(_)) {
                let array = Array { shape: archive.shape(tensor), values: archive.values(tensor)? };
                weights.insert(name.to_owned(), array);
            }
        }
        Ok(weights)
    }

    #[test]
    fn what_pytorch_wrote_is_read() {
        for (name, bytes) in FILES {
            assert!(Archive::is_one(bytes), "{name}");
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
        let bytes = [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
        let gather = |offset, shape: &[usize], strides: &[usize]| gather(&bytes, Float::F32, offset, shape, strides);
        assert_eq!(gather(1, &[3], &[1]).unwrap(), [2.0, 3.0, 4.0]);
        assert_eq!(gather(0, &[2, 2], &[1, 2]).unwrap(), [1.0, 3.0, 2.0, 4.0]);
        // One number shown several times, but never more often than there are numbers.
        assert_eq!(gather(3, &[2, 2], &[0, 0]).unwrap(), [4.0; 4]);
        assert!(gather(4, &[0], &[1]).unwrap().is_empty());
        for (offset, shape, strides, word) in [
            (2, &[3][..], &[1][..], "beyond"),
            (0, &[2], &[usize::MAX], "beyond"),
            (usize::MAX, &[2], &[1], "beyond"),
            (0, &[usize::MAX, 2], &[0, 0], "too short"),
            (0, &[5], &[0], "too short"),
        ] {
            assert!(gather(offset, shape, strides).unwrap_err().to_string().contains(word), "{offset} {shape:?}");
        }
    }

    fn text(text: &str) -> Vec<u8> {
        [&[b'X', text.len() as u8, 0, 0, 0], text.as_bytes()].concat()
    }

    /// The instructions for a dictionary, of instructions for its values.
    fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let items: Vec<u8> = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [b"}(", &items[..], b"u"].concat()
    }

    /// The instructions for a row of `count` numbers, which are a whole storage.
    fn row(kind: &str, key: &str, count: u8) -> Vec<u8> {
        let kind = format!("ctorch\n{kind}\n");
        let storage = [b"(", &text("storage")[..], kind.as_bytes(), &text(key), &text("cpu"), &[b'K', count], b"tQ"];
        let view = [b'K', 0, b'K', count, 0x85, b'K', 1, 0x85, b't', b'R'];
        [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage.concat()[..], &view].concat()
    }

    /// A file of before PyTorch 1.6: each storage with its key and its number of numbers.
    fn older(pickle: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
        let keys: Vec<u8> = storages.iter().flat_map(|(key, ..)| text(key)).collect();
        let head = [MAGIC, b"M\xe9\x03.", b"}.", pickle, b".](", &keys, b"e."].concat();
        let stored = storages.iter().flat_map(|(_, count, bytes)| [&count.to_le_bytes()[..], bytes].concat());
        head.into_iter().chain(stored).collect()
    }

    #[test]
    fn older_training_checkpoints_hold_more_than_weights() {
        // The state of a random generator in single bytes, and tensors in a list, stored before the weights.
        let list = [b"](", &row("FloatStorage", "2", 1)[..], &row("IntStorage", "3", 2), b"e"].concat();
        let weights = dict(&[("w", row("HalfStorage", "4", 2))]);
        let pickle = dict(&[("rng", row("ByteStorage", "1", 5)), ("list", list), ("state_dict", weights)]);
        let half = [0, 0xbe, 0, 0x40];
        let storages: [(_, _, &[u8]); 4] = [("1", 5, &[7; 5]), ("2", 1, &[0; 4]), ("3", 2, &[0; 8]), ("4", 2, &half)];
        let file = older(&pickle, &storages);
        assert_eq!(parse(&file).unwrap()["w"].values, [-1.5, 2.0]);
        assert!(format!("{:#}", parse(&file[..file.len() - 1]).unwrap_err()).contains("cut off in storage 4"));
        let unknown = older(&pickle, &[("9", 1, &[0; 4])]);
        assert!(parse(&unknown).unwrap_err().to_string().contains("nothing refers to storage 9"));
    }

    #[test]
    fn an_average_without_tensors_is_passed_over() {
        let weights = || row("FloatStorage", "1", 1);
        let settings = dict(&[("decay", b"G\0\0\0\0\0\0\0\0".to_vec()), ("updates", b"K\x03".to_vec())]);
        for empty in [dict(&[]), settings, b"N".to_vec()] {
            let nested = dict(&[("state_dict_ema", empty.clone()), ("state_dict", dict(&[("w", weights())]))]);
            let plain = dict(&[("model_ema", empty), ("w", weights())]);
            for pickle in [nested, plain] {
                let found = parse(&older(&pickle, &[("1", 1, &[0, 0, 0xc0, 0xbf])])).unwrap();
                assert_eq!((found.len(), found["w"].values.as_slice()), (1, &[-1.5][..]));
            }
        }
        let message = parse(&older(&dict(&[("model", dict(&[]))]), &[])).unwrap_err().to_string();
        assert!(message.contains("no state dictionary with tensors"), "{message}");
    }
}
