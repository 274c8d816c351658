//! The figures of a run, and the files that hold them.

use crate::checkpoint::{EpochRecord, Progress};
use crate::files;
use crate::plot::Drawing;
use crate::plot::heatmap::Heatmap;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// File with a line for each epoch, in a run folder.
pub const RESULTS: &str = "results.csv";
/// File of the [`Confusion`] of the test images, in a run folder.
pub const CONFUSION: &str = "confusion.svg";

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

/// Which class is taken for which: `counts[label][prediction]` images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion(Vec<Vec<usize>>);

impl Confusion {
    /// Nothing yet, of so many classes.
    pub fn new(classes: usize) -> Self {
        Self(vec![vec![0; classes]; classes])
    }

    /// Counts an image of the class `label` that was taken for `class`.
    pub fn count(&mut self, label: u16, class: usize) {
        self.0[usize::from(label)][class] += 1;
    }

    /// Images that were classified correctly.
    pub fn correct(&self) -> usize {
        self.0.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// As a picture.
    pub fn drawing(&self, title: &str, classes: &[String]) -> Drawing {
        Heatmap::confusion(title, classes, &self.0).drawing()
    }
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
    files::write(path, &writer.into_inner()?)
}

/// The epochs in the file that [`write_results`] wrote.
///
/// # Errors
/// There is none, or it is damaged.
pub fn read_results(path: &Path) -> Result<Vec<EpochRecord>> {
    let damaged = || format!("{} cannot be read as the epochs of a run", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(damaged)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(damaged)
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
pub struct RunTime {
    since: Instant,
    cpu: f64,
}

impl RunTime {
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
    fn results_have_a_line_per_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write_results(&path, &[EpochRecord::example(1), EpochRecord::example(2)]).unwrap();
        let expected = "epoch,train_loss,train_acc,val_loss,val_acc,lr,images_per_s,seconds\n\
                        1,1.5,0.25,1.25,0.5,0.05,400.0,120.0\n2,1.5,0.25,1.25,0.5,0.05,400.0,120.0\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        let lost = EpochRecord { val_loss: f64::INFINITY, ..EpochRecord::example(2) };
        write_results(&path, &[EpochRecord::example(1), lost]).unwrap();
        assert_eq!(read_results(&path).unwrap(), [EpochRecord::example(1), lost]);
        std::fs::write(&path, "epoch\none\n").unwrap();
        assert!(read_results(&path).unwrap_err().to_string().contains("results.csv"));
    }
}
