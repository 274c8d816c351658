//! The folder of a study, which its workers share: who takes which trial.
//!
//! | path | |
//! |---|---|
//! | `journal.jsonl` | the journal, in the format of [`super::journal`] |
//! | `trials/0007/` | the run folder of trial 7, as `ocellus train` writes it |
//! | `leases/0007.lock` | locked by the worker that has trial 7, as long as it lives |
//!
//! A worker decides with the journal locked: it takes an open trial whose lease nobody holds, or begins a new one. So no trial is
//! begun twice, and one whose worker was killed is taken again, by whoever looks next, from its last checkpoint on.

use super::halving;
use super::journal::{self, Cost, Event, FORMAT, JOURNAL, Writer};
use super::sampler;
use super::study::{Plan, SamplerKind, Study};
use super::trials::{self, State, Trial};
use crate::files;
use crate::recipe::Recipe;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where the files are that say which trials are taken.
const LEASES: &str = "leases";
/// Points in a row that may be rejected before the study is given up.
const MOST_REJECTED: usize = 1000;
/// How often a trial may be taken before it counts as one that kills its workers.
const MOST_TAKES: usize = 20;

/// The dataset, as far as a study depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFacts {
    /// Its hash.
    pub hash: String,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// Rows and columns of its images by the base recipe.
    pub side: u16,
}

/// The folder of a study that has begun.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// The study.
    pub plan: Plan,
    /// Its dataset.
    pub data: DataFacts,
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next {
    /// It trains this trial.
    Trial(Box<Taken>),
    /// Others train the last trials: one of them may die.
    Wait,
    /// All trials have ended.
    Done,
}

/// A trial that this worker has, as long as this lives.
#[derive(Debug)]
pub struct Taken {
    /// The trial.
    pub trial: Trial,
    _lease: File,
}

impl Folder {
    /// Where a study is kept where nobody says so: `sweeps/NAME`.
    pub fn usual(study: &Study) -> PathBuf {
        Path::new("sweeps").join(&study.name)
    }

    /// The study of `plan` in the folder `path`, which is made and begun where nothing is there yet.
    ///
    /// # Errors
    /// Another study is there, or the same on another dataset; or it cannot be read or written.
    pub fn begin(path: &Path, plan: &Plan, data: &DataFacts) -> Result<Self> {
        files::make_folder(&path.join(LEASES))?;
        let mut writer = Writer::lock(&path.join(JOURNAL))?;
        if writer.events().is_empty() {
            writer.append(Event::Study {
                format: FORMAT,
                study: toml::to_string(&plan.study).context("the study has no TOML form")?,
                recipe: plan.base.to_toml(),
                dataset: data.hash.clone(),
                classes: data.classes.clone(),
                side: data.side,
            })?;
        }
        let there = Self::of(path, writer.events())?;
        let differing = there.plan.differing_keys(plan);
        ensure!(
            differing.is_empty(),
            "{} holds the trials of another study, which differs in {}: put the study file back as it was, or begin a new study with --out",
            path.display(),
            differing.join(", ")
        );
        ensure!(
            there.data.hash == data.hash,
            "{} holds trials on another dataset: check --data, or begin a new study with --out",
            path.display()
        );
        Ok(Self { plan: plan.clone(), ..there })
    }

