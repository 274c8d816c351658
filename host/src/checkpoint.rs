//! A trained network in one `.safetensors` file.
//!
//! The tensors are the weights by [`Parameter::name`](crate::net::Parameter); a `last.safetensors` also holds, under
//! the prefix `state.`, what a resumed run needs. The file's metadata has
//!
//! | key | value |
//! |---|---|
//! | `format` | `ocellus-checkpoint-2` |
//! | `recipe` | the recipe, TOML |
//! | `classes` | class names in label order, JSON |
//! | `input` | height and width of the images, JSON |
//! | `dataset` | the dataset's hash |
//! | `progress` | [`Progress`], TOML; only where training can go on |
//! | `sha256` | of the whole file, hex; see [`sealed`] |
//!
//! Files of before, `ocellus-checkpoint-1`, have a `sha256` of all tensors alone, or none.

use crate::files;
use crate::net::{Array, Weights};
use crate::recipe::Recipe;
use crate::weights::sealed::{self, FORMAT, REMEDY, UNSEALED};
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Shape;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// The format of before, whose digest covers the tensors alone.
const FORMER: &str = "ocellus-checkpoint-1";
/// What the names of [`Resume::state`] begin with inside the file.
const STATE: &str = "state.";
/// The checkpoint of a run folder that is its result: of the epoch that the recipe [keeps](crate::recipe::Keep).
pub const BEST: &str = "best.safetensors";
/// The checkpoint of a run folder to go on from.
pub const LAST: &str = "last.safetensors";
/// The file of a folder that holds an ensemble of trained networks, and beside it no network.
pub const ENSEMBLE: &str = "ensemble.toml";

/// A trained network and everything that says what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The recipe that it was trained by.
    pub recipe: Recipe,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// Shape of the images, `(h, w, 3)`.
    pub input: Shape,
    /// [`Dataset::hash`](crate::data::Dataset) of what it was trained on.
    pub dataset_hash: String,
    /// The parameters.
    pub weights: Weights,
    /// What training needs to go on, in a `last.safetensors`.
    pub resume: Option<Resume>,
}

/// What training needs to go on exactly where it stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// How far it came.
    pub progress: Progress,
    /// Optimizer state and moving averages, by `<kind>.<parameter>`.
    pub state: Weights,
}

/// How far a training run came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Finished epochs.
    pub epoch: u32,
    /// Steps done in the unfinished epoch.
    pub step: usize,
    /// The unfinished epoch so far.
    pub running: Running,
    /// The epoch to keep so far.
    pub best: Option<Best>,
    /// Seconds of training, over all resumptions.
    pub seconds: f64,
    /// Seconds of CPU time, over all resumptions and threads.
    pub cpu_seconds: f64,
    /// One record for each finished epoch.
    pub history: Vec<EpochRecord>,
}

/// Sums over the steps of an unfinished epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Sum of the images' losses.
    pub loss: f64,
    /// Images classified correctly.
    pub correct: usize,
    /// Images seen.
    pub images: usize,
    /// Seconds spent.
    pub seconds: f64,
}

/// The epoch that the recipe [keeps](crate::recipe::Keep).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its number, from 1.
    pub epoch: u32,
    /// Validation images classified correctly.
    pub correct: usize,
}

/// One line of `results.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u32,
    /// Mean training loss, with augmentation, dropout and label smoothing.
    pub train_loss: f64,
    /// Part of the augmented training images classified correctly, in `[0, 1]`.
    pub train_acc: f64,
    /// Mean cross-entropy on the validation images.
    pub val_loss: f64,
    /// Part of the validation images classified correctly, in `[0, 1]`.
    pub val_acc: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Training images per second.
    pub images_per_s: f64,
    /// Seconds of the epoch, validation included.
    pub seconds: f64,
}

#[cfg(test)]
impl EpochRecord {
    /// An epoch like many others.
    pub fn example(epoch: u32) -> Self {
        Self {
            epoch,
            train_loss: 1.5,
            train_acc: 0.25,
            val_loss: 1.25,
            val_acc: 0.5,
            lr: 0.05,
            images_per_s: 400.0,
            seconds: 120.0,
        }
    }
}

