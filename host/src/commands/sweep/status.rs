//! `ocellus sweep status`: how far a study is.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::cli::SweepStatusArgs;
use crate::report::{percent, print, print_json, table, thousands};
use crate::sweep::folder::Folder;
use crate::sweep::journal::Cost;
use crate::sweep::trials::{State, Trial, best};
use crate::view;

/// Shows it.
///
/// # Errors
/// There is no study, or it is damaged.
pub fn run(args: &SweepStatusArgs) -> Result<()> {
    let folder = super::open(&args.study)?;
    let status = Status::of(&folder)?;
    if args.json { print_json(&status) } else { print(&text(&status)) }
}

/// How far a study is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub study: String,
    /// Its folder.
    #[serde(serialize_with = "view::serialize_path")]
    pub folder: PathBuf,
    /// Trials to train, where it says how many.
    pub wanted: Option<u32>,
    /// Trials that were trained to their end.
    pub finished: usize,
    /// Trials that were stopped early.
    pub stopped: usize,
    /// Points that do not fit, or make no network.
    pub rejected: usize,
    /// Trials without a result.
    pub failed: usize,
    /// Trials that a living worker has.
    pub running: usize,
    /// Trials whose worker is gone, which the next one takes.
    pub abandoned: usize,
    /// The best trial.
    pub best: Option<Best>,
    /// All of them.
    pub trials: Vec<Trial>,
}

/// The best trial.
#[derive(Debug, Serialize)]
pub struct Best {
    /// Its number.
    pub trial: u32,
    /// `KEY=VALUE` of every key that is searched.
    pub set: Vec<String>,
    /// Validation accuracy, in `[0, 1]`.
    pub accuracy: f64,
    /// Test accuracy, in `[0, 1]`.
    pub test_accuracy: f64,
    /// What its network needs on a board.
    pub cost: Option<Cost>,
    /// Its run folder.
    #[serde(serialize_with = "view::serialize_path")]
    pub run: PathBuf,
}

impl Best {
    /// What is told of the finished `trial`.
    pub fn new(folder: &Folder, trial: &Trial) -> Self {
        let (accuracy, test_accuracy) = match trial.state {
            State::Finished { accuracy, test_accuracy, .. } => (accuracy, test_accuracy),
            _ => (0.0, 0.0),
        };
        let run = folder.run(trial.number);
        Self { trial: trial.number, set: trial.set.clone(), accuracy, test_accuracy, cost: trial.cost, run }
    }
}

impl Status {
    /// That of the study in `folder`.
    ///
    /// # Errors
    /// Its journal is damaged.
    pub fn of(folder: &Folder) -> Result<Self> {
        let trials = folder.trials()?;
        let count = |is_wanted: &dyn Fn(&State) -> bool| trials.iter().filter(|trial| is_wanted(&trial.state)).count();
        let open = trials.iter().filter(|trial| trial.state == State::Open);
        let (running, abandoned): (Vec<&Trial>, Vec<&Trial>) = open.partition(|trial| folder.is_taken(trial));
        Ok(Self {
            study: folder.plan.study.name.clone(),
            folder: folder.path().to_owned(),
            wanted: folder.plan.study.trials,
            finished: count(&|state| matches!(state, State::Finished { .. })),
            stopped: count(&|state| matches!(state, State::Stopped { .. })),
            rejected: count(&|state| matches!(state, State::Rejected { .. })),
            failed: count(&|state| matches!(state, State::Failed { .. })),
            running: running.len(),
            abandoned: abandoned.len(),
            best: best(&trials).map(|trial| Best::new(folder, trial)),
            trials,
        })
    }
}

/// It in lines.
pub fn text(status: &Status) -> String {
    let wanted = status.wanted.map_or_else(String::new, |wanted| format!(" of {wanted}"));
    let mut lines = vec![format!(
        "{}: {}{wanted} trained, {} stopped early, {} rejected before training, {} failed, {} running, {} to be taken again",
        status.study, status.finished, status.stopped, status.rejected, status.failed, status.running, status.abandoned
    )];
    let trained: Vec<&Trial> = status.trials.iter().filter(|trial| !trial.is_rejected()).collect();
    if !trained.is_empty() {
        let rows: Vec<Vec<String>> = trained.into_iter().map(row).collect();
        lines.push(String::new());
        lines.push(table(&["trial", "state", "validation", "test", "flash", "RAM", "instructions", "values"], &rows));
    }
    let failed = status.trials.iter().rev().find_map(|trial| match &trial.state {
        State::Failed { why } => Some(format!("\ntrial {} failed: {why}", trial.number)),
        _ => None,
    });
    let rejected = status.trials.iter().rev().find_map(|trial| match &trial.state {
        State::Rejected { why, .. } => {
            Some(format!("\nthe last point that was rejected, {}: {why}", trial.set.join(" ")))
        }
        _ => None,
    });
    lines.extend(failed.into_iter().chain(rejected));
    if let Some(best) = &status.best {
        lines.push(format!("\n{}", best_line(best)));
    }
    lines.join("\n")
}

/// The best trial in a line.
pub fn best_line(best: &Best) -> String {
    format!(
        "best: trial {}, validation {}, test {}, {}; {}",
        best.trial,
        percent(best.accuracy),
        percent(best.test_accuracy),
        best.set.join(" "),
        best.run.display()
    )
}

fn row(trial: &Trial) -> Vec<String> {
    let test = match trial.state {
        State::Finished { test_accuracy, .. } => percent(test_accuracy),
        _ => "-".to_owned(),
    };
    let cost = |figure: fn(&Cost) -> u64| trial.cost.as_ref().map_or("-".to_owned(), |cost| thousands(figure(cost)));
    vec![
        trial.number.to_string(),
        state(trial),
        trial.accuracy().map_or("-".to_owned(), percent),
        test,
        cost(|cost| cost.flash_bytes),
        cost(|cost| cost.ram_bytes),
        cost(|cost| cost.instructions),
        trial.set.join(" "),
    ]
}

fn state(trial: &Trial) -> String {
    match &trial.state {
        State::Open => "open".to_owned(),
        State::Rejected { .. } => "rejected".to_owned(),
        State::Stopped { epoch, .. } => format!("stopped at epoch {epoch}"),
        State::Finished { epochs, .. } => format!("{epochs} epochs"),
        State::Failed { .. } => "failed".to_owned(),
    }
}
