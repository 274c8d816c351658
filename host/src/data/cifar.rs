//! The official binary layouts of CIFAR-10 and CIFAR-100.
//!
//! A file is a row of records: one label byte (CIFAR-100: the coarse one, then the fine one), then 32x32 red, green and
//! blue planes. See <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::picture::Picture;
use super::split::{Part, carve};
use super::{Dataset, Inventory, Progress, names as class_names};
use crate::recipe::{DataRecipe, LabelKind};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Rows and columns of every image.
pub const SIDE: u16 = 32;
const PLANE: usize = 32 * 32;

/// What distinguishes the two datasets.
pub struct Variant {
    /// What `ocellus data fetch` calls it.
    pub name: &'static str,
    /// The folder that the official archive unpacks to.
    pub folder: &'static str,
    train_files: &'static [&'static str],
    test_file: &'static str,
    /// Label bytes in front of each image, coarsest first, with the file and number of their names.
    labels: &'static [LabelByte],
}

struct LabelByte {
    names_file: &'static str,
    names: usize,
}

/// CIFAR-10: 10 classes, 50,000 + 10,000 images.
pub static TEN: Variant = Variant {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    train_files: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test_file: "test_batch.bin",
    labels: &[LabelByte { names_file: "batches.meta.txt", names: 10 }],
};

/// CIFAR-100: 100 classes in 20 superclasses, 50,000 + 10,000 images.
pub static HUNDRED: Variant = Variant {
    name: "cifar100",
    folder: "cifar-100-binary",
    train_files: &["train.bin"],
    test_file: "test.bin",
    labels: &[
        LabelByte { names_file: "coarse_label_names.txt", names: 20 },
        LabelByte { names_file: "fine_label_names.txt", names: 100 },
    ],
};

impl Variant {
    /// The folder that holds the dataset: `path` or its folder of the official name.
    pub fn find(&self, path: &Path) -> Option<PathBuf> {
        [path.to_owned(), path.join(self.folder)]
            .into_iter()
            .find(|dir| self.files().any(|name| dir.join(name).is_file()))
    }

    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train_files.iter().copied().chain([self.test_file])
    }

    /// Bytes of one record.
    fn record(&self) -> usize {
        self.labels.len() + 3 * PLANE
    }

    /// Which label byte to use.
    fn column(&self, kind: LabelKind) -> usize {
        match kind {
            LabelKind::Coarse => 0,
            LabelKind::Fine => self.labels.len() - 1,
        }
    }

    /// Names of the classes: from the dataset's own file, or `class <n>` where it brings none.
    fn classes(&self, dir: &Path, kind: LabelKind) -> Result<Vec<String>> {
        let LabelByte { names_file, names } = self.labels[self.column(kind)];
        let path = dir.join(names_file);
        if !path.exists() {
            return Ok(self.default_classes(names));
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let classes: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let mut unique = classes.clone();
        unique.sort();
        unique.dedup();
        ensure!(
            classes.len() == names && unique.len() == names,
            "{} names {} classes, {} of them different, but the layout has {names}: fetch the dataset again, or delete \
             the file to do without names",
            path.display(),
            classes.len(),
            unique.len()
        );
        class_names::check_all(classes.iter().map(String::as_str)).with_context(|| format!("in {}", path.display()))?;
        Ok(classes)
    }

    fn default_classes(&self, names: usize) -> Vec<String> {
        const TEN: [&str; 10] =
            ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
        if names == TEN.len() {
            TEN.map(str::to_owned).into()
        } else {
            (0..names).map(|class| format!("class {class}")).collect()
        }
    }
}

/// The records of a dataset's files, checked.
pub(super) struct Records {
    variant: &'static Variant,
    /// Names of the files that were read, with the number of their first record.
    files: Vec<(&'static str, usize)>,
    bytes: Vec<u8>,
    /// Class of each record.
    pub labels: Vec<u16>,
    /// Part of each record.
    pub parts: Vec<Part>,
    /// Class names in label order.
    pub classes: Vec<String>,
}

impl Records {
    /// Reads all files in `dir` and draws the validation set out of the training files.
    ///
    /// # Errors
    /// A file that is missing, empty, truncated or mislabelled.
    pub fn read(variant: &'static Variant, dir: &Path, recipe: &DataRecipe) -> Result<Self> {
        let classes = variant.classes(dir, recipe.labels)?;
        let mut records =
            Self { variant, files: Vec::new(), bytes: Vec::new(), labels: Vec::new(), parts: Vec::new(), classes };
        for name in variant.train_files {
            records.read_file(dir, name, Part::Train, recipe.labels)?;
        }
        carve(&mut records.parts, &records.labels, Part::Val, recipe.val_fraction, recipe.seed);
        records.read_file(dir, variant.test_file, Part::Test, recipe.labels)?;
        Ok(records)
    }

