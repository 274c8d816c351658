//! Fits a network's weights to a dataset, in a run folder that a killed run can go on from.
//!
//! | file | |
//! |---|---|
//! | `recipe.toml` | the recipe with every key |
//! | `best.safetensors` | the checkpoint of the epoch that the recipe keeps |
//! | `last.safetensors` | the last one, with everything that a resumed run needs |
//! | `results.csv` | one line per epoch |
//! | `metrics.json` | the final figures |

pub mod batches;
pub mod device;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod optimizer;
pub mod pace;
pub mod parts;
mod resume;
pub mod schedule;
mod start;
pub mod step;
mod transfer;
pub mod workers;

use crate::checkpoint::{BEST, Best, Checkpoint, EpochRecord, Progress, Running, write_atomically};
use crate::data::{self, Dataset, Split};
use crate::features::Extractor;
use crate::net;
use crate::net::head;
use crate::net::module::{Arrays, Module, to_vec};
use crate::recipe::{Keep, Recipe, Statistics};
use crate::view;
use anyhow::{Context, Result, ensure};
use batches::{Batch, Loader};
use burn::tensor::Device;
use device::Devices;
use indicatif::ProgressBar;
use metrics::{Clock, Inputs, Metrics, Score};
use ocellus_shared::Shape;
use optimizer::Optimizer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use step::{Part, Step};
use transfer::{Cache, Source, Transfer};
use workers::Workers;

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
/// or dataset (the message names what differs); the loss is no longer a number; a file cannot be written.
pub fn run(
    recipe: &Recipe,
    dataset: &Dataset,
    out: &Path,
    resume: bool,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Outcome> {
    run_on(None, recipe, dataset, &Place { out, resume, threads, cache: cache_folder().as_deref(), devices: &[] }, stop)
}

/// Where a run works.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
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
}

/// Where features are kept; nothing where there is no place for them.
pub fn cache_folder() -> Option<PathBuf> {
    data::fetch::cache_dir().ok().map(|folder| folder.join("features"))
}

