//! What a frozen backbone, or a teacher, makes of images: computed once, then kept on the disk.
//!
//! A file holds the features of one split, or its soft labels, all numbers little endian:
//!
//! | bytes | |
//! |---|---|
//! | 16 | `ocellus-feature2` |
//! | 32 | the key: SHA-256 of everything that the values follow from |
//! | 8 | length of the description |
//! | | the description: a line `name = value` for each of these things, where what is long is its SHA-256 in hex |
//! | 8 | how many values follow |
//! | 4 each | the values, f32 |
//! | 32 | SHA-256 of everything before |
//!
//! It is named by its key. A file that is not exactly this is computed anew: nothing in it is trusted.

use crate::data::Split;
use crate::files;
use crate::view;
use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"ocellus-feature2";
/// Bytes before the description.
const HEADER: usize = 16 + 32 + 8;
/// Bytes of a thing that the description has as they are.
const SHORT: usize = 64;
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

/// A trained classifier that is asked what it says of images.
pub trait Teacher: Sync {
    /// SHA-256 of everything that its logits follow from besides the images.
    fn digest(&self) -> [u8; 32];

    /// Its logits `(n, classes)` for square images of any size, each up to a number of its own.
    ///
    /// # Errors
    /// They cannot be computed.
    fn logits(&self, images: &Split) -> Result<Vec<f32>>;
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

/// Collects what values follow from.
#[derive(Clone, Debug, Default)]
pub struct Key {
    sha256: Sha256,
    description: String,
}

impl Key {
    /// Adds one thing by its name; no two lists of things have the same key.
    pub fn add(mut self, name: &str, bytes: &[u8]) -> Self {
        for part in [name.as_bytes(), bytes] {
            self.sha256.update((part.len() as u64).to_le_bytes());
            self.sha256.update(part);
        }
        let is_plain = |text: &&str| text.len() <= SHORT && text.chars().all(|c| c.is_ascii_graphic());
        let short = std::str::from_utf8(bytes).ok().filter(is_plain);
        let value = short.map_or_else(|| hex::encode(Sha256::digest(bytes)), str::to_owned);
        self.description += &format!("{name} = {value}\n");
        self
    }

    fn finish(&self) -> [u8; 32] {
        self.sha256.clone().finalize().into()
    }

    /// The file of what follows from it, in `folder`.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(hex::encode(self.finish()) + ".features")
    }

    /// Names of the things that differ in what `description` is of.
    fn differing(&self, description: &str) -> Vec<String> {
        let theirs: Vec<&str> = description.lines().collect();
        let names =
            self.description.lines().filter(|line| !theirs.contains(line)).filter_map(|line| line.split(" = ").next());
        names.map(str::to_owned).collect()
    }
}

/// The `count` values that follow from `key`: from their file in `folder` where there is one, else by `compute`, whose
/// result is then kept there. Without a folder nothing is read or kept.
///
/// # Errors
/// Those of `compute`. A folder that cannot be written is a warning only.
pub fn cached(
    folder: Option<&Path>,
    key: &Key,
    count: usize,
    compute: impl FnOnce() -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let Some(folder) = folder else { return compute() };
    let path = key.file(folder);
    if let Ok(bytes) = std::fs::read(&path) {
        let is_of_key = |values| {
            ensure!(bytes[16..48] == key.finish(), "it belongs to something else");
            Ok(values)
        };
        match parse(&bytes, key, count).and_then(is_of_key) {
            Ok(values) => return Ok(values),
            Err(error) => view::warn(&format!("{} is computed anew: {error}", path.display())),
        }
    }
    let values = compute()?;
    let kept = files::make_folder(folder).and_then(|()| {
        // Two trainings may write the same file at once: each of them a whole one.
        files::write(&path, &emit(key, &values))
    });
    if let Err(error) = kept {
        view::warn(&format!("what was computed is not kept for another time: {error:#}"));
    }
    Ok(values)
}

/// The `count` values of the file at `path`, which was kept under `key`, or under one that has more things.
///
/// # Errors
/// It cannot be read, is damaged, or was computed from other things; names them.
pub fn stored(path: &Path, key: &Key, count: usize) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, key, count).with_context(|| path.display().to_string())
}

