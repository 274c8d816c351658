//! What a run keeps in its folder to go on from, and how it does.

use super::Trainer;
use super::optimizer::Optimizer;
use crate::checkpoint::{BEST, Checkpoint, LAST, Resume, remove_unfinished, write_atomically};
use crate::net::Weights;
use crate::net::module::Arrays;
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, bail, ensure};

/// What the names of the saved optimizer state and moving average begin with.
const FIRST: &str = "first.";
const SECOND: &str = "second.";
const AVERAGE: &str = "average.";
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
        check_same_run(self.recipe, &self.dataset.hash, &saved)
            .with_context(|| format!("cannot resume {}", file.display()))?;
        let resume =
            saved.resume.with_context(|| format!("{} cannot be resumed: it has no progress", file.display()))?;
        self.arrays = self.module.upload(&saved.weights, &self.device)?;
        let part = |prefix| self.module.upload_prefixed(&resume.state, prefix, &self.device);
        self.optimizer.first = part(FIRST)?;
        self.optimizer.second = part(SECOND)?;
        if self.average.is_some() {
            self.average = Some(part(AVERAGE)?);
        }
        self.progress = resume.progress;
        // Its speed is measured from here on.
        let done = self.progress.epoch as usize * self.steps + self.progress.step;
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        Ok(())
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

/// Refuses to go on with another recipe or dataset than the run began with.
fn check_same_run(recipe: &Recipe, hash: &str, saved: &Checkpoint) -> Result<()> {
    let differing = recipe.differing_keys(&saved.recipe);
    if !differing.is_empty() {
        bail!(
            "its recipe differs in {}; use the run's own recipe.toml, or start another run with --out",
            differing.join(", ")
        );
    }
    ensure!(
        hash == saved.dataset_hash,
        "it was trained on another dataset ({} there, {hash} here); check --data, or start another run with --out",
        saved.dataset_hash
    );
    Ok(())
}
