//! Asks a model, or several as one, for the scores of many images, by any of the ways there are, and says how good they are.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;
use ocellus_shared::preprocess::int8_of_pixel;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::board::Board;
use crate::client;
use crate::data::{Split, names};
use crate::features::Extractor;
use crate::graph::{self, Graph};
use crate::recipe::DataRecipe;

pub mod agreement;
pub mod backbone;
pub mod calibration;
pub mod engine;
pub mod ensemble;
mod lbfgs;
pub mod mcnemar;
mod metrics;
pub mod plots;
pub mod robustness;
mod runnable;
pub mod single;
pub mod sqnr;
pub mod stacking;
pub mod tract;
pub mod view;

pub use metrics::{ClassMetrics, Metrics, argmax};

use backbone::OnnxBackbone;
use engine::EngineModel;
use ensemble::Ensemble;
use tract::{FloatModel, TractModel};
use view::View;

/// What computes the scores. The set is closed: float before quantization, the judge, the engine in two places, and several of them
/// together.
pub enum Evaluator {
    /// The trained network in f32.
    Float(Graph),
    /// A trained head in f32 on a backbone of another program, which tract runs.
    Headed {
        /// The backbone.
        backbone: Box<OnnxBackbone>,
        /// The head.
        head: Graph,
    },
    /// The same from its float ONNX file, in tract.
    FloatOnnx(FloatModel),
    /// tract, over the int8 ONNX file.
    Tract(TractModel),
    /// The board's engine on this machine, over the bytes of a plan.
    Engine(Vec<u8>),
    /// The board's engine on an emulated board.
    Sim {
        /// The board.
        board: Box<Board>,
        /// Its firmware.
        elf: PathBuf,
        /// The bytes of the plan.
        plan: Vec<u8>,
    },
    /// Several of these as one.
    Ensemble(Box<Ensemble>),
}

/// Scores of several images, `(n, classes)`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scores {
    /// Logits.
    Float(Vec<f32>),
    /// Quantized logits.
    Int8(Vec<i8>),
}

impl Evaluator {
    /// Shape of the images it takes, and its class names.
    ///
    /// # Errors
    /// The plan does not parse.
    pub fn signature(&self) -> Result<(Shape, Vec<String>)> {
        match self {
            Self::Float(graph) => Ok((graph.input, graph.labels.clone())),
            Self::Headed { backbone, head } => Ok((backbone.input(), head.labels.clone())),
            Self::FloatOnnx(model) => Ok((model.input(), model.labels().to_vec())),
            Self::Tract(model) => Ok((model.input(), model.labels().to_vec())),
            Self::Engine(plan) | Self::Sim { plan, .. } => {
                let plan = Plan::parse(plan)?;
                Ok((plan.input().shape, plan.labels().map(str::to_owned).collect()))
            }
            Self::Ensemble(ensemble) => Ok((ensemble.views()[0].shape(), ensemble.classes().to_vec())),
        }
    }

    /// What a step of its scores stands for, in logits; 1 for float ones.
    ///
    /// # Errors
    /// As for [`Evaluator::signature`].
    pub fn score_scale(&self) -> Result<f32> {
        match self {
            Self::Float(_) | Self::Headed { .. } | Self::FloatOnnx(_) | Self::Ensemble(_) => Ok(1.0),
            Self::Tract(model) => model.score_scale(),
            Self::Engine(plan) | Self::Sim { plan, .. } => Ok(Plan::parse(plan)?.output_params().scale),
        }
    }

    /// How it takes images, if its pictures are to become images by `recipe`: in one way, or where members of an ensemble differ in
    /// that, in several.
    ///
    /// # Errors
    /// As for [`Evaluator::signature`], and it does not take square colour images.
    pub fn views(&self, recipe: &DataRecipe) -> Result<Vec<View>> {
        match self {
            Self::Ensemble(ensemble) => Ok(ensemble.views().to_vec()),
            _ => Ok(vec![View::of(recipe, self.signature()?.0)?]),
        }
    }

    /// As [`Evaluator::scores`] of the same images in each of the evaluator's [views](Self::views), in their order.
    ///
    /// # Errors
    /// As for that, or there are other numbers of images.
    pub fn scores_of_views(&self, views: &[Split], done: &(dyn Fn() + Sync)) -> Result<Scores> {
        match (self, views) {
            (Self::Ensemble(ensemble), _) => ensemble.scores(views, done),
            (_, [split]) => self.scores(split, done),
            _ => bail!("the model takes images in one way, and there are {}", views.len()),
        }
    }

