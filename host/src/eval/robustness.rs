//! Accuracy on corrupted images.

use anyhow::Result;
use serde::Serialize;

use super::Evaluator;
use crate::corruption::{self, Corruption, STRENGTHS};
use crate::data::Split;

/// Accuracy on the same images with every corruption in every strength.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Robustness {
    /// Images, evenly spread over the test set.
    pub images: usize,
    /// What everything random was drawn from.
    pub seed: u64,
    /// Accuracy on these images as they are, before and after quantization.
    pub clean: [Option<f64>; 2],
    /// One entry per corruption and strength.
    pub cells: Vec<Cell>,
}

/// One corruption in one strength.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Its name.
    pub corruption: &'static str,
    /// From 1.
    pub strength: usize,
    /// How much of it that is; [`Corruption::name`] says of what.
    pub amount: f32,
    /// Accuracy before quantization.
    pub float: Option<f64>,
    /// Accuracy after quantization.
    pub int8: Option<f64>,
}

impl Robustness {
    /// Evaluates `sides`, float and int8, on `images` with each corruption. `done` is called once per image and side, from any
    /// thread.
    ///
    /// # Errors
    /// The images have another size than a model's, or an evaluator fails.
    pub fn measure(
        sides: [Option<&Evaluator>; 2],
        classes: &[String],
        images: &Split,
        seed: u64,
        done: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let accuracy = |split: &Split| -> Result<[Option<f64>; 2]> {
            let of = |side: Option<&Evaluator>| {
                let scores = side.map(|side| side.scores(split, done)).transpose()?;
                anyhow::Ok(scores.map(|scores| scores.metrics(classes, &split.labels).accuracy))
            };
            Ok([of(sides[0])?, of(sides[1])?])
        };
        let mut cells = Vec::new();
        for kind in corruption::ALL {
            for strength in 1..=STRENGTHS {
                let [float, int8] = accuracy(&kind.apply(images, strength, seed))?;
                let amount = kind.amounts()[strength - 1];
                cells.push(Cell { corruption: kind.name().0, strength, amount, float, int8 });
            }
        }
        Ok(Self { images: images.len(), seed, clean: accuracy(images)?, cells })
    }

    /// Evaluations of an image that [`Robustness::measure`] takes for each side.
    pub fn evaluations() -> usize {
        corruption::ALL.len() * STRENGTHS + 1
    }

    /// The cells of one corruption, weakest first.
    pub fn of(&self, kind: Corruption) -> impl Iterator<Item = &Cell> + Clone {
        self.cells.iter().filter(move |cell| cell.corruption == kind.name().0)
    }

    /// Mean accuracy over all corruptions and strengths, before and after quantization.
    pub fn mean(&self) -> [Option<f64>; 2] {
        [mean(self.cells.iter().map(|cell| cell.float)), mean(self.cells.iter().map(|cell| cell.int8))]
    }
}

/// The mean, if all of them are known.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