impl Checkpoint {
    /// Reads the checkpoint at `path`, or the best one of the run folder `path`.
    ///
    /// # Errors
    /// There is none, or the file is damaged, of another format, or not a checkpoint; the message names the file.
    pub fn load(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(BEST) } else { path.to_path_buf() };
        let bytes = std::fs::read(&file).with_context(|| {
            format!("cannot read the checkpoint {}; `ocellus train` writes one into its run folder", file.display())
        })?;
        Self::parse(&bytes).with_context(|| format!("in the checkpoint {}", file.display()))
    }

    /// Writes the checkpoint: `path` is either the old or the new one, whatever happens.
    ///
    /// # Errors
    /// The folder cannot be written or the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write(path, &self.emit()?)
    }

    /// SHA-256 in hex over names, shapes and values of all parameters.
    pub fn weights_hash(&self) -> String {
        hash([&self.weights].into_iter())
    }

    /// SHA-256 in hex over all that the file's tensors hold.
    fn hash(&self) -> String {
        hash([&self.weights].into_iter().chain(self.resume.as_ref().map(|resume| &resume.state)))
    }

    fn emit(&self) -> Result<Vec<u8>> {
        let mut metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("recipe".to_owned(), self.recipe.to_toml()),
            ("classes".to_owned(), serde_json::to_string(&self.classes)?),
            ("input".to_owned(), serde_json::to_string(&[self.input.h, self.input.w])?),
            ("dataset".to_owned(), self.dataset_hash.clone()),
            (sealed::KEY.to_owned(), UNSEALED.to_owned()),
        ]);
        let mut arrays: Vec<(String, &Array)> = self.weights.iter().map(|(name, a)| (name.clone(), a)).collect();
        if let Some(resume) = &self.resume {
            metadata.insert("progress".to_owned(), toml::to_string(&resume.progress)?);
            arrays.extend(resume.state.iter().map(|(name, a)| (format!("{STATE}{name}"), a)));
        }
        let bytes: Vec<Vec<u8>> =
            arrays.iter().map(|(_, a)| a.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = arrays
            .into_iter()
            .zip(&bytes)
            .map(|((name, array), bytes)| Ok((name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?)));
        let views: Vec<_> = views.collect::<Result<_>>()?;
        let mut file = in_order(safetensors::serialize(views, Some(metadata))?)?;
        sealed::seal(&mut file)?;
        Ok(file)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).context(REMEDY)?;
        let tensors = SafeTensors::deserialize(bytes).context(REMEDY)?;
        let none = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&none);
        let get = |key: &str| metadata.get(key).with_context(|| format!("its metadata has no `{key}`"));
        match metadata.get("format").map(String::as_str) {
            Some(FORMAT) => sealed::verify(bytes)?,
            Some(FORMER) => {}
            Some(other) => bail!("its format is {other}, this version reads {FORMAT}; train again with this version"),
            None => bail!("this safetensors file was not written by `ocellus train`"),
        }
        let [h, w]: [u16; 2] = serde_json::from_str(get("input")?).context("its input size")?;
        let (mut weights, mut state) = (Weights::new(), Weights::new());
        for (name, view) in tensors.iter() {
            let array = read_array(&view).with_context(|| format!("its tensor {name}"))?;
            match name.strip_prefix(STATE) {
                Some(name) => state.insert(name.to_owned(), array),
                None => weights.insert(name.to_owned(), array),
            };
        }
        let resume = match metadata.get("progress") {
            Some(text) => Some(Resume { progress: read_progress(text).context("its progress")?, state }),
            None => None,
        };
        let checkpoint = Self {
            recipe: Recipe::parse(get("recipe")?).context("its recipe")?,
            classes: serde_json::from_str(get("classes")?).context("its class names")?,
            input: Shape::new(h, w, 3),
            dataset_hash: get("dataset")?.clone(),
            weights,
            resume,
        };
        if metadata.get("format").is_some_and(|format| format == FORMER) {
            ensure!(metadata.get("sha256").is_none_or(|sha256| *sha256 == checkpoint.hash()), REMEDY);
        }
        Ok(checkpoint)
    }
}

/// SHA-256 in hex over names, shapes and values of all arrays of all `parts`.
fn hash<'a>(parts: impl Iterator<Item = &'a Weights>) -> String {
    let mut sha = Sha256::new();
    for (name, Array { shape, values }) in parts.flatten() {
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name);
        let sizes = [shape.len()].into_iter().chain(shape.iter().copied());
        sizes.for_each(|size| sha.update((size as u64).to_le_bytes()));
        sha.update(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    hex::encode(sha.finalize())
}

/// TOML; or JSON, which it was before, and which does not read every number exactly as it was written.
fn read_progress(text: &str) -> Result<Progress> {
    if text.starts_with('{') { Ok(serde_json::from_str(text)?) } else { Ok(toml::from_str(text)?) }
}

/// The safetensors `file` with its header sorted: the library writes metadata in another order each time, but two runs of
/// one recipe are to give equal files.
fn in_order(mut file: Vec<u8>) -> Result<Vec<u8>> {
    let (length, _) = SafeTensors::read_metadata(&file)?;
    let header = &mut file[8..8 + length];
    let mut sorted = serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(header)?)?;
    sorted.resize(length, b' ');
    header.copy_from_slice(&sorted);
    Ok(file)
}

