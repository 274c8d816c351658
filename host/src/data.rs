//! Datasets: where images come from, and the splits that every later stage sees.
//!
//! [`load`] finds out which layout a folder has:
//!
//! | layout | known by | test set | validation set |
//! |---|---|---|---|
//! | CIFAR-10, binary ([`cifar`]) | `data_batch_<n>.bin` or `test_batch.bin` | `test_batch.bin` | out of the batches |
//! | CIFAR-100, binary ([`cifar`]) | `train.bin` or `test.bin` | `test.bin` | out of `train.bin` |
//! | images in folders ([`folder`]) | one folder per class, perhaps in `train/ val/ test/` | `test/`, else `val/`, else drawn | `val/` unless it is the test set, else out of the training images |
//! | built-in ([`shapes`]) | no path, or `shapes` | the last 2,000 of 12,000 | out of the others |
//!
//! A part that a dataset does not bring is drawn from its training images: seeded, stratified by class, and in an
//! order that does not depend on the file system's. [`check`] looks for what could be wrong with a dataset, [`fetch`]
//! downloads one.

pub mod album;
pub mod check;
pub mod cifar;
pub mod dataset_shift;
pub mod fetch;

pub mod folder;
mod ignored;
pub mod names;
pub mod picture;
pub mod shapes;
mod split;

pub use split::Part;

use crate::recipe::DataRecipe;
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Called now and then while images are read, perhaps from several threads: images done, images in all.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Images of one size and their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// RGB pixels, `(n, h, w, 3)`.
    pub images: Vec<u8>,
    /// Class of each image, below the number of classes.
    pub labels: Vec<u16>,
    /// Rows of each image.
    pub height: usize,
    /// Columns of each image.
    pub width: usize,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// RGB pixels of image `i`, `(h, w, 3)`.
    pub fn image(&self, i: usize) -> &[u8] {
        let bytes = self.height * self.width * 3;
        &self.images[i * bytes..(i + 1) * bytes]
    }

    /// Positions of `count` images, or of all if there are fewer, evenly spread.
    pub fn spread(&self, count: usize) -> Vec<usize> {
        spread(self.len(), count).collect()
    }

    /// The images at these positions.
    pub fn only(&self, positions: &[usize]) -> Self {
        Self {
            images: positions.iter().flat_map(|&i| self.image(i)).copied().collect(),
            labels: positions.iter().map(|&i| self.labels[i]).collect(),
            ..*self
        }
    }
}

/// A dataset with its three disjoint splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it is called in reports: `cifar10`, the folder's name, ...
    pub name: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// For fitting weights.
    pub train: Split,
    /// For choosing between checkpoints, and for calibration together with `train`.
    pub val: Split,
    /// For the final figures only: neither training nor calibration sees it.
    pub test: Split,
    /// SHA-256 over all pixels and labels in hex, so that a model says what it was trained on.
    pub hash: String,
}

/// Reads the dataset of a recipe, or draws the built-in one where the recipe names none.
///
/// # Errors
/// A folder that holds no known layout, a damaged dataset, too few images for the splits, or too many for the memory;
/// the message names the file and the remedy.
pub fn load(recipe: &DataRecipe, progress: Progress) -> Result<Dataset> {
    load_some(recipe, usize::MAX, progress)
}

/// As [`load`], but at most `most` images of each split, evenly spread over it: the others are not even looked at.
///
/// # Errors
/// As for [`load`].
pub fn load_some(recipe: &DataRecipe, most: usize, progress: Progress) -> Result<Dataset> {
    check_recipe(recipe)?;
    match Layout::detect(recipe.path.as_deref())? {
        Layout::Cifar10(dir) => cifar::load(&cifar::TEN, &dir, recipe, most, progress),
        Layout::Cifar100(dir) => cifar::load(&cifar::HUNDRED, &dir, recipe, most, progress),
        Layout::Folder(dir) => folder::load(&dir, recipe, most, progress),
        Layout::Shapes => shapes::load(recipe, most, progress),
    }
}

fn check_recipe(recipe: &DataRecipe) -> Result<()> {
    for (name, fraction) in [("val-fraction", recipe.val_fraction), ("test-fraction", recipe.test_fraction)] {
        ensure!(
            fraction > 0.0 && fraction < 1.0,
            "data.{name} is {fraction}, but must lie between 0 and 1, for example 0.1: change it in the recipe"
        );
    }
    if let Some(side) = recipe.img_size {
        ensure!((8..=1024).contains(&side), "images of {side}x{side} are not supported: choose --img-size 8 to 1024");
    }
    Ok(())
}

/// A dataset's kind, with the folder that holds its files.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    Cifar10(PathBuf),
    Cifar100(PathBuf),
    Folder(PathBuf),
    Shapes,
}

