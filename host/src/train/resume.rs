//! What a run keeps in its folder to go on from, and how it does.

use super::optimizer::Optimizer;
use super::{Trainer, schedule};
use crate::checkpoint::{BEST, Checkpoint, LAST, Progress, Resume, remove_unfinished, write_atomically};
use crate::net::Weights;
use crate::net::module::Arrays;
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, bail, ensure};

/// What the names of the saved optimizer state and moving average begin with.
const FIRST: &str = "first.";
const SECOND: &str = "second.";
const AVERAGE: &str = "average.";
/// The keys of a recipe that say how long a run lasts. It may be prolonged by them.
const LENGTH: [&str; 2] = ["train.epochs", "train.restarts"];
/// What a run was asked to do.
const RECIPE: &str = "recipe.toml";

impl Trainer<'_> {
    /// Begins a run in a folder that holds none.
    pub(super) fn prepare_folder(&self) -> Result<()> {
        ensure!(
            [LAST, BEST].iter().all(|file| !self.out.join(file).exists()),
            "{} holds a training run; go on with it by --resume, or choose another folder with --out",
            self.out.display()
        );
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        self.write_recipe()
    }

    fn write_recipe(&self) -> Result<()> {
        write_atomically(&self.out.join(RECIPE), self.recipe.to_toml().as_bytes())
    }

    /// Goes back to where the folder's last checkpoint was: to the beginning, where the run was stopped before its first.
    pub(super) fn restore(&mut self) -> Result<()> {
        remove_unfinished(&self.out);
        let file = self.out.join(LAST);
        if !file.exists() && self.out.join(RECIPE).exists() {
            view::note("the run was stopped before its first checkpoint: it begins anew");
            return self.write_recipe();
        }
        let saved = Checkpoint::load(&file)?;
        let resume = saved
            .resume
            .as_ref()
            .with_context(|| format!("{} cannot be resumed: it has no progress", file.display()))?;
        self.check_same_run(&saved, &resume.progress).with_context(|| format!("cannot resume {}", file.display()))?;
        self.arrays = self.module.upload(&saved.weights, &self.device)?;
        let part = |prefix| self.module.upload_prefixed(&resume.state, prefix, &self.device);
        self.optimizer.first = part(FIRST)?;
        self.optimizer.second = part(SECOND)?;
        if self.average.is_some() {
            self.average = Some(part(AVERAGE)?);
        }
        self.progress = resume.progress.clone();
        // Its speed is measured from here on.
        let done = self.progress.epoch as usize * self.steps + self.progress.step;
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        // It may have been prolonged.
        if self.recipe.differing_keys(&saved.recipe).is_empty() { Ok(()) } else { self.write_recipe() }
    }

    /// A checkpoint with these parameters.
    pub(super) fn checkpoint(&self, arrays: &Arrays, resume: Option<Resume>) -> Checkpoint {
        Checkpoint {
            recipe: self.recipe.clone(),
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
        self.clock.add_to(&mut self.progress);
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