    /// The study whose folder is `path`.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let journal = path.join(JOURNAL);
        ensure!(
            journal.exists(),
            "{} holds no study: begin it with `ocellus sweep run STUDY`, or give the folder that its --out was",
            path.display()
        );
        Self::of(path, &journal::read(&journal)?)
    }

    fn of(path: &Path, events: &[Event]) -> Result<Self> {
        let what = || format!("in {}", path.join(JOURNAL).display());
        let Some(Event::Study { format, study, recipe, dataset, classes, side }) = events.first() else {
            bail!("{}: its first line is no study; put the file back as it was", path.join(JOURNAL).display())
        };
        ensure!(
            *format == FORMAT,
            "{} has the format {format}, this program knows {FORMAT}: use the program that wrote it",
            path.join(JOURNAL).display()
        );
        let mut study: Study = toml::from_str(study).with_context(what)?;
        // They are part of the base recipe that stands beside it.
        study.set.clear();
        let plan = Plan::new(study, Recipe::parse(recipe).with_context(what)?).with_context(what)?;
        let data = DataFacts { hash: dataset.clone(), classes: classes.clone(), side: *side };
        Ok(Self { path: path.to_owned(), plan, data })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run folder of a trial.
    pub fn run(&self, trial: u32) -> PathBuf {
        self.path.join("trials").join(format!("{trial:04}"))
    }

    /// Its trials, as far as they are written down.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        trials::fold(&journal::read(&self.path.join(JOURNAL))?)
    }

    /// Whether a living worker has the open `trial`.
    pub fn is_taken(&self, trial: &Trial) -> bool {
        let path = self.lease(trial.number);
        // Whoever looks must not stand in the way of whoever takes: a shared lock lasts an instant.
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    fn lease(&self, trial: u32) -> PathBuf {
        self.path.join(LEASES).join(format!("{trial:04}.lock"))
    }

    /// Takes a trial for this worker.
    ///
    /// # Errors
    /// The journal cannot be read or written; or so many points do not fit that the budget, or the space, must be wrong.
    pub fn next(&self) -> Result<Next> {
        let mut writer = self.lock()?;
        let all = trials::fold(writer.events())?;
        for trial in all.iter().filter(|trial| trial.state == State::Open) {
            let Some(lease) = files::try_lock_file(&self.lease(trial.number))? else { continue };
            if trial.workers.len() >= MOST_TAKES {
                let why = format!("its worker died {MOST_TAKES} times; was the memory full?");
                writer.append(Event::Fail { trial: trial.number, why })?;
                continue;
            }
            writer.append(Event::Take { trial: trial.number, worker: journal::worker() })?;
            return Ok(Next::Trial(Box::new(Taken { trial: trial.clone(), _lease: lease })));
        }
        match self.begin_trial(&mut writer, &all)? {
            Some(taken) => Ok(Next::Trial(Box::new(taken))),
            None if trials::fold(writer.events())?.iter().any(|trial| trial.state == State::Open) => Ok(Next::Wait),
            None => Ok(Next::Done),
        }
    }

    /// Begins a new trial after `all`, unless there are enough.
    fn begin_trial(&self, writer: &mut Writer, all: &[Trial]) -> Result<Option<Taken>> {
        let study = &self.plan.study;
        let trained = all.iter().filter(|trial| !trial.is_rejected()).count();
        if study.trials.is_some_and(|trials| trained >= trials as usize) {
            return Ok(None);
        }
        let rejected = all.iter().rev().take_while(|trial| trial.is_rejected()).count();
        if let Some(Trial { state: State::Rejected { why, .. }, .. }) = all.last().filter(|_| rejected >= MOST_REJECTED)
        {
            ensure!(
                study.sampler == SamplerKind::Grid,
                "{rejected} points in a row did not fit; of the last, {why}: widen [budget], or let [search] begin with smaller networks"
            );
        }
        let Some(point) = sampler::propose(&self.plan, all)? else { return Ok(None) };
        let (set, number) = (self.plan.space.texts(&point), all.len() as u32);
        let epochs = self.plan.base.train.epochs;
        let bracket = study.halving.map_or(0, |halving| halving::bracket(&halving, epochs, trained));
        let lease = files::try_lock_file(&self.lease(number))?;
        let lease = lease
            .with_context(|| format!("{} is locked, and trial {number} has not begun", self.lease(number).display()))?;
        let event = Event::Start { trial: number, worker: journal::worker(), set, bracket };
        writer.append(event)?;
        let trial = trials::fold(writer.events())?.pop().context("it was just begun")?;
        Ok(Some(Taken { trial, _lease: lease }))
    }

    /// Writes down what the network of a trial needs.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn planned(&self, taken: &Taken, cost: Cost) -> Result<()> {
        // A trial that was taken again has that already.
        if taken.trial.cost == Some(cost) {
            Ok(())
        } else {
            self.append(Event::Plan { trial: taken.trial.number, cost })
        }
    }

    /// Writes down how a trial ended.
    ///
    /// # Errors
    /// The journal cannot be written, or says that the trial had ended before.
    pub fn append(&self, event: Event) -> Result<()> {
        let mut writer = self.lock()?;
        let mut events = writer.events().to_vec();
        events.push(event.clone());
        trials::fold(&events)?;
        writer.append(event)
    }

    /// Whether a trial goes on that has this best validation accuracy after `epoch` epochs.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub fn goes_on(&self, taken: &Taken, epoch: u32, accuracy: f64) -> Result<bool> {
        let Some(halving) = &self.plan.study.halving else { return Ok(true) };
        if !halving::rungs(halving, taken.trial.bracket, self.plan.base.train.epochs).contains(&epoch) {
            return Ok(true);
        }
        let mut writer = self.lock()?;
        let all = trials::fold(writer.events())?;
        let number = taken.trial.number;
        let trial = all.get(number as usize).context("a trial that was taken is in the journal")?;
        // One that was taken again comes by a second time.
        if let Some(rung) = trial.rungs.iter().find(|rung| rung.epoch == epoch) {
            return Ok(rung.goes_on);
        }
        let goes_on = halving::goes_on(halving, &all, trial, epoch, accuracy);
        writer.append(Event::Rung { trial: number, epoch, accuracy, goes_on })?;
        Ok(goes_on)
    }

    fn lock(&self) -> Result<Writer> {
        let writer = Writer::lock(&self.path.join(JOURNAL))?;
        ensure!(!writer.events().is_empty(), "{} is gone: begin the study anew", self.path.join(JOURNAL).display());
        Ok(writer)
    }
}

