//! One training step: the loss of a batch and its gradients.

use super::batches::{Batch, upload};
use super::evaluate::count_correct;
use super::{loss, soft_labels};
use crate::net::module::{Arrays, Module, Training};
use crate::random::{self, Purpose};
use crate::recipe::{DistillRecipe, Statistics, TrainRecipe};
use burn::tensor::{Device, Tensor};

/// What a step is computed with.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What is trained.
    pub module: &'a Module,
    /// What makes its input of images where that is not trained, and what its batch normalisations do.
    pub backbone: Option<(&'a Module, Statistics)>,
    /// The parameters of both before the step.
    pub arrays: &'a Arrays,
    /// The recipe that says how the loss is computed.
    pub recipe: &'a TrainRecipe,
    /// And how much of it is a teacher's.
    pub distill: &'a DistillRecipe,
    /// Where it is computed.
    pub device: &'a Device,
    /// What rates of dropouts that fade are multiplied by.
    pub fade: f64,
    /// Images of the whole batch.
    pub images: usize,
}

/// What one shard of a batch contributes to its step.
#[derive(Clone, Debug)]
pub struct ShardResult {
    /// Its part of the batch's mean loss.
    pub loss: f64,
    /// Images classified correctly.
    pub correct: usize,
    /// Gradients of that part, by parameter name.
    pub gradients: Arrays,
    /// Running statistics after the shard, by parameter name.
    pub statistics: Arrays,
}

impl Step<'_> {
    /// The contribution of `shard`; `draw` numbers it among all shards of the run, for dropout.
    pub fn differentiate(&self, shard: &Batch, draw: u64) -> ShardResult {
        let mut training = self.training(draw);
        let (input, mut statistics) = self.input(shard);
        let loss = |logits: &Tensor<2>| self.loss(logits, shard) / self.images as f64;
        let found = self.module.differentiate(self.arrays, input, &mut training, loss);
        statistics.extend(training.statistics);
        ShardResult {
            loss: found.loss,
            correct: count_correct(&found.logits, &shard.labels),
            gradients: found.gradients,
            statistics,
        }
    }

    /// Sum of the losses of the images of `shard`.
    fn loss(&self, logits: &Tensor<2>, shard: &Batch) -> Tensor<1> {
        let by_labels = loss::loss(logits, &shard.targets, self.recipe);
        if shard.taught.is_empty() {
            return by_labels;
        }
        let by_teacher = soft_labels::divergence(logits, &shard.taught, self.distill);
        by_labels * self.distill.label_weight + by_teacher * self.distill.teacher_weight
    }

    fn training(&self, draw: u64) -> Training {
        let random = random::stream(self.recipe.seed, Purpose::Dropout, draw);
        Training { random, fade: self.fade, mixed: self.recipe.is_mixed(), statistics: Arrays::new() }
    }

    /// What the trained part reads, `(n, c, h, w)`, and the running statistics of what is below it.
    fn input(&self, shard: &Batch) -> (Tensor<4>, Arrays) {
        let Some((backbone, statistics)) = self.backbone else {
            return (upload(shard, self.module.input(), self.device), Arrays::new());
        };
        let images = upload(shard, backbone.input(), self.device);
        // Nothing is dropped below, so that the random numbers are never looked at.
        let mut training = (statistics != Statistics::Frozen).then(|| self.training(0));
        let features = self.shaped(backbone.forward(self.arrays, images, training.as_mut()));
        (features, training.map(|training| training.statistics).unwrap_or_default())
    }

    /// Rows of features in the shape that the trained part reads.
    fn shaped(&self, features: Tensor<2>) -> Tensor<4> {
        let (n, shape) = (features.dims()[0], self.module.input());
        features.reshape([n, shape.c.into(), shape.h.into(), shape.w.into()])
    }
}

/// Sums arrays of one name, in the order given.
pub fn sum<'a>(parts: impl Iterator<Item = &'a Arrays>) -> Arrays {
    let mut total = Arrays::new();
    for (name, array) in parts.flatten() {
        let sum = match total.remove(name) {
            Some(sum) => sum + array.clone(),
            None => array.clone(),
        };
        total.insert(name.clone(), sum);
    }
    total
}
