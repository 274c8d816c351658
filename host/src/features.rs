//! What a frozen backbone makes of images: computed once, then kept on the disk.
//!
//! A file holds the features of one split, all numbers little endian:
//!
//! | bytes | |
//! |---|---|
//! | 16 | `ocellus-features` |
//! | 32 | the key: SHA-256 of everything that the features follow from |
//! | 8 | how many values follow |
//! | 4 each | the values, f32 |
//! | 32 | SHA-256 of everything before |
//!
//! It is named by its key. A file that is not exactly this is computed anew: nothing in it is trusted.

use crate::files;
use crate::view;
use anyhow::{Result, ensure};
use ocellus_shared::Shape;
use sha2::{Digest, Sha256};
use std::path::Path;

const MAGIC: &[u8; 16] = b"ocellus-features";
/// Bytes before the values.
const HEADER: usize = 16 + 32 + 8;
/// Bytes of the checksum.
const CHECKSUM: usize = 32;

/// A backbone that is not of this program's own making, and never trained.
pub trait Extractor: Sync {
    /// Shape of the images it takes, `(h, w, 3)`.
    fn input(&self) -> Shape;

    /// Values that it makes of an image.
    fn width(&self) -> usize;

    /// SHA-256 of everything that its features follow from besides the image.
    fn digest(&self) -> [u8; 32];

    /// The features `(width)` of one image `(3, h, w)` with pixels in `[0, 1]`.
    ///
    /// # Errors
    /// It cannot be computed, or there are infinite values among them.
    fn features(&self, image: &[f32]) -> Result<Vec<f32>>;
}

/// The features of one split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Values of one image.
    pub len: usize,
    /// Each image's features, `(views, n, len)`.
    pub values: Vec<f32>,
    /// Class of each image, `(n)`.
    pub labels: Vec<u16>,
}

impl Features {
    /// Those of image `i`, as varied for `view`.
    pub fn of(&self, view: usize, i: usize) -> &[f32] {
        &self.values[(view * self.labels.len() + i) * self.len..][..self.len]
    }
}

/// Collects what features follow from.
#[derive(Clone, Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds one thing by its name; no two lists of things have the same key.
    pub fn add(mut self, name: &str, bytes: &[u8]) -> Self {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The `count` values that follow from `key`: from their file in `folder` where there is one, else by `compute`, whose
/// result is then kept there. Without a folder nothing is read or kept.
///
/// # Errors
/// Those of `compute`. A folder that cannot be written is a warning only.
pub fn cached(
    folder: Option<&Path>,
    key: Key,
    count: usize,
    compute: impl FnOnce() -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let Some(folder) = folder else { return compute() };
    let key = key.finish();
    let path = folder.join(hex::encode(key) + ".features");
    if let Ok(bytes) = std::fs::read(&path) {
        match parse(&bytes, &key, count) {
            Ok(values) => return Ok(values),
            Err(error) => view::warn(&format!("{} is computed anew: {error}", path.display())),
        }
    }
    let values = compute()?;
    let kept = files::make_folder(folder).and_then(|()| {
        // Two trainings may write the same file at once: each of them a whole one.
        files::write(&path, &emit(&key, &values))
    });
    if let Err(error) = kept {
        view::warn(&format!("the features are not kept for another time: {error:#}"));
    }
    Ok(values)
}

fn emit(key: &[u8; 32], values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 4 * values.len() + CHECKSUM);
    bytes.extend(MAGIC);
    bytes.extend(key);
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn parse(bytes: &[u8], key: &[u8; 32], count: usize) -> Result<Vec<f32>> {
    ensure!(bytes.len() == HEADER + 4 * count + CHECKSUM, "it has another length than {count} values need");
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    ensure!(Sha256::digest(content)[..] == *checksum, "it is damaged");
    let (header, values) = content.split_at(HEADER);
    let expected = [&MAGIC[..], key, &(count as u64).to_le_bytes()].concat();
    ensure!(header == expected, "it belongs to something else");
    Ok(values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const VALUES: [f32; 3] = [1.5, -0.0, f32::MIN_POSITIVE];

    fn key(text: &str) -> Key {
        Key::default().add("text", text.as_bytes())
    }

    #[test]
    fn values_are_computed_once_and_a_changed_file_never_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let computed = Cell::new(0);
        let get = |text: &str, count: usize| {
            let compute = || {
                computed.set(computed.get() + 1);
                Ok(VALUES[..count].to_vec())
            };
            cached(Some(folder.path()), key(text), count, compute).unwrap()
        };
        assert_eq!((get("a", 3), computed.get()), (VALUES.to_vec(), 1));
        assert_eq!((get("a", 3), computed.get()), (VALUES.to_vec(), 1), "the file is read");
        get("b", 3);
        assert_eq!(computed.get(), 2, "another key is another file");
        let file = |text| folder.path().join(hex::encode(key(text).finish()) + ".features");
        let whole = std::fs::read(file("a")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged, &key("a").finish(), 3).is_err(), "byte {at}");
            assert!(parse(&whole[..at], &key("a").finish(), 3).is_err(), "cut at {at}");
        }
        std::fs::write(file("a"), &whole[..whole.len() - 1]).unwrap();
        assert_eq!((get("a", 3), computed.get()), (VALUES.to_vec(), 3), "a damaged file is not used");
        assert_eq!(std::fs::read(file("a")).unwrap(), whole, "but mended");
        std::fs::copy(file("b"), file("a")).unwrap();
        get("a", 3);
        assert_eq!(computed.get(), 4, "nor is that of another key");
    }

    #[test]
    fn keys_do_not_run_together() {
        let digest = |parts: &[(&str, &str)]| {
            parts.iter().fold(Key::default(), |key, (name, value)| key.add(name, value.as_bytes())).finish()
        };
        assert_ne!(digest(&[("a", "bc")]), digest(&[("ab", "c")]));
        assert_ne!(digest(&[("a", "b"), ("c", "d")]), digest(&[("a", "bcd")]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "").unwrap();
        assert_eq!(cached(Some(&taken), key("a"), 3, || Ok(VALUES.to_vec())).unwrap(), VALUES);
    }

    #[test]
    fn an_image_has_features_in_every_view() {
        let features = Features { len: 2, values: (0..12).map(|x| x as f32).collect(), labels: vec![0; 3] };
        assert_eq!((features.of(0, 2), features.of(1, 0)), (&[4.0, 5.0][..], &[6.0, 7.0][..]));
    }
}
