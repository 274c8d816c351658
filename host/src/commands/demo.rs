//! `ocellus demo`: the whole way in a few minutes, on a machine with nothing prepared.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ocellus_shared::plan::Plan;

use super::Failure;
use super::helpers::{datasets, runs, targets};
use crate::board::Board;
use crate::checkpoint::{BEST, LAST};
use crate::cli::DemoArgs;
use crate::client::{self, Profile};
use crate::data::{self, Dataset, Split};
use crate::eval::{self, Evaluator, Metrics, Scores};
use crate::files;
use crate::model::ModelFiles;
use crate::recipe::{DataRecipe, Recipe};
use crate::toolchain::ProgramSize;
use crate::{deploy, doctor, report, view};

mod live;
mod training;

/// Steps that are announced.
const STEPS: usize = 8;

/// How much of everything there is time for.
struct Effort {
    /// For training.
    training: Duration,
    /// Test images for float and int8.
    evaluated: usize,
    /// Test images that board and workstation must agree on as tensors.
    compared: usize,
    /// Test images that are shown to the board's camera.
    shown: usize,
}

impl Effort {
    fn new(fast: bool) -> Self {
        match fast {
            true => Self { training: Duration::from_secs(10), evaluated: 500, compared: 16, shown: 8 },
            false => Self { training: Duration::from_secs(150), evaluated: 2000, compared: 100, shown: 60 },
        }
    }
}

/// What the last table shows.
struct Outcome {
    float: Metrics,
    int8: Metrics,
    board: Metrics,
    frames: Metrics,
    profile: Profile,
    program_bytes: u64,
}

