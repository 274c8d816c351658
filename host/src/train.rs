//! Fits a network's weights to a dataset, in a run folder that a killed run can go on from.
//!
//! | file | |
//! |---|---|
//! | `recipe.toml` | the recipe with every key |
//! | `best.safetensors` | the checkpoint with the best validation accuracy |
//! | `last.safetensors` | the last one, with everything that a resumed run needs |
//! | `results.csv` | one line per epoch |
//! | `metrics.json` | the final figures |

pub mod batches;
pub mod device;
pub mod metrics;
pub mod optimizer;
mod resume;
pub mod schedule;
mod start;
pub mod step;
pub mod workers;

use crate::checkpoint::{BEST, Best, Checkpoint, EpochRecord, Progress, Running, write_atomically};
use crate::data::{Dataset, Split};
use crate::net;
use crate::net::head;
use crate::net::module::{Arrays, Module};
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, ensure};
use batches::Batch;
use burn::tensor::Device;
use indicatif::ProgressBar;
use metrics::{Clock, Metrics, Score};
use ocellus_shared::Shape;
use optimizer::Optimizer;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use step::{Part, Step};
use workers::Workers;

/// Time between two checkpoints within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// How a call of [`run`] ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done, or the accuracy stopped getting better.
    Finished {
        /// The checkpoint with the best validation accuracy, as in `best.safetensors`.
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
    recipe.validate()?;
    let mut trainer = Trainer::new(recipe, dataset, out, resume, threads)?;
    while !trainer.is_done() {
        if !trainer.epoch(stop)? {
            trainer.save_last()?;
            return Ok(Outcome::Stopped);
        }
    }
    trainer.finish()
}

struct Trainer<'a> {
    recipe: &'a Recipe,
    dataset: &'a Dataset,
    out: PathBuf,
    input: Shape,
    device: Device,
    module: Module,
    arrays: Arrays,
    /// Moving average of `arrays`, where the recipe wants one.
    average: Option<Arrays>,
    optimizer: Optimizer,
    progress: Progress,
    /// Steps of an epoch.
    steps: usize,
    workers: Workers,
    bar: ProgressBar,
    clock: Clock,
}

impl<'a> Trainer<'a> {
    fn new(recipe: &'a Recipe, dataset: &'a Dataset, out: &Path, resume: bool, threads: usize) -> Result<Self> {
        let input = input_shape(dataset)?;
        let module = Module::new(net::build(recipe, input, dataset.classes.len())?)?;
        let device = device::open(recipe.train.device)?;
        let arrays = start::arrays(recipe, &module, &dataset.train, &device, resume)?;
        let steps = batches::steps_per_epoch(dataset.train.len(), recipe.train.batch_size);
        let mut trainer = Self {
            recipe,
            dataset,
            out: out.to_path_buf(),
            input,
            average: (recipe.train.ema > 0.0).then(|| arrays.clone()),
            arrays,
            device,
            module,
            optimizer: Optimizer::new(&recipe.train),
            progress: Progress::default(),
            steps,
            workers: Workers::new(threads)?,
            bar: view::bar(steps as u64 * u64::from(recipe.train.epochs), "training"),
            clock: Clock::start(),
        };
        if resume {
            trainer.restore()?
        } else {
            trainer.prepare_folder()?
        }
        Ok(trainer)
    }

    fn is_done(&self) -> bool {
        let Progress { epoch, best, .. } = &self.progress;
        let since = best.map_or(0, |best| epoch - best.epoch);
        let patience = self.recipe.train.patience;
        *epoch >= self.recipe.train.epochs || (patience > 0 && since >= patience)
    }

    /// Trains to the end of the current epoch and records it; false if it was asked to stop before.
    fn epoch(&mut self, stop: &AtomicBool) -> Result<bool> {
        let (recipe, dataset) = (self.recipe, self.dataset);
        let (epoch, steps) = (self.progress.epoch, self.progress.step..self.steps);
        self.bar.set_message(format!("epoch {}/{}", epoch + 1, recipe.train.epochs));
        let finished = std::thread::scope(|scope| {
            let mut saved = Instant::now();
            for batch in batches::prefetch(scope, recipe, &dataset.train, epoch, steps) {
                self.step(&batch)?;
                self.bar.inc(1);
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                if saved.elapsed() > SAVE_EVERY {
                    self.save_last()?;
                    saved = Instant::now();
                }
            }
            anyhow::Ok(true)
        })?;
        if finished {
            self.end_epoch()?;
        }
        Ok(finished)
    }

