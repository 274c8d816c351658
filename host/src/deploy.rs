//! The way of a trained network to a board, as one page:
//!
//! ```text
//! checkpoint -> lower -> fold -> centre -> calibrate -> equalise -> quantize -> correct biases    quantized()
//!            -> trim -> ONNX, plan and recipe                                                     build()
//!            -> tract and the engine agree on them                                                Artifacts::verify()
//!            -> files that replace older ones together                                            Artifacts::write()
//! ```

mod auto_calibration;

use crate::board::Board;
use crate::checkpoint::{self, Checkpoint};
use crate::cost::Core;
use crate::data::Split;
use crate::eval::agreement;
use crate::eval::engine::EngineModel;
use crate::eval::tract::{FloatModel, TractModel};
use crate::files::{self, FolderLock, Purpose};
use crate::graph::{Graph, run};
use crate::net::module::Module;
use crate::pack::{Packed, Room};
use crate::quantize::QuantGraph;
use crate::recipe::{CalibrationMethod, Optimize, QuantRecipe, Recipe};
use crate::trim::{self, Removed};
use crate::{calibrate, eval, fold, graph, net, onnx, pack, quantize, view};
use anyhow::{Result, bail, ensure};
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// File of the plan, which the board runs.
pub const PLAN: &str = "model.plan";
/// File of the same integers, for tract and other ONNX runtimes.
pub const INT8_ONNX: &str = "model.onnx";
/// File of the network before quantization.
pub const FLOAT_ONNX: &str = "float.onnx";
/// File of the recipe that it was trained by.
pub const RECIPE: &str = "recipe.toml";

/// Images of random values, and as many of the dataset's, on which tract and the engine must agree.
const VERIFIED_IMAGES: usize = 8;
/// How far tract's float logits may be from ours, as a part of the largest.
const FLOAT_TOLERANCE: f32 = 1e-3;

/// A network before and after quantization.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// In f32, with its batch normalisations folded.
    pub folded: Graph,
    /// The same as it was quantized: centred, and equalised if the recipe says so.
    pub graph: Graph,
    /// Its integers.
    pub quantized: QuantGraph,
}

/// Checks that `checkpoint` is of a network that can be quantized: one that Ocellus has all the layers of.
///
/// # Errors
/// It is a linear probe on an external ONNX backbone.
pub fn check_deployable(checkpoint: &Checkpoint) -> Result<()> {
    if let Some(backbone) = &checkpoint.recipe.transfer.backbone {
        bail!(
            "this is a linear probe on the external ONNX backbone {}, whose layers Ocellus does not know: it can be neither \
             quantized nor exported; `ocellus eval --with float` runs it. Train one of Ocellus' own networks for a board",
            backbone.display()
        );
    }
    Ok(())
}

/// `checkpoint` in f32, its batch normalisations and the normalisation of its pixels folded into its layers.
///
/// # Errors
/// A layer that has no operator, by name, or weights that are not its.
pub fn folded(checkpoint: &Checkpoint) -> Result<Graph> {
    let network = net::build(&checkpoint.recipe, checkpoint.input, checkpoint.classes.len())?;
    Ok(fold::fold(graph::lower(&network, checkpoint)?))
}

/// The folded network that the file `float_onnx` was written from, of classes `labels`; `recipe` is the one that it was trained by.
///
/// # Errors
/// The file is not intact, or the recipe describes other layers.
pub fn reopened(float_onnx: &[u8], recipe: &Recipe, input: Shape, labels: &[String]) -> Result<Graph> {
    let (classes, dataset_hash) = (labels.to_vec(), String::new());
    let weights = Module::new(net::build(recipe, input, labels.len())?)?.initial(0);
    let like = Checkpoint { recipe: recipe.clone(), classes, input, dataset_hash, weights, resume: None };
    onnx::read_float(float_onnx, folded(&like)?)
}

/// Quantizes `checkpoint` as its recipe says, calibrating with some of `images`, which are training images.
///
/// # Errors
/// As [`check_deployable`]; there are no images; or a layer that cannot be quantized, by name.
pub fn quantized(checkpoint: &Checkpoint, images: &Split) -> Result<Quantized> {
    check_deployable(checkpoint)?;
    quantized_graph(folded(checkpoint)?, images, &checkpoint.recipe.quant)
}

/// Quantizes a network that was folded.
///
/// # Errors
/// There are no images, or a layer cannot be quantized, by name.
pub fn quantized_graph(folded: Graph, images: &Split, recipe: &QuantRecipe) -> Result<Quantized> {
    let mut graph = fold::centre(folded.clone());
    let mut observed = calibrate::observe(&graph, images, recipe)?;
    let mut channels = Vec::new();
    if recipe.equalise || recipe.bias_correction {
        channels = calibrate::channels(&graph, images, recipe);
    }
    if recipe.equalise {
        calibrate::equalise(&mut graph, &mut channels);
        observed = calibrate::observe(&graph, images, recipe)?;
    }
    let quantized = |(method, percentile)| {
        let mut quantized = quantize::quantize(&graph, &observed.ranges(method, percentile))?;
        if recipe.bias_correction {
            quantize::correct_bias(&mut quantized, &graph, &channels);
            quantized.check()?;
        }
        Ok(quantized)
    };
    let quantized = match recipe.method {
        CalibrationMethod::Auto => auto_calibration::quantize(&graph, images, &quantized)?,
        method => quantized((method, recipe.percentile))?,
    };
    Ok(Quantized { folded, graph, quantized })
}

