//! Trains a network on a dataset, in a run folder that a killed run can go on from.
//!
//! | file | |
//! |---|---|
//! | `recipe.toml` | the recipe with every key |
//! | `best.safetensors` | the checkpoint of the epoch that the recipe keeps |
//! | `last.safetensors` | the last one, with everything that a resumed run needs |
//! | `results.csv` | one line per epoch |
//! | `curves.svg` | the same as curves |
//! | `confusion.svg` | which class of the test images is taken for which |
//! | `metrics.json` | the final figures |

pub mod batches;
pub mod curves;
pub mod device;
mod distill;
pub mod evaluate;
mod feature_batches;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod optimizer;
pub mod parts;
pub mod preview;
mod resume;
pub mod schedule;
pub mod soft_labels;
mod start;
pub mod step;
pub mod throughput;
mod transfer;
mod update;
pub mod workers;

use crate::checkpoint::{Checkpoint, EpochRecord, Progress};
use crate::data::{self, Dataset};
use crate::features::{Extractor, Teacher};
use crate::files::{self, FolderLock, Purpose};
use crate::net;
use crate::net::module::{Arrays, Module};
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, ensure};
use batches::{Batch, Loader};
use burn::tensor::Device;
use device::Devices;
use distill::Distillation;
use indicatif::ProgressBar;
use metrics::{Metrics, RunTime};
use ocellus_shared::Shape;
use optimizer::Optimizer;
use soft_labels::SoftLabels;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use transfer::{CachedFeatures, FeatureExtraction, Transfer};
use workers::Workers;

/// What to do where another process is writing to the run folder.
pub const ELSEWHERE: &str = "choose another folder with --out";
/// Time between two checkpoints within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// How a call of [`run`] ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done, or the accuracy stopped getting better.
    Finished {
        /// The checkpoint of the epoch that was kept, as in `best.safetensors`.
        checkpoint: Box<Checkpoint>,
        /// The final figures, as in `metrics.json`.
        metrics: Metrics,
    },
    /// It was asked to stop, and saved where it was.
    Stopped,
}

/// Trains by `recipe` on `dataset` into the run folder `out`, on `threads` threads; stops after the current step once
/// `stop` is set. With `resume`, goes on from the folder's `last.safetensors`, exactly as if it had never stopped.
///
/// The weights depend on the recipe and the dataset alone on a CPU, not on the number of threads.
///
/// # Errors
/// The recipe does not fit the dataset; the folder already holds a run, or with `resume` none or one of another recipe
/// or dataset (the message names what differs); another process is writing there; the loss is no longer a number; a file cannot
/// be written.
pub fn run(
    recipe: &Recipe,
    dataset: &Dataset,
    out: &Path,
    resume: bool,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Outcome> {
    run_on(
        Pretrained::default(),
        recipe,
        dataset,
        &RunOptions { out, resume, threads, cache: cache_folder().as_deref(), devices: &[], watch: None },
        stop,
    )
}

/// Where a run works, and on what.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// The run folder.
    pub out: &'a Path,
    /// Whether it goes on there.
    pub resume: bool,
    /// Threads to compute on.
    pub threads: usize,
    /// Where features are kept from one run to the next.
    pub cache: Option<&'a Path>,
    /// Numbers of the GPUs to compute on; none for the usual device.
    pub devices: &'a [usize],
    /// Who is told of every epoch, if anybody.
    pub watch: Option<&'a dyn Watch>,
}

/// Is told how a run goes, and decides whether it goes on.
pub trait Watch: std::fmt::Debug + Sync {
    /// Whether the run goes on whose finished epochs are `history`. It is stopped as if it had been asked to: saved, without final
    /// figures.
    ///
    /// # Errors
    /// The run fails with them, saved as well.
    fn goes_on(&self, history: &[EpochRecord]) -> Result<bool>;
}

/// Where features are kept; nothing where there is no place for them.
pub fn cache_folder() -> Option<PathBuf> {
    data::fetch::cache_dir().ok().map(|folder| folder.join("features"))
}

/// Models that are not trained, and that a run asks.
#[derive(Clone, Copy, Default)]
pub struct Pretrained<'a> {
    /// A backbone that only a head is trained on.
    pub extractor: Option<&'a dyn Extractor>,
    /// What says what else is to be learnt of each image.
    pub teacher: Option<&'a dyn Teacher>,
}

/// As [`run`]; with an extractor, only a head on its features is trained, and that is what the checkpoint holds.
///
/// # Errors
/// As for [`run`]; or the extractor fails, or takes images of another size; or the teacher fails, or what it said before is of other
/// images, views or of another teacher than the run began with.
pub fn run_on(
    pretrained: Pretrained<'_>,
    recipe: &Recipe,
    dataset: &Dataset,
    options: &RunOptions<'_>,
    stop: &AtomicBool,
) -> Result<Outcome> {
    recipe.validate()?;
    memory::silence_out_of_memory(recipe.train.device);
    let outcome = Trainer::started(|| {
        let mut trainer = Trainer::new(pretrained, recipe, dataset, options, stop)?;
        trainer.begin(options)?;
        Ok(trainer)
    })
    .and_then(Trainer::run);
    match outcome {
        Err(error) if error.is::<Interrupted>() => Ok(Outcome::Stopped),
        outcome => outcome,
    }
}