    fn read_file(&mut self, dir: &Path, name: &'static str, part: Part, kind: LabelKind) -> Result<()> {
        let path = dir.join(name);
        ensure!(path.is_file(), "{} is missing: {}", path.display(), remedy(self.variant));
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        check_records(self.variant, &path, &bytes)?;
        self.files.push((name, self.labels.len()));
        let column = self.variant.column(kind);
        self.labels.extend(bytes.chunks_exact(self.variant.record()).map(|record| u16::from(record[column])));
        self.parts.resize(self.labels.len(), part);
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// Where record `i` is, for people.
    pub fn place(&self, i: usize) -> String {
        let (name, first) = self.files[self.files.partition_point(|&(_, first)| first <= i) - 1];
        format!("{name}, record {}", i - first)
    }

    /// Writes the RGB pixels of record `i` into `image`, `(32, 32, 3)`.
    pub fn paint(&self, i: usize, image: &mut [u8]) {
        let record = &self.bytes[i * self.variant.record()..][..self.variant.record()];
        let planes = &record[self.variant.labels.len()..];
        for (p, pixel) in image.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[planes[p], planes[PLANE + p], planes[2 * PLANE + p]]);
        }
    }
}

fn check_records(variant: &Variant, path: &Path, bytes: &[u8]) -> Result<()> {
    let record = variant.record();
    ensure!(!bytes.is_empty(), "{} is empty: {}", path.display(), remedy(variant));
    ensure!(
        bytes.len().is_multiple_of(record),
        "{} is truncated or of another format: its {} bytes are not a multiple of {record} ({} records and {} bytes \
         more): {}",
        path.display(),
        bytes.len(),
        bytes.len() / record,
        bytes.len() % record,
        remedy(variant)
    );
    for (i, bytes) in bytes.chunks_exact(record).enumerate() {
        for (byte, LabelByte { names, .. }) in bytes.iter().zip(variant.labels) {
            ensure!(
                usize::from(*byte) < *names,
                "{}, record {i} (byte {}): label {byte} is out of range, labels are 0 to {}: {}",
                path.display(),
                i * record,
                names - 1,
                remedy(variant)
            );
        }
    }
    Ok(())
}

fn remedy(variant: &Variant) -> String {
    format!("fetch the binary version again with `ocellus data fetch {}`", variant.name)
}

