//! `ocellus card`: the figures of a model, measured, as its README.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Plan;

use super::Failure;
use super::helpers::{datasets, runs, targets};
use crate::board::{self, Board};
use crate::checkpoint::EpochRecord;
use crate::cli::{CardArgs, ImageCount};
use crate::client;
use crate::data::{Dataset, Split};
use crate::eval::{self, Evaluator, Metrics, Scores, plots};
use crate::files;
use crate::model::ModelFiles;
use crate::recipe::Recipe;
use crate::train::{curves, metrics};
use crate::{report, view};

/// Images that the boards other than the default one see at most.
const OTHER_BOARDS_IMAGES: usize = 200;

/// What one emulated board did.
struct OnBoard {
    board: Board,
    images: usize,
    instructions: u64,
}

/// Everything that the card says.
struct Card<'a> {
    title: String,
    dataset: &'a Dataset,
    plan: Plan<'a>,
    float: Metrics,
    int8: Metrics,
    digest: String,
    boards: Vec<OnBoard>,
    /// The command that measures all of this again.
    command: String,
    /// `metrics.json` of the training run, where there is one.
    training: Option<serde_json::Value>,
    /// The epochs of the training run, where they are known.
    history: Vec<EpochRecord>,
    /// Whether pictures lie beside the card.
    has_pictures: bool,
}

/// Measures a model and writes its card.
///
/// # Errors
/// [`Failure::Disagree`] where any side computes another score: such a model gets no card. Or anything is missing.
pub fn run(args: &CardArgs) -> Result<()> {
    let files = ModelFiles::find(&args.model)?;
    let (bytes, tract) = (files.read_plan()?, Evaluator::Tract(files.load_tract()?));
    let (input, classes) = tract.signature()?;
    let recipe = files.read_recipe()?;
    // What could spoil the card at the end is looked at before minutes of measuring.
    let out = args.out.clone().unwrap_or_else(|| folder(&args.model).join("README.md"));
    files::check_file(&out)?;
    let training = runs::training(&files)?;
    let dataset = datasets::labelled_dataset(&recipe.data, args.data.as_deref(), input, &classes)?;
    datasets::warn_if_other(&dataset, &files);
    let test = &dataset.test;
    let float = scores(&files.load_float()?, test, "float")?.metrics(&classes, &test.labels);
    let judge = int8(scores(&tract, test, "tract")?)?;
    let engine = int8(scores(&Evaluator::Engine(bytes.clone()), test, "engine")?)?;
    agree("the engine", &judge, &engine)?;
    let mut boards = Vec::new();
    for board in Board::all()?.into_iter().filter(|board| board.machine.is_some()) {
        boards.push(on_board(board, &bytes, test, &judge, args.images)?);
    }
    let card = Card {
        float,
        int8: Metrics::new(&classes, &test.labels, &judge),
        digest: eval::digest(&judge),
        plan: Plan::parse(&bytes)?,
        training,
        history: history(&files)?,
        // There is no place beside a pipe or a device.
        has_pictures: out.is_file() || !out.exists(),
        command: format!("ocellus card {} --data DIR --images {}", args.model.display(), args.images),
        dataset: &dataset,
        title: title(&files, &recipe, &args.model),
        boards,
    };
    if card.has_pictures {
        card.write_pictures(files::folder_of(&out))?;
    }
    files::write(&out, card.text().as_bytes())?;
    report::print_path(&out)
}

/// The epochs in the file beside the checkpoint, or beside the plan, if there is one.
fn history(files: &ModelFiles) -> Result<Vec<EpochRecord>> {
    let of = files.checkpoint.as_ref().or(files.plan.as_ref());
    let path = of.map(|path| path.with_file_name(metrics::RESULTS)).filter(|path| path.is_file());
    path.map_or(Ok(Vec::new()), |path| metrics::read_results(&path))
}

