//! The trials of a study, as its journal tells them.

use super::journal::{Cost, Event};
use super::study::Objective;
use anyhow::{Result, bail, ensure};
use serde::Serialize;

/// One point of the space, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u32,
    /// `KEY=VALUE` of every key that is searched.
    pub set: Vec<String>,
    /// Its bracket: see [`halving`](super::halving).
    pub bracket: u32,
    /// The workers that took it, one after the other.
    pub workers: Vec<String>,
    /// What its network needs on a board, where that is known.
    pub cost: Option<Cost>,
    /// Rungs that it reached: epochs, best validation accuracy until then, and whether it went on.
    pub rungs: Vec<Rung>,
    /// What became of it.
    pub state: State,
}

/// A rung that a trial reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Finished epochs.
    pub epoch: u32,
    /// Best validation accuracy so far, in `[0, 1]`.
    pub accuracy: f64,
    /// Whether it went on.
    pub goes_on: bool,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// A worker has it, or had it when it died.
    Open,
    /// It does not fit, and was not trained.
    Rejected {
        /// What it needs too much of.
        why: String,
        /// How far it is from fitting, above 0.
        violation: f64,
    },
    /// It was worse than others after as many epochs.
    Stopped {
        /// Finished epochs.
        epoch: u32,
        /// Best validation accuracy, in `[0, 1]`.
        accuracy: f64,
    },
    /// It was trained to its end.
    Finished {
        /// Finished epochs.
        epochs: u32,
        /// Validation accuracy, in `[0, 1]`.
        accuracy: f64,
        /// Test accuracy, in `[0, 1]`.
        test_accuracy: f64,
    },
    /// It has no result.
    Failed {
        /// What happened.
        why: String,
    },
}

impl Trial {
    /// Best validation accuracy that is known of it, in `[0, 1]`; nothing before its first rung or its end.
    pub fn accuracy(&self) -> Option<f64> {
        match self.state {
            State::Finished { accuracy, .. } | State::Stopped { accuracy, .. } => Some(accuracy),
            _ => None,
        }
    }

    /// Whether it was trained to its end.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished { .. })
    }

    /// Whether it was not trained.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, State::Rejected { .. })
    }

    /// What it is judged by, in the order of `objectives`; nothing where that is not known.
    pub fn values(&self, objectives: &[Objective]) -> Option<Vec<f64>> {
        let value = |objective: &Objective| match objective {
            Objective::Accuracy => self.accuracy(),
            Objective::Flash => self.cost.map(|cost| cost.flash_bytes as f64),
            Objective::Ram => self.cost.map(|cost| cost.ram_bytes as f64),
            Objective::Macs => self.cost.map(|cost| cost.macs as f64),
            Objective::Instructions => self.cost.map(|cost| cost.instructions as f64),
        };
        objectives.iter().map(value).collect()
    }
}

/// The trials that `events` tell of, whose first is the study.
///
/// # Errors
/// They contradict each other: two workers wrote at once, where locks do not work.
pub fn fold(events: &[Event]) -> Result<Vec<Trial>> {
    let mut trials: Vec<Trial> = Vec::new();
    for (line, event) in events.iter().enumerate().map(|(i, event)| (i + 1, event)) {
        if let Event::Start { trial, worker, set, bracket } = event {
            ensure!(
                *trial as usize == trials.len(),
                "event {line} of the journal begins trial {trial}, which is not the next one{LOCKS}"
            );
            let (set, workers) = (set.clone(), vec![worker.clone()]);
            trials.push(Trial {
                number: *trial,
                set,
                bracket: *bracket,
                workers,
                cost: None,
                rungs: Vec::new(),
                state: State::Open,
            });
            continue;
        }
        let Some(number) = number(event) else {
            ensure!(line == 1, "event {line} of the journal is a second study{LOCKS}");
            continue;
        };
        let Some(trial) = trials.get_mut(number as usize) else {
            bail!("event {line} of the journal is of trial {number}, which never began{LOCKS}")
        };
        ensure!(trial.state == State::Open, "event {line} of the journal is of trial {number}, which had ended{LOCKS}");
        apply(trial, event);
    }
    Ok(trials)
}

/// How a journal can contradict itself.
const LOCKS: &str =
    ": two workers wrote at once. Begin the study anew with --out on a file system whose locks work between them";

/// The trial that `event` is of.
fn number(event: &Event) -> Option<u32> {
    match event {
        Event::Study { .. } => None,
        Event::Start { trial, .. }
        | Event::Take { trial, .. }
        | Event::Plan { trial, .. }
        | Event::Reject { trial, .. }
        | Event::Rung { trial, .. }
        | Event::Finish { trial, .. }
        | Event::Fail { trial, .. } => Some(*trial),
    }
}

