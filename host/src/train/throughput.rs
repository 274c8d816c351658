//! How many images a second a recipe trains on: images of noise, of which nothing is kept.

use super::batches::Loader;
use super::{Pretrained, RunOptions, Trainer, memory};
use crate::data::{self, Dataset, Split};
use crate::net::module::to_vec;
use crate::random::{self, Purpose};
use crate::recipe::{DistillRecipe, Recipe, ScheduleKind};
use anyhow::Result;
use rand::RngExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Images that steps are drawn from: at most this many or this many bytes.
const IMAGES: usize = 4096;
const BYTES: usize = 1 << 28;
/// Bytes that a value takes: there is a batch of floats in the trainer's hands, another in its shards, two are ready, and one
/// is being made.
const VALUE_BYTES: usize = 5 * size_of::<f32>();
/// Steps that warm up at least: memory is taken, threads start, a GPU chooses among its kernels.
const WARM_UP_STEPS: usize = 2;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Throughput {
    /// Seconds of each step, with what the trainer waited for its images.
    pub steps: Vec<f64>,
    /// Seconds waited for images, over all steps.
    pub waited: f64,
    /// Images a second that are loaded and varied while nothing is trained.
    pub loaded_per_second: f64,
}

impl Throughput {
    /// Seconds of all steps.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().sum()
    }

    /// Seconds of the step in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.steps.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Trains by `recipe` on square images of `size` pixels of `classes` classes for as long as `time`, after a fifth of it
/// to warm up. Frozen layers are computed in every step; pretrained weights are not read.
///
/// # Errors
/// The recipe builds no network for such images, the memory does not hold its batches, the device does not compute, or its
/// memory does not hold a step.
pub fn measure(
    recipe: &Recipe,
    size: u16,
    classes: usize,
    (threads, devices): (usize, &[usize]),
    time: Duration,
) -> Result<Throughput> {
    let recipe = endless(recipe);
    recipe.validate()?;
    let (batch, side) = (recipe.train.batch_size, usize::from(size));
    let needed = batch.saturating_mul(side * side * 3 * VALUE_BYTES);
    data::ensure_memory(
        needed,
        || format!("batches of {batch} images of {side}x{side}"),
        "choose a smaller --batch-size",
    )?;
    let dataset = noise(&recipe, size.into(), classes);
    memory::silence_out_of_memory(recipe.train.device);
    // As a run that goes on, whose weights are its own: no pretrained ones are read.
    let options = RunOptions { out: Path::new(""), resume: true, threads, cache: None, devices, watch: None };
    let never = AtomicBool::new(false);
    let mut trainer = Trainer::started(|| Trainer::new(Pretrained::default(), &recipe, &dataset, &options, &never))?;
    trainer.bar.finish_and_clear();
    let loader = Loader::new(&recipe, &dataset.train, classes, threads)?;
    let loaded_per_second = loaded_per_second(&loader, &recipe, dataset.train.len(), time / 10);
    let outcome = memory::catch_out_of_memory(|| trainer.time_steps(&loader, time))
        .map_err(|full| trainer.out_of_memory(full))?;
    let (steps, waited) = outcome?;
    Ok(Throughput { steps, waited, loaded_per_second })
}

/// The recipe for a run that does not end, learns next to nothing, and reads and keeps nothing.
fn endless(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    let train = &mut recipe.train;
    (train.epochs, train.patience, train.warmup_epochs) = (1_000_000, 0, 0.0);
    (train.sched, train.lr) = (ScheduleKind::Constant, 1e-6);
    train.restarts.clear();
    (recipe.transfer.cache, recipe.transfer.cache_views) = (false, 0);
    // A teacher was asked before, and its loss is a few values an image.
    recipe.distill = DistillRecipe::default();
    recipe
}

/// Images of noise to train on, and one to validate and test on each: nobody does.
fn noise(recipe: &Recipe, size: usize, classes: usize) -> Dataset {
    let mut random = random::stream(recipe.train.seed, Purpose::Noise, 0);
    let bytes = size * size * 3;
    let mut split = |count: usize| Split {
        images: (0..count * bytes).map(|_| random.random()).collect(),
        labels: (0..count).map(|i| (i % classes) as u16).collect(),
        height: size,
        width: size,
    };
    let images = IMAGES.min(BYTES / bytes).max(1);
    Dataset {
        name: "noise".to_owned(),
        classes: (0..classes).map(|class| class.to_string()).collect(),
        train: split(images),
        val: split(1),
        test: split(1),
        hash: String::new(),
    }
}

