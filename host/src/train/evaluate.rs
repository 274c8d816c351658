//! How good the weights are: on the validation images after each epoch, on the test images once.

use super::batches::{self, Batch, upload};
use super::feature_batches::unvaried;
use super::metrics::{self, Confusion, Metrics, Score};
use super::transfer::FeatureExtraction;
use super::workers::Workers;
use super::{Outcome, Trainer, curves, schedule};
use crate::checkpoint::{BEST, Best, Checkpoint, EpochRecord, Running};
use crate::data::Split;
use crate::features::Features;
use crate::files;
use crate::net::module::{Arrays, Module, to_vec};
use crate::recipe::Keep;
use crate::view;
use anyhow::Result;
use burn::tensor::Device;
use std::ops::Range;
use std::time::Instant;

/// Pixels evaluated together, at least one image: 250 images of CIFAR. Feature maps of more would not fit the caches.
const BATCH_PIXELS: usize = 250 * 32 * 32;

/// What a module is evaluated on.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// The images of a split.
    Images(&'a Split),
    /// Their features, the first view of each.
    Features(&'a Features),
}

impl Inputs<'_> {
    fn len(self) -> usize {
        match self {
            Self::Images(split) => split.len(),
            Self::Features(features) => features.labels.len(),
        }
    }

    fn labels(&self) -> &[u16] {
        match self {
            Self::Images(split) => &split.labels,
            Self::Features(features) => &features.labels,
        }
    }

    fn batch(self, range: Range<usize>) -> Batch {
        match self {
            Self::Images(split) => batches::plain(split, range),
            Self::Features(features) => unvaried(features, range),
        }
    }
}

/// Evaluates weights on every image.
pub fn score(
    module: &Module,
    arrays: &Arrays,
    inputs: Inputs<'_>,
    device: &Device,
    workers: &Workers,
) -> (Score, Confusion) {
    let images = (BATCH_PIXELS / module.input().pixels()).max(1);
    let starts: Vec<usize> = (0..inputs.len()).step_by(images).collect();
    let parts = workers.map(&starts, |_, &from| {
        let batch = inputs.batch(from..inputs.len().min(from + images));
        let logits = to_vec(module.forward(arrays, upload(&batch, module.input(), device), None));
        let classes = logits.len() / batch.labels.len();
        (predictions(&logits, classes), classes, total_cross_entropy(&logits, &batch.labels))
    });
    let mut confusion = Confusion::new(parts.first().map_or(0, |part| part.1));
    let predicted = parts.iter().flat_map(|part| &part.0);
    inputs.labels().iter().zip(predicted).for_each(|(&label, &class)| confusion.count(label, class));
    let loss = parts.iter().map(|part| part.2).sum::<f64>() / inputs.len() as f64;
    (Score { correct: confusion.correct(), images: inputs.len(), loss }, confusion)
}

/// The class with the largest of each row of `logits`, `(n, classes)`; between equals the first one wins.
fn predictions(logits: &[f32], classes: usize) -> Vec<usize> {
    let best = |row: &[f32]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    logits.chunks_exact(classes).map(best).collect()
}

/// How many rows of `logits`, `(n, classes)`, are largest at their label; between equals the first class wins.
pub fn count_correct(logits: &[f32], labels: &[u16]) -> usize {
    let predicted = predictions(logits, logits.len() / labels.len());
    predicted.into_iter().zip(labels).filter(|&(class, &label)| class == usize::from(label)).count()
}

fn total_cross_entropy(logits: &[f32], labels: &[u16]) -> f64 {
    let rows = logits.chunks_exact(logits.len() / labels.len());
    let loss = |row: &[f32], label: u16| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
        sum.ln() - f64::from(row[usize::from(label)] - largest)
    };
    rows.zip(labels).map(|(row, &label)| loss(row, label)).sum()
}