/// Everything that is deployed of a network, in memory.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The float network.
    pub folded: Graph,
    /// The same as an ONNX file.
    pub float_onnx: Vec<u8>,
    /// The quantized network as an ONNX file.
    pub int8_onnx: Vec<u8>,
    /// The quantized network as a plan, and how its memory is laid out.
    pub packed: Packed,
    /// The recipe, without the path of the data on this machine.
    pub recipe: Recipe,
    /// Digest of the quantized graph, which plan and int8 ONNX file share.
    pub digest: [u8; 8],
    /// What [`trim::trim`] left out.
    pub removed: Removed,
}

/// Quantizes `checkpoint` as [`quantized`] does, [trims](trim::trim) it, and writes it down in all its forms; the plan for
/// `board`, if there is one.
///
/// # Errors
/// As [`quantized`]; or a layer that cannot be written down, by name.
pub fn build(checkpoint: &Checkpoint, images: &Split, board: Option<&Board>) -> Result<Artifacts> {
    let Quantized { folded, quantized, .. } = quantized(checkpoint, images)?;
    let trimmed = trim::trim(&quantized)?;
    let mut recipe = checkpoint.recipe.clone();
    recipe.data.path = None;
    Ok(Artifacts {
        float_onnx: onnx::write_float(&folded),
        int8_onnx: onnx::write(&trimmed.graph)?,
        packed: packed(&trimmed.graph, recipe.quant.optimize, board)?,
        digest: trimmed.graph.digest(),
        removed: trimmed.removed,
        folded,
        recipe,
    })
}

/// The plan; for `board`, if it is one that is known. Warns where it does not fit.
fn packed(graph: &QuantGraph, optimize: Optimize, board: Option<&Board>) -> Result<Packed> {
    let Some(board) = board else { return pack::pack(graph, optimize) };
    let gains = optimize == Optimize::Size || Core::of(&board.cpu)? == Core::Dsp;
    if !gains {
        view::warn(&format!(
            "{} has a core on which --optimize speed gains nothing: the plan is packed for size",
            board.name
        ));
    }
    let room = Room { plan: board.plan_bytes, arena: board.arena_bytes };
    let packed = pack::pack_within(graph, if gains { optimize } else { Optimize::Size }, room)?;
    if let Err(unfit) = board.check_fit(&Plan::parse(&packed.plan)?) {
        view::warn(&unfit.to_string());
    }
    Ok(packed)
}

impl Artifacts {
    /// Has tract run both ONNX files, and the engine the plan, on some of `images` and on random ones; how many int8 values
    /// were compared.
    ///
    /// # Errors
    /// A [`Difference`](agreement::Difference) between tract and the engine, or float logits that are not those of the
    /// folded network.
    pub fn verify(&self, images: &Split) -> Result<usize> {
        let spinner = view::spinner("comparing tract and the engine");
        let float = FloatModel::load(&self.float_onnx)?;
        let count = VERIFIED_IMAGES.min(images.len());
        for i in 0..count {
            let image = run::image(images.image(i));
            let (ours, theirs) = (run::logits(&self.folded, &image), float.logits(&image)?);
            let largest = ours.iter().fold(1f32, |m, x| m.max(x.abs()));
            let close = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= FLOAT_TOLERANCE * largest);
            ensure!(close, "tract computes other float logits than we do: {theirs:?}, expected {ours:?}");
        }
        let (tract, engine) = (TractModel::load(&self.int8_onnx)?, EngineModel::new(&self.packed.plan)?);
        let mut int8 = extreme_and_random(self.folded.input.len());
        int8.extend((0..count).map(|i| eval::int8_pixels(images.image(i))));
        let compared = agreement::compare(&tract, &engine, int8.iter().map(Vec::as_slice));
        spinner.finish_and_clear();
        compared
    }

    /// Writes the files into the folder `out`, which is made. All of them are complete on the disk before the first one takes
    /// its final name, and plan and ONNX file carry one digest, so that a mixture of old and new ones is noticed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let recipe = self.recipe.to_toml();
        let files: [(&str, &[u8]); 4] = [
            (FLOAT_ONNX, &self.float_onnx),
            (INT8_ONNX, &self.int8_onnx),
            (PLAN, &self.packed.plan),
            (RECIPE, recipe.as_bytes()),
        ];
        files::make_folder(out)?;
        let _lock = FolderLock::take(out, Purpose::Export, "choose another folder with --out")?;
        let files = files.map(|(name, bytes)| (out.join(name), bytes));
        // A run folder's recipe is what training goes on by, and one that says the same may have comments.
        let is_run = [checkpoint::BEST, checkpoint::LAST].iter().any(|name| out.join(name).exists());
        let count = if is_run || self.is_same_recipe(&out.join(RECIPE)) { 3 } else { 4 };
        files::write_together(&files[..count])
    }

    /// Whether the recipe at `path` trains and quantizes the same network in the same way.
    fn is_same_recipe(&self, path: &Path) -> bool {
        Recipe::load(path)
            .is_ok_and(|there| there.differing_keys(&self.recipe).is_empty() && there.quant == self.recipe.quant)
    }
}

/// int8 images of `len` values: the smallest and the largest there are, and random ones.
fn extreme_and_random(len: usize) -> Vec<Vec<i8>> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut images = vec![vec![i8::MIN; len], vec![i8::MAX; len]];
    images.extend((0..VERIFIED_IMAGES).map(|_| (0..len).map(|_| random.random()).collect()));
    images
}
