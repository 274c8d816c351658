//! One training step: the loss of a batch and its gradients.

use super::batches::{Batch, upload};
use super::evaluate::count_correct;
use super::loss;
use crate::net::Parameter;
use crate::net::module::{Arrays, Module, Training, to_vec};
use crate::net::tape::Tape;
use crate::random::{self, Purpose};
use crate::recipe::{Statistics, TrainRecipe};
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
        let random = random::stream(self.recipe.seed, Purpose::Dropout, draw);
        let mixed = self.recipe.is_mixed();
        let tape = self.recipe.device.is_cpu().then(Tape::default);
        let mut training = Training { random, fade: self.fade, mixed, statistics: Arrays::new(), tape };
        let leaf = |p: &Parameter| {
            let value = self.arrays[&p.name].clone();
            (p.name.clone(), if p.role.is_trained() { value.autodiff().require_grad() } else { value })
        };
        let leaves: Arrays = self.module.parameters().iter().map(leaf).collect();
        let (input, mut statistics) = self.input(shard);
        let logits = self.module.forward(&leaves, input, Some(&mut training));
        let loss = loss::loss(&logits, &shard.targets, self.recipe) / self.images as f64;
        statistics.extend(training.statistics);
        ShardResult {
            loss: loss.clone().into_scalar::<f32>().into(),
            correct: count_correct(&to_vec(logits.inner()), &shard.labels),
            gradients: training.tape.unwrap_or_default().backward(&loss, &leaves),
            statistics,
        }
    }

    /// What the trained part reads, `(n, c, h, w)`, and the running statistics of what is below it.
    fn input(&self, shard: &Batch) -> (Tensor<4>, Arrays) {
        let device = self.device.clone().autodiff();
        let Some((backbone, statistics)) = self.backbone else {
            return (upload(shard, self.module.input(), &device), Arrays::new());
        };
        if statistics == Statistics::Frozen {
            let features = backbone.forward(self.arrays, upload(shard, backbone.input(), self.device), None);
            return (self.shaped(features).autodiff(), Arrays::new());
        }
        let tape = self.recipe.device.is_cpu().then(Tape::default);
        // Nothing is dropped below, so that the numbers are never looked at.
        let random = random::stream(self.recipe.seed, Purpose::Dropout, 0);
        let mixed = self.recipe.is_mixed();
        let mut measuring = Training { random, fade: self.fade, mixed, statistics: Arrays::new(), tape };
        let images = upload(shard, backbone.input(), &device);
        let features = backbone.forward(self.arrays, images, Some(&mut measuring));
        (self.shaped(features), measuring.statistics)
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
