//! Measures one model for a report.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Plan;

use crate::analysis::{self, Analysis};
use crate::board::Board;
use crate::checkpoint::Checkpoint;
use crate::cli::{ImageCount, ReportArgs};
use crate::commands::helpers::models::Candidate;
use crate::commands::helpers::{datasets, runs, targets};
use crate::corruption::{self, STRENGTHS};
use crate::data::check::{self, Report as Checked};
use crate::data::picture::Picture;
use crate::data::{Dataset, Split};
use crate::deploy::{self, Quantized};
use crate::eval::calibration::{Answer, Calibration};
use crate::eval::robustness::Robustness;
use crate::eval::{Evaluator, Scores, sqnr};
use crate::graph::Graph;
use crate::recipe::{DataRecipe, QuantRecipe};
use crate::report::figures::{self, BoardAgreement, Changes, DataFigures, FLOAT, Figures, INT8, Side};
use crate::toolchain::{self, ProgramSize};
use crate::train::metrics;
use crate::{pack, view};

/// Training images on which layers are compared.
const LAYER_IMAGES: usize = 64;

/// A side with what it was measured by.
struct Measured {
    side: Side,
    answers: Vec<Answer>,
    scores: Scores,
}

/// All figures of the model at `path`.
pub fn figures(path: &Path, args: &ReportArgs) -> Result<Figures> {
    let model = Candidate::open(path)?;
    let (dataset, source) =
        datasets::labelled_source(&model.recipe.data, args.data.as_deref(), model.input, &model.classes)?;
    datasets::warn_if_other(&dataset, &model.files);
    let test = datasets::take(&dataset.test, args.images);
    ensure!(!test.is_empty(), "{} has no test images", dataset.name);
    let engine = model.plan.as_ref().map(|plan| Evaluator::Engine(plan.clone()));
    let float = model.float.as_ref().map(|float| measure(float, FLOAT, &test, &model)).transpose()?;
    let int8 = engine.as_ref().map(|engine| measure(engine, INT8, &test, &model)).transpose()?;
    let mut missing = Vec::new();
    let board = match &int8 {
        Some(int8) => noted(on_board(&model, &test, &int8.scores, args), "the emulated board", &mut missing)?,
        None => {
            missing.push("int8 and boards: there is no plan; `ocellus export` writes one".to_owned());
            None
        }
    };
    let layers = noted(layers(&model, &dataset), "what int8 costs layer by layer", &mut missing)?;
    let changes = float.as_ref().zip(int8.as_ref());
    let changes = changes.map(|(float, int8)| Changes::new(&float.answers, &int8.answers, &test.labels));
    let picture = |i: usize| picture(&test, i);
    let main = int8.as_ref().or(float.as_ref()).context("there is nothing to evaluate")?;
    let (confused, worst) = figures::mistakes(&main.answers, &test.labels, &model.classes, &picture);
    let sample = test.only(&test.spread(args.robustness));
    let robustness = robustness([model.float.as_ref(), engine.as_ref()], &model, &sample, args.seed)?;
    let (board_side, board) = board.unzip();
    Ok(Figures {
        model: view::name(path),
        title: title(&model),
        input: model.input.to_string(),
        data: data(&dataset, &source, &model),
        recipe: model.recipe.to_toml(),
        seed: model.recipe.train.seed,
        training: runs::training(&model.files)?,
        history: history(&model)?,
        sides: [float, int8].into_iter().flatten().map(|measured| measured.side).chain(board_side).collect(),
        changes,
        board,
        confused,
        worst,
        strips: if robustness.is_some() { strips(&sample, args.seed) } else { Vec::new() },
        robustness,
        layers,
        boards: model.plan.as_deref().map_or(Ok(Vec::new()), boards)?,
        missing,
    })
}

/// What the recipe calls the model, or its folder where that says nothing.
fn title(model: &Candidate) -> String {
    let folder = model.folder().canonicalize().ok();
    let name = folder.as_deref().and_then(Path::file_name).map(view::name);
    if model.files.recipe.is_none() {
        name.unwrap_or_else(|| model.recipe.title().to_owned())
    } else {
        model.recipe.title().to_owned()
    }
}

fn measure(evaluator: &Evaluator, name: &str, test: &Split, model: &Candidate) -> Result<Measured> {
    let bar = view::bar(test.len() as u64, &format!("{}, {name}", view::name(&model.path)));
    let scores = evaluator.scores(test, &|| bar.inc(1)).with_context(|| name.to_owned())?;
    bar.finish_and_clear();
    let answers = scores.answers(model.classes.len(), evaluator.score_scale()?);
    let calibration = Calibration::new(&answers, &test.labels);
    let metrics = scores.metrics(&model.classes, &test.labels);
    Ok(Measured { side: Side { name: name.to_owned(), metrics, calibration }, answers, scores })
}

/// What `found` is; where it cannot be measured here, a line says why, and the report goes on without it.
fn noted<V>(found: Result<Option<V>>, what: &str, missing: &mut Vec<String>) -> Result<Option<V>> {
    match found {
        Ok(found) => Ok(found),
        Err(error) => {
            let line = format!("{what}: {error:#}");
            view::warn(&format!("the report goes without {line}"));
            missing.push(line);
            Ok(None)
        }
    }
}