fn emit(key: &Key, values: &[f32]) -> Vec<u8> {
    let description = key.description.as_bytes();
    let mut bytes = Vec::with_capacity(HEADER + description.len() + 8 + 4 * values.len() + CHECKSUM);
    bytes.extend(MAGIC);
    bytes.extend(key.finish());
    bytes.extend((description.len() as u64).to_le_bytes());
    bytes.extend(description);
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn parse(bytes: &[u8], key: &Key, count: usize) -> Result<Vec<f32>> {
    ensure!(bytes.starts_with(MAGIC), "it holds no features or soft labels of this version");
    let (content, checksum) = bytes.split_at(bytes.len().saturating_sub(CHECKSUM));
    ensure!(content.len() >= HEADER && Sha256::digest(content)[..] == *checksum, "it is damaged");
    let (header, rest) = content.split_at(HEADER);
    let number = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
    let length = usize::try_from(number(&header[48..])).unwrap_or(usize::MAX);
    let (description, rest) = rest.split_at_checked(length).context("it is damaged")?;
    let differing = key.differing(&String::from_utf8_lossy(description));
    ensure!(differing.is_empty(), "it was computed from another {}", differing.join(", another "));
    let (found, values) = rest.split_at_checked(8).context("it is damaged")?;
    let expected = number(found) == count as u64 && values.len() == 4 * count;
    ensure!(expected, "it has another length than {count} values need");
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
            cached(Some(folder.path()), &key(text), count, compute).unwrap()
        };
        assert_eq!((get("a", 3), computed.get()), (VALUES.to_vec(), 1));
        assert_eq!((get("a", 3), computed.get()), (VALUES.to_vec(), 1), "the file is read");
        get("b", 3);
        assert_eq!(computed.get(), 2, "another key is another file");
        let file = |text| key(text).file(folder.path());
        let whole = std::fs::read(file("a")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged, &key("a"), 3).is_err(), "byte {at}");
            assert!(parse(&whole[..at], &key("a"), 3).is_err(), "cut at {at}");
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
        assert_eq!(cached(Some(&taken), &key("a"), 3, || Ok(VALUES.to_vec())).unwrap(), VALUES);
    }

    #[test]
    fn a_file_says_what_it_was_computed_from() {
        let folder = tempfile::tempdir().unwrap();
        let of = |seed: &str, images: &[u8]| Key::default().add("seed", seed.as_bytes()).add("images", images);
        let kept = of("7", &[200; 100]);
        cached(Some(folder.path()), &kept, 3, || Ok(VALUES.to_vec())).unwrap();
        let file = kept.file(folder.path());
        assert_eq!(stored(&file, &kept, 3).unwrap(), VALUES);
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let long = hex::encode(Sha256::digest([200; 100]));
        assert!(text.contains(&format!("seed = 7\nimages = {long}\n")), "{text}");
        let message = |key: &Key, count| format!("{:#}", stored(&file, key, count).unwrap_err());
        assert!(message(&of("8", &[200; 100]), 3).ends_with("computed from another seed"));
        assert!(message(&of("8", &[201; 100]), 3).ends_with("another seed, another images"));
        assert!(message(&kept, 2).contains("another length"));
        // Who does not know all of the things is content with those that are known.
        let fewer = Key::default().add("seed", b"7");
        assert_eq!(stored(&file, &fewer, 3).unwrap(), VALUES);
        std::fs::copy(&file, fewer.file(folder.path())).unwrap();
        assert_eq!(cached(Some(folder.path()), &fewer, 3, || Ok(vec![0.0; 3])).unwrap(), [0.0; 3], "the cache is not");
        std::fs::write(&file, "ocellus-features of before").unwrap();
        assert!(message(&kept, 3).contains("of this version"));
        assert!(message(&kept, 3).contains(".features"));
    }

    #[test]
    fn an_image_has_features_in_every_view() {
        let features = Features { len: 2, values: (0..12).map(|x| x as f32).collect(), labels: vec![0; 3] };
        assert_eq!((features.of(0, 2), features.of(1, 0)), (&[4.0, 5.0][..], &[6.0, 7.0][..]));
    }
}