/// Shows everything.
///
/// # Errors
/// Something is missing that this user may not install, or any step fails; [`Failure::Disagree`] where board and
/// workstation do.
pub fn run(args: &DemoArgs) -> Result<()> {
    let start = Instant::now();
    let effort = Effort::new(args.fast);
    let folder = runs::run_folder(args.out.as_deref(), "demo")?;
    let out = folder.path();
    check_out(out)?;
    step(1, "what this machine needs");
    doctor::ensure(true, &|check| view::note(&format!("  {} is missing: {}", check.name, check.found)))?;
    let board = targets::emulated_board(&args.board)?;
    step(2, "images");
    let dataset = load(args.data.as_deref())?;
    step(3, "training");
    let checkpoint = training::train(&dataset, out, effort.training)?;
    step(4, "int8, ONNX and plan");
    let artifacts = deploy::build(&checkpoint, &dataset.train, None)?;
    artifacts.verify(&dataset.train)?;
    artifacts.write(out)?;
    let files = ModelFiles::find(out)?;
    let plan = files.read_plan()?;
    board.check_fit(&Plan::parse(&plan)?)?;
    step(5, "how good it is, in float and in int8 (tract)");
    let test = first(&dataset.test, effort.evaluated);
    let (float, _) = evaluate(&files.load_float()?, &dataset, &test, "float")?;
    let judge = Evaluator::Tract(files.load_tract()?);
    let (int8, judged) = evaluate(&judge, &dataset, &test, "int8")?;
    step(6, &format!("the firmware of {}", board.name));
    let elf = targets::firmware(&board)?;
    step(7, "board and workstation, bit for bit");
    let compared = first(&test, effort.compared);
    let (on_board, scores) = on_board(&board, &elf, &plan, &dataset, &compared)?;
    agree(&judged, &scores)?;
    view::note(&format!("  all {} scores are the same", scores.len()));
    let profile = profile(&board, &elf, &plan, &compared)?;
    step(8, "live, through the board's camera");
    let frames = live::show(&board, &elf, &plan, &dataset.classes, &first(&test, effort.shown))?;
    let program_bytes = ProgramSize::of(&elf)?.flash_bytes;
    let outcome = Outcome { float, int8, board: on_board, frames, profile, program_bytes };
    report::print(&summary(&outcome, &board, &dataset, &Plan::parse(&plan)?, &files))?;
    view::note(&format!("done in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Makes sure that a new run can be written into `out`, before anything is spent on one.
fn check_out(out: &Path) -> Result<()> {
    ensure!(
        ![LAST, BEST].iter().any(|file| out.join(file).exists()),
        "{} holds a training run: choose another folder with --out, or leave that out for a new one in runs/",
        out.display()
    );
    files::check_folder(out)
}

fn step(number: usize, what: &str) {
    view::note(&format!("[{number}/{STEPS}] {what}"));
}

/// CIFAR-10 where it is named or was fetched, else the built-in pictures; says which.
fn load(data: Option<&Path>) -> Result<Dataset> {
    let fetched = || data::fetch::SOURCES.iter().find(|s| s.name() == "cifar10").and_then(|s| s.cached());
    let path = data.map(Path::to_owned).or_else(fetched);
    let dataset = datasets::load(&DataRecipe { path: path.clone(), img_size: Some(32), ..DataRecipe::default() })?;
    let from = path.map_or("built in; `ocellus data fetch cifar10` gets real ones".into(), |p| p.display().to_string());
    let (train, test) = (dataset.train.len(), dataset.test.len());
    view::note(&format!("  {}: {train} images to train with, {test} to test with ({from})", dataset.name));
    ensure!(test > 0, "{} has no test images", dataset.name);
    Ok(dataset)
}

fn first(split: &Split, count: usize) -> Split {
    datasets::take(split, crate::cli::ImageCount::First(count))
}

fn evaluate(evaluator: &Evaluator, dataset: &Dataset, split: &Split, name: &str) -> Result<(Metrics, Scores)> {
    let bar = view::bar(split.len() as u64, &format!("  {name}"));
    let scores = evaluator.scores(split, &|| bar.inc(1))?;
    bar.finish_and_clear();
    let metrics = scores.metrics(&dataset.classes, &split.labels);
    view::note(&format!("  {name}: {} on {} images", report::percent(metrics.accuracy), metrics.images));
    Ok((metrics, scores))
}

/// The emulated board's figures and scores.
fn on_board(board: &Board, elf: &Path, plan: &[u8], dataset: &Dataset, split: &Split) -> Result<(Metrics, Vec<i8>)> {
    let evaluator = Evaluator::Sim { board: Box::new(board.clone()), elf: elf.to_owned(), plan: plan.to_vec() };
    let (metrics, scores) = evaluate(&evaluator, dataset, split, &board.name)?;
    match scores {
        Scores::Int8(scores) => Ok((metrics, scores)),
        Scores::Float(_) => bail!("a board gives int8 scores"),
    }
}

/// Fails where the board's scores are not the beginning of the judge's.
fn agree(judged: &Scores, board: &[i8]) -> Result<()> {
    let Scores::Int8(judged) = judged else { bail!("tract gives int8 scores") };
    let different = judged.iter().zip(board).filter(|(a, b)| a != b).count();
    if different > 0 {
        let what = format!("board and workstation disagree on {different} of {} scores", board.len());
        return Err(Failure::Disagree(what).into());
    }
    Ok(())
}

/// What one inference takes.
fn profile(board: &Board, elf: &Path, plan: &[u8], split: &Split) -> Result<Profile> {
    let spinner = view::spinner("  counting instructions");
    let profile = client::profile(board, elf, plan, &eval::int8_images(&first(split, 1)));
    spinner.finish_and_clear();
    profile
}

/// The last table.
fn summary(outcome: &Outcome, board: &Board, dataset: &Dataset, plan: &Plan, files: &ModelFiles) -> String {
    let accuracy = |what: &str, m: &Metrics| {
        vec![format!("accuracy {what}"), format!("{} of {} images", report::percent(m.accuracy), m.images)]
    };
    let bytes = |what: &str, bytes: u64| vec![what.to_owned(), format!("{} bytes", report::thousands(bytes))];
    let macs = plan.macs();
    let place = |what: &str, path: &Option<PathBuf>| {
        vec![what.to_owned(), path.as_ref().map(|p| p.display().to_string()).unwrap_or_default()]
    };
    let rows = [
        vec!["images".to_owned(), dataset.name.clone()],
        accuracy("float", &outcome.float),
        accuracy("int8 (tract)", &outcome.int8),
        accuracy(&format!("on {}, the same bits", board.name), &outcome.board),
        accuracy(&format!("on {}, camera frames", board.name), &outcome.frames),
        bytes("flash: plan", plan.bytes().len() as u64),
        bytes("flash: program", outcome.program_bytes),
        bytes("RAM: feature maps", plan.arena_bytes() as u64),
        vec!["multiply-accumulates".to_owned(), report::thousands(macs)],
        vec!["instructions per inference".to_owned(), report::thousands(outcome.profile.total)],
        place("plan, for boards", &files.plan),
        place("int8 ONNX, for anything", &files.int8_onnx),
        place("trained weights", &files.checkpoint),
    ];
    let width = rows.iter().map(|row| report::width(&row[0])).max().unwrap_or_default();
    let lines: Vec<String> = rows.iter().map(|row| format!("{}  {}", report::pad(&row[0], width), row[1])).collect();
    format!("\n{}\n", lines.join("\n"))
}

/// The recipe that the demo trains by: small, quick to learn, and with as little regularisation as a short run needs.
fn recipe(dataset: &Dataset) -> Result<Recipe> {
    let mut recipe = Recipe::parse(
        r#"
        name = "demo"
        model = "cnn"
        [net]
        blocks = [[16, 16], [32, 32], [64]]
        block-dropout = [0.0, 0.0, 0.0]
        dense = 128
        dense-dropout = 0.2
        [train]
        opt = "sgd"
        lr = 0.05
        batch-size = 64
        warmup-epochs = 0.5
        smoothing = 0.05
        ema = 0.0
        [augment]
        flip = 0.0
        shift = 2
        cutout = 0
        "#,
    )?;
    // Shapes and letters are not their mirror images; CIFAR's animals and vehicles nearly are.
    if dataset.name.starts_with("cifar") {
        recipe.augment.flip = 0.5;
    }
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_the_run_is_made_sure_of_first() {
        let room = tempfile::tempdir().unwrap();
        check_out(&room.path().join("new")).unwrap();
        check_out(room.path()).unwrap();
        std::fs::write(room.path().join(LAST), "").unwrap();
        let error = check_out(room.path()).unwrap_err().to_string();
        assert!(error.contains("another folder with --out") && !error.contains("--resume"), "{error}");
        let error = check_out(&room.path().join(LAST).join("demo")).unwrap_err().to_string();
        assert!(error.contains("is no folder"), "{error}");
    }
}