/// Asked to stop, between two checkpoints: the run can go on from the last one.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

struct Trainer<'a> {
    recipe: &'a Recipe,
    dataset: &'a Dataset,
    out: PathBuf,
    input: Shape,
    devices: Devices,
    /// The first of them, which has the parameters.
    device: Device,
    module: Module,
    arrays: Arrays,
    /// Moving average of `arrays`, where the recipe wants one.
    average: Option<Arrays>,
    optimizer: Optimizer,
    /// Penalties of parameters, by their names.
    penalties: BTreeMap<String, f64>,
    /// What is not trained, or more slowly.
    transfer: Transfer<'a>,
    teacher: Option<&'a dyn Teacher>,
    /// What the teacher says, from the beginning on.
    soft_labels: Option<Arc<SoftLabels>>,
    /// Their SHA-256 in hex, or what it was when the run began; empty where that is not known yet.
    soft_labels_sha256: String,
    progress: Progress,
    /// Steps of an epoch.
    steps: usize,
    workers: Workers,
    bar: ProgressBar,
    time: RunTime,
    stop: &'a AtomicBool,
    watch: Option<&'a dyn Watch>,
    /// The right to write into the folder, from the beginning to the end.
    lock: Option<FolderLock>,
}

impl<'a> Trainer<'a> {
    /// What `start` makes, unless the GPU's memory is full.
    fn started(start: impl FnOnce() -> Result<Self>) -> Result<Self> {
        memory::catch_out_of_memory(start)
            .context("the GPU's memory is full before a first step: close other programs that use it")?
    }

    /// A trainer before its first step, which has not touched its folder.
    fn new(
        pretrained: Pretrained<'a>,
        recipe: &'a Recipe,
        dataset: &'a Dataset,
        options: &RunOptions<'a>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let Pretrained { extractor, teacher } = pretrained;
        let input = input_shape(dataset)?;
        let network = match extractor {
            Some(extractor) => transfer::head_on(extractor, recipe, input, dataset.classes.len())?,
            None => net::build(recipe, input, dataset.classes.len())?,
        };
        let transfer = Transfer::new(recipe, &network, extractor)?;
        let module = Module::new(network)?;
        let devices =
            Devices::open(recipe.train.device, options.devices, recipe.train.shards, recipe.train.is_mixed())?;
        let device = devices.first().clone();
        let arrays = start::arrays(recipe, &module, dataset, &device, options.resume)?;
        let steps = batches::steps_per_epoch(dataset.train.len(), recipe.train.batch_size);
        Ok(Self {
            recipe,
            dataset,
            out: options.out.to_path_buf(),
            input,
            average: (recipe.train.ema > 0.0).then(|| arrays.clone()),
            arrays,
            devices,
            device,
            module,
            optimizer: Optimizer::new(&recipe.train),
            penalties: net::penalties(recipe),
            transfer,
            teacher,
            soft_labels: None,
            soft_labels_sha256: recipe.distill.soft_labels_sha256.clone(),
            progress: Progress::default(),
            steps,
            workers: Workers::new(options.threads)?,
            bar: view::bar(steps as u64 * u64::from(recipe.train.epochs), "training"),
            time: RunTime::start(),
            stop,
            watch: options.watch,
            lock: None,
        })
    }

    /// Begins a run in its folder, or goes on with the one there.
    fn begin(&mut self, options: &RunOptions<'_>) -> Result<()> {
        // A file that does not suit is refused before anything is written.
        if !options.resume && self.recipe.distill.soft_labels.is_some() {
            self.ask_teacher(options)?;
        }
        if !options.resume {
            files::make_folder(&self.out)?;
        }
        if self.out.is_dir() {
            self.lock = Some(FolderLock::take(&self.out, Purpose::Training, ELSEWHERE)?);
        }
        if options.resume {
            self.restore()?
        } else {
            self.prepare_folder()?
        }
        let (unfreeze_at, epochs) = (self.recipe.transfer.unfreeze_at, self.recipe.train.epochs);
        if self.transfer.frozen.is_some() && unfreeze_at > epochs {
            view::warn(&format!(
                "the frozen layers stay frozen: --unfreeze-at {unfreeze_at} is after the last epoch, {epochs}"
            ));
        }
        if self.ask_teacher(options)? {
            self.write_recipe()?;
        }
        if self.is_frozen() && !self.is_done() {
            let Self { recipe, dataset, arrays, device, workers, transfer, stop, .. } = self;
            transfer.fill(&FeatureExtraction { recipe, dataset, arrays, device, workers, stop }, options.cache)?;
        }
        Ok(())
    }