impl Plan {
    /// Names of the keys in which `other` is another study. It may be longer or shorter.
    fn differing_keys(&self, other: &Self) -> Vec<String> {
        let table = |plan: &Self| {
            let mut study = plan.study.clone();
            (study.trials, study.hours, study.recipe) = (None, None, None);
            study.set.clear();
            toml::Table::try_from(&study).unwrap_or_default()
        };
        let (ours, theirs) = (table(self), table(other));
        let keys = ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned();
        differing.chain(self.base.differing_keys(&other.base)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str =
        "name = 'rates'\ntrials = 3\nsampler = 'random'\n[search]\n'train.lr' = { from = 0.01, to = 0.1 }\n";

    fn plan(text: &str) -> Plan {
        Plan::new(toml::from_str(text).unwrap(), Recipe::default()).unwrap()
    }

    fn facts() -> DataFacts {
        DataFacts { hash: "00ff".into(), classes: vec!["a".into(), "b".into()], side: 32 }
    }

    fn folder(text: &str) -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::begin(&place.path().join("study"), &plan(text), &facts()).unwrap();
        (place, folder)
    }

    fn take(folder: &Folder) -> Taken {
        match folder.next().unwrap() {
            Next::Trial(taken) => *taken,
            other => panic!("{other:?}"),
        }
    }

    fn finish(folder: &Folder, taken: &Taken) {
        let trial = taken.trial.number;
        folder.append(Event::Finish { trial, epochs: 1, accuracy: 0.5, test_accuracy: 0.5 }).unwrap();
    }

    #[test]
    fn every_trial_is_taken_once_and_that_of_a_dead_worker_again() {
        let (_place, folder) = folder(STUDY);
        let (first, second) = (take(&folder), take(&folder));
        assert_eq!((first.trial.number, second.trial.number), (0, 1));
        assert!(folder.is_taken(&first.trial) && folder.is_taken(&second.trial));
        // Its worker dies.
        drop(first);
        assert!(!folder.is_taken(&folder.trials().unwrap()[0]));
        let again = take(&folder);
        assert_eq!((again.trial.number, folder.trials().unwrap()[0].workers.len()), (0, 2));
        let third = take(&folder);
        assert_eq!(third.trial.number, 2);
        assert!(matches!(folder.next().unwrap(), Next::Wait));
        [&again, &second, &third].into_iter().for_each(|taken| finish(&folder, taken));
        assert!(matches!(folder.next().unwrap(), Next::Done));
        // Nobody ends one twice.
        let double = Event::Fail { trial: 1, why: String::new() };
        assert!(folder.append(double).is_err());
        assert_eq!(folder.trials().unwrap().iter().filter(|trial| trial.is_finished()).count(), 3);
    }

    #[test]
    fn what_is_rejected_does_not_count_and_never_fits_forever() {
        let (_place, folder) = folder(STUDY);
        let reject = |taken: &Taken| {
            let event =
                Event::Reject { trial: taken.trial.number, why: "it is large".into(), violation: 1.0, cost: None };
            folder.append(event).unwrap();
        };
        let first = take(&folder);
        reject(&first);
        (0..3).for_each(|_| finish(&folder, &take(&folder)));
        assert!(matches!(folder.next().unwrap(), Next::Done));
        assert_eq!(folder.trials().unwrap().len(), 4);
        let (_place, folder) = self::folder(STUDY);
        let mut writer = folder.lock().unwrap();
        for trial in 0..MOST_REJECTED as u32 {
            let set = vec![format!("train.lr={}", 0.01 + 0.00001 * f64::from(trial))];
            writer.append(Event::Start { trial, worker: "here:1".into(), set, bracket: 0 }).unwrap();
            writer.append(Event::Reject { trial, why: "it is large".into(), violation: 1.0, cost: None }).unwrap();
        }
        drop(writer);
        let error = folder.next().unwrap_err().to_string();
        assert!(error.contains("1000 points in a row") && error.contains("it is large"), "{error}");
    }

    #[test]
    fn a_trial_that_kills_its_workers_is_given_up() {
        let (_place, folder) = folder(STUDY);
        for _ in 0..MOST_TAKES {
            assert_eq!(take(&folder).trial.number, 0);
        }
        assert_eq!(take(&folder).trial.number, 1);
        assert!(matches!(&folder.trials().unwrap()[0].state, State::Failed { why } if why.contains("died 20 times")));
    }

    #[test]
    fn a_study_goes_on_longer_but_not_otherwise() {
        let (place, folder) = folder(STUDY);
        let path = place.path().join("study");
        let begin = |text: &str, facts: &DataFacts| Folder::begin(&path, &plan(text), facts);
        begin(&STUDY.replace("trials = 3", "trials = 30\nhours = 2"), &facts()).unwrap();
        for (changed, key) in [
            (STUDY.replace("0.1 }", "0.2 }"), "search"),
            (STUDY.replace("random", "tpe"), "sampler"),
            (format!("seed = 3\n{STUDY}"), "seed"),
            (format!("set.train.epochs = 3\n{STUDY}"), "train.epochs"),
        ] {
            let error = begin(&changed, &facts()).unwrap_err().to_string();
            assert!(error.contains(&format!("differs in {key}")) && error.contains("--out"), "{error}");
        }
        let error = begin(STUDY, &DataFacts { hash: "11".into(), ..facts() }).unwrap_err().to_string();
        assert!(error.contains("another dataset") && error.contains("--data"), "{error}");
        let there = Folder::open(&path).unwrap();
        assert_eq!((there.plan.differing_keys(&folder.plan), there.data), (vec![], facts()));
        let error = Folder::open(place.path()).unwrap_err().to_string();
        assert!(error.contains("holds no study") && error.contains("ocellus sweep run"), "{error}");
    }

    #[test]
    fn a_rung_is_decided_once() {
        let (_place, folder) = folder(&format!("halving.method = 'successive-halving'\n{STUDY}"));
        let (first, second) = (take(&folder), take(&folder));
        assert!(folder.goes_on(&first, 2, 0.0).unwrap(), "there is no rung");
        assert!(folder.goes_on(&first, 1, 0.5).unwrap() && !folder.goes_on(&second, 1, 0.4).unwrap());
        assert!(folder.goes_on(&first, 1, 0.1).unwrap(), "it is asked again");
        let trials = folder.trials().unwrap();
        assert_eq!(trials[1].state, State::Stopped { epoch: 1, accuracy: 0.4 });
        assert_eq!((trials[0].rungs.len(), &trials[0].state), (1, &State::Open));
    }
}
