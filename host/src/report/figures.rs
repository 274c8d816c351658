//! Everything that a report says of a model, as figures.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::analysis::Analysis;
use crate::checkpoint::EpochRecord;
use crate::data::check::ClassCounts;
use crate::data::picture::Picture;
use crate::eval::Metrics;
use crate::eval::calibration::{Answer, Calibration};
use crate::eval::robustness::Robustness;
use crate::eval::sqnr;

/// Pairs of classes that are shown, and pictures of each.
const PAIRS: (usize, usize) = (8, 6);
/// Worst mistakes that are shown.
const WORST: usize = 24;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// The machine that it was made on.
    pub machine: String,
    /// The command that makes it again.
    pub command: String,
    /// One entry per model.
    pub models: Vec<Figures>,
}

/// What it says of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// As the user named it.
    pub model: String,
    /// What its recipe calls it.
    pub title: String,
    /// Shape of its images, `(h, w, c)`.
    pub input: String,
    /// What it was tested on.
    pub data: DataFigures,
    /// The recipe, TOML.
    pub recipe: String,
    /// The seed of its training.
    pub seed: u64,
    /// The figures of its training, where they lie beside it.
    pub training: Option<serde_json::Value>,
    /// Its epochs, where they lie beside it.
    pub history: Vec<EpochRecord>,
    /// Float, int8, and the emulated board, as far as there are such.
    pub sides: Vec<Side>,
    /// How int8 differs from float.
    pub changes: Option<Changes>,
    /// How the board differs from int8.
    pub board: Option<BoardAgreement>,
    /// The most frequent mistakes.
    pub confused: Vec<Pair>,
    /// The mistakes that it was most sure of.
    pub worst: Vec<Mistake>,
    /// Accuracy on corrupted images.
    pub robustness: Option<Robustness>,
    /// What int8 costs layer by layer.
    pub layers: Option<sqnr::Report>,
    /// What it needs of each board.
    pub boards: Vec<Analysis>,
    /// A test image with each corruption, in strengths from 1 to 5.
    #[serde(skip)]
    pub strips: Vec<(&'static str, Picture)>,
    /// What is not here, and why.
    pub missing: Vec<String>,
}

/// The dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DataFigures {
    /// Its name.
    pub name: String,
    /// SHA-256 over all pixels and labels, as it is divided.
    pub hash: String,
    /// That of what the model was trained on; empty where its files do not say.
    pub trained_on: String,
    /// Images of each class.
    pub classes: Vec<ClassCounts>,
    /// Groups of identical images.
    pub duplicates: usize,
    /// Of these, groups in more than one of training, validation and test.
    pub leaks: usize,
    /// Of these, groups with different labels.
    pub contradictions: usize,
    /// Images that cannot be read.
    pub unreadable: usize,
}

/// What computes scores, and how good they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// `float`, `int8`, or the board's name.
    pub name: String,
    /// Its figures.
    pub metrics: Metrics,
    /// What its confidence is worth.
    pub calibration: Calibration,
}

/// Images of which float and int8 name different classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// All images.
    pub images: usize,
    /// Only float is right.
    pub lost: usize,
    /// Only int8 is right.
    pub won: usize,
    /// Both are wrong in different ways.
    pub other: usize,
}

/// What the emulated board computed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BoardAgreement {
    /// Its name.
    pub board: String,
    /// Images that it saw, the first of the test set.
    pub images: usize,
    /// Scores that it computed.
    pub scores: usize,
    /// Of these, those that differ from the engine's on the workstation.
    pub different: usize,
    /// The engine's confusion matrix of the same images.
    pub same_images: Vec<Vec<usize>>,
}

/// A class that is taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The class.
    pub label: String,
    /// What it is taken for.
    pub taken: String,
    /// How often.
    pub images: usize,
    /// The images of them that it was most sure of.
    pub examples: Vec<Mistake>,
}