    /// Scores of every image of `split`, in its order. `done` is called once per image, from any thread.
    ///
    /// # Errors
    /// The images have another size than the model's, or the evaluator fails.
    pub fn scores(&self, split: &Split, done: &(dyn Fn() + Sync)) -> Result<Scores> {
        let (input, _) = self.signature()?;
        let size = Shape::new(split.height as u16, split.width as u16, 3);
        ensure!(input == size, "the images are {size}, the model takes {input}");
        match self {
            Self::Float(graph) => float_scores(split, done, |image| Ok(graph::run::logits(graph, image))),
            Self::Headed { backbone, head } => {
                float_scores(split, done, |image| Ok(graph::run::logits(head, &backbone.features_of_pixels(image)?)))
            }
            Self::FloatOnnx(model) => float_scores(split, done, |image| model.logits(image)),
            Self::Tract(model) => Ok(Scores::Int8(model.scores_all(&int8_images(split), done)?)),
            Self::Engine(plan) => Ok(Scores::Int8(EngineModel::new(plan)?.scores_all(&int8_images(split), done)?)),
            Self::Sim { board, elf, plan } => {
                Ok(Scores::Int8(client::scores_of(board, elf, plan, &int8_images(split), done)?))
            }
            Self::Ensemble(ensemble) => ensemble.scores(std::slice::from_ref(split), done),
        }
    }
}

/// Logits of every image by `logits`, on all cores.
fn float_scores(
    split: &Split,
    done: &(dyn Fn() + Sync),
    logits: impl Fn(&[f32]) -> Result<Vec<f32>> + Sync,
) -> Result<Scores> {
    let one = |i| {
        let logits = logits(&graph::run::image(split.image(i)));
        done();
        logits
    };
    let rows = (0..split.len()).into_par_iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(Scores::Float(rows.concat()))
}

impl Scores {
    /// The figures for these scores against `labels`, one per image.
    pub fn metrics(&self, classes: &[String], labels: &[u16]) -> Metrics {
        match self {
            Self::Float(scores) => Metrics::new(classes, labels, scores),
            Self::Int8(scores) => Metrics::new(classes, labels, scores),
        }
    }

    /// The class of each image, of `classes`: the one with the highest score, the first of equals.
    pub fn predictions(&self, classes: usize) -> Vec<usize> {
        match self {
            Self::Float(scores) => scores.chunks_exact(classes).map(argmax).collect(),
            Self::Int8(scores) => scores.chunks_exact(classes).map(argmax).collect(),
        }
    }

    /// They as logits, int8 ones standing for multiples of `scale`, up to a number of each image's own.
    pub fn logits(&self, scale: f32) -> Vec<f32> {
        match self {
            Self::Float(scores) => scores.clone(),
            Self::Int8(scores) => scores.iter().map(|&score| scale * f32::from(score)).collect(),
        }
    }

    /// Logarithms of the probabilities that they stand for, `(n, classes)`, int8 ones standing for multiples of `scale`.
    pub fn log_probabilities(&self, classes: usize, scale: f32) -> Vec<f64> {
        let logits = self.logits(scale);
        let row = |row: &[f32]| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = row.iter().map(|&x| f64::from(x - largest).exp()).sum::<f64>().ln();
            row.iter().map(|&x| f64::from(x) - f64::from(largest) - sum).collect::<Vec<f64>>()
        };
        logits.chunks_exact(classes).flat_map(row).collect()
    }
}

/// RGB pixels as a board's engine takes them: `pixel - 128`.
pub fn int8_pixels(pixels: &[u8]) -> Vec<i8> {
    pixels.iter().copied().map(int8_of_pixel).collect()
}

/// All images of `split` as a board's engine takes them: int8, `(n, h, w, 3)`.
pub fn int8_images(split: &Split) -> Vec<i8> {
    int8_pixels(&split.images)
}

/// Probability of each class: the softmax of the int8 `scores`, `(classes)`, dequantized by `plan`.
pub fn probabilities(plan: &Plan, scores: &[i8]) -> Vec<f64> {
    let params = plan.output_params();
    calibration::softmax(scores.iter().map(|&score| f64::from(params.dequantize(score)))).collect()
}