/// As [`run`]; with an `extractor`, only a head on its features is trained, and that is what the checkpoint holds.
///
/// # Errors
/// As for [`run`]; or the extractor fails, or takes images of another size.
pub fn run_on(
    extractor: Option<&dyn Extractor>,
    recipe: &Recipe,
    dataset: &Dataset,
    place: &Place<'_>,
    stop: &AtomicBool,
) -> Result<Outcome> {
    recipe.validate()?;
    memory::quieten(recipe.train.device);
    let outcome = Trainer::started(|| {
        let mut trainer = Trainer::new(extractor, recipe, dataset, place, stop)?;
        trainer.begin(place)?;
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
    /// What is not trained, or more slowly.
    transfer: Transfer<'a>,
    progress: Progress,
    /// Steps of an epoch.
    steps: usize,
    workers: Workers,
    bar: ProgressBar,
    clock: Clock,
    stop: &'a AtomicBool,
}

impl<'a> Trainer<'a> {
    /// What `start` makes, unless the GPU has no room for it.
    fn started(start: impl FnOnce() -> Result<Self>) -> Result<Self> {
        memory::caught(start)
            .context("the GPU's memory is full before a first step: close other programs that use it")?
    }

    /// A trainer before its first step, which has not touched its folder.
    fn new(
        extractor: Option<&'a dyn Extractor>,
        recipe: &'a Recipe,
        dataset: &'a Dataset,
        place: &Place<'_>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let input = input_shape(dataset)?;
        let network = match extractor {
            Some(extractor) => transfer::head_on(extractor, recipe, input, dataset.classes.len())?,
            None => net::build(recipe, input, dataset.classes.len())?,
        };
        let transfer = Transfer::new(recipe, &network, extractor)?;
        let module = Module::new(network)?;
        let devices = Devices::open(recipe.train.device, place.devices, recipe.train.shards, recipe.train.is_mixed())?;
        let device = devices.first().clone();
        let arrays = start::arrays(recipe, &module, dataset, &device, place.resume)?;
        let steps = batches::steps_per_epoch(dataset.train.len(), recipe.train.batch_size);
        Ok(Self {
            recipe,
            dataset,
            out: place.out.to_path_buf(),
            input,
            average: (recipe.train.ema > 0.0).then(|| arrays.clone()),
            arrays,
            devices,
            device,
            module,
            optimizer: Optimizer::new(&recipe.train),
            transfer,
            progress: Progress::default(),
            steps,
            workers: Workers::new(place.threads)?,
            bar: view::bar(steps as u64 * u64::from(recipe.train.epochs), "training"),
            clock: Clock::start(),
            stop,
        })
    }

    /// Begins a run in its folder, or goes on with the one there.
    fn begin(&mut self, place: &Place<'_>) -> Result<()> {
        if place.resume {
            self.restore()?
        } else {
            self.prepare_folder()?
        }
        let (unfreeze_at, epochs) = (self.recipe.transfer.unfreeze_at, self.recipe.train.epochs);
        if self.transfer.frozen.is_some() && unfreeze_at > epochs {
            view::warn(&format!(
                "what is frozen stays so: --unfreeze-at {unfreeze_at} is behind the last epoch, {epochs}"
            ));
        }
        if self.is_frozen() && !self.is_done() {
            let Self { recipe, dataset, arrays, device, workers, transfer, stop, .. } = self;
            transfer.fill(&Source { recipe, dataset, arrays, device, workers, stop }, place.cache)?;
        }
        Ok(())
    }

    /// Trains to the end and evaluates, unless it is asked to stop before.
    fn run(mut self) -> Result<Outcome> {
        let is_finished = memory::caught(|| self.train()).map_err(|full| self.too_much(full))??;
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
    fn cache(&self) -> Option<Arc<Cache>> {
        self.transfer.cache.clone().filter(|_| self.is_frozen())
    }

    /// What is trained in the current epoch.
    fn fitted(&self) -> &Module {
        self.transfer.frozen.as_ref().filter(|_| self.is_frozen()).map_or(&self.module, |frozen| &frozen.head)
    }

    fn is_done(&self) -> bool {
        let Progress { epoch, best, .. } = &self.progress;
        let Recipe { train, transfer, .. } = self.recipe;
        // What is still frozen has not been tried yet.
        let from = best.map_or(*epoch, |best| best.epoch.max(transfer.unfreeze_at.saturating_sub(1)));
        *epoch >= train.epochs || (train.patience > 0 && epoch.saturating_sub(from) >= train.patience)
    }

    /// Trains to the end of the current epoch and records it; false if it was asked to stop before.
    fn epoch(&mut self) -> Result<bool> {
        let (recipe, dataset) = (self.recipe, self.dataset);
        let (epoch, steps) = (self.progress.epoch, self.progress.step..self.steps);
        self.bar.set_message(format!("epoch {}/{}", epoch + 1, recipe.train.epochs));
        let classes = dataset.classes.len();
        let finished = if let Some(cache) = self.cache() {
            self.steps(transfer::feature_batches(recipe, &cache.train, classes, epoch, steps))?
        } else {
            let loader = Loader::new(recipe, &dataset.train, classes, self.workers.count())?;
            std::thread::scope(|scope| self.steps(loader.prefetch(scope, epoch, steps)))?
        };
        if finished {
            self.end_epoch()?;
        }
        Ok(finished)
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

    fn step(&mut self, batch: &Batch) -> Result<()> {
        let start = Instant::now();
        let number = u64::from(self.progress.epoch) * self.steps as u64 + self.progress.step as u64;
        let lr = schedule::learning_rate(self.recipe, number, self.steps, &self.progress.history);
        let parts = self.differentiate(&self.arrays, batch, number);
        let loss: f64 = parts.iter().map(|part| part.loss).sum();
        self.check_number("training loss", loss)?;
        let running = &mut self.progress.running;
        running.loss += loss * batch.labels.len() as f64;
        running.correct += parts.iter().map(|part| part.correct).sum::<usize>();
        running.images += batch.labels.len();
        self.apply(&parts, lr, number + 1);
        self.follow(number + 1);
        self.progress.step += 1;
        self.progress.running.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// What each shard of `batch` contributes to step `at` of the run, from `arrays` on.
    fn differentiate(&self, arrays: &Arrays, batch: &Batch, at: u64) -> Vec<Part> {
        let shards = batch.split(self.recipe.train.shards);
        let copies = self.devices.copies(arrays);
        let step = |shard: usize| {
            let (number, device) = self.devices.of_shard(shard);
            Step {
                module: self.fitted(),
                backbone: self.backbone(),
                arrays: number.checked_sub(1).map_or(arrays, |other| &copies[other]),
                recipe: &self.recipe.train,
                device,
                fade: schedule::fade(self.recipe.net.block_dropout_epochs, at, self.steps),
                images: batch.labels.len(),
            }
        };
        let first = at * self.recipe.train.shards as u64;
        self.workers.map(&shards, |i, shard| step(i).differentiate(shard, first + i as u64))
    }

    /// Why training ended where the device's memory was `full`, and what would fit.
    fn too_much(&self, full: memory::Full) -> anyhow::Error {
        let batch = self.recipe.train.batch_size.min(self.dataset.train.len());
        self.bar.finish_and_clear();
        view::note(&format!("the memory does not hold a step of {batch} images; trying smaller ones"));
        let fits = memory::largest(batch, &mut |images| self.holds(images));
        anyhow::Error::new(full).context(memory::advice(batch, fits))
    }

    /// Whether the device's memory holds a step of so many images: a first one is tried, on black images.
    fn holds(&self, images: usize) -> bool {
        let input = self.backbone().map_or(self.fitted().input(), |(backbone, _)| backbone.input());
        let classes = self.dataset.classes.len();
        let (labels, targets) = (vec![0; images], vec![1.0 / classes as f32; images * classes]);
        let batch = Batch { images: vec![0.0; images * input.len()], labels, targets };
        self.device.memory_cleanup();
        let tried = memory::caught(|| {
            // The run's own may be what was never computed.
            let arrays = self.module.upload(&self.module.initial(self.recipe.train.seed), &self.device)?;
            let parts = self.differentiate(&arrays, &batch, 0);
            let gradients = self.devices.sum(parts.iter().map(|part| &part.gradients));
            // What is not read may never be computed.
            gradients.into_values().for_each(|gradient| drop(to_vec(gradient)));
            Ok::<_, anyhow::Error>(())
        });
        matches!(tried, Ok(Ok(())))
    }

    /// Fails where training has diverged, before anything of it is saved.
    fn check_number(&self, what: &str, value: f64) -> Result<()> {
        let Progress { epoch, step, best, .. } = &self.progress;
        ensure!(
            value.is_finite(),
            "the {what} is {value} at step {} of epoch {}: training has diverged; try a lower --lr. {}",
            step + 1,
            epoch + 1,
            match best {
                Some(best) =>
                    format!("The last good checkpoint is {} of epoch {}", self.out.join(BEST).display(), best.epoch),
                None => "There is no good checkpoint yet".to_owned(),
            }
        );
        Ok(())
    }

    /// What turns images into what [`Self::fitted`] reads, where no features are kept.
    fn backbone(&self) -> Option<(&Module, Statistics)> {
        let frozen = self.transfer.frozen.as_ref().filter(|_| self.is_frozen() && self.transfer.cache.is_none())?;
        Some((&frozen.backbone, self.recipe.transfer.statistics))
    }

    /// Updates the parameters by the sum of the parts' gradients, and the statistics by their mean.
    fn apply(&mut self, parts: &[Part], lr: f64, step: u64) {
        let count = parts.len();
        let gradients = self.devices.sum(parts.iter().map(|part| &part.gradients));
        let statistics = step::sum(self.devices.gathered(parts.iter().map(|part| &part.statistics)).iter());
        for parameter in self.module.parameters() {
            let name = &parameter.name;
            if let Some(gradient) = gradients.get(name) {
                let old = self.arrays.remove(name).expect("every parameter has an array");
                let gradient = match head::l2(self.recipe, name) {
                    0.0 => gradient.clone(),
                    l2 => gradient.clone() + old.clone() * (2.0 * l2),
                };
                let new = self.optimizer.update(
                    parameter,
                    old,
                    gradient,
                    lr * self.transfer.rate(name),
                    step - self.thawed_at(name),
                );
                self.arrays.insert(name.clone(), new);
            }
        }
        self.arrays.extend(statistics.into_iter().map(|(name, total)| (name, total / count as f64)));
    }

    /// The step, from 0, from which the parameter `name` is trained.
    fn thawed_at(&self, name: &str) -> u64 {
        let epoch = if self.transfer.was_frozen(name) { self.recipe.transfer.unfreeze_at.saturating_sub(1) } else { 0 };
        u64::from(epoch) * self.steps as u64
    }

    /// Moves the average towards the weights; faster in the first steps, so that the initial ones are soon forgotten.
    fn follow(&mut self, steps: u64) {
        let (frozen, transfer) = (self.is_frozen(), &self.transfer);
        let estimates = self.recipe.transfer.statistics == Statistics::ReEstimated;
        let Some(average) = &mut self.average else { return };
        let decay = self.recipe.train.ema.min((1.0 + steps as f64) / (10.0 + steps as f64));
        // What stays must not even be rounded.
        let stays = |name: &str| frozen && transfer.was_frozen(name) && !(estimates && is_statistic(name));
        for (name, mean) in average.iter_mut().filter(|(name, _)| !stays(name)) {
            *mean = mean.clone() * decay + self.arrays[name].clone() * (1.0 - decay);
        }
    }

    fn end_epoch(&mut self) -> Result<()> {
        let start = Instant::now();
        let val = match self.cache() {
            Some(cache) => self.score(self.fitted(), Inputs::Features(&cache.val), self.evaluated()),
            None => self.score(&self.module, Inputs::Images(&self.dataset.val), self.evaluated()),
        };
        self.check_number("validation loss", val.loss)?;
        let record = self.record(&val, start);
        self.progress.epoch += 1;
        self.progress.step = 0;
        self.progress.running = Running::default();
        self.progress.history.push(record);
        let takes_last = self.recipe.train.keep == Keep::Last;
        let improved = takes_last || self.progress.best.is_none_or(|best| val.correct > best.correct);
        if improved {
            self.progress.best = Some(Best { epoch: record.epoch, correct: val.correct });
            self.checkpoint(self.evaluated(), None).save(&self.out.join(BEST))?;
        }
        // After the one to keep: a run killed in between repeats the epoch and writes the same again.
        self.save_last()?;
        metrics::write_results(&self.out.join("results.csv"), &self.progress.history)?;
        view::above(&self.bar, &metrics::line(&record, self.recipe.train.epochs, improved));
        Ok(())
    }

    /// The figures of the epoch that ends now; its validation began at `start`.
    fn record(&self, val: &Score, start: Instant) -> EpochRecord {
        let Running { loss, correct, images, seconds } = self.progress.running;
        let epoch = self.progress.epoch + 1;
        let last_step = u64::from(epoch) * self.steps as u64 - 1;
        EpochRecord {
            epoch,
            train_loss: loss / images as f64,
            train_acc: correct as f64 / images as f64,
            val_loss: val.loss,
            val_acc: val.accuracy(),
            lr: schedule::learning_rate(self.recipe, last_step, self.steps, &self.progress.history),
            images_per_s: images as f64 / seconds,
            seconds: seconds + start.elapsed().as_secs_f64(),
        }
    }

    /// The weights that are evaluated and kept.
    fn evaluated(&self) -> &Arrays {
        self.average.as_ref().unwrap_or(&self.arrays)
    }

    fn score(&self, module: &Module, inputs: Inputs<'_>, arrays: &Arrays) -> Score {
        metrics::score(module, arrays, inputs, &self.device, &self.workers)
    }

    /// Evaluates all of the network, whatever was trained of it, on the split called `name`.
    fn score_whole(&self, split: &Split, name: &str, arrays: &Arrays) -> Result<Score> {
        let Self { recipe, dataset, device, workers, transfer, stop, .. } = self;
        let source = Source { recipe, dataset, arrays, device, workers, stop };
        Ok(match transfer.features(&source, split, name)? {
            Some(features) => {
                let head = match (transfer.extractor, &transfer.frozen) {
                    (None, Some(frozen)) => &frozen.head,
                    _ => &self.module,
                };
                self.score(head, Inputs::Features(&features), arrays)
            }
            None => self.score(&self.module, Inputs::Images(split), arrays),
        })
    }

    /// Evaluates the best checkpoint on the test images, for the first and only time.
    fn finish(self) -> Result<Outcome> {
        self.bar.finish_and_clear();
        let checkpoint = Checkpoint::load(&self.out.join(BEST))?;
        let best = self.module.upload(&checkpoint.weights, &self.device)?;
        let val = self.score_whole(&self.dataset.val, "val", &best)?;
        let test = self.score_whole(&self.dataset.test, "test", &best)?;
        let metrics = Metrics::new(&self.progress, &val, &test);
        write_atomically(&self.out.join("metrics.json"), &serde_json::to_vec_pretty(&metrics)?)?;
        Ok(Outcome::Finished { checkpoint: Box::new(checkpoint), metrics })
    }
}

/// Whether the parameter `name` is measured and not fitted.
fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
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
