//! What a model makes of a dataset, image by image, before and after quantization.

use std::sync::Arc;

use anyhow::Result;
use ocellus_shared::plan::Plan;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::library::Loaded;
use super::message::Fault;
use super::shelf::{self, Shelf};
use super::task::Task;
use crate::data::{Dataset, Part};
use crate::eval::engine::EngineModel;
use crate::eval::{Metrics, Scores, argmax, int8_images, probabilities};

/// Images that are computed before it is looked whether anybody waits.
const TOGETHER: usize = 64;

/// Which evaluation is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The model, by its name and the digest of its plan.
    pub model: (String, [u8; 8]),
    /// The part of its dataset.
    pub part: Part,
    /// Most images.
    pub images: usize,
    /// Also by the network before quantization.
    pub float: bool,
}

/// Which images of an evaluation are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Those of a class that were taken for another, or for itself, by int8 or by float.
    Cell {
        /// The class.
        label: usize,
        /// What it was taken for.
        taken: usize,
        /// By the network before quantization.
        float: bool,
    },
    /// Those that float and int8 name differently.
    Changed,
    /// Those that the model contradicts, the surest first: labels that may be wrong.
    Contradicted,
    /// Those that the model doubts most.
    Doubted,
}

/// What came of it.
pub struct Judged {
    dataset: Arc<Dataset>,
    part: Part,
    /// Positions of the images in their split.
    positions: Vec<usize>,
    /// Class of each.
    labels: Vec<u16>,
    /// int8 class of each, its probability, and its lead over the second.
    int8: Vec<(usize, f64, f64)>,
    /// Probability of the label of each.
    of_label: Vec<f64>,
    metrics: Metrics,
    /// Class of each before quantization, and the figures; why there are none.
    float: Result<(Vec<usize>, Metrics), String>,
}

impl std::fmt::Debug for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judged").field("images", &self.labels.len()).finish_non_exhaustive()
    }
}

/// Evaluates `model` on its dataset.
///
/// # Errors
/// It has no dataset, or nobody waits for it.
pub fn judge(task: &Task<Judged>, model: &Loaded, shelf: &Shelf, wanted: &Wanted) -> Result<Judged> {
    let dataset = shelf.of_model(model)?;
    let split = shelf::split(&dataset, wanted.part);
    let positions = sample(split.len(), wanted.images);
    let count = positions.len();
    let all = if wanted.float { 2 * count } else { count };
    task.progress(0, all)?;
    let plan = Plan::parse(model.plan_bytes())?;
    let engine = EngineModel::new(model.plan_bytes())?;
    let mut scores = Vec::with_capacity(count * dataset.classes.len());
    for (i, some) in positions.chunks(TOGETHER).enumerate() {
        scores.extend(engine.scores_all(&int8_images(&split.only(some)), &|| ())?);
        task.progress(i * TOGETHER + some.len(), all)?;
    }
    let labels: Vec<u16> = positions.iter().map(|&i| split.labels[i]).collect();
    let metrics = Metrics::new(&dataset.classes, &labels, &scores);
    let rows = scores.chunks_exact(dataset.classes.len());
    let (int8, of_label) = rows.zip(&labels).map(|(row, &label)| certainty(&plan, row, label)).unzip();
    let float = if wanted.float {
        float(task, model, &dataset, wanted, &positions)?.map(|logits| {
            let classes = logits.chunks_exact(dataset.classes.len()).map(argmax).collect();
            (classes, Metrics::new(&dataset.classes, &labels, &logits))
        })
    } else {
        Err("not asked for".to_owned())
    };
    Ok(Judged { part: wanted.part, positions, labels, int8, of_label, metrics, float, dataset })
}

/// `count` of so many positions in their order, or all: the same ones every time, but at random, since datasets list their classes
/// in turn, or one after the other.
fn sample(all: usize, count: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut positions = rand::seq::index::sample(&mut random, all, count.min(all)).into_vec();
    positions.sort_unstable();
    positions
}