/// Reads the dataset in `dir`; validation images are drawn from the training files, the test file stays the test set.
///
/// # Errors
/// A file that is missing, empty, truncated or mislabelled.
pub(super) fn load(
    variant: &'static Variant,
    dir: &Path,
    recipe: &DataRecipe,
    most: usize,
    progress: Progress,
) -> Result<Dataset> {
    let records = Records::read(variant, dir, recipe)?;
    let inventory = Inventory {
        name: variant.name.to_owned(),
        classes: records.classes.clone(),
        labels: records.labels.clone(),
        parts: records.parts.clone(),
    };
    let side = recipe.img_size.unwrap_or(SIDE);
    inventory.collect(usize::from(side), most, progress, |i, image| {
        if side == SIDE {
            records.paint(i, image);
        } else {
            let mut pixels = vec![0; 3 * PLANE];
            records.paint(i, &mut pixels);
            let original = Picture { width: SIDE, height: SIDE, pixels };
            original.square(side, recipe.fit(), image);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load;
    use crate::recipe::Enlarge;

    /// Writes a CIFAR-10 folder with `records` records per file; the pixels of plane `p` of record `i` are `i + 100 p`.
    fn write_ten(dir: &Path, records: usize) {
        for name in TEN.files() {
            let bytes: Vec<u8> = (0..records).flat_map(|i| record(&[(i % 10) as u8], i as u8)).collect();
            fs::write(dir.join(name), bytes).unwrap();
        }
    }

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        let planes = (0..3).flat_map(|plane: u8| vec![pixel.wrapping_add(100 * plane); PLANE]);
        labels.iter().copied().chain(planes).collect()
    }

    fn recipe(dir: &Path) -> DataRecipe {
        DataRecipe { path: Some(dir.to_owned()), ..DataRecipe::default() }
    }

    fn error(dir: &Path) -> String {
        format!("{:#}", load(&recipe(dir), &|_, _| ()).unwrap_err())
    }

    #[test]
    fn reads_planes_as_pixels_and_keeps_the_official_test_set() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 40);
        let dataset = load(&recipe(dir.path()), &|_, _| ()).unwrap();
        assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (180, 20, 40));
        assert_eq!(dataset.test.image(3)[..6], [3, 103, 203, 3, 103, 203]);
        assert_eq!(dataset.test.labels[..3], [0, 1, 2]);
        assert_eq!(dataset.classes[9], "truck");
    }

    #[test]
    fn the_seed_changes_the_split_and_the_hash_tells() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 40);
        let hash = |seed| load(&DataRecipe { seed, ..recipe(dir.path()) }, &|_, _| ()).unwrap().hash;
        assert_eq!(hash(0), hash(0));
        assert_ne!(hash(0), hash(1));
    }

    #[test]
    fn is_found_from_the_folder_above() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join(TEN.folder);
        fs::create_dir(&inner).unwrap();
        write_ten(&inner, 20);
        assert_eq!(load(&recipe(dir.path()), &|_, _| ()).unwrap().name, "cifar10");
    }

    #[test]
    fn another_size_is_resized_to() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 20);
        let dataset = load(&DataRecipe { img_size: Some(48), ..recipe(dir.path()) }, &|_, _| ()).unwrap();
        assert_eq!(dataset.test.images.len(), 20 * 48 * 48 * 3);
        assert_eq!(dataset.test.image(5)[48 * 48 * 3 - 3..], [5, 105, 205]);
    }

    #[test]
    fn enlarging_is_as_the_recipe_says() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 20);
        // A column of light in the fourth test image.
        let path = dir.path().join("test_batch.bin");
        let mut bytes = fs::read(&path).unwrap();
        (0..32).for_each(|row| bytes[3 * 3073 + 1 + 32 * row + 16] = 203);
        fs::write(&path, bytes).unwrap();
        let red = |enlarge| {
            let recipe = DataRecipe { img_size: Some(64), enlarge, ..recipe(dir.path()) };
            load(&recipe, &|_, _| ()).unwrap().test.image(3)[30 * 3..36 * 3]
                .iter()
                .copied()
                .step_by(3)
                .collect::<Vec<_>>()
        };
        assert_eq!(red(None), [3, 3, 203, 203, 3, 3]);
        assert_eq!(red(Some(Enlarge::Area)), red(None));
        // Its sides fall from a half away of the pixel on, and it stands out less within.
        let smooth = red(Some(Enlarge::Smooth));
        assert!(smooth[1] > 20 && smooth[2] < 200 && smooth[1] == smooth[4] && smooth[2] == smooth[3], "{smooth:?}");
    }

    #[test]
    fn hundred_has_two_kinds_of_labels() {
        let dir = tempfile::tempdir().unwrap();
        for name in HUNDRED.files() {
            let bytes: Vec<u8> = (0..200).flat_map(|i: u8| record(&[i % 20, i % 100], i)).collect();
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let fine = load(&recipe(dir.path()), &|_, _| ()).unwrap();
        let coarse = load(&DataRecipe { labels: LabelKind::Coarse, ..recipe(dir.path()) }, &|_, _| ()).unwrap();
        assert_eq!((fine.classes.len(), fine.test.labels[57]), (100, 57));
        assert_eq!((coarse.classes.len(), coarse.test.labels[57]), (20, 17));
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 20);
        let path = dir.path().join("data_batch_3.bin");
        let whole = fs::read(&path).unwrap();

        fs::write(&path, &whole[..whole.len() - 100]).unwrap();
        let message = error(dir.path());
        assert!(message.contains("data_batch_3.bin") && message.contains("61360 bytes"), "{message}");

        let mut mislabelled = whole.clone();
        mislabelled[7 * 3073] = 10;
        fs::write(&path, mislabelled).unwrap();
        let message = error(dir.path());
        assert!(message.contains("data_batch_3.bin, record 7") && message.contains("label 10"), "{message}");

        fs::write(&path, []).unwrap();
        assert!(error(dir.path()).contains("data_batch_3.bin is empty"));
        fs::remove_file(&path).unwrap();
        assert!(error(dir.path()).contains("data_batch_3.bin is missing"));
    }

    #[test]
    fn names_come_from_the_dataset_where_it_brings_them() {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path(), 20);
        let names: String = (0..10).map(|i| format!("kind {i}\n")).collect();
        fs::write(dir.path().join("batches.meta.txt"), names + "\n").unwrap();
        assert_eq!(load(&recipe(dir.path()), &|_, _| ()).unwrap().classes[4], "kind 4");
        fs::write(dir.path().join("batches.meta.txt"), "a\nb\n").unwrap();
        assert!(error(dir.path()).contains("batches.meta.txt names 2 classes"));
    }
}