impl Layout {
    fn detect(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Shapes) };
        if !path.exists() && path.as_os_str() == shapes::NAME {
            return Ok(Self::Shapes);
        }
        ensure!(path.exists(), "{} does not exist: give the dataset's folder", path.display());
        ensure!(path.is_dir(), "{} is a file: give a folder; unpack an archive first", path.display());
        match (cifar::TEN.find(path), cifar::HUNDRED.find(path)) {
            (Some(_), Some(_)) => {
                bail!("{} holds both CIFAR-10 and CIFAR-100: give the folder of one of them", path.display())
            }
            (Some(dir), None) => Ok(Self::Cifar10(dir)),
            (None, Some(dir)) => Ok(Self::Cifar100(dir)),
            (None, None) => Ok(Self::Folder(path.to_owned())),
        }
    }
}

/// What a layout knows about its images before any is decoded.
struct Inventory {
    name: String,
    classes: Vec<String>,
    /// Class of each image.
    labels: Vec<u16>,
    /// Part of each image.
    parts: Vec<Part>,
}

impl Inventory {
    /// Makes images with `paint` (number of the image, `(side, side, 3)` pixels), in parallel: all, or `most` of each part.
    ///
    /// # Errors
    /// The images do not fit into the memory, or a part has none.
    fn collect(
        self,
        side: usize,
        most: usize,
        progress: Progress,
        paint: impl Fn(usize, &mut [u8]) + Sync,
    ) -> Result<Dataset> {
        let Self { name, classes, labels, parts } = self;
        let members = |part| {
            let all: Vec<usize> = (0..labels.len()).filter(|&i| parts[i] == part).collect();
            spread(all.len(), most).map(|i| all[i]).collect::<Vec<_>>()
        };
        let members = [Part::Train, Part::Val, Part::Test].map(|part| (part, members(part)));
        let count: usize = members.iter().map(|(_, members)| members.len()).sum();
        let what = || format!("{count} images of {side}x{side}");
        ensure_memory(count.saturating_mul(side * side * 3), what, "choose a smaller --img-size")?;
        let done = AtomicUsize::new(0);
        let tick = || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(100) || done == count {
                progress(done, count);
            }
        };
        let gather = |(part, members): &(Part, Vec<usize>)| {
            ensure!(!members.is_empty(), "{name} has too few images: none is left for {}", part.name());
            let mut images = vec![0; members.len() * side * side * 3];
            images.par_chunks_exact_mut(side * side * 3).zip(members).for_each(|(image, &i)| {
                paint(i, image);
                tick();
            });
            let labels = members.iter().map(|&i| labels[i]).collect();
            Ok(Split { images, labels, height: side, width: side })
        };
        let [train, val, test] = members.each_ref().map(gather);
        let (train, val, test) = (train?, val?, test?);
        let hash = digest(&classes, [&train, &val, &test]);
        Ok(Dataset { name, classes, train, val, test, hash })
    }
}

/// Positions of at most `most` of `count` images, evenly spread: folders list one class after the other.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let most = most.min(count);
    (0..most).map(move |i| i * count / most)
}

/// Refuses what needs so many bytes, where they are not there: running out of memory kills a process without a message.
///
/// # Errors
/// They are not; says `what` needs them, and the `remedy`.
pub fn ensure_memory(needed: usize, what: impl Fn() -> String, remedy: &str) -> Result<()> {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    });
    ensure!(
        available.is_none_or(|available| needed < available),
        "{} need {} MB of memory, more than is free: {remedy}",
        what(),
        needed / 1_000_000
    );
    Ok(())
}

/// SHA-256 in hex over class names, sizes, labels and pixels of all splits in order, each preceded by its length.
fn digest(classes: &[String], splits: [&Split; 3]) -> String {
    let mut sha = Sha256::new();
    let mut field = |bytes: &[u8]| {
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    };
    classes.iter().for_each(|name| field(name.as_bytes()));
    for split in splits {
        field(&(split.height as u64).to_le_bytes());
        field(&(split.width as u64).to_le_bytes());
        field(&split.labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>());
        field(&split.images);
    }
    hex::encode(sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_images_are_spread_over_the_split() {
        let spread = |count, most| spread(count, most).collect::<Vec<_>>();
        assert_eq!(spread(100, 4), [0, 25, 50, 75]);
        assert_eq!([spread(3, 8), spread(3, usize::MAX)], [[0, 1, 2], [0, 1, 2]]);
        assert!(spread(0, 4).is_empty());
        let recipe = DataRecipe { img_size: Some(16), ..DataRecipe::default() };
        let Dataset { train, val, test, .. } = load_some(&recipe, 3, &|_, _| ()).unwrap();
        assert_eq!([train.len(), val.len(), test.len()], [3; 3]);
        let last = shapes::pictures(shapes::TRAINING..shapes::TRAINING + shapes::TEST, 16, recipe.seed);
        assert_eq!(test, last.only(&spread(shapes::TEST, 3)));
    }
}