    /// Computes or reads what the teacher says, where there is one and something is left to learn; whether that was not known before.
    fn ask_teacher(&mut self, options: &RunOptions<'_>) -> Result<bool> {
        if !self.recipe.distill.is_on() || self.is_done() || self.soft_labels.is_some() {
            return Ok(false);
        }
        let Self { recipe, dataset, workers, stop, .. } = self;
        let folder = options.cache.filter(|_| recipe.transfer.cache);
        let distillation = Distillation { recipe, dataset, workers, stop };
        let soft_labels = distillation.soft_labels(self.teacher, folder)?;
        let found = soft_labels.sha256();
        ensure!(
            self.soft_labels_sha256.is_empty() || found == self.soft_labels_sha256,
            "the soft labels have the SHA-256 {found}, and the recipe says {}: the teacher says something else on this machine; give the \
             file that the run began with by --set distill.soft-labels=FILE, or start another run with --out",
            self.soft_labels_sha256
        );
        self.soft_labels = Some(Arc::new(soft_labels));
        let is_new = self.soft_labels_sha256 != found;
        self.soft_labels_sha256 = found;
        Ok(is_new)
    }

    /// Trains to the end and evaluates, unless it is asked to stop before.
    fn run(mut self) -> Result<Outcome> {
        let is_finished = memory::catch_out_of_memory(|| self.train()).map_err(|full| self.out_of_memory(full))??;
        if is_finished { self.finish() } else { Ok(Outcome::Stopped) }
    }

    /// Trains to the end; false if it was asked to stop before, and saved where it was.
    fn train(&mut self) -> Result<bool> {
        while !self.is_done() {
            if !self.epoch()? {
                self.save_last()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the recipe's frozen layers are frozen in the current epoch.
    fn is_frozen(&self) -> bool {
        self.recipe.transfer.is_frozen_in(self.progress.epoch)
    }

    /// What is read instead of images in the current epoch.
    fn cache(&self) -> Option<Arc<CachedFeatures>> {
        self.transfer.cache.clone().filter(|_| self.is_frozen())
    }

    /// What is trained in the current epoch.
    fn trainable(&self) -> &Module {
        self.transfer.frozen.as_ref().filter(|_| self.is_frozen()).map_or(&self.module, |frozen| &frozen.head)
    }

    fn is_done(&self) -> bool {
        let Progress { epoch, best, .. } = &self.progress;
        let Recipe { train, transfer, .. } = self.recipe;
        // What is still frozen has not been tried yet.
        let from = best.map_or(*epoch, |best| best.epoch.max(transfer.unfreeze_at.saturating_sub(1)));
        *epoch >= train.epochs || (train.patience > 0 && epoch.saturating_sub(from) >= train.patience)
    }

    /// Trains to the end of the current epoch and records it; false if it was asked to stop before, or does not go on.
    fn epoch(&mut self) -> Result<bool> {
        let (recipe, dataset) = (self.recipe, self.dataset);
        let (epoch, steps) = (self.progress.epoch, self.progress.step..self.steps);
        self.bar.set_message(format!("epoch {}/{}", epoch + 1, recipe.train.epochs));
        let (classes, soft_labels) = (dataset.classes.len(), self.soft_labels.clone());
        let finished = if let Some(cache) = self.cache() {
            let soft_labels = soft_labels.as_deref();
            self.steps(feature_batches::shuffled(recipe, &cache.train, soft_labels, classes, epoch, steps))?
        } else {
            let loader = Loader::new(recipe, &dataset.train, classes, self.workers.count())?;
            let loader = loader.taught_by(soft_labels.as_deref());
            std::thread::scope(|scope| self.steps(loader.prefetch(scope, epoch, steps)))?
        };
        if finished {
            self.end_epoch()?;
        }
        let watch = self.watch.filter(|_| finished);
        Ok(finished && watch.map_or(Ok(true), |watch| watch.goes_on(&self.progress.history))?)
    }

    /// Trains on all `batches`; false if it was asked to stop before.
    fn steps(&mut self, batches: impl IntoIterator<Item = Batch>) -> Result<bool> {
        let mut saved = Instant::now();
        for batch in batches {
            self.step(&batch)?;
            self.bar.inc(1);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if saved.elapsed() > SAVE_EVERY {
                self.save_last()?;
                saved = Instant::now();
            }
        }
        Ok(true)
    }
}

/// Shape of the images of all splits.
fn input_shape(dataset: &Dataset) -> Result<Shape> {
    for (name, split) in [("training", &dataset.train), ("validation", &dataset.val), ("test", &dataset.test)] {
        ensure!(!split.is_empty(), "the dataset {} has no {name} images", dataset.name);
    }
    let size =
        |pixels: usize| u16::try_from(pixels).with_context(|| format!("images of {pixels} pixels are too large"));
    Ok(Shape::new(size(dataset.train.height)?, size(dataset.train.width)?, 3))
}

#[cfg(test)]
mod tests;
