//! `ocellus export`.

mod closest;

use super::{Failure, inputs};
use crate::board::Board;
use crate::checkpoint::{Checkpoint, write_together};
use crate::cli::{CalibrationArgs, ExportArgs};
use crate::cost::Core;
use crate::data::{Dataset, Split};
use crate::eval::agreement::{self, Difference};
use crate::eval::engine::EngineModel;
use crate::eval::tract::{FloatModel, TractModel};
use crate::graph::{Graph, run};
use crate::pack::{Packed, Room};
use crate::quantize::QuantGraph;
use crate::recipe::{CalibrationMethod, Optimize, Recipe};
use crate::trim::{self, Removed, Trimmed};
use crate::{calibrate, checkpoint, fold, graph, model, net, onnx, pack, quantize, report, view};
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Plan;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Images of random values, and as many of the dataset's, on which tract and the engine must agree.
const CHECKED_IMAGES: usize = 8;
/// How far tract's float logits may be from ours, as a part of the largest.
const FLOAT_TOLERANCE: f32 = 1e-3;

/// What an export made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Folder of the files.
    pub folder: PathBuf,
    /// Digest of the quantized graph, which plan and int8 ONNX file share, in hex.
    pub digest: String,
    /// Size of the plan, which the board keeps in flash.
    pub plan_bytes: usize,
    /// Working memory on the board.
    pub arena_bytes: usize,
    /// The least working memory that any arrangement of its buffers could need.
    pub arena_lower_bound: usize,
    /// Size of the int8 ONNX file.
    pub onnx_bytes: usize,
    /// Channels that decided nothing, and what is saved without them.
    pub removed: Removed,
    /// Values on which tract and the engine agreed before anything was written.
    pub values_compared: usize,
}

/// Exports a run's best checkpoint.
///
/// # Errors
/// As [`export`]; or there is no checkpoint, or no dataset to calibrate with.
pub fn run(args: &ExportArgs) -> Result<()> {
    let mut checkpoint = load(&args.run, &args.calibration)?;
    if let Some(optimize) = args.optimize {
        checkpoint.recipe.quant.optimize = optimize.into();
    }
    let board = args.board.as_deref().map(Board::load).transpose()?;
    let own_folder = if args.run.is_dir() { Some(args.run.as_path()) } else { args.run.parent() };
    let out = args.out.as_deref().or(own_folder).unwrap_or(Path::new("."));
    let Checkpoint { recipe, input, classes, .. } = &checkpoint;
    let dataset = inputs::labelled_dataset(&recipe.data, args.data.as_deref(), *input, classes)?;
    if dataset.hash != checkpoint.dataset_hash {
        view::warn(&format!(
            "{} is not the dataset that the model was trained on; it calibrates with it",
            dataset.name
        ));
    }
    let summary = export(&checkpoint, &dataset, board.as_ref(), out)?;
    if args.json { report::print_json(&summary) } else { report::print(&text(&summary)) }
}

/// Quantizes `checkpoint`, calibrating with the training images of `dataset`, [trims](trim::trim) it, and writes the float
/// ONNX file, the int8 ONNX file, the plan, for `board` if there is one, and the recipe into the folder `out`.
///
/// All files are complete on the disk before the first one takes its final name, and they carry one digest, so that a
/// mixture of old and new ones is noticed.
///
/// # Errors
/// A layer that cannot be exported, by name; [`Failure::Disagree`] if tract and the engine differ; or the folder cannot
/// be written. Nothing is written then.
pub fn export(checkpoint: &Checkpoint, dataset: &Dataset, board: Option<&Board>, out: &Path) -> Result<Summary> {
    check_own(checkpoint)?;
    let Quantized { folded, quantized, .. } = quantized(checkpoint, dataset)?;
    let trimmed = trim::trim(&quantized)?;
    let files = Files {
        float: onnx::write_float(&folded),
        int8: onnx::write(&trimmed.graph)?,
        packed: packed(&trimmed.graph, checkpoint.recipe.quant.optimize, board)?,
        recipe: portable(&checkpoint.recipe).to_toml(),
    };
    let values_compared = files.check(&folded, &dataset.train)?;
    files.write(out)?;
    Ok(files.summary(&trimmed, out, values_compared))
}

