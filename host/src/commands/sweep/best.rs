//! `ocellus sweep best`: the recipe of the best trial.

use anyhow::{Context, Result};

use super::status::{Best, best_line};
use crate::board::{Board, DoesNotFit};
use crate::cli::SweepBestArgs;
use crate::files;
use crate::report::{percent, print, print_json};
use crate::sweep::budget::Budget;
use crate::sweep::folder::Folder;
use crate::sweep::trials::{Trial, best};
use crate::view;
use serde_json::json;

/// Writes it.
///
/// # Errors
/// There is no study; no trial was trained to its end, or none of those fits the board; or the file cannot be written.
pub fn run(args: &SweepBestArgs) -> Result<()> {
    let board = args.board.as_deref().map(Board::load).transpose()?;
    let folder = super::open(&args.study)?;
    let out = args.out.clone().unwrap_or_else(|| folder.path().join("best.toml"));
    files::check_file(&out)?;
    let trials = folder.trials()?;
    let finished: Vec<&Trial> = trials.iter().filter(|trial| trial.is_finished()).collect();
    let none =
        || format!("no trial of {} was trained to its end yet: `ocellus sweep run` goes on", folder.path().display());
    best(finished.iter().copied()).with_context(none)?;
    let fitting = match &board {
        None => finished.clone(),
        Some(board) => fitting(&folder, &finished, board)?,
    };
    let Some(trial) = best(fitting.iter().copied()) else {
        let name = board.map(|board| board.name).unwrap_or_default();
        let what = format!(
            "none of the {} networks that were trained fits {name}: search with `board = \"{name}\"` in [budget], or choose another --board",
            finished.len()
        );
        return Err(DoesNotFit::new(what).into());
    };
    let told = Best::new(&folder, trial);
    files::write(&out, recipe(&folder, trial, &told)?.as_bytes())?;
    if args.json {
        return print_json(&json!({ "recipe": view::json_path(&out), "best": told }));
    }
    print(&best_line(&told))?;
    let (run, out) = (told.run.display(), out.display());
    print(&format!("wrote {out}; next: ocellus export {run}, or ocellus train --recipe {out}"))
}

/// Those of the `finished` trials whose networks fit `board`.
fn fitting<'a>(folder: &Folder, finished: &[&'a Trial], board: &Board) -> Result<Vec<&'a Trial>> {
    let budget = Budget::on(board.clone());
    let mut fitting = Vec::new();
    for trial in finished {
        let recipe = folder.plan.recipe(&trial.set)?;
        let side = recipe.data.img_size.unwrap_or(folder.data.side);
        if budget.check(&budget.cost(&recipe, side, &folder.data.classes)?).is_ok() {
            fitting.push(*trial);
        }
    }
    Ok(fitting)
}

/// The recipe of `trial` with where it comes from.
fn recipe(folder: &Folder, trial: &Trial, told: &Best) -> Result<String> {
    let mut recipe = folder.plan.recipe(&trial.set)?;
    if recipe.name.is_empty() {
        recipe.name.clone_from(&folder.plan.study.name);
    }
    Ok(format!(
        "# Trial {} of the study {}: {} of the validation images, {} of the test images.\n# {}\n\n{}",
        trial.number,
        view::plain(&folder.plan.study.name),
        percent(told.accuracy),
        percent(told.test_accuracy),
        view::plain(&trial.set.join(" ")),
        recipe.to_toml()
    ))
}