impl Trainer<'_> {
    /// Evaluates the epoch that ends now, and saves it.
    pub(super) fn end_epoch(&mut self) -> Result<()> {
        let start = Instant::now();
        let (val, _) = match self.cache() {
            Some(cache) => self.score(self.trainable(), Inputs::Features(&cache.val), self.evaluated()),
            None => self.score(&self.module, Inputs::Images(&self.dataset.val), self.evaluated()),
        };
        self.check_number("validation loss", val.loss)?;
        let record = self.record(&val, start);
        self.progress.epoch += 1;
        self.progress.step = 0;
        self.progress.running = Running::default();
        self.progress.history.push(record);
        let takes_last = self.recipe.train.keep == Keep::Last;
        let improved = takes_last || self.progress.best.is_none_or(|best| val.correct > best.correct);
        if improved {
            self.progress.best = Some(Best { epoch: record.epoch, correct: val.correct });
            self.checkpoint(self.evaluated(), None).save(&self.out.join(BEST))?;
        }
        // After the one to keep: a run killed in between repeats the epoch and writes the same again.
        self.save_last()?;
        metrics::write_results(&self.out.join(metrics::RESULTS), &self.progress.history)?;
        curves::write(&self.out, self.recipe.title(), &self.progress.history)?;
        view::above(&self.bar, &metrics::line(&record, self.recipe.train.epochs, improved));
        Ok(())
    }

    /// The figures of the epoch that ends now; its validation began at `start`.
    fn record(&self, val: &Score, start: Instant) -> EpochRecord {
        let Running { loss, correct, images, seconds } = self.progress.running;
        let epoch = self.progress.epoch + 1;
        let last_step = u64::from(epoch) * self.steps as u64 - 1;
        EpochRecord {
            epoch,
            train_loss: loss / images as f64,
            train_acc: correct as f64 / images as f64,
            val_loss: val.loss,
            val_acc: val.accuracy(),
            lr: schedule::learning_rate(self.recipe, last_step, self.steps, &self.progress.history),
            images_per_s: images as f64 / seconds,
            seconds: seconds + start.elapsed().as_secs_f64(),
        }
    }

    /// The weights that are evaluated and kept.
    fn evaluated(&self) -> &Arrays {
        self.average.as_ref().unwrap_or(&self.arrays)
    }

    fn score(&self, module: &Module, inputs: Inputs<'_>, arrays: &Arrays) -> (Score, Confusion) {
        score(module, arrays, inputs, &self.device, &self.workers)
    }

    /// Evaluates all of the network, whatever was trained of it, on the split called `name`.
    fn score_whole(&self, split: &Split, name: &str, arrays: &Arrays) -> Result<(Score, Confusion)> {
        let Self { recipe, dataset, device, workers, transfer, stop, .. } = self;
        let extraction = FeatureExtraction { recipe, dataset, arrays, device, workers, stop };
        Ok(match transfer.features(&extraction, split, name)? {
            Some(features) => {
                let head = match (transfer.extractor, &transfer.frozen) {
                    (None, Some(frozen)) => &frozen.head,
                    _ => &self.module,
                };
                self.score(head, Inputs::Features(&features), arrays)
            }
            None => self.score(&self.module, Inputs::Images(split), arrays),
        })
    }

    /// Evaluates the best checkpoint on the test images, for the first and only time.
    pub(super) fn finish(self) -> Result<Outcome> {
        self.bar.finish_and_clear();
        let checkpoint = Checkpoint::load(&self.out.join(BEST))?;
        let best = self.module.upload(&checkpoint.weights, &self.device)?;
        let (val, _) = self.score_whole(&self.dataset.val, "val", &best)?;
        let (test, confusion) = self.score_whole(&self.dataset.test, "test", &best)?;
        let title = format!("{}: test images of {}", self.recipe.title(), self.dataset.name);
        confusion.drawing(&title, &self.dataset.classes).write(&self.out.join(metrics::CONFUSION))?;
        let metrics = Metrics::new(&self.progress, &val, &test);
        files::write(&self.out.join("metrics.json"), &serde_json::to_vec_pretty(&metrics)?)?;
        Ok(Outcome::Finished { checkpoint: Box::new(checkpoint), metrics })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_largest_and_the_first_of_equals() {
        let logits = [0.0, 2.0, 1.0, 3.0, 3.0, 0.0, -1.0, -2.0, -0.5];
        assert_eq!(count_correct(&logits, &[1, 0, 2]), 3);
        assert_eq!(count_correct(&logits, &[1, 1, 0]), 1);
    }

    #[test]
    fn cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes() {
        let loss = total_cross_entropy(&[700.0; 8], &[0, 3]);
        assert!((loss - 2.0 * 4f64.ln()).abs() < 1e-12, "{loss}");
    }
}