/// The checkpoint to quantize, its recipe calibrating as the command line says.
///
/// # Errors
/// There is none, it is a head on another program's network, or the arguments contradict each other or the recipe.
pub(super) fn load(run: &Path, calibration: &CalibrationArgs) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::load(run)?;
    check_own(&checkpoint)?;
    checkpoint.recipe = calibration.apply(&checkpoint.recipe)?;
    let quant = &checkpoint.recipe.quant;
    if calibration.percentile.is_some() && quant.method != CalibrationMethod::Percentile {
        let what = "--percentile is of the calibration by percentiles: leave it out, or set --calib percentile";
        return Err(Failure::Usage(what.into()).into());
    }
    Ok(checkpoint)
}

/// Checks that integers can be computed for the whole network.
fn check_own(checkpoint: &Checkpoint) -> Result<()> {
    if let Some(backbone) = &checkpoint.recipe.transfer.backbone {
        bail!(
            "this is a head on the backbone {}, which another program made: there is no plan for that, so that it can be \
             neither quantized nor exported; `ocellus eval --with float` runs it. Train one of Ocellus' own networks for \
             a board",
            backbone.display()
        );
    }
    Ok(())
}

/// The plan; for `board`, if it is one that is known.
fn packed(graph: &QuantGraph, optimize: Optimize, board: Option<&Board>) -> Result<Packed> {
    let Some(board) = board else { return pack::pack(graph, optimize) };
    let gains = optimize == Optimize::Size || Core::of(&board.cpu)? == Core::Dsp;
    if !gains {
        view::warn(&format!("{} has a core that gains nothing by a plan for speed: packing it for size", board.name));
    }
    let room = Room { plan: board.plan_bytes, arena: board.arena_bytes };
    let packed = pack::pack_within(graph, if gains { optimize } else { Optimize::Size }, room)?;
    if let Err(unfit) = board.check_fit(&Plan::parse(&packed.plan)?) {
        view::warn(&unfit.to_string());
    }
    Ok(packed)
}

/// A network on its way to int8.
pub(super) struct Quantized {
    /// The float network.
    pub folded: Graph,
    /// The same as it was quantized: centred, and equalised if the recipe says so.
    pub graph: Graph,
    /// Its integers.
    pub quantized: QuantGraph,
}

/// Quantizes `checkpoint`, calibrating with the training images of `dataset`.
///
/// # Errors
/// A layer that cannot be quantized, by name.
pub(super) fn quantized(checkpoint: &Checkpoint, dataset: &Dataset) -> Result<Quantized> {
    let (recipe, images) = (&checkpoint.recipe.quant, &dataset.train);
    let network = net::build(&checkpoint.recipe, checkpoint.input, checkpoint.classes.len())?;
    let folded = fold::fold(graph::lower(&network, checkpoint)?);
    let mut graph = fold::centre(folded.clone());
    let mut observed = calibrate::observe(&graph, images, recipe)?;
    let mut seen = Vec::new();
    if recipe.equalise || recipe.bias_correction {
        seen = calibrate::channels(&graph, images, recipe);
    }
    if recipe.equalise {
        calibrate::equalise(&mut graph, &mut seen);
        observed = calibrate::observe(&graph, images, recipe)?;
    }
    let quantized = |(method, percentile)| {
        let mut quantized = quantize::quantize(&graph, &observed.ranges(method, percentile))?;
        if recipe.bias_correction {
            quantize::correct_bias(&mut quantized, &graph, &seen);
            quantized.check()?;
        }
        Ok(quantized)
    };
    let quantized = match recipe.method {
        CalibrationMethod::Auto => closest::closest(&graph, images, &quantized)?,
        method => quantized((method, recipe.percentile))?,
    };
    Ok(Quantized { folded, graph, quantized })
}

struct Files {
    float: Vec<u8>,
    int8: Vec<u8>,
    packed: Packed,
    recipe: String,
}

