//! Reads a float ONNX file of another program as a sequential network, which can be trained, quantized and run on a board.
//!
//! | ONNX | layer |
//! |---|---|
//! | `Conv`, also behind a `Pad` with zeros | `conv`, or `depthwise` where each channel has its own filter |
//! | `BatchNormalization` | `batch-norm` |
//! | `Relu`, `Clip` to 0 and 6, `Sigmoid`, `HardSigmoid`, `HardSwish`, `x * Sigmoid(x)`, `x * HardSigmoid(x)` | activations |
//! | `MaxPool`, `AveragePool` without padding, `GlobalAveragePool`, `ReduceMean` over height and width | poolings |
//! | `Add`, `Concat` of channels, `Mul` by a factor for each channel | `add`, `concat`, `mul` |
//! | `Gemm`, `MatMul` by a constant, and `Add` of a bias to it | `dense`; the last one is the classifier |
//! | `Flatten`, `Reshape` and `Squeeze` to one row, `Dropout`, `Identity`, a last `Softmax` | nothing |

mod constants;
mod reader;

use crate::checkpoint::Checkpoint;
use crate::deploy;
use crate::eval::backbone::{self, OnnxBackbone};
use crate::features::Extractor;
use crate::graph::run;
use crate::net::Weights;
use crate::net::head::CLASSIFIER;
use crate::random::{self, Purpose};
use crate::recipe::{DataRecipe, LayerOp, LayerSpec, Model, NetRecipe, Recipe, TransferRecipe, layer_names};
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Shape;
use rand::RngExt;
use reader::Reader;
use std::path::Path;
use tract_onnx::pb::GraphProto;

/// Random images on which both networks must agree.
const IMAGES: u64 = 3;
/// How far a score may lie apart, in parts of the largest one: sums in another order, and folded normalisations.
const TOLERANCE: f32 = 1e-3;

/// Reads the classifier in the file `path` as a checkpoint, for images that are normalised as the recipe `data` says, of its size where
/// the file leaves that open. `labels` are the names of its classes; without, they are numbered.
///
/// # Errors
/// The file cannot be read, is damaged, or has a node that is not in the table above, or does not end in a classifier: names the node.
/// There are other numbers of classes and labels. The network that was read computes something else than the file, as tract runs it.
pub fn load(path: &Path, data: DataRecipe, labels: Option<Vec<String>>) -> Result<Checkpoint> {
    let within = || format!("in the network {}", path.display());
    let model = Recipe { model: Model::Sequential, data, ..Recipe::default() };
    let normalise = model.normalise();
    let transfer = TransferRecipe {
        backbone: Some(path.to_owned()),
        backbone_mean: normalise.mean,
        backbone_std: normalise.std,
        ..TransferRecipe::default()
    };
    let proto = backbone::read(path)?;
    let judge = OnnxBackbone::load(&transfer, model.data.img_size)?;
    let graph = proto.graph.as_ref().with_context(within)?;
    let read = read(graph, judge.input()).with_context(within)?;
    let classes = labels.unwrap_or_else(|| (0..read.classes).map(|class| format!("class {class}")).collect());
    ensure!(
        classes.len() == read.classes,
        "{} tells {} classes apart, there are {} labels",
        path.display(),
        read.classes,
        classes.len()
    );
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let data = DataRecipe { img_size: Some(judge.input().h), ..model.data };
    let recipe = Recipe { name, data, net: NetRecipe { layers: read.layers, ..NetRecipe::default() }, ..model };
    recipe.validate().with_context(within)?;
    let checkpoint = Checkpoint {
        recipe,
        classes,
        input: judge.input(),
        dataset_hash: String::new(),
        weights: read.weights,
        resume: None,
    };
    compare(&checkpoint, &judge, read.has_softmax).with_context(within)?;
    Ok(checkpoint)
}

/// Runs both networks on random images.
fn compare(checkpoint: &Checkpoint, judge: &OnnxBackbone, has_softmax: bool) -> Result<()> {
    let graph = deploy::folded(checkpoint)?;
    for seed in 0..IMAGES {
        let mut random = random::stream(0, Purpose::Noise, seed);
        let image: Vec<f32> = (0..checkpoint.input.len()).map(|_| random.random()).collect();
        let expected = judge.features_of_pixels(&image)?;
        let mut logits = run::logits(&graph, &image);
        if has_softmax {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
            let sum: f32 = logits.iter().sum();
            logits.iter_mut().for_each(|logit| *logit /= sum);
        }
        let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        ensure!(
            expected.len() == logits.len(),
            "the file makes {} scores, the network read {}",
            expected.len(),
            logits.len()
        );
        let apart = expected.iter().zip(&logits).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max);
        ensure!(
            apart <= TOLERANCE,
            "the network that was read computes other scores than the file, by {apart:e} of the largest: please report it"
        );
    }
    Ok(())
}

/// A network and what it was trained to.
#[derive(Debug)]
struct Read {
    /// Its layers without the classifier.
    layers: Vec<LayerSpec>,
    /// The weights of all of them, and of the classifier.
    weights: Weights,
    /// How many classes the classifier has.
    classes: usize,
    /// Whether its output is probabilities.
    has_softmax: bool,
}

/// The network of `graph`, whose nodes and constants have been checked, for images of `input` size.
fn read(graph: &GraphProto, input: Shape) -> Result<Read> {
    let mut reader = Reader::new(graph, input)?;
    for node in &graph.node {
        reader.read(node).with_context(|| backbone::called(node))?;
    }
    let [output] = &graph.output[..] else { bail!("it has {} outputs, a classifier has one", graph.output.len()) };
    let has_softmax = graph.node.iter().any(|node| node.op_type == "Softmax");
    let (mut layers, mut weights) = reader.finish(&output.name)?;
    let names = layer_names(&layers);
    let (Some(LayerSpec { op: LayerOp::Dense { out_channels, .. }, from: None, .. }), Some(last)) =
        (layers.pop(), names.last())
    else {
        bail!("it does not end in a dense layer (Gemm), as a classifier does: export the whole classifier")
    };
    for part in ["weight", "bias"] {
        let array = weights.remove(&format!("{last}.{part}")).context("its classifier has no weights")?;
        weights.insert(format!("{CLASSIFIER}.{part}"), array);
    }
    Ok(Read { layers, weights, classes: out_channels.into(), has_softmax })
}
