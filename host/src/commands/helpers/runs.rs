//! Run folders, and what is read from them.

use std::iter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::checkpoint::Checkpoint;
use crate::cli::CalibrationArgs;
use crate::commands::Failure;
use crate::data::Dataset;
use crate::deploy;
use crate::eval::backbone::OnnxBackbone;
use crate::features::Extractor;
use crate::files::{self, FolderLock, Purpose, Reserved};
use crate::model::ModelFiles;
use crate::model::teacher::ModelTeacher;
use crate::recipe::{CalibrationMethod, Recipe};
use crate::train;
use crate::view;

/// Figures of a training run, beside its checkpoint.
const TRAINING: &str = "metrics.json";

/// CPU threads to compute on: those `wanted`, or as many as there are.
pub fn threads(wanted: Option<NonZeroUsize>) -> usize {
    wanted.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// The run folder to write to, which nobody is writing to: `wanted`, or the first of `runs/<name>`, `runs/<name>-2`, ... that
/// did not exist, and now does.
///
/// # Errors
/// All of them exist, or another process is writing to it.
pub fn run_folder(wanted: Option<&Path>, name: &str) -> Result<Reserved> {
    if let Some(folder) = wanted {
        FolderLock::check_free(folder, Purpose::Training, train::ELSEWHERE)?;
        return Ok(Reserved::named(folder));
    }
    let runs = Path::new("runs");
    let folders = iter::once(runs.join(name)).chain((2..10_000).map(|n| runs.join(format!("{name}-{n}"))));
    files::reserve(folders, &format!("runs/ is full of {name}: give another --out"))
}

/// The checkpoint to quantize, its recipe calibrating as the command line says.
///
/// # Errors
/// There is none, it is a linear probe on an external ONNX backbone, or the arguments contradict each other or the recipe.
pub fn trained(run: &Path, calibration: &CalibrationArgs) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::load(run)?;
    deploy::check_deployable(&checkpoint)?;
    checkpoint.recipe = calibration.apply(&checkpoint.recipe)?;
    if calibration.percentile.is_some() && checkpoint.recipe.quant.method != CalibrationMethod::Percentile {
        let what = "--percentile is of the calibration by percentiles: leave it out, or set --calib percentile";
        return Err(Failure::Usage(what.into()).into());
    }
    Ok(checkpoint)
}

/// The recipe's external ONNX backbone, if it has one. What the recipe says of it becomes exact: its absolute path, its
/// SHA-256, and the size of image that it takes.
///
/// # Errors
/// It cannot be read or run, or is not the file that the recipe means.
pub fn open_backbone(recipe: &mut Recipe) -> Result<Option<OnnxBackbone>> {
    let Some(path) = &recipe.transfer.backbone else { return Ok(None) };
    let path = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let backbone = OnnxBackbone::load(&recipe.transfer, recipe.data.img_size)?;
    recipe.transfer.backbone = Some(path);
    recipe.transfer.backbone_sha256 = backbone.sha256();
    recipe.data.img_size.get_or_insert(backbone.input().h);
    view::note(&format!("the backbone makes {} features of an image of {}", backbone.width(), backbone.input()));
    Ok(Some(backbone))
}

/// The recipe's teacher, if it has one, which can teach what a student learns from `dataset`. What the recipe says of it becomes exact:
/// its absolute path, that of stored soft labels, and its SHA-256.
///
/// # Errors
/// It cannot be read, is not the file that the recipe means, has other classes, or was trained on other images.
pub fn open_teacher(recipe: &mut Recipe, dataset: &Dataset) -> Result<Option<ModelTeacher>> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()));
    recipe.distill.soft_labels = recipe.distill.soft_labels.as_deref().map(absolute).transpose()?;
    let Some(path) = recipe.distill.teacher.as_deref().map(absolute).transpose()? else { return Ok(None) };
    let teacher = ModelTeacher::open(&path)?;
    let (found, expected) = (teacher.sha256(), &recipe.distill.teacher_sha256);
    ensure!(
        expected.is_empty() || found == *expected,
        "the teacher {} has the SHA-256 {found}, the run began with {expected}: put that model there, or start another run with --out and \
         --teacher",
        path.display()
    );
    teacher.check(dataset, &recipe.data)?;
    recipe.distill.teacher = Some(path);
    recipe.distill.teacher_sha256 = found;
    Ok(Some(teacher))
}

/// The training run's figures, if they lie beside the checkpoint, or beside the plan where there is none.
///
/// # Errors
/// They cannot be read.
pub fn training(files: &ModelFiles) -> Result<Option<serde_json::Value>> {
    let path: Option<PathBuf> =
        files.checkpoint.as_ref().or(files.plan.as_ref()).map(|path| path.with_file_name(TRAINING));
    let Some(path) = path.filter(|path| path.is_file()) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is damaged: remove it, and nothing is said about the training", path.display());
    Ok(Some(serde_json::from_str(&text).with_context(damaged)?))
}