impl Files {
    /// Has tract run both ONNX files; how many int8 values agree with the engine's.
    fn check(&self, graph: &Graph, split: &Split) -> Result<usize> {
        let spinner = view::spinner("comparing tract and the engine");
        let float = FloatModel::load(&self.float)?;
        for i in 0..CHECKED_IMAGES.min(split.len()) {
            let image = run::image(split.image(i));
            let (ours, theirs) = (run::logits(graph, &image), float.logits(&image)?);
            let largest = ours.iter().fold(1f32, |m, x| m.max(x.abs()));
            let close = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= FLOAT_TOLERANCE * largest);
            ensure!(close, "tract computes other float logits than we do: {theirs:?}, expected {ours:?}");
        }
        let (tract, engine) = (TractModel::load(&self.int8)?, EngineModel::new(&self.packed.plan)?);
        let images = check_images(graph.input.len(), split);
        let compared = agreement::compare(&tract, &engine, images.iter().map(Vec::as_slice));
        spinner.finish_and_clear();
        compared.map_err(|error| match error.downcast::<Difference>() {
            Ok(difference) => Failure::Disagree(difference.to_string()).into(),
            Err(error) => error,
        })
    }

    fn write(&self, out: &Path) -> Result<()> {
        let files: [(&str, &[u8]); 4] = [
            (model::FLOAT_ONNX, &self.float),
            (model::INT8_ONNX, &self.int8),
            (model::PLAN, &self.packed.plan),
            (model::RECIPE, self.recipe.as_bytes()),
        ];
        std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let files = files.map(|(name, bytes)| (out.join(name), bytes));
        // A run folder's recipe is what training goes on by, and one that says the same may have comments.
        let is_run = [checkpoint::BEST, checkpoint::LAST].iter().any(|name| out.join(name).exists());
        let count = if is_run || self.is_recipe(&out.join(model::RECIPE)) { 3 } else { 4 };
        write_together(&files[..count])
    }

    /// Whether the recipe at `path` trains the same network in the same way.
    fn is_recipe(&self, path: &Path) -> bool {
        let same = |a: &Recipe, b: &Recipe| a.differing_keys(b).is_empty() && a.quant == b.quant;
        Recipe::load(path).is_ok_and(|there| Recipe::parse(&self.recipe).is_ok_and(|ours| same(&there, &ours)))
    }

    fn summary(&self, Trimmed { graph, removed, .. }: &Trimmed, out: &Path, values_compared: usize) -> Summary {
        let arena = &self.packed.arena;
        Summary {
            folder: out.to_owned(),
            digest: graph.digest().iter().map(|b| format!("{b:02x}")).collect(),
            plan_bytes: self.packed.plan.len(),
            arena_bytes: arena.bytes,
            arena_lower_bound: arena.lower_bound,
            onnx_bytes: self.int8.len(),
            removed: removed.clone(),
            values_compared,
        }
    }
}

/// The recipe without the place of the data on this machine.
fn portable(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.data.path = None;
    recipe
}

/// int8 images: the extremes, random values, and the first of `split`.
fn check_images(len: usize, split: &Split) -> Vec<Vec<i8>> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut images = vec![vec![i8::MIN; len], vec![i8::MAX; len]];
    images.extend((0..CHECKED_IMAGES).map(|_| (0..len).map(|_| random.random()).collect()));
    let count = CHECKED_IMAGES.min(split.len());
    images.extend((0..count).map(|i| split.image(i).iter().map(|&pixel| (pixel ^ 0x80) as i8).collect()));
    images
}

fn text(summary: &Summary) -> String {
    let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let mut rows = vec![
        row("plan (flash)", kib(summary.plan_bytes)),
        row("working memory (RAM)", kib(summary.arena_bytes)),
        row("  at the least", kib(summary.arena_lower_bound)),
        row("int8 ONNX", kib(summary.onnx_bytes)),
        row("values on which tract and engine agree", report::thousands(summary.values_compared as u64)),
        row("digest", summary.digest.clone()),
    ];
    rows.extend(removed(&summary.removed));
    report::table(&[&summary.folder.display().to_string(), ""], &rows)
}

/// What was left out, a row each; nothing where nothing was.
fn removed(Removed { filters, macs, bytes, layers }: &Removed) -> Vec<Vec<String>> {
    if *filters == 0 {
        return Vec::new();
    }
    let t = report::thousands;
    let row = |what: String, figure: String| vec![what, figure];
    let head = [
        row("filters that no score depends on, left out".into(), t(*filters as u64)),
        row("  multiply-accumulates without them".into(), format!("-{}", t(*macs))),
        row("  bytes of parameters without them".into(), format!("-{}", t(*bytes as u64))),
    ];
    head.into_iter()
        .chain(layers.iter().map(|l| row(format!("  {}", l.name), format!("{} -> {}", l.before, l.after))))
        .collect()
}
