//! What several commands need before they start: a board, its firmware, a dataset that fits the model.

use std::cell::Cell;
use std::iter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;

use super::{Failure, flash};
use crate::board::{self, Board};
use crate::cli::{DeviceArgs, ImageCount, ProbeArgs, Target};
use crate::client::Client;
use crate::data::{self, Dataset, Split};
use crate::eval;
use crate::model::ModelFiles;
use crate::probe::{self, Selector};
use crate::recipe::DataRecipe;
use crate::toolchain::{self, Program};
use crate::transport::qemu::ClockMode;
use crate::view;

/// The emulated board called `name`.
pub fn emulated_board(name: &str) -> Result<Board> {
    let board = Board::load(name)?;
    if board.machine.is_none() {
        let emulated = Board::all()?.into_iter().filter(|board| board.machine.is_some());
        let names: Vec<String> = emulated.map(|board| board.name).collect();
        let what = format!("{name} is a real board, not an emulated one; those are: {}", names.join(", "));
        return Err(Failure::Usage(what).into());
    }
    Ok(board)
}

/// The emulated board that a command means: the one called `name`, or the usual one.
pub fn emulated_or_usual(name: Option<&str>) -> Result<Board> {
    emulated_board(name.unwrap_or(board::DEFAULT))
}

/// The real board that a command means, which has no usual one.
pub fn real_board(name: Option<&str>) -> Result<Board> {
    let name = name.ok_or_else(|| Failure::Usage("which board? give its name with --board".to_owned()))?;
    flash::real_board(name)
}