/// A mistake.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Position of the image in the test set.
    pub image: usize,
    /// Its class.
    pub label: String,
    /// What it is taken for.
    pub taken: String,
    /// How sure of that.
    pub confidence: f64,
    /// The image.
    #[serde(skip)]
    pub picture: Picture,
}

impl Changes {
    /// Those between two sides' answers about images of these classes.
    pub fn new(float: &[Answer], int8: &[Answer], labels: &[u16]) -> Self {
        let mut found = Self { images: labels.len(), ..Self::default() };
        for ((float, int8), &label) in float.iter().zip(int8).zip(labels) {
            match (float.class == usize::from(label), int8.class == usize::from(label)) {
                _ if float.class == int8.class => {}
                (true, _) => found.lost += 1,
                (_, true) => found.won += 1,
                _ => found.other += 1,
            }
        }
        found
    }
}

/// The mistakes in `answers`, most confident first; `picture` shows an image.
pub fn mistakes(
    answers: &[Answer],
    labels: &[u16],
    classes: &[String],
    picture: &dyn Fn(usize) -> Picture,
) -> (Vec<Pair>, Vec<Mistake>) {
    let is_wrong = |i: &usize| answers[*i].class != usize::from(labels[*i]);
    let mut wrong: Vec<usize> = (0..labels.len().min(answers.len())).filter(is_wrong).collect();
    wrong.sort_by(|a, b| answers[*b].confidence.total_cmp(&answers[*a].confidence).then(a.cmp(b)));
    let show = |&i: &usize| Mistake {
        image: i,
        label: classes[usize::from(labels[i])].clone(),
        taken: classes[answers[i].class].clone(),
        confidence: answers[i].confidence,
        picture: picture(i),
    };
    let mut pairs = std::collections::BTreeMap::<(u16, usize), Vec<usize>>::new();
    wrong.iter().for_each(|&i| pairs.entry((labels[i], answers[i].class)).or_default().push(i));
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, images)| std::cmp::Reverse(images.len()));
    let pair = |((label, taken), images): ((u16, usize), Vec<usize>)| Pair {
        label: classes[usize::from(label)].clone(),
        taken: classes[taken].clone(),
        images: images.len(),
        examples: images.iter().take(PAIRS.1).map(show).collect(),
    };
    let confused = pairs.into_iter().take(PAIRS.0).map(pair).collect();
    (confused, wrong.iter().take(WORST).map(show).collect())
}

impl Figures {
    /// The side called `name`.
    pub fn side(&self, name: &str) -> Option<&Side> {
        self.sides.iter().find(|side| side.name == name)
    }

    /// The side that counts: int8 where there is one.
    pub fn main(&self) -> Option<&Side> {
        self.side(INT8).or_else(|| self.sides.first())
    }
}

/// Name of the network before quantization.
pub const FLOAT: &str = "float";
/// Name of what the board computes, on the workstation.
pub const INT8: &str = "int8";

/// One line per figure: model, what it is of, which, its name, and its value.
///
/// # Errors
/// None that is to be expected: it is written to memory.
pub fn csv(report: &Report) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["model", "section", "item", "figure", "value"])?;
    for figures in &report.models {
        let mut line = |section: &str, item: &str, figure: &str, value: String| {
            let row = [crate::report::cell(&figures.model), section.to_owned(), crate::report::cell(item)];
            writer.write_record(row.into_iter().chain([figure.to_owned(), value]))
        };
        for side in &figures.sides {
            side_lines(side, &mut line)?;
        }
        other_lines(figures, &mut line)?;
    }
    writer.into_inner().context("cannot finish the CSV")
}

type Line<'a> = &'a mut dyn FnMut(&str, &str, &str, String) -> csv::Result<()>;

