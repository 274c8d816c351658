//! One training step: the loss of a batch and its gradients.

use super::batches::Batch;
use super::metrics::count_correct;
use crate::net::Parameter;
use crate::net::module::{Arrays, Module, Training, to_vec};
use crate::net::tape::Tape;
use crate::random::{self, Purpose};
use crate::recipe::TrainRecipe;
use burn::tensor::{Device, Tensor, TensorData, activation};
use ocellus_shared::Shape;

/// What a step is computed with.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The network.
    pub module: &'a Module,
    /// Its parameters before the step.
    pub arrays: &'a Arrays,
    /// The recipe that says how the loss is computed.
    pub recipe: &'a TrainRecipe,
    /// Where it is computed.
    pub device: &'a Device,
    /// Images of the whole batch.
    pub images: usize,
}

/// What one shard of a batch contributes to its step.
#[derive(Clone, Debug)]
pub struct Part {
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
    pub fn differentiate(&self, shard: &Batch, draw: u64) -> Part {
        let random = random::stream(self.recipe.seed, Purpose::Dropout, draw);
        let tape = self.recipe.device.is_cpu().then(Tape::default);
        let mut training = Training { random, statistics: Arrays::new(), tape };
        let leaf = |p: &Parameter| {
            let value = self.arrays[&p.name].clone();
            (p.name.clone(), if p.role.is_trained() { value.autodiff().require_grad() } else { value })
        };
        let leaves: Arrays = self.module.parameters().iter().map(leaf).collect();
        let images = upload(shard, self.module.input(), &self.device.clone().autodiff());
        let logits = self.module.forward(&leaves, images, Some(&mut training));
        let loss = cross_entropy(&logits, &shard.targets, self.recipe.smoothing) / self.images as f64;
        Part {
            loss: loss.clone().into_scalar::<f32>().into(),
            correct: count_correct(&to_vec(logits.inner()), &shard.labels),
            gradients: training.tape.unwrap_or_default().backward(&loss, &leaves),
            statistics: training.statistics,
        }
    }
}

/// The batch's images as a tensor, `(n, c, h, w)`.
pub fn upload(batch: &Batch, input: Shape, device: &Device) -> Tensor<4> {
    let shape = [batch.labels.len(), input.c.into(), input.h.into(), input.w.into()];
    Tensor::from_data(TensorData::new(batch.images.clone(), shape), device)
}

/// Sum of the cross-entropies of logits against targets, both `(n, classes)`, where `smoothing` of each target is spread
/// evenly over all classes.
fn cross_entropy(logits: &Tensor<2>, targets: &[f32], smoothing: f64) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let (floor, rest) = ((smoothing / classes as f64) as f32, (1.0 - smoothing) as f32);
    let target: Vec<f32> = targets.iter().map(|target| floor + rest * target).collect();
    let target = TensorData::new(target, [n, classes]);
    let target: Tensor<2> = Tensor::from_data(target, &logits.device().without_autodiff());
    (activation::log_softmax(logits.clone(), 1) * target).sum().neg()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothed_cross_entropy() {
        let logits = Tensor::from_data(TensorData::new(vec![1.0f32, 2.0, 0.5, 0.0, 0.0, 0.0], [2, 3]), &Device::flex());
        let expected = |row: [f64; 3], target: [f64; 3]| {
            let sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            row.iter().zip(target).map(|(x, t)| t * (sum - x)).sum::<f64>()
        };
        let targets = [[0.0, 1.0, 0.0], [0.75, 0.0, 0.25]];
        let smooth = |target: [f64; 3]| target.map(|t| 0.9 * t + 0.1 / 3.0);
        let both = expected([1.0, 2.0, 0.5], smooth(targets[0])) + expected([0.0; 3], smooth(targets[1]));
        let targets = targets.concat().iter().map(|&t| t as f32).collect::<Vec<_>>();
        let loss: f32 = cross_entropy(&logits, &targets, 0.1).into_scalar();
        assert!((f64::from(loss) - both).abs() < 1e-6, "{loss} and {both}");
    }
}