fn read_array(view: &TensorView<'_>) -> Result<Array> {
    ensure!(view.dtype() == Dtype::F32, "has the type {:?}, not F32", view.dtype());
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(Array { shape: view.shape().to_vec(), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let array = |values: &[f32]| Array { shape: vec![values.len()], values: values.to_vec() };
        let weights = Weights::from([("head.bias".into(), array(&[1.0, -0.0, f32::MIN_POSITIVE]))]);
        let state = Weights::from([("first.head.bias".into(), array(&[0.1, 0.2, 0.3]))]);
        let progress = Progress { epoch: 2, step: 7, best: Some(Best { epoch: 1, correct: 9 }), ..Progress::default() };
        Checkpoint {
            recipe: Recipe { name: "tiny".into(), ..Recipe::default() },
            classes: vec!["a \"quoted\" name".into(), "b".into()],
            input: Shape::new(8, 9, 3),
            dataset_hash: "abc".into(),
            weights,
            resume: Some(Resume { progress, state }),
        }
    }

    #[test]
    fn survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        for checkpoint in [checkpoint(), Checkpoint { resume: None, ..checkpoint() }] {
            checkpoint.save(&folder.path().join(BEST)).unwrap();
            // The folder stands for its best checkpoint.
            assert_eq!(Checkpoint::load(folder.path()).unwrap(), checkpoint);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn progress_is_read_exactly_as_it_was() {
        // serde_json reads the first of these one ulp off.
        let loss = [0.197_946_618_497_371_66, 1e-310, f64::NAN];
        let of = |seconds: f64| {
            let record = |epoch| EpochRecord {
                epoch,
                train_loss: seconds,
                train_acc: 0.1 + 0.2,
                val_loss: 1.0 / 3.0,
                val_acc: 1.0,
                lr: 1e-5,
                images_per_s: 1234.5,
                seconds,
            };
            let running = Running { loss: seconds, correct: 3, images: 5, seconds };
            let history = vec![record(1), record(2)];
            Progress { epoch: 2, step: 7, running, best: None, seconds, cpu_seconds: 0.0, history }
        };
        for progress in loss.map(of) {
            let text = toml::to_string(&progress).unwrap();
            let read = read_progress(&text).unwrap();
            assert_eq!(read.running.loss.to_bits(), progress.running.loss.to_bits());
            assert_eq!(toml::to_string(&read).unwrap(), text);
        }
        // Runs of before can go on.
        let old = of(1.5);
        assert_eq!(read_progress(&serde_json::to_string(&old).unwrap()).unwrap(), old);
    }

    #[test]
    fn equal_checkpoints_are_equal_files() {
        let bytes = checkpoint().emit().unwrap();
        assert!((0..8).all(|_| checkpoint().emit().unwrap() == bytes));
    }

    #[test]
    fn no_bit_of_a_file_changes_unnoticed() {
        for checkpoint in [checkpoint(), Checkpoint { resume: None, ..checkpoint() }] {
            let bytes = checkpoint.emit().unwrap();
            assert_eq!(Checkpoint::parse(&bytes).unwrap(), checkpoint);
            for len in 0..bytes.len() {
                assert!(Checkpoint::parse(&bytes[..len]).is_err(), "cut to {len} bytes");
            }
            assert!(Checkpoint::parse(&[&bytes[..], b" "].concat()).is_err(), "a byte more");
            for bit in 0..8 * bytes.len() {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Checkpoint::parse(&damaged).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn files_of_before_are_read_and_their_tensors_checked() {
        let of = |digest: Option<&str>, value: f32| {
            let metadata = [
                ("format", FORMER),
                ("recipe", "model = \"linear\""),
                ("classes", "[\"a\", \"b\"]"),
                ("input", "[8, 9]"),
                ("dataset", "abc"),
            ];
            let digest = digest.map(|digest| ("sha256", digest));
            let metadata = metadata.into_iter().chain(digest).map(|(key, value)| (key.to_owned(), value.to_owned()));
            let bytes = value.to_le_bytes();
            let view = TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
            Checkpoint::parse(&safetensors::serialize([("head.bias", &view)], Some(metadata.collect())).unwrap())
        };
        // By Python's hashlib: the name's length, the name, one axis, of one value, and that.
        let digest = "857f79f9c9f62d8aa4a214c6bba4f00750fe225aca27c60fa93c6e53fa8508ac";
        assert_eq!(of(None, 1.5).unwrap().weights["head.bias"].values, [1.5]);
        assert_eq!(of(Some(digest), 1.5).unwrap().classes, ["a", "b"]);
        assert!(of(Some(digest), 1.25).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn foreign_and_later_files_are_refused() {
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let message = |format: Option<&str>| {
            let metadata = format.map(|format| HashMap::from([("format".to_owned(), format.to_owned())]));
            format!("{:#}", Checkpoint::parse(&safetensors::serialize([("x", &view)], metadata).unwrap()).unwrap_err())
        };
        assert!(message(None).contains("not written by `ocellus train`"));
        assert!(message(Some("ocellus-checkpoint-9")).contains("ocellus-checkpoint-9"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_remedy() {
        let message = format!("{:#}", Checkpoint::load(Path::new("no/such/best.safetensors")).unwrap_err());
        assert!(message.contains("no/such/best.safetensors") && message.contains("ocellus train"), "{message}");
    }
}