/// Logits of the network before quantization; why there are none.
fn float(
    task: &Task<Judged>,
    model: &Loaded,
    dataset: &Dataset,
    wanted: &Wanted,
    positions: &[usize],
) -> Result<Result<Vec<f32>, String>> {
    let (split, count) = (shelf::split(dataset, wanted.part), positions.len());
    let evaluator = match model.float() {
        Ok(evaluator) => evaluator,
        Err(why) => return Ok(Err(why)),
    };
    let mut logits = Vec::with_capacity(count * dataset.classes.len());
    for (i, some) in positions.chunks(TOGETHER).enumerate() {
        match evaluator.scores(&split.only(some), &|| ()) {
            Ok(Scores::Float(some)) => logits.extend(some),
            Ok(Scores::Int8(_)) => return Ok(Err("there is no network before quantization".to_owned())),
            Err(error) => return Ok(Err(format!("{error:#}"))),
        }
        task.progress(count + i * TOGETHER + some.len(), 2 * count)?;
    }
    Ok(Ok(logits))
}

/// The best class, its probability and its lead over the second; and the probability of the label.
fn certainty(plan: &Plan, scores: &[i8], label: u16) -> ((usize, f64, f64), f64) {
    let probabilities = probabilities(plan, scores);
    let best = argmax(scores);
    let others = probabilities.iter().enumerate().filter(|&(class, _)| class != best);
    let second = others.map(|(_, &p)| p).fold(0.0, f64::max);
    ((best, probabilities[best], probabilities[best] - second), probabilities[usize::from(label)])
}

impl Judged {
    /// The figures and the matrices.
    pub fn summary(&self) -> Value {
        let float = match &self.float {
            Ok((_, metrics)) => json!(metrics),
            Err(why) => json!({ "error": why }),
        };
        json!({
            "data": self.dataset.name,
            "split": self.part.name(),
            "images": self.labels.len(),
            "classes": self.dataset.classes,
            "int8": self.metrics,
            "float": float,
            "changed": self.float.as_ref().ok().map(|_| self.listed(Listed::Changed).len()),
        })
    }

    /// The images of a list, `count` of them from number `from` on.
    ///
    /// # Errors
    /// There is no such class.
    pub fn list(&self, listed: Listed, from: usize, count: usize) -> Result<Value, Fault> {
        if let Listed::Cell { label, taken, .. } = listed
            && label.max(taken) >= self.dataset.classes.len()
        {
            return Err(Fault::missing("class"));
        }
        let found = self.listed(listed);
        let item = |&i: &usize| {
            let (class, probability, lead) = self.int8[i];
            json!({
                "image": self.positions[i],
                "label": self.labels[i],
                "int8": class,
                "float": self.float.as_ref().ok().map(|(classes, _)| classes[i]),
                "probability": probability,
                "lead": lead,
                "of_label": self.of_label[i],
            })
        };
        let items: Vec<Value> = found.iter().skip(from).take(count).map(item).collect();
        Ok(json!({ "split": self.part.name(), "total": found.len(), "from": from, "items": items }))
    }

    /// Numbers of the images of a list, in its order.
    fn listed(&self, listed: Listed) -> Vec<usize> {
        let float = self.float.as_ref().map(|(classes, _)| classes.as_slice()).unwrap_or_default();
        let is_in = |i: usize| match listed {
            Listed::Cell { label, taken, float: true } => {
                usize::from(self.labels[i]) == label && float.get(i) == Some(&taken)
            }
            Listed::Cell { label, taken, float: false } => {
                usize::from(self.labels[i]) == label && self.int8[i].0 == taken
            }
            Listed::Changed => float.get(i).is_some_and(|&class| class != self.int8[i].0),
            Listed::Contradicted => self.int8[i].0 != usize::from(self.labels[i]),
            Listed::Doubted => true,
        };
        let mut found: Vec<usize> = (0..self.labels.len()).filter(|&i| is_in(i)).collect();
        match listed {
            Listed::Doubted => found.sort_by(|&a, &b| self.int8[a].2.total_cmp(&self.int8[b].2)),
            // The surest that it is something else than the label.
            _ => found.sort_by(|&a, &b| {
                let lead = |i: usize| self.of_label[i] - self.int8[i].1;
                lead(a).total_cmp(&lead(b))
            }),
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_shows_every_class_also_where_they_take_turns() {
        let some = sample(2000, 1000);
        assert_eq!((some.len(), &some), (1000, &sample(2000, 1000)));
        assert!(some.is_sorted_by(|a, b| a < b));
        let of_class = |class| some.iter().filter(|&&i| i % 10 == class).count();
        assert!((0..10).map(of_class).all(|count| (70..130).contains(&count)));
        assert_eq!(sample(5, 9), [0, 1, 2, 3, 4]);
    }
}