/// The batches that steps take, as from epochs without an end.
fn wanted(recipe: &Recipe, images: usize) -> impl Iterator<Item = (u32, Vec<usize>)> + use<> {
    let batch = recipe.train.batch_size;
    (0..).map(move |step: usize| (step as u32, (step * batch..(step + 1) * batch).map(|i| i % images).collect()))
}

fn loaded_per_second(loader: &Loader<'_>, recipe: &Recipe, images: usize, time: Duration) -> f64 {
    let (start, mut loaded) = (Instant::now(), 0);
    for (epoch, chosen) in wanted(recipe, images) {
        loaded += loader.varied(epoch, epoch, &chosen).labels.len();
        if start.elapsed() > time {
            break;
        }
    }
    loaded as f64 / start.elapsed().as_secs_f64()
}

impl Trainer<'_> {
    /// Seconds of each step, and those waited for images in all.
    fn time_steps(&mut self, loader: &Loader<'_>, time: Duration) -> Result<(Vec<f64>, f64)> {
        let (recipe, images) = (self.recipe, self.dataset.train.len());
        std::thread::scope(|scope| {
            let batches = loader.ahead(scope, move || wanted(recipe, images));
            let (start, mut before) = (Instant::now(), Instant::now());
            let (mut steps, mut waited, mut warm) = (Vec::new(), 0.0, None);
            for done in 0.. {
                let batch = batches.recv().expect("there is no end of batches");
                let got = Instant::now();
                self.step(&batch)?;
                // A GPU may still compute: what comes next waits for it, after the last step nothing would.
                let is_last = warm.is_some_and(|warm: Instant| warm.elapsed() > time);
                if is_last {
                    self.arrays.values().next().map(|array| to_vec(array.clone()));
                }
                let now = Instant::now();
                if warm.is_some() {
                    steps.push((now - before).as_secs_f64());
                    waited += (got - before).as_secs_f64();
                } else if done + 1 >= WARM_UP_STEPS && start.elapsed() > time / 5 {
                    warm = Some(now);
                }
                before = now;
                if is_last {
                    break;
                }
            }
            Ok((steps, waited))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_timed_and_nothing_is_left() {
        let mut recipe =
            Recipe::default().with(&["net.blocks=[[4]]".into(), "net.block-dropout=[0.1]".into()]).unwrap();
        recipe.train.batch_size = 8;
        let measured = measure(&recipe, 8, 3, (2, &[]), Duration::from_millis(200)).unwrap();
        assert!(
            measured.seconds() >= 0.2 && measured.waited < measured.seconds() && measured.loaded_per_second > 0.0,
            "{measured:?}"
        );
        let sorted = |pick: fn(f64, f64) -> f64| measured.steps.iter().copied().reduce(pick).unwrap();
        assert!((sorted(f64::min)..=sorted(f64::max)).contains(&measured.median()));
    }

    #[test]
    fn a_recipe_that_freezes_and_caches_is_timed_too() {
        let set = ["model=resnet8", "transfer.freeze=all", "train.batch-size=2", "train.ema=0.9"].map(str::to_owned);
        let recipe = Recipe::default().with(&set).unwrap();
        assert!(!measure(&recipe, 8, 2, (1, &[]), Duration::from_millis(1)).unwrap().steps.is_empty());
    }

    #[test]
    fn what_no_network_is_built_for_is_an_error() {
        assert!(measure(&Recipe::default(), 1, 2, (1, &[]), Duration::from_millis(1)).is_err());
        let recipe = Recipe::default().with(&["train.batch-size=1000000000".into()]).unwrap();
        let error = measure(&recipe, 32, 2, (1, &[]), Duration::from_millis(1)).unwrap_err().to_string();
        assert!(error.contains("--batch-size"), "{error}");
    }
}
