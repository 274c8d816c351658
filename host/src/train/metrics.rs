//! How good the weights are, and the files that say so.

use super::batches;
use super::batches::Batch;
use super::step::upload;
use super::transfer::pick;
use super::workers::Workers;
use crate::checkpoint::{EpochRecord, Progress, write_atomically};
use crate::data::Split;
use crate::features::Features;
use crate::net::module::{Arrays, Module, to_vec};
use anyhow::Result;
use burn::tensor::Device;
use serde::Serialize;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// Pixels evaluated together, at least one image: 250 images of CIFAR. Feature maps of more would not fit the caches.
const BATCH_PIXELS: usize = 250 * 32 * 32;

/// How a split is classified.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Images classified correctly.
    pub correct: usize,
    /// All images.
    pub images: usize,
    /// Mean cross-entropy.
    pub loss: f64,
}

impl Score {
    /// Part of the images classified correctly, in `[0, 1]`.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }
}

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

    fn batch(self, range: Range<usize>) -> Batch {
        match self {
            Self::Images(split) => batches::plain(split, range),
            Self::Features(features) => pick(features, &range.collect::<Vec<_>>(), 0),
        }
    }
}

/// Evaluates weights on every image.
pub fn score(module: &Module, arrays: &Arrays, inputs: Inputs<'_>, device: &Device, workers: &Workers) -> Score {
    let images = (BATCH_PIXELS / module.input().pixels()).max(1);
    let starts: Vec<usize> = (0..inputs.len()).step_by(images).collect();
    let parts = workers.map(&starts, |_, &from| {
        let batch = inputs.batch(from..inputs.len().min(from + images));
        let logits = to_vec(module.forward(arrays, upload(&batch, module.input(), device), None));
        (count_correct(&logits, &batch.labels), total_cross_entropy(&logits, &batch.labels))
    });
    let correct = parts.iter().map(|part| part.0).sum();
    let loss = parts.iter().map(|part| part.1).sum::<f64>() / inputs.len() as f64;
    Score { correct, images: inputs.len(), loss }
}

/// How many rows of `logits`, `(n, classes)`, are largest at their label; between equals the first class wins.
pub fn count_correct(logits: &[f32], labels: &[u16]) -> usize {
    let best = |row: &[f32]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let rows = logits.chunks_exact(logits.len() / labels.len());
    rows.zip(labels).filter(|&(row, &label)| best(row) == usize::from(label)).count()
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

/// The final figures of a run, as written to `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Metrics {
    /// The epoch whose weights were kept, from 1.
    pub best_epoch: u32,
    /// Finished epochs.
    pub epochs: u32,
    /// Validation accuracy in `[0, 1]`.
    pub val_accuracy: f64,
    /// Test accuracy in `[0, 1]`.
    pub test_accuracy: f64,
    /// Test images.
    pub test_images: usize,
    /// Seconds of training, over all resumptions.
    pub seconds: f64,
    /// Seconds of CPU time, over all resumptions and threads; 0 where the system does not tell.
    pub cpu_seconds: f64,
    /// Training images per second, the mean over epochs.
    pub images_per_s: f64,
}

impl Metrics {
    /// Gathers them.
    pub fn new(progress: &Progress, val: &Score, test: &Score) -> Self {
        let rates = progress.history.iter().map(|record| record.images_per_s);
        Self {
            best_epoch: progress.best.map_or(0, |best| best.epoch),
            epochs: progress.epoch,
            val_accuracy: val.accuracy(),
            test_accuracy: test.accuracy(),
            test_images: test.images,
            seconds: progress.seconds,
            cpu_seconds: progress.cpu_seconds,
            images_per_s: rates.sum::<f64>() / progress.history.len().max(1) as f64,
        }
    }
}

/// Writes `results.csv` anew from all finished epochs, so that it is right after a resumption too.
///
/// # Errors
/// The file cannot be written.
pub fn write_results(path: &Path, history: &[EpochRecord]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in history {
        writer.serialize(record)?;
    }
    write_atomically(path, &writer.into_inner()?)
}

/// One line for a finished epoch.
pub fn line(record: &EpochRecord, epochs: u32, improved: bool) -> String {
    let EpochRecord { epoch, train_loss, train_acc, val_loss, val_acc, lr, images_per_s, seconds } = record;
    format!(
        "epoch {epoch:>3}/{epochs}  train {train_loss:.4} {:>5.2} %  val {val_loss:.4} {:>5.2} %{}  lr {lr:.5}  \
         {images_per_s:.0} images/s  {seconds:.0} s",
        100.0 * train_acc,
        100.0 * val_acc,
        if improved { " *" } else { "  " },
    )
}

/// Measures a run's time, over its resumptions.
#[derive(Debug)]
pub struct Clock {
    since: Instant,
    cpu: f64,
}

impl Clock {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { since: Instant::now(), cpu: cpu_seconds() }
    }

    /// Adds the time since the start, or since the last call.
    pub fn add_to(&mut self, progress: &mut Progress) {
        let now = Self::start();
        progress.seconds += (now.since - self.since).as_secs_f64();
        progress.cpu_seconds += now.cpu - self.cpu;
        *self = now;
    }
}

/// CPU seconds that this process has used on all threads; 0 where the system does not tell (only Linux does).
pub fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of proc_pid_stat(5), counted after the parenthesised name, in ticks of 1/100 s.
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0.0 };
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
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

    #[test]
    fn results_have_a_line_per_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let record = |epoch| EpochRecord {
            epoch,
            train_loss: 1.5,
            train_acc: 0.25,
            val_loss: 1.25,
            val_acc: 0.5,
            lr: 0.05,
            images_per_s: 400.0,
            seconds: 120.0,
        };
        write_results(&path, &[record(1), record(2)]).unwrap();
        let expected = "epoch,train_loss,train_acc,val_loss,val_acc,lr,images_per_s,seconds\n\
                        1,1.5,0.25,1.25,0.5,0.05,400.0,120.0\n2,1.5,0.25,1.25,0.5,0.05,400.0,120.0\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}