fn apply(trial: &mut Trial, event: &Event) {
    match event.clone() {
        Event::Study { .. } | Event::Start { .. } => {}
        Event::Take { worker, .. } => trial.workers.push(worker),
        Event::Plan { cost, .. } => trial.cost = Some(cost),
        Event::Reject { why, violation, cost, .. } => {
            (trial.cost, trial.state) = (cost, State::Rejected { why, violation })
        }
        Event::Rung { epoch, accuracy, goes_on, .. } => {
            trial.rungs.push(Rung { epoch, accuracy, goes_on });
            if !goes_on {
                trial.state = State::Stopped { epoch, accuracy };
            }
        }
        Event::Finish { epochs, accuracy, test_accuracy, .. } => {
            trial.state = State::Finished { epochs, accuracy, test_accuracy }
        }
        Event::Fail { why, .. } => trial.state = State::Failed { why },
    }
}

/// The best of the trials that were trained to their end: the most accurate, of equals the one with the smaller plan, then the first.
pub fn best<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<&'a Trial> {
    let flash = |trial: &Trial| trial.cost.map_or(u64::MAX, |cost| cost.flash_bytes);
    let finished = trials.into_iter().filter(|trial| trial.is_finished());
    finished.min_by(|a, b| {
        let accuracy = |trial: &Trial| trial.accuracy().unwrap_or_default();
        accuracy(b).total_cmp(&accuracy(a)).then(flash(a).cmp(&flash(b))).then(a.number.cmp(&b.number))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trial that ended like this.
    pub(crate) fn trial(number: u32, set: &[&str], state: State) -> Trial {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        Trial { number, set, bracket: 0, workers: vec!["here:1".into()], cost: None, rungs: Vec::new(), state }
    }

    /// The end of a trial that came this far.
    pub(crate) fn finished(accuracy: f64) -> State {
        State::Finished { epochs: 3, accuracy, test_accuracy: accuracy }
    }

    fn start(trial: u32) -> Event {
        Event::Start { trial, worker: "here:1".into(), set: vec!["train.lr=0.1".into()], bracket: 0 }
    }

    fn finish(trial: u32) -> Event {
        Event::Finish { trial, epochs: 9, accuracy: 0.5, test_accuracy: 0.4 }
    }

    #[test]
    fn trials_are_what_happened_to_them() {
        let cost = Cost { flash_bytes: 1, ram_bytes: 2, macs: 3, instructions: 4 };
        let reject = Event::Reject { trial: 1, why: "it".into(), violation: 0.5, cost: None };
        let rung = |epoch, goes_on| Event::Rung { trial: 2, epoch, accuracy: 0.25, goes_on };
        let events = [
            start(0),
            Event::Plan { trial: 0, cost },
            start(1),
            reject,
            start(2),
            rung(1, true),
            rung(3, false),
            Event::Take { trial: 0, worker: "there:2".into() },
            finish(0),
            start(3),
        ];
        let trials = fold(&events).unwrap();
        assert_eq!((trials[0].cost, trials[0].workers.len(), trials[0].accuracy()), (Some(cost), 2, Some(0.5)));
        assert!(trials[1].is_rejected() && trials[3].state == State::Open);
        assert_eq!(trials[2].state, State::Stopped { epoch: 3, accuracy: 0.25 });
        let objectives = [Objective::Accuracy, Objective::Instructions];
        assert_eq!(trials[0].values(&objectives), Some(vec![0.5, 4.0]));
        assert_eq!(trials[2].values(&objectives), None);
        assert_eq!(best(&trials).unwrap().number, 0);
    }

    #[test]
    fn nothing_happens_to_a_trial_that_ended_or_never_began() {
        for events in [&[start(0), finish(0), finish(0)][..], &[finish(0)], &[start(1)], &[start(0), start(0)]] {
            let error = fold(events).unwrap_err().to_string();
            assert!(error.contains("two workers wrote at once"), "{error}");
        }
    }

    #[test]
    fn the_smaller_of_equals_is_the_best() {
        let mut trials = [0.5, 0.7, 0.7, 0.7].map(|accuracy| trial(0, &[], finished(accuracy)));
        for (number, (trial, flash_bytes)) in trials.iter_mut().zip([1, 30, 20, 20]).enumerate() {
            trial.number = number as u32;
            trial.cost = Some(Cost { flash_bytes, ram_bytes: 0, macs: 0, instructions: 0 });
        }
        assert_eq!(best(&trials).unwrap().number, 2);
        assert_eq!(best(&trials[..0]), None);
    }
}
