//! One long job at a time: training, an export, or writing to a board. What it says is kept, and it can be asked to end in good
//! order.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::message::Fault;
use super::process;

/// Lines of output that are kept, and bytes of each.
const KEPT_LINES: usize = 200;
const LINE_BYTES: usize = 500;
/// How often it is looked whether a job is over, and how long the server's own end waits for that.
const TURN: Duration = Duration::from_millis(50);
const LAST_PATIENCE: Duration = Duration::from_secs(15);

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It trains.
    Train,
    /// It quantizes and exports.
    Export,
    /// It writes to a board.
    Flash,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Export => "export",
            Self::Flash => "flash",
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopping,
    Finished,
    Failed,
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    fn is_over(self) -> bool {
        !matches!(self, Self::Running | Self::Stopping)
    }
}

/// What is known of a job.
#[derive(Debug)]
struct Job {
    number: u32,
    kind: Kind,
    title: String,
    /// The run that it writes; empty where it writes none.
    run: String,
    state: State,
    /// What it does, and how much of that is done, where it says so.
    progress: Option<(&'static str, u64, u64)>,
    lines: VecDeque<String>,
}

/// The job that runs, or the last one.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<Option<Arc<Mutex<Job>>>>);

/// The job, for what does its work.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Mutex<Job>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Starts `work` on a thread of its own.
    ///
    /// # Errors
    /// Another job is running.
    pub fn start(
        &self,
        kind: Kind,
        title: &str,
        run: &str,
        work: impl FnOnce(&Worker) -> Result<()> + Send + 'static,
    ) -> Result<Value, Fault> {
        let mut place = lock(&self.0);
        let before = place.as_ref().map(|job| lock(job));
        if before.as_ref().is_some_and(|job| !job.state.is_over()) {
            return Err(Fault::new(409, "another job is running: wait for its end, or stop it"));
        }
        let number = before.map_or(0, |job| job.number) + 1;
        let (title, run, lines) = (title.to_owned(), run.to_owned(), VecDeque::new());
        let job = Job { number, kind, title, run, state: State::Running, progress: None, lines };
        let described = describe(&job);
        let job = Arc::new(Mutex::new(job));
        *place = Some(Arc::clone(&job));
        thread::spawn(move || {
            let worker = Worker(job);
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&worker)));
            worker.end(outcome.unwrap_or_else(|_| Err(anyhow!("it failed unexpectedly"))));
        });
        Ok(described)
    }

    /// What is known of the job that runs, or of the last one; null before the first.
    pub fn describe(&self) -> Value {
        lock(&self.0).as_ref().map_or(Value::Null, |job| describe(&lock(job)))
    }

    /// Whether a job of this kind runs.
    pub fn is_running(&self, kind: Kind) -> bool {
        let place = lock(&self.0);
        place.as_ref().map(|job| lock(job)).is_some_and(|job| job.kind == kind && !job.state.is_over())
    }

    /// Asks the job that runs to end in good order.
    ///
    /// # Errors
    /// None runs.
    pub fn stop(&self) -> Result<Value, Fault> {
        let place = lock(&self.0);
        let mut job = place.as_ref().map(|job| lock(job)).filter(|job| !job.state.is_over());
        let job = job.as_mut().ok_or_else(|| Fault::new(409, "no job is running"))?;
        job.state = State::Stopping;
        Ok(describe(job))
    }

    /// Stops what runs, and waits a while for its end.
    pub fn end(&self) {
        let start = Instant::now();
        if self.stop().is_err() {
            return;
        }
        let is_over = || lock(&self.0).as_ref().is_none_or(|job| lock(job).state.is_over());
        while !is_over() && start.elapsed() < LAST_PATIENCE {
            thread::sleep(TURN);
        }
    }
}

impl Worker {
    /// Calls this program, and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, fails, or is stopped.
    pub fn call(&self, arguments: &[OsString]) -> Result<()> {
        let mut command = process::this_program()?;
        command.args(arguments);
        let worker = self.clone();
        let status = process::run(command, move |line| worker.say(line), &|| self.go_on().is_err())?;
        self.go_on()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Keeps a line about what is done.
    pub fn say(&self, line: &str) {
        let mut job = lock(&self.0);
        let end = line.floor_char_boundary(LINE_BYTES);
        job.lines.push_back(line[..end].to_owned());
        let surplus = job.lines.len().saturating_sub(KEPT_LINES);
        job.lines.drain(..surplus);
    }

    /// `done` of `all` of `what` is done; nothing is known of how much there is while `all` is 0.
    pub fn progress(&self, what: &'static str, done: u64, all: u64) {
        lock(&self.0).progress = Some((what, done, all));
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// The job is to stop.
    pub fn go_on(&self) -> Result<()> {
        ensure!(lock(&self.0).state == State::Running, "it was stopped");
        Ok(())
    }

    /// What was done is done, also where somebody wanted to stop it too late.
    fn end(&self, outcome: Result<()>) {
        let is_stopped = self.go_on().is_err();
        let state = match &outcome {
            Ok(()) => State::Finished,
            Err(_) if is_stopped => State::Stopped,
            Err(_) => State::Failed,
        };
        if let (Err(error), State::Failed) = (outcome, state) {
            self.say(&format!("{error:#}"));
        }
        let mut job = lock(&self.0);
        (job.state, job.progress) = (state, None);
    }
}

fn describe(job: &Job) -> Value {
    json!({
        "number": job.number,
        "kind": job.kind.name(),
        "title": job.title,
        "run": job.run,
        "state": job.state.name(),
        "is_over": job.state.is_over(),
        "progress": job.progress.map(|(what, done, all)| json!({ "what": what, "done": done, "all": all })),
        "log": job.lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(jobs: &Jobs) -> Value {
        loop {
            let job = jobs.describe();
            if job["is_over"] == true {
                return job;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn one_runs_at_a_time_and_ends_in_a_state_of_its_own() {
        let jobs = Jobs::default();
        assert_eq!(jobs.describe(), Value::Null);
        let endless = |worker: &Worker| loop {
            worker.progress("turning", 1, 2);
            worker.go_on()?;
            thread::sleep(Duration::from_millis(1));
        };
        jobs.start(Kind::Flash, "first", "", endless).unwrap();
        assert!(jobs.is_running(Kind::Flash) && !jobs.is_running(Kind::Train));
        assert_eq!(jobs.start(Kind::Train, "second", "", |_| Ok(())).unwrap_err().status, 409);
        jobs.stop().unwrap();
        let stopped = wait(&jobs);
        assert_eq!((&stopped["state"], &stopped["progress"]), (&"stopped".into(), &Value::Null));
        assert!(jobs.stop().is_err());
        jobs.start(Kind::Train, "third", "x", |worker| {
            worker.say("a line");
            anyhow::bail!("broken")
        })
        .unwrap();
        let failed = wait(&jobs);
        assert_eq!((&failed["state"], &failed["log"]), (&"failed".into(), &json!(["a line", "broken"])));
        jobs.start(Kind::Export, "fourth", "x", |_| panic!("on purpose")).unwrap();
        assert_eq!(wait(&jobs)["log"], json!(["it failed unexpectedly"]));
        jobs.start(Kind::Export, "fifth", "x", |_| Ok(())).unwrap();
        let last = wait(&jobs);
        assert_eq!((&last["state"], &last["number"]), (&"finished".into(), &4.into()));
    }
}
