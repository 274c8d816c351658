//! What a batch changes: the parameters, their statistics, and their moving average.

use super::batches::Batch;
use super::step::{self, ShardResult, Step};
use super::{Trainer, schedule};
use crate::checkpoint::{BEST, Progress};
use crate::net::module::{Arrays, Module};
use crate::recipe::Statistics;
use anyhow::{Result, ensure};
use std::time::Instant;

impl Trainer<'_> {
    pub(super) fn step(&mut self, batch: &Batch) -> Result<()> {
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
        self.update_average(number + 1);
        self.progress.step += 1;
        self.progress.running.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// What each shard of `batch` contributes to step `at` of the run, from `arrays` on.
    pub(super) fn differentiate(&self, arrays: &Arrays, batch: &Batch, at: u64) -> Vec<ShardResult> {
        let shards = batch.split(self.recipe.train.shards);
        let copies = self.devices.copies(arrays);
        let step = |shard: usize| {
            let (number, device) = self.devices.of_shard(shard);
            Step {
                module: self.trainable(),
                backbone: self.backbone(),
                arrays: number.checked_sub(1).map_or(arrays, |other| &copies[other]),
                recipe: &self.recipe.train,
                distill: &self.recipe.distill,
                device,
                fade: schedule::fade(self.recipe.net.block_dropout_epochs, at, self.steps),
                images: batch.labels.len(),
            }
        };
        let first = at * self.recipe.train.shards as u64;
        self.workers.map(&shards, |i, shard| step(i).differentiate(shard, first + i as u64))
    }

    /// Fails where training has diverged, before anything of it is saved.
    pub(super) fn check_number(&self, what: &str, value: f64) -> Result<()> {
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

    /// What turns images into what [`Self::trainable`] reads, where no features are kept.
    pub(super) fn backbone(&self) -> Option<(&Module, Statistics)> {
        let frozen = self.transfer.frozen.as_ref().filter(|_| self.is_frozen() && self.transfer.cache.is_none())?;
        Some((&frozen.backbone, self.recipe.transfer.statistics))
    }

    /// Updates the parameters by the sum of the parts' gradients, and the statistics by their mean.
    fn apply(&mut self, parts: &[ShardResult], lr: f64, step: u64) {
        let count = parts.len();
        let gradients = self.devices.sum(parts.iter().map(|part| &part.gradients));
        let statistics = step::sum(self.devices.gathered(parts.iter().map(|part| &part.statistics)).iter());
        for parameter in self.module.parameters() {
            let name = &parameter.name;
            if let Some(gradient) = gradients.get(name) {
                let old = self.arrays.remove(name).expect("every parameter has an array");
                let gradient = match self.penalties.get(name) {
                    Some(penalty) => gradient.clone() + old.clone() * (2.0 * penalty),
                    None => gradient.clone(),
                };
                let new = self.optimizer.update(
                    parameter,
                    old,
                    gradient,
                    lr * self.transfer.rate(name),
                    step - self.unfrozen_at(name),
                );
                self.arrays.insert(name.clone(), new);
            }
        }
        self.arrays.extend(statistics.into_iter().map(|(name, total)| (name, total / count as f64)));
    }

    /// The step, from 0, from which the parameter `name` is trained.
    fn unfrozen_at(&self, name: &str) -> u64 {
        let epoch = if self.transfer.was_frozen(name) { self.recipe.transfer.unfreeze_at.saturating_sub(1) } else { 0 };
        u64::from(epoch) * self.steps as u64
    }

    /// Moves the average towards the weights; faster in the first steps, so that the initial ones are soon forgotten.
    fn update_average(&mut self, steps: u64) {
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
}

/// Whether the parameter `name` is measured and not trained.
fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}