/// The emulated board's figures on the first images, and how its scores differ from `int8`, the engine's; nothing where it
/// was not asked for.
fn on_board(
    model: &Candidate,
    test: &Split,
    int8: &Scores,
    args: &ReportArgs,
) -> Result<Option<(Side, BoardAgreement)>> {
    let (Some(plan), Scores::Int8(expected), 1..) = (&model.plan, int8, args.board_images) else { return Ok(None) };
    let board = targets::emulated_board(&args.board)?;
    board.check_fit(&Plan::parse(plan)?)?;
    if !toolchain::can_build(&board)? {
        bail!(
            "this machine lacks the source tree or a compiler for its firmware; `ocellus doctor` says what to install"
        );
    }
    let elf = targets::firmware(&board)?;
    let first = datasets::take(test, ImageCount::First(args.board_images));
    let evaluator = Evaluator::Sim { board: Box::new(board.clone()), elf, plan: plan.clone() };
    let measured = measure(&evaluator, &board.name, &first, model)?;
    let Scores::Int8(found) = &measured.scores else { bail!("a board gives int8 scores") };
    let expected = &expected[..found.len().min(expected.len())];
    let same = Scores::Int8(expected.to_vec()).metrics(&model.classes, &first.labels);
    let agreement = BoardAgreement {
        board: board.name,
        images: first.len(),
        scores: found.len(),
        different: expected.iter().zip(found).filter(|(a, b)| a != b).count(),
        same_images: same.confusion,
    };
    Ok(Some((measured.side, agreement)))
}

/// What int8 costs each layer: the network before quantization is quantized once more, and both are compared.
fn layers(model: &Candidate, dataset: &Dataset) -> Result<Option<sqnr::Report>> {
    let (folded, quant) = before_quantization(model)?;
    let spinner = view::spinner("comparing float and int8, layer by layer");
    let Quantized { graph, quantized, .. } = deploy::quantized_graph(folded, &dataset.train, &quant)?;
    let plan = pack::pack(&quantized, quant.optimize)?.plan;
    let images = datasets::take(&dataset.train, ImageCount::First(LAYER_IMAGES));
    let found = sqnr::measure(&graph, &quantized, &plan, &images)?;
    spinner.finish_and_clear();
    Ok(Some(found))
}

/// The network of a run's checkpoint, or else of the float ONNX file that was exported of it, and how it is quantized.
fn before_quantization(model: &Candidate) -> Result<(Graph, QuantRecipe)> {
    if let Some(path) = &model.files.checkpoint {
        let checkpoint = Checkpoint::load(path)?;
        deploy::check_deployable(&checkpoint)?;
        return Ok((deploy::folded(&checkpoint)?, checkpoint.recipe.quant));
    }
    let path = model.files.float_onnx.as_ref();
    let path = path.context("there are neither trained weights nor a float ONNX file beside the model")?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folded = deploy::reopened(&bytes, &model.recipe, model.input, &model.classes);
    Ok((folded.with_context(|| view::name(path))?, model.recipe.quant.clone()))
}

fn robustness(
    sides: [Option<&Evaluator>; 2],
    model: &Candidate,
    sample: &Split,
    seed: u64,
) -> Result<Option<Robustness>> {
    if sample.is_empty() {
        return Ok(None);
    }
    let evaluations = sample.len() * Robustness::evaluations() * sides.iter().flatten().count();
    let bar = view::bar(evaluations as u64, &format!("{}, corrupted images", view::name(&model.path)));
    let found = Robustness::measure(sides, &model.classes, sample, seed, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(Some(found))
}

/// The first image of `sample` with each corruption, its strengths side by side.
fn strips(sample: &Split, seed: u64) -> Vec<(&'static str, Picture)> {
    let one = sample.only(&[0]);
    let strip = |kind: corruption::Corruption| {
        let shown: Vec<Split> = (1..=STRENGTHS).map(|strength| kind.apply(&one, strength, seed)).collect();
        let row = 3 * one.width;
        let rows =
            (0..one.height).flat_map(|y| shown.iter().flat_map(move |split| &split.images[y * row..(y + 1) * row]));
        let pixels = rows.copied().collect();
        (kind.name().0, Picture { width: (STRENGTHS * one.width) as u16, height: one.height as u16, pixels })
    };
    corruption::ALL.map(strip).to_vec()
}

fn picture(split: &Split, i: usize) -> Picture {
    Picture { width: split.width as u16, height: split.height as u16, pixels: split.image(i).to_vec() }
}

/// What the plan needs of every board.
fn boards(plan: &[u8]) -> Result<Vec<Analysis>> {
    let plan = Plan::parse(plan)?;
    let of = |board: Board| analysis::analyse(&plan, &board, (ProgramSize::recorded(&board.name)?, true));
    Board::all()?.into_iter().map(of).collect()
}

fn data(dataset: &Dataset, source: &DataRecipe, model: &Candidate) -> DataFigures {
    let bar = view::bar(0, "checking the dataset");
    let checked: Checked = check::check(source, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let groups = |test: fn(&check::Duplicates) -> bool| checked.duplicates.iter().filter(|d| test(d)).count();
    DataFigures {
        name: dataset.name.clone(),
        hash: dataset.hash.clone(),
        trained_on: model.files.origin().dataset,
        duplicates: checked.duplicates.len(),
        leaks: groups(|group| group.across_splits),
        contradictions: groups(|group| group.across_classes),
        unreadable: checked.unreadable.len(),
        classes: checked.classes,
    }
}

/// The epochs beside the checkpoint, or beside the plan where there is none.
fn history(model: &Candidate) -> Result<Vec<crate::checkpoint::EpochRecord>> {
    let path = model.folder().join(metrics::RESULTS);
    if path.is_file() { metrics::read_results(&path) } else { Ok(Vec::new()) }
}
