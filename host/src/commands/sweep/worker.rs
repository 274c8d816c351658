//! `ocellus sweep run`: one worker of a study.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::status::{Status, best_line};
use super::trainer::Trainer;
use crate::cli::SweepRunArgs;
use crate::commands::helpers::runs;
use crate::commands::helpers::signals::Stop;
use crate::files;
use crate::report::{print, print_json};
use crate::sweep::folder::{Folder, Next, Taken};
use crate::sweep::study::Plan;
use crate::sweep::trials::State;
use crate::view;
use std::sync::atomic::Ordering;

/// How often a worker looks whether another one has died, whose trial it would take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Trials in a row without a result after which something must be wrong with all of them.
const MOST_FAILURES: usize = 3;

/// Takes trials until none is left. Ctrl-C, SIGTERM and a closed terminal stop it after the current step; the trial is saved, and whoever
/// comes next goes on with it.
///
/// # Errors
/// The study makes no sense, or its folder holds another one; the dataset cannot be read; the journal cannot be written; or trial after
/// trial fails.
pub fn run(args: &SweepRunArgs) -> Result<()> {
    let mut plan = Plan::load(&args.study)?;
    if args.data.is_some() {
        plan.base.data.path.clone_from(&args.data);
    }
    let out = args.out.clone().unwrap_or_else(|| Folder::usual(&plan.study));
    files::check_folder(&out)?;
    let stop = Stop::on_signals(Some("stopping after this step; once more to stop at once"), true)?;
    let mut trainer = Trainer::new(&plan, runs::threads(args.threads), args.compute.clone(), stop.clone());
    let data = trainer.facts().context("the study's dataset")?;
    let folder = Folder::begin(&out, &plan, &data)?;
    view::note(&format!("study {} in {}", plan.study.name, out.display()));
    work(&folder, &mut trainer, args.no_wait, &stop)?;
    let status = Status::of(&folder)?;
    if args.json {
        return print_json(&status);
    }
    print(&format!(
        "{} trained, {} stopped early, {} rejected before training, {} failed, {} running elsewhere, {} to be taken again",
        status.finished, status.stopped, status.rejected, status.failed, status.running, status.abandoned
    ))?;
    let Some(best) = &status.best else { return Ok(()) };
    print(&best_line(best))?;
    print(&format!(
        "next: ocellus sweep best {0}, or ocellus sweep report {0}",
        view::quoted(&view::name(folder.path()))
    ))
}

fn work(folder: &Folder, trainer: &mut Trainer, no_wait: bool, stop: &Stop) -> Result<()> {
    let (start, hours) = (Instant::now(), folder.plan.study.hours);
    let mut failures = 0;
    let mut is_waiting = false;
    while hours.is_none_or(|hours| start.elapsed().as_secs_f64() < 3600.0 * hours) {
        match folder.next()? {
            Next::Trial(taken) => {
                is_waiting = false;
                trainer.train(folder, &taken)?;
                failures = if has_failed(folder, &taken)? { failures + 1 } else { 0 };
            }
            Next::Wait if no_wait => return Ok(()),
            Next::Wait => {
                if !is_waiting {
                    view::note("waiting for the last trials of other workers: if one dies, its trial is taken again");
                }
                is_waiting = true;
                sleep(LOOK_EVERY);
            }
            Next::Done => return Ok(()),
        }
        if stop.asked().load(Ordering::Relaxed) {
            return Err(stop.failure().into());
        }
        if failures >= MOST_FAILURES {
            let trials = folder.trials()?;
            let why = trials.iter().rev().find_map(|trial| match &trial.state {
                State::Failed { why } => Some(why.clone()),
                _ => None,
            });
            bail!("{MOST_FAILURES} trials in a row failed; the last: {}", why.unwrap_or_default());
        }
    }
    Ok(())
}

fn has_failed(folder: &Folder, taken: &Taken) -> Result<bool> {
    let trials = folder.trials()?;
    Ok(trials.get(taken.trial.number as usize).is_some_and(|trial| matches!(trial.state, State::Failed { .. })))
}