/// SHA-256 over int8 scores in hex: two sides with the same digest agree on every score.
pub fn digest(scores: &[i8]) -> String {
    hex::encode(Sha256::digest(bytemuck::cast_slice::<i8, u8>(scores)))
}

/// Which classes only one of two sides has, each named by what is said of it; empty where both have the same.
pub fn class_difference(one: (&str, &[String]), other: (&str, &[String])) -> String {
    let only = |(name, classes): (&str, &[String]), others: &[String]| {
        let classes: Vec<&str> = classes.iter().filter(|c| !others.contains(c)).map(String::as_str).collect();
        (!classes.is_empty()).then(|| format!("only {name} has {}", classes.join(", ")))
    };
    [only(one, other.1), only(other, one.1)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Gives `labels`, which count in `dataset`'s classes, the numbers that the `model`'s classes of the same names have.
///
/// Where none of the names is known but their number is the same, the positions decide, and `warn` hears of it.
///
/// # Errors
/// A class that the model does not know, where it knows others or has another number of classes.
pub fn relabel(labels: &mut [u16], dataset: &[String], model: &[String], warn: &dyn Fn(&str)) -> Result<()> {
    let known: Vec<Option<usize>> =
        dataset.iter().map(|name| model.iter().position(|m| names::composed(m) == names::composed(name))).collect();
    if let Some(map) = known.iter().copied().collect::<Option<Vec<usize>>>() {
        labels.iter_mut().for_each(|label| *label = map[usize::from(*label)] as u16);
        return Ok(());
    }
    let unknown = known.iter().position(Option::is_none).unwrap_or_default();
    if dataset.len() != model.len() || known.iter().any(Option::is_some) {
        bail!(
            "the dataset's class {:?} is unknown to the model: {}. Give the dataset that the model was trained for, or name \
             the class folders as its classes",
            dataset[unknown],
            class_difference(("the dataset", dataset), ("the model", model))
        );
    }
    warn(&format!(
        "the dataset's classes have other names than the model's (class {unknown} is {:?} here, {:?} there); \
         their positions are used",
        dataset[unknown], model[unknown]
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn classes_meet_by_name_then_by_position() {
        let silent = |warning: &str| panic!("{warning}");
        let mut labels = [0, 1, 2];
        relabel(&mut labels, &names("cat dog fox"), &names("fox cat dog elk"), &silent).unwrap();
        assert_eq!(labels, [1, 2, 0]);
        let heard = std::cell::Cell::new(0);
        relabel(&mut labels, &names("a b c"), &names("fox cat dog"), &|_| heard.set(heard.get() + 1)).unwrap();
        assert_eq!((labels, heard.get()), ([1, 2, 0], 1));
        let error = relabel(&mut labels, &names("cat owl"), &names("fox cat dog"), &silent).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("\"owl\" is unknown to the model: only the dataset has owl; only the model has fox, dog."),
            "{error}"
        );
        // Positions would take dogs for cats.
        let error = relabel(&mut labels, &names("ant dog owl"), &names("fox cat dog"), &silent).unwrap_err();
        assert!(error.to_string().contains("\"ant\" is unknown"));
    }

    #[test]
    fn scores_stand_for_probabilities() {
        let [float, int8] =
            [Scores::Float(vec![1.0, 3.0, 2.0, 500.0, -500.0, 0.0]), Scores::Int8(vec![10, 30, 20, 0, 0, 0])];
        let sum = (1f64.exp() + 3f64.exp() + 2f64.exp()).ln();
        let close = |found: &[f64], expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        let found = float.log_probabilities(3, 7.0);
        close(&found[..3], [1.0 - sum, 3.0 - sum, 2.0 - sum]);
        close(&found[3..], [0.0, -1000.0, -500.0]);
        let found = int8.log_probabilities(3, 0.1);
        close(&found[..3], [1.0 - sum, 3.0 - sum, 2.0 - sum]);
        close(&found[3..], [-(3f64.ln()); 3]);
        assert_eq!([float.predictions(3), int8.predictions(3)], [[1, 0], [1, 0]]);
    }

    #[test]
    fn the_digest_is_sha_256() {
        // printf '\x00\xff' | sha256sum
        assert_eq!(digest(&[0, -1]), "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8");
    }
}