fn side_lines(side: &Side, line: Line) -> csv::Result<()> {
    let Side { name, metrics, calibration } = side;
    line(name, "all", "images", metrics.images.to_string())?;
    line(name, "all", "accuracy", metrics.accuracy.to_string())?;
    line(name, "all", "top5", metrics.top5.to_string())?;
    line(name, "all", "ece", calibration.ece.to_string())?;
    for class in &metrics.per_class {
        line(name, &class.label, "precision", class.precision.to_string())?;
        line(name, &class.label, "recall", class.recall.to_string())?;
        line(name, &class.label, "f1", class.f1.to_string())?;
        line(name, &class.label, "support", class.support.to_string())?;
    }
    for (label, row) in metrics.per_class.iter().zip(&metrics.confusion) {
        for (taken, images) in metrics.per_class.iter().zip(row).filter(|(_, images)| **images > 0) {
            line(name, &label.label, &format!("taken for {}", crate::view::plain(&taken.label)), images.to_string())?;
        }
    }
    for kept in &calibration.thresholds {
        let value = |part: Option<f64>| part.map(|x| x.to_string()).unwrap_or_default();
        line(name, &format!("confidence {}", kept.threshold), "coverage", value(kept.coverage))?;
        line(name, &format!("confidence {}", kept.threshold), "accuracy", value(kept.accuracy))?;
    }
    Ok(())
}

fn other_lines(figures: &Figures, line: Line) -> csv::Result<()> {
    for cell in figures.robustness.iter().flat_map(|found| &found.cells) {
        for (side, accuracy) in [(FLOAT, cell.float), (INT8, cell.int8)] {
            if let Some(accuracy) = accuracy {
                line("robustness", &format!("{} {}", cell.corruption, cell.strength), side, accuracy.to_string())?;
            }
        }
    }
    for layer in figures.layers.iter().flat_map(|found| &found.layers) {
        let db = |ratio: Option<f64>| ratio.map(|db| db.to_string()).unwrap_or_default();
        line("layers", &layer.name, "own sqnr db", db(layer.own_db))?;
        line("layers", &layer.name, "accumulated sqnr db", db(layer.accumulated_db))?;
    }
    for board in &figures.boards {
        line("boards", &board.board, "fits", board.fits.to_string())?;
        line("boards", &board.board, "flash bytes", board.flash_bytes.to_string())?;
        line("boards", &board.board, "ram bytes", board.ram_bytes.to_string())?;
        line("boards", &board.board, "instructions", board.instructions.to_string())?;
    }
    for class in &figures.data.classes {
        line("data", &class.name, "train", class.train.to_string())?;
        line("data", &class.name, "val", class.val.to_string())?;
        line("data", &class.name, "test", class.test.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(class: usize, confidence: f64) -> Answer {
        Answer { class, confidence, lead: 1 }
    }

    #[test]
    fn mistakes_are_sorted_by_how_sure_it_was() {
        let answers = [answer(1, 0.6), answer(1, 0.9), answer(1, 0.99), answer(0, f64::NAN), answer(0, 0.7)];
        let classes = ["a", "b"].map(String::from);
        let picture = |i: usize| Picture { width: 1, height: 1, pixels: vec![i as u8; 3] };
        let (pairs, worst) = mistakes(&answers, &[0, 0, 1, 0, 1], &classes, &picture);
        assert_eq!(worst.iter().map(|mistake| mistake.image).collect::<Vec<_>>(), [1, 4, 0]);
        assert_eq!(worst[0].picture.pixels, [1; 3]);
        let found: Vec<_> = pairs.iter().map(|p| (p.label.as_str(), p.taken.as_str(), p.images)).collect();
        assert_eq!(found, [("a", "b", 2), ("b", "a", 1)]);
        assert_eq!(mistakes(&[], &[], &classes, &picture), (vec![], vec![]));
    }

    #[test]
    fn changes_say_who_was_right() {
        let float = [answer(0, 0.5), answer(0, 0.5), answer(1, 0.5), answer(2, 0.5)];
        let int8 = [answer(0, 0.5), answer(1, 0.5), answer(0, 0.5), answer(1, 0.5)];
        let found = Changes::new(&float, &int8, &[0; 4]);
        assert_eq!(found, Changes { images: 4, lost: 1, won: 1, other: 1 });
    }
}
