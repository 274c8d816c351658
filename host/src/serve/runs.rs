//! Training runs, as their folders tell of them.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::message::Fault;
use crate::checkpoint::{BEST, EpochRecord, LAST};
use crate::files::{FolderLock, Purpose};
use crate::model::{ModelFiles, RECIPE};
use crate::recipe::Recipe;

/// What a run writes after each epoch.
const RESULTS: &str = "results.csv";
/// What it writes at its end.
const METRICS: &str = "metrics.json";

/// Whether `folder` is that of a run: also of one that has not done an epoch.
pub fn is_run(folder: &Path) -> bool {
    [RESULTS, LAST, BEST].iter().any(|file| folder.join(file).is_file()) || is_training(folder)
}

/// Whether a process is training in `folder` right now.
pub fn is_training(folder: &Path) -> bool {
    FolderLock::is_taken(folder, Purpose::Training)
}

/// What is said of a run in a list.
pub fn summary(id: &str, path: &Path) -> Value {
    let recipe = Recipe::load(&path.join(RECIPE)).ok();
    let last = history(path).unwrap_or_default();
    let best = last.iter().map(|record| record.val_acc).fold(f64::NAN, f64::max);
    json!({
        "id": id,
        "state": state(path),
        "model": recipe.as_ref().map(|recipe| recipe.model.name()),
        "name": recipe.as_ref().map(Recipe::title),
        "epochs": recipe.as_ref().map(|recipe| recipe.train.epochs),
        "epoch": last.last().map_or(0, |record| record.epoch),
        "best_val_acc": best.is_finite().then_some(best),
        "test_acc": metrics(path).ok().and_then(|metrics| metrics["test_accuracy"].as_f64()),
        "exported": ModelFiles::find(path).is_ok_and(|files| files.plan.is_some()),
    })
}

/// The same with every epoch and the recipe.
///
/// # Errors
/// Its results cannot be read.
pub fn details(id: &str, path: &Path) -> Result<Value, Fault> {
    let mut about = summary(id, path);
    let history = history(path).map_err(|error| Fault::conflict(&error))?;
    about["history"] = json!(history);
    about["recipe"] = json!(Recipe::load(&path.join(RECIPE)).ok().map(|recipe| recipe.to_toml()));
    about["metrics"] = metrics(path).unwrap_or_default();
    Ok(about)
}

/// The final figures of a run or of a committed model.
///
/// # Errors
/// There are none yet.
pub fn metrics(folder: &Path) -> Result<Value, Fault> {
    let text = std::fs::read(folder.join(METRICS)).map_err(|_| Fault::missing("metrics: the run has not ended"))?;
    serde_json::from_slice(&text).map_err(|error| Fault::new(409, format!("{METRICS}: {error}")))
}

fn state(folder: &Path) -> &'static str {
    match (is_training(folder), folder.join(METRICS).is_file()) {
        (true, _) => "training",
        (false, true) => "finished",
        (false, false) => "stopped",
    }
}

/// The epochs that were done.
fn history(folder: &Path) -> anyhow::Result<Vec<EpochRecord>> {
    let path = folder.join(RESULTS);
    // A run before the end of its first epoch.
    let Ok(bytes) = std::fs::read(&path) else { return Ok(Vec::new()) };
    csv::Reader::from_reader(&bytes[..])
        .deserialize()
        .collect::<Result<_, _>>()
        .with_context(|| path.display().to_string())
}