/// The program on `board`: the given file, which must not be another board's, or a fresh one.
pub fn program(board: &Board, elf: Option<&Path>) -> Result<Vec<u8>> {
    let path = elf.map_or_else(|| firmware(board), |elf| Ok(elf.to_owned()))?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toolchain::check_board(&bytes, &board.name).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

/// A real board that runs `plan`, restarted; a simulated one gets program and plan first.
pub fn reach(board: &Board, probe: &ProbeArgs, elf: Option<&Path>, plan: &[u8]) -> Result<Client> {
    let (elf, settings) = (program(board, elf)?, flash::settings(probe));
    if matches!(settings.probe, Selector::Simulated(_)) {
        view::note("a rehearsal on a simulated board: its firmware runs on this machine, in this machine's time");
    }
    let mut client = Client::restart(board, probe::reach(board, &settings, &elf, plan)?, &elf)?;
    client.set_plan(plan)?;
    Ok(client)
}

/// An emulated board with `plan` in place.
pub fn boot(board: Option<&str>, plan: &[u8]) -> Result<Client> {
    let board = emulated_or_usual(board)?;
    board.check_fit(&Plan::parse(plan)?)?;
    Client::boot_with(&board, &firmware(&board)?, ClockMode::Free, plan)
}

/// The board that a command means, if any, once it runs `plan`.
pub fn connect(on: Target, device: &DeviceArgs, plan: &[u8]) -> Result<Option<Client>> {
    match on {
        Target::Engine => Ok(None),
        Target::Sim => boot(device.board.as_deref(), plan).map(Some),
        Target::Board => {
            let board = real_board(device.board.as_deref())?;
            board.check_fit(&Plan::parse(plan)?)?;
            reach(&board, &device.probe, device.elf.as_deref(), plan).map(Some)
        }
    }
}

/// Builds the firmware of `board`, with a spinner that shows what cargo does.
pub fn firmware(board: &Board) -> Result<PathBuf> {
    firmware_that(board, &[])
}

/// The same with variables that decide what it does.
pub fn firmware_that(board: &Board, env: &[(&'static str, String)]) -> Result<PathBuf> {
    let spinner = view::spinner(&format!("building the firmware of {}", board.name));
    let hear = |line: &str| spinner.set_message(format!("{}: {line}", board.name));
    let built = toolchain::build_program(board, Program { name: &board.name, ops: &[], env }, &hear)?;
    spinner.finish_and_clear();
    Ok(built.elf)
}

/// The dataset to judge a model with: `data` where it is given; else the first of these whose classes are the model's:
/// the one of its recipe, one that was fetched, the built-in one. Images have the model's size.
///
/// # Errors
/// The model does not take square colour images, or no dataset has its classes.
pub fn labelled_dataset(recipe: &DataRecipe, data: Option<&Path>, input: Shape, classes: &[String]) -> Result<Dataset> {
    let recipe = sized(recipe, input)?;
    if let Some(path) = data {
        let mut dataset = load(&DataRecipe { path: Some(path.to_owned()), ..recipe })?;
        // All splits have the same classes: one of them says what there is to say.
        let said = Cell::new(false);
        let warn = |text: &str| {
            if !said.replace(true) {
                view::warn(text)
            }
        };
        for split in [&mut dataset.train, &mut dataset.val, &mut dataset.test] {
            eval::relabel(&mut split.labels, &dataset.classes, classes, &warn)?;
        }
        dataset.classes = classes.to_vec();
        return Ok(dataset);
    }
    for candidate in candidates(&recipe) {
        match load(&candidate) {
            Ok(dataset) if dataset.classes == classes => return Ok(dataset),
            // The built-in pictures may have no such size: they are not what was meant, either.
            Err(error) if candidate.path.is_some() => return Err(error),
            _ => {}
        }
    }
    let missing = recipe.path.as_ref().filter(|path| !path.exists());
    let gone = missing.map_or(String::new(), |path| format!("; the recipe's, {}, is not here", path.display()));
    bail!("no dataset with the model's classes ({}) was found{gone}: give its folder with --data", classes.join(", "))
}

/// Warns where `dataset` is not what a model was trained on, as far as its files say.
pub fn warn_if_other(dataset: &Dataset, files: &ModelFiles) {
    let trained_on = files.origin().dataset;
    if !trained_on.is_empty() && trained_on != dataset.hash {
        view::warn(&format!(
            "{} holds other images than {} was trained with, or divides them otherwise: where test images are drawn from all, \
             it may have been trained on some of them",
            dataset.name,
            files.named.display()
        ));
    }
}

/// Images of the model's size to compare two sides with, whatever they show: as [`labelled_dataset`], but any dataset
/// will do.
pub fn any_dataset(recipe: &DataRecipe, data: Option<&Path>, input: Shape) -> Result<Dataset> {
    let recipe = sized(recipe, input)?;
    match data {
        Some(path) => load(&DataRecipe { path: Some(path.to_owned()), ..recipe }),
        None => load(&candidates(&recipe)[0]),
    }
}

fn sized(recipe: &DataRecipe, input: Shape) -> Result<DataRecipe> {
    ensure!(
        input.h == input.w && input.c == 3,
        "the model takes images of {input}; datasets hold square colour images"
    );
    Ok(DataRecipe { img_size: Some(input.h), ..recipe.clone() })
}

/// Where to look when no dataset is named; at least one.
fn candidates(recipe: &DataRecipe) -> Vec<DataRecipe> {
    let own = recipe.path.clone().filter(|path| path.exists());
    let fetched = data::fetch::SOURCES.iter().filter_map(|source| source.cached());
    let built_in = DataRecipe { path: None, ..recipe.clone() };
    own.into_iter()
        .chain(fetched)
        .map(|path| DataRecipe { path: Some(path), ..recipe.clone() })
        .chain([built_in])
        .collect()
}

/// CPU threads to compute on: those `wanted`, or as many as there are.
pub fn threads(wanted: Option<NonZeroUsize>) -> usize {
    wanted.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// The run folder to write to: `wanted`, or the first of `runs/<name>`, `runs/<name>-2`, ... that does not exist.
///
/// # Errors
/// All of them exist.
pub fn run_folder(wanted: Option<&Path>, name: &str) -> Result<PathBuf> {
    if let Some(folder) = wanted {
        return Ok(folder.to_owned());
    }
    let runs = Path::new("runs");
    let mut folders = iter::once(runs.join(name)).chain((2..10_000).map(|n| runs.join(format!("{name}-{n}"))));
    folders.find(|folder| !folder.exists()).with_context(|| format!("runs/ is full of {name}: give another --out"))
}

/// Reads a dataset behind a progress bar.
pub fn load(recipe: &DataRecipe) -> Result<Dataset> {
    let bar = view::bar(0, "reading images");
    let dataset = data::load(recipe, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(dataset)
}

/// The first images of `split`, as many as `count` says.
pub fn take(split: &Split, count: ImageCount) -> Split {
    let count = count.of(split.len());
    let bytes = count * split.height * split.width * 3;
    Split { images: split.images[..bytes].to_vec(), labels: split.labels[..count].to_vec(), ..*split }
}
