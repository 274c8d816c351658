//! The curves of a run as a picture.

use std::path::Path;

use anyhow::Result;

use crate::checkpoint::EpochRecord;
use crate::plot::lines::{Lines, Series};
use crate::plot::{Axis, Drawing, Unit};

/// File of the curves, in a run folder.
pub const CURVES: &str = "curves.svg";

/// Width of the picture and height of each chart, in pixels.
const SIZE: (f64, f64) = (720.0, 190.0);

/// Loss, accuracy and learning rate over the epochs of `history`, below each other.
pub fn drawing(title: &str, history: &[EpochRecord]) -> Drawing {
    let line = |name: &str, value: fn(&EpochRecord) -> f64| Series {
        name: name.to_owned(),
        points: history.iter().map(|record| (f64::from(record.epoch), value(record))).collect(),
        ..Series::default()
    };
    let chart = |y: Axis, series: Vec<Series>| {
        let x = Axis::new("epoch", Unit::Whole).from_zero();
        Lines { title: String::new(), x, y, series }.drawing(SIZE.0, SIZE.1)
    };
    let loss = vec![line("training", |record| record.train_loss), line("validation", |record| record.val_loss)];
    let accuracy = vec![line("training", |record| record.train_acc), line("validation", |record| record.val_acc)];
    let charts = vec![
        chart(Axis::new("loss", Unit::Number), loss),
        chart(Axis::new("accuracy", Unit::Percent), accuracy),
        chart(Axis::new("learning rate", Unit::Number).from_zero(), vec![line("", |record| record.lr)]),
    ];
    Drawing::stacked(title, charts)
}

/// Writes the curves of the run called `title` into its folder, anew from all finished epochs.
///
/// # Errors
/// The file cannot be written.
pub fn write(out: &Path, title: &str, history: &[EpochRecord]) -> Result<()> {
    drawing(title, history).write(&out.join(CURVES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_of_any_history_are_drawn() {
        let record = |epoch, train_loss| EpochRecord { train_loss, ..EpochRecord::example(epoch) };
        let one = vec![record(1, 1.5)];
        let lost: Vec<EpochRecord> =
            (1..40).map(|epoch| record(epoch, if epoch > 3 { f64::NAN } else { 2.0 })).collect();
        let folder = tempfile::tempdir().unwrap();
        for history in [&[][..], &one, &lost] {
            write(folder.path(), "<cups>", history).unwrap();
            let svg = std::fs::read_to_string(folder.path().join(CURVES)).unwrap();
            for text in ["loss", "accuracy", "learning rate", "epoch", "validation", "&lt;cups&gt;"] {
                assert!(svg.contains(text), "{text} is not in the curves of {} epochs", history.len());
            }
        }
    }
}
