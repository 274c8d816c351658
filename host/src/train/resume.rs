//! What a run keeps in its folder to go on from, and how it does.

use super::metrics::RESULTS;
use super::optimizer::Optimizer;
use super::{Trainer, schedule};
use crate::checkpoint::{BEST, Checkpoint, ENSEMBLE, LAST, Progress, Resume};
use crate::files::{self, remove_unfinished};
use crate::net::Weights;
use crate::net::module::Arrays;
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// What the names of the saved optimizer state and moving average begin with.
const FIRST: &str = "first.";
const SECOND: &str = "second.";
const AVERAGE: &str = "average.";
/// The keys of a recipe that say how long a run lasts. It may be prolonged by them.
const LENGTH: [&str; 3] = ["train.epochs", "train.restarts", "train.patience"];
/// What a run was asked to do.
const RECIPE: &str = "recipe.toml";
/// How the names of files end that an exported model's folder holds, and a run's before its first checkpoint does not.
const EXPORTED: [&str; 2] = ["plan", "onnx"];

impl Trainer<'_> {
    /// Begins a run in a folder that holds none.
    pub(super) fn prepare_folder(&self) -> Result<()> {
        ensure!(
            [LAST, BEST].iter().all(|file| !self.out.join(file).exists()),
            "{} holds a training run; go on with it by --resume, or choose another folder with --out",
            self.out.display()
        );
        self.ensure_no_model()?;
        let recipe = self.out.join(RECIPE);
        ensure!(
            is_ours(&recipe),
            "{} was not written by a run, which would replace it: choose another folder with --out",
            recipe.display()
        );
        self.write_recipe()
    }

    /// Refuses a folder in which an exported model lies without the run that it came from, or an ensemble.
    fn ensure_no_model(&self) -> Result<()> {
        let ensemble = self.out.join(ENSEMBLE);
        ensure!(
            !ensemble.exists(),
            "{} is of an ensemble, not of a run: choose another folder with --out",
            ensemble.display()
        );
        let files = std::fs::read_dir(&self.out).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_exported = |path: &PathBuf| EXPORTED.iter().any(|end| path.extension().is_some_and(|e| e == *end));
        let Some(file) = files.into_iter().find(is_exported) else { return Ok(()) };
        bail!("{} is of an exported model, not of a run: choose another folder with --out", file.display())
    }

    pub(super) fn write_recipe(&self) -> Result<()> {
        files::write(&self.out.join(RECIPE), self.exact_recipe().to_toml().as_bytes())
    }

    /// The recipe with what became known of its soft labels, which leads to the same files from any folder.
    fn exact_recipe(&self) -> Recipe {
        let mut recipe = self.recipe.clone().with_absolute_paths();
        recipe.distill.soft_labels_sha256.clone_from(&self.soft_labels_sha256);
        recipe
    }

    /// Goes back to where the folder's last checkpoint was: to the beginning, where the run was stopped before its first.
    pub(super) fn restore(&mut self) -> Result<()> {
        remove_unfinished(&self.out);
        let file = self.out.join(LAST);
        ensure!(
            file.exists() || !self.out.join(RESULTS).exists(),
            "{} is gone, without which {} cannot go on; start another run from its weights: --pretrained {}",
            file.display(),
            self.out.display(),
            self.out.join(BEST).display()
        );
        if !file.exists() && self.out.join(RECIPE).exists() {
            self.ensure_no_model()?;
            view::note("the run was stopped before its first checkpoint: it begins anew");
            return self.write_recipe();
        }
        let saved = Checkpoint::load(&file)?;
        let resume = saved
            .resume
            .as_ref()
            .with_context(|| format!("{} cannot be resumed: it has no progress", file.display()))?;
        self.check_same_run(&saved, &resume.progress).with_context(|| format!("cannot resume {}", file.display()))?;
        ensure!(
            resume.progress.best.is_none() || self.out.join(BEST).exists(),
            "{} is gone, which the run ends with: put it back, or start another run with --out",
            self.out.join(BEST).display()
        );
        self.arrays = self.module.upload(&saved.weights, &self.device)?;
        let part = |prefix| self.module.upload_prefixed(&resume.state, prefix, &self.device);
        self.optimizer.first = part(FIRST)?;
        self.optimizer.second = part(SECOND)?;
        if self.average.is_some() {
            self.average = Some(part(AVERAGE)?);
        }
        self.progress = resume.progress.clone();
        self.soft_labels_sha256.clone_from(&saved.recipe.distill.soft_labels_sha256);
        // Its speed is measured from here on.
        let done = self.progress.epoch as usize * self.steps + self.progress.step;
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        if self.is_done() && self.progress.epoch < self.recipe.train.epochs {
            view::warn(&format!(
                "it has ended after {} epochs without a better validation accuracy: --patience 0 goes on to epoch {}",
                self.recipe.train.patience, self.recipe.train.epochs
            ));
        }
        // It may have been prolonged.
        if self.exact_recipe() == saved.recipe { Ok(()) } else { self.write_recipe() }
    }

    /// A checkpoint with these parameters.
    pub(super) fn checkpoint(&self, arrays: &Arrays, resume: Option<Resume>) -> Checkpoint {
        Checkpoint {
            recipe: self.exact_recipe(),
            classes: self.dataset.classes.clone(),
            input: self.input,
            dataset_hash: self.dataset.hash.clone(),
            weights: self.module.download(arrays),
            resume,
        }
    }

    /// Refuses to go on with another dataset than the run began with, or with a recipe by which it would have come elsewhere.
    fn check_same_run(&self, saved: &Checkpoint, progress: &Progress) -> Result<()> {
        let (recipe, hash) = (self.recipe, &self.dataset.hash);
        let differing = recipe.differing_keys(&saved.recipe);
        if differing.iter().any(|key| !LENGTH.contains(&key.as_str())) {
            bail!(
                "its recipe differs in {}; use the run's own recipe.toml, or start another run with --out",
                differing.join(", ")
            );
        }
        ensure!(
            progress.epoch <= recipe.train.epochs,
            "it has done {} epochs already: give as many with --epochs, or more",
            progress.epoch
        );
        let theirs = &saved.recipe.train;
        let ends: Vec<String> = theirs.restarts.iter().chain([&theirs.epochs]).map(u32::to_string).collect();
        ensure!(
            are_alike_so_far(recipe, &saved.recipe, progress, self.steps),
            "its recipe differs in {}, by which its epochs so far would have had other learning rates; to prolong it, let the \
             rate begin anew at the run's own length: --epochs {} --set 'train.restarts=[{}]'",
            differing.join(", "),
            2 * theirs.epochs,
            ends.join(",")
        );
        ensure!(
            hash == &saved.dataset_hash,
            "it was trained on another dataset ({} there, {hash} here); check --data, or start another run with --out",
            saved.dataset_hash
        );
        Ok(())
    }

    /// Saves everything that a resumed run needs.
    pub(super) fn save_last(&mut self) -> Result<()> {
        self.time.add_to(&mut self.progress);
        let Optimizer { first, second, .. } = &self.optimizer;
        let mut state = Weights::new();
        for (prefix, arrays) in [(FIRST, Some(first)), (SECOND, Some(second)), (AVERAGE, self.average.as_ref())] {
            let arrays = arrays.map(|arrays| self.module.download(arrays)).unwrap_or_default();
            state.extend(arrays.into_iter().map(|(name, array)| (format!("{prefix}{name}"), array)));
        }
        let resume = Resume { progress: self.progress.clone(), state };
        self.checkpoint(&self.arrays, Some(resume)).save(&self.out.join(LAST))
    }
}

/// Whether there is no recipe at `path`, or one that a run wrote: nobody's comments are in it.
fn is_ours(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return !path.exists() };
    Recipe::parse(&text).is_ok_and(|recipe| recipe.to_toml() == text)
}

/// Whether the steps of `progress` would have been the same under both recipes, which differ in [`LENGTH`] only.
fn are_alike_so_far(ours: &Recipe, theirs: &Recipe, progress: &Progress, steps: usize) -> bool {
    let history = &progress.history;
    (0..=history.len()).all(|epoch| {
        let begin = (epoch * steps) as u64;
        let done = if epoch < history.len() { steps } else { progress.step };
        let rate = |recipe, step| schedule::learning_rate(recipe, step, steps, &history[..epoch]);
        (begin..begin + done as u64).all(|step| rate(ours, step) == rate(theirs, step))
    })
}