    fn step(&mut self, batch: &Batch) -> Result<()> {
        let start = Instant::now();
        let number = u64::from(self.progress.epoch) * self.steps as u64 + self.progress.step as u64;
        let lr = schedule::learning_rate(&self.recipe.train, number, self.steps);
        let shards = batch.split(self.recipe.train.shards);
        let step = Step {
            module: &self.module,
            arrays: &self.arrays,
            recipe: &self.recipe.train,
            device: &self.device,
            images: batch.labels.len(),
        };
        let first = number * self.recipe.train.shards as u64;
        let parts = self.workers.map(&shards, |i, shard| step.differentiate(shard, first + i as u64));
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

    /// Updates the parameters by the sum of the parts' gradients, and the statistics by their mean.
    fn apply(&mut self, parts: &[Part], lr: f64, step: u64) {
        let count = parts.len();
        let gradients = step::sum(parts.iter().map(|part| &part.gradients));
        let statistics = step::sum(parts.iter().map(|part| &part.statistics));
        for parameter in self.module.parameters() {
            let name = &parameter.name;
            if let Some(gradient) = gradients.get(name) {
                let old = self.arrays.remove(name).expect("every parameter has an array");
                let gradient = match head::l2(self.recipe, name) {
                    0.0 => gradient.clone(),
                    l2 => gradient.clone() + old.clone() * (2.0 * l2),
                };
                let new = self.optimizer.update(parameter, old, gradient, lr, step);
                self.arrays.insert(name.clone(), new);
            }
        }
        self.arrays.extend(statistics.into_iter().map(|(name, total)| (name, total / count as f64)));
    }

    /// Moves the average towards the weights; faster in the first steps, so that the initial ones are soon forgotten.
    fn follow(&mut self, steps: u64) {
        let Some(average) = &mut self.average else { return };
        let decay = self.recipe.train.ema.min((1.0 + steps as f64) / (10.0 + steps as f64));
        for (name, mean) in average.iter_mut() {
            *mean = mean.clone() * decay + self.arrays[name].clone() * (1.0 - decay);
        }
    }

    fn end_epoch(&mut self) -> Result<()> {
        let start = Instant::now();
        let val = self.score(&self.dataset.val, self.evaluated());
        self.check_number("validation loss", val.loss)?;
        let record = self.record(&val, start);
        self.progress.epoch += 1;
        self.progress.step = 0;
        self.progress.running = Running::default();
        self.progress.history.push(record);
        let improved = self.progress.best.is_none_or(|best| val.correct > best.correct);
        if improved {
            self.progress.best = Some(Best { epoch: record.epoch, correct: val.correct });
            self.checkpoint(self.evaluated(), None).save(&self.out.join(BEST))?;
        }
        // After the best one: a run killed in between repeats the epoch and writes the same best again.
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
            lr: schedule::learning_rate(&self.recipe.train, last_step, self.steps),
            images_per_s: images as f64 / seconds,
            seconds: seconds + start.elapsed().as_secs_f64(),
        }
    }

    /// The weights that are evaluated and kept.
    fn evaluated(&self) -> &Arrays {
        self.average.as_ref().unwrap_or(&self.arrays)
    }

    fn score(&self, split: &Split, arrays: &Arrays) -> Score {
        metrics::score(&self.module, arrays, split, &self.device, &self.workers)
    }

    /// Evaluates the best checkpoint on the test images, for the first and only time.
    fn finish(self) -> Result<Outcome> {
        self.bar.finish_and_clear();
        let checkpoint = Checkpoint::load(&self.out.join(BEST))?;
        let best = self.module.upload(&checkpoint.weights, &self.device)?;
        let (val, test) = (self.score(&self.dataset.val, &best), self.score(&self.dataset.test, &best));
        let metrics = Metrics::new(&self.progress, &val, &test);
        write_atomically(&self.out.join("metrics.json"), &serde_json::to_vec_pretty(&metrics)?)?;
        Ok(Outcome::Finished { checkpoint: Box::new(checkpoint), metrics })
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