/// The folder that `model` is, or lies in.
fn folder(model: &Path) -> &Path {
    let folder = if model.is_dir() { Some(model) } else { model.parent() };
    folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the model's recipe calls it. Where it has none, what its folder is called.
fn title(files: &ModelFiles, recipe: &Recipe, model: &Path) -> String {
    let named = folder(model).canonicalize().ok();
    let name = named.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
    match (&files.recipe, name) {
        (None, Some(name)) => name.to_owned(),
        _ => recipe.title().to_owned(),
    }
}

fn scores(evaluator: &Evaluator, split: &Split, name: &str) -> Result<Scores> {
    ensure!(!split.is_empty(), "the dataset has no test images");
    let bar = view::bar(split.len() as u64, name);
    let scores = evaluator.scores(split, &|| bar.inc(1)).with_context(|| name.to_owned())?;
    bar.finish_and_clear();
    Ok(scores)
}

fn int8(scores: Scores) -> Result<Vec<i8>> {
    match scores {
        Scores::Int8(scores) => Ok(scores),
        Scores::Float(_) => bail!("expected int8 scores"),
    }
}

/// Fails where `found` is not the beginning of `expected`.
fn agree(side: &str, expected: &[i8], found: &[i8]) -> Result<()> {
    let different = expected.iter().zip(found).filter(|(a, b)| a != b).count();
    if different > 0 || found.len() > expected.len() {
        let what = format!("{side} and tract disagree on {different} scores: `ocellus validate` says where");
        return Err(Failure::Disagree(what).into());
    }
    Ok(())
}

/// Compares a board with the judge and counts its instructions.
fn on_board(board: Board, plan: &[u8], test: &Split, judge: &[i8], images: ImageCount) -> Result<OnBoard> {
    board.check_fit(&Plan::parse(plan)?)?;
    let most = if board.name == board::DEFAULT { test.len() } else { OTHER_BOARDS_IMAGES };
    let split = datasets::take(test, ImageCount::First(images.of(test.len()).min(most)));
    let elf = targets::firmware(&board)?;
    let evaluator = Evaluator::Sim { board: Box::new(board.clone()), elf: elf.clone(), plan: plan.to_vec() };
    agree(&board.name, judge, &int8(scores(&evaluator, &split, &board.name)?)?)?;
    let instructions = client::profile(&board, &elf, plan, &eval::int8_pixels(split.image(0)))?.total;
    Ok(OnBoard { board, images: split.len(), instructions })
}

impl Card<'_> {
    fn text(&self) -> String {
        let sections = [self.head(), self.accuracy(), self.training_text(), self.cost(), self.classes()];
        sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// Writes what the card shows beside it.
    fn write_pictures(&self, folder: &Path) -> Result<()> {
        let title = format!("{}: int8, {} test images of {}", self.title, self.int8.images, self.dataset.name);
        plots::confusion(&title, &self.int8).write(&folder.join(metrics::CONFUSION))?;
        if self.history.is_empty() { Ok(()) } else { curves::write(folder, &self.title, &self.history) }
    }

    fn head(&self) -> String {
        let (name, input) = (&self.title, self.plan.input().shape);
        format!(
            "# {name}\n\nInput: {input}. Classes: {}. Test set: {} images of {}.\n\n\
             Measured and written by `{}` on {}; do not edit.\n",
            self.dataset.classes.join(", "),
            self.dataset.test.len(),
            self.dataset.name,
            self.command,
            report::machine(),
        )
    }

    fn accuracy(&self) -> String {
        let row = |what: &str, m: &Metrics| {
            vec![what.to_owned(), report::percent(m.accuracy), report::percent(m.top5), m.images.to_string()]
        };
        let rows = [row("float", &self.float), row("int8 (tract, engine, boards)", &self.int8)];
        let figures = report::markdown(&["", "accuracy", "top-5", "images"], &rows);
        let classes = self.plan.output().shape.len();
        let same = |who: &str, images: usize| {
            vec![who.to_owned(), images.to_string(), report::thousands((images * classes) as u64), "0".to_owned()]
        };
        let mut rows = vec![same("engine on the workstation", self.int8.images)];
        rows.extend(self.boards.iter().map(|b| same(&format!("{} ({})", b.board.name, b.board.cpu), b.images)));
        let agreement = report::markdown(&["compared with tract", "images", "scores", "different"], &rows);
        format!("## Accuracy\n\n{figures}\n\nSHA-256 of all int8 scores: `{}`\n\n{agreement}\n", self.digest)
    }

    fn training_text(&self) -> String {
        let Some(training) = &self.training else { return String::new() };
        let number = |key: &str| training[key].as_f64().unwrap_or_default();
        format!(
            "## Training\n\n{} epochs in {:.0} minutes ({:.0} minutes of CPU time), {:.0} images/s; \
             best validation accuracy {} in epoch {}.\n{}",
            number("epochs"),
            number("seconds") / 60.0,
            number("cpu_seconds") / 60.0,
            number("images_per_s"),
            report::percent(number("val_accuracy")),
            number("best_epoch"),
            if self.has_pictures && !self.history.is_empty() {
                format!("\n![Loss, accuracy and learning rate]({})\n", curves::CURVES)
            } else {
                String::new()
            },
        )
    }

    fn cost(&self) -> String {
        let macs = self.plan.macs();
        let row = |what: &str, figure: u64| vec![what.to_owned(), report::thousands(figure)];
        let mut rows = vec![
            row("plan in flash, bytes", self.plan.bytes().len() as u64),
            row("feature maps and scratch in RAM, bytes", self.plan.arena_bytes() as u64),
            row("multiply-accumulates", macs),
        ];
        rows.extend(self.boards.iter().map(|b| row(&format!("instructions on {}", b.board.cpu), b.instructions)));
        let table = report::markdown(&["one inference", ""], &rows);
        format!("## Size and cost\n\n{table}\n\nInstructions are counted by the emulator; they are not cycles.\n")
    }

    fn classes(&self) -> String {
        let rows: Vec<Vec<String>> = self.int8.per_class.iter().map(report::class_row).collect();
        let table = report::markdown(&report::CLASS_HEADER, &rows);
        let picture = format!("\n![Confusion matrix, int8]({})\n", metrics::CONFUSION);
        format!("## Classes, int8\n\n{table}\n{}", if self.has_pictures { &picture } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_a_recipe_is_called_after_its_folder() {
        let room = tempfile::tempdir().unwrap();
        let model = room.path().join("my-cups");
        std::fs::create_dir(&model).unwrap();
        let recipe = Recipe::default();
        let called = |files: &ModelFiles, path: &Path| title(files, &recipe, path);
        let (bare, own) =
            (ModelFiles::default(), ModelFiles { recipe: Some(model.join("recipe.toml")), ..ModelFiles::default() });
        assert_eq!(called(&bare, &model), "my-cups");
        assert_eq!(called(&bare, &model.join("model.plan")), "my-cups");
        assert_eq!(called(&own, &model), recipe.title());
    }
}
