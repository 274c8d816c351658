//! Trains for a given time, on whatever machine this is.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::checkpoint::Checkpoint;
use crate::data::{Dataset, Split};
use crate::recipe::Recipe;
use crate::train::{self, Outcome};
use crate::view;

/// Images of the trial that tells how fast this machine trains.
const TRIAL_IMAGES: usize = 1500;
/// More epochs than this add little to so small a network.
const MOST_EPOCHS: usize = 12;

/// Trains on as many images, as often, as fit into `budget`.
///
/// # Errors
/// See [`train::run`].
pub fn train(dataset: &Dataset, out: &Path, budget: Duration) -> Result<Checkpoint> {
    let mut recipe = super::recipe(dataset)?;
    recipe.data.img_size = Some(dataset.train.height as u16);
    view::note("  a short trial first, to see how fast this machine is");
    let rate = images_per_second(&recipe, dataset)?;
    let (images, all) = ((rate * budget.as_secs_f64()) as usize, dataset.train.len());
    let epochs = images.div_ceil(all).clamp(1, MOST_EPOCHS);
    recipe.train.epochs = epochs as u32;
    let part = Dataset { train: spread(&dataset.train, images / epochs), ..dataset.clone() };
    view::note(&format!(
        "  {rate:.0} images/s: there is time to see {} of {all} images {epochs} times",
        part.train.len()
    ));
    match run(&recipe, &part, out)? {
        Outcome::Finished { checkpoint, .. } => Ok(*checkpoint),
        Outcome::Stopped => bail!("training stopped by itself"),
    }
}

/// Measured on a few images, in a folder that is thrown away.
fn images_per_second(recipe: &Recipe, dataset: &Dataset) -> Result<f64> {
    let folder = tempfile::tempdir().context("no room for a trial run")?;
    let mut recipe = recipe.clone();
    recipe.train.epochs = 1;
    let trial = Dataset {
        train: spread(&dataset.train, TRIAL_IMAGES),
        val: spread(&dataset.val, 50),
        test: spread(&dataset.test, 50),
        ..dataset.clone()
    };
    let out = folder.path().join("trial");
    match run(&recipe, &trial, &out)? {
        Outcome::Finished { metrics, .. } => Ok(metrics.images_per_s.max(1.0)),
        Outcome::Stopped => bail!("the trial run stopped by itself"),
    }
}

fn run(recipe: &Recipe, dataset: &Dataset, out: &Path) -> Result<Outcome> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    train::run(recipe, dataset, out, false, threads, &AtomicBool::new(false))
}

/// `count` images from all over `split`, at least one.
fn spread(split: &Split, count: usize) -> Split {
    split.only(&split.spread(count.max(1)))
}
