//! `ocellus eval`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocellus_shared::plan::Plan;
use serde_json::json;

use super::helpers::{datasets, targets};
use crate::cli::{Backend, EvalArgs, SplitName};
use crate::data::{Dataset, Split};
use crate::eval::calibration::Calibration;
use crate::eval::{Evaluator, Metrics, plots};
use crate::files;
use crate::model::ModelFiles;
use crate::{report, view};

/// Evaluates a model.
///
/// # Errors
/// The model lacks what the backend needs, the dataset does not suit it, or the backend fails.
pub fn run(args: &EvalArgs) -> Result<()> {
    let files = ModelFiles::find(&args.model)?;
    let backend = args.with.unwrap_or_else(|| usual(&files));
    // What could spoil the plots at the end is looked at before minutes of evaluation.
    args.plots.as_deref().map_or(Ok(()), files::check_folder)?;
    let evaluator = evaluator(&files, backend, &args.board)?;
    let (_, classes) = evaluator.signature()?;
    let recipe = files.read_recipe()?.data;
    let views = evaluator.views(&recipe)?;
    let read = datasets::labelled_views(&recipe, args.data.as_deref(), &views, &classes)?;
    let dataset = &read[0];
    datasets::warn_if_other(dataset, &files);
    let of = |dataset: &Dataset| {
        let split = match args.split {
            SplitName::Test => &dataset.test,
            SplitName::Val => &dataset.val,
        };
        datasets::take(split, args.images)
    };
    let images: Vec<Split> = read.iter().map(of).collect();
    let split = &images[0];
    ensure!(!split.is_empty(), "{} has no {:?} images", dataset.name, args.split);
    let bar = view::bar(split.len() as u64, "evaluating");
    let scores = evaluator.scores_of_views(&images, &|| bar.inc(1))?;
    bar.finish_and_clear();
    let metrics = scores.metrics(&classes, &split.labels);
    let with = if files.ensemble.is_some() { "ensemble".to_owned() } else { format!("{backend:?}").to_lowercase() };
    let part = format!("{:?}", args.split).to_lowercase();
    let answers = scores.answers(classes.len(), evaluator.score_scale()?);
    let calibration = Calibration::new(&answers, &split.labels);
    let title = format!("{} by {with}, on {} ({part})", args.model.display(), dataset.name);
    if let Some(folder) = &args.plots {
        write_plots(folder, &title, &metrics, &calibration)?;
    }
    if !args.json {
        report::print(&title)?;
        report::print(&report::metrics(&metrics))?;
        return report::print(&format!("\nexpected calibration error {}", report::percent(calibration.ece)));
    }
    let mut object = serde_json::to_value(&metrics).context("the figures have no JSON form")?;
    object["model"] = json!(view::json_path(&args.model));
    object["with"] = json!(with);
    object["data"] = json!(dataset.name);
    object["split"] = json!(part);
    object["calibration"] = json!(calibration);
    report::print_json(&object)
}

/// Writes the confusion matrix, the figures of the classes and the reliability diagram into `folder`.
fn write_plots(folder: &Path, title: &str, metrics: &Metrics, calibration: &Calibration) -> Result<()> {
    files::make_folder(folder)?;
    let sides = [("all images", calibration)];
    for (name, drawing) in [
        ("confusion.svg", plots::confusion(title, metrics)),
        ("classes.svg", plots::classes(title, metrics)),
        ("reliability.svg", plots::reliability(title, &sides)),
        ("coverage.svg", plots::coverage(title, &sides)),
    ] {
        drawing.write(&folder.join(name))?;
    }
    Ok(())
}

/// What computes the file that was named; of a folder the plan if there is one.
fn usual(files: &ModelFiles) -> Backend {
    let is_float = [&files.checkpoint, &files.float_onnx].iter().any(|part| files.is_named(part.as_deref()));
    let has_float = files.checkpoint.is_some() || files.float_onnx.is_some() || files.ensemble.is_some();
    if is_float {
        Backend::Float
    } else if files.is_named(files.int8_onnx.as_deref()) || (files.plan.is_none() && !has_float) {
        Backend::Tract
    } else if files.plan.is_some() {
        Backend::Engine
    } else {
        Backend::Float
    }
}

/// What computes the scores of the model in `files`.
fn evaluator(files: &ModelFiles, backend: Backend, board: &str) -> Result<Evaluator> {
    Ok(match backend {
        Backend::Float => files.load_float()?,
        Backend::Tract => Evaluator::Tract(files.load_tract()?),
        Backend::Engine => Evaluator::Engine(files.read_plan()?),
        Backend::Sim => {
            let (board, plan) = (targets::emulated_board(board)?, files.read_plan()?);
            board.check_fit(&Plan::parse(&plan)?)?;
            Evaluator::Sim { elf: targets::firmware(&board)?, board: Box::new(board), plan }
        }
    })
}
