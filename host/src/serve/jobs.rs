//! One long job at a time: calls of this very program as child processes, one after the other, whose output is kept, and which
//! are asked to end in good order.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::message::Fault;

/// Lines of output that are kept, and bytes of each.
const KEPT_LINES: usize = 200;
const LINE_BYTES: usize = 500;
/// How often a child is looked after.
const TURN: Duration = Duration::from_millis(50);
/// How long a child may take to save and end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where the server itself ends.
const LAST_PATIENCE: Duration = Duration::from_secs(15);

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
    title: String,
    /// The run that it writes.
    run: String,
    state: State,
    lines: VecDeque<String>,
}

/// The job that runs, or the last one.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<Option<Arc<Mutex<Job>>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Starts calls of this program with these arguments, one after the other as long as each succeeds.
    ///
    /// # Errors
    /// Another job is running.
    pub fn start(&self, title: &str, run: &str, calls: Vec<Vec<OsString>>) -> Result<Value, Fault> {
        let mut place = lock(&self.0);
        let before = place.as_ref().map(|job| lock(job));
        if before.as_ref().is_some_and(|job| !job.state.is_over()) {
            return Err(Fault::new(409, "another job is running: wait for its end, or stop it"));
        }
        let number = before.map_or(0, |job| job.number) + 1;
        let (title, run) = (title.to_owned(), run.to_owned());
        let job = Arc::new(Mutex::new(Job { number, title, run, state: State::Running, lines: VecDeque::new() }));
        *place = Some(Arc::clone(&job));
        let described = describe(&lock(&job));
        thread::spawn(move || {
            let outcome = calls.iter().try_for_each(|arguments| call(&job, arguments));
            let mut job = lock(&job);
            job.state = match (&outcome, job.state) {
                (_, State::Stopping) => State::Stopped,
                (Ok(()), _) => State::Finished,
                (Err(_), _) => State::Failed,
            };
            if let (Err(error), State::Failed) = (outcome, job.state) {
                keep(&mut job, &format!("{error:#}"));
            }
        });
        Ok(described)
    }

    /// What is known of the job that runs, or of the last one; null before the first.
    pub fn describe(&self) -> Value {
        lock(&self.0).as_ref().map_or(Value::Null, |job| describe(&lock(job)))
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

fn describe(job: &Job) -> Value {
    json!({
        "number": job.number,
        "title": job.title,
        "run": job.run,
        "state": job.state.name(),
        "is_over": job.state.is_over(),
        "log": job.lines,
    })
}

fn keep(job: &mut Job, line: &str) {
    let end = line.floor_char_boundary(LINE_BYTES);
    job.lines.push_back(line[..end].to_owned());
    let surplus = job.lines.len().saturating_sub(KEPT_LINES);
    job.lines.drain(..surplus);
}

/// Variables of the environment that say where and on what to compute. Others would change what a form asks for.
const VARIABLES: [&str; 6] =
    ["OCELLUS_CACHE", "OCELLUS_LOG", "OCELLUS_QEMU", "OCELLUS_SIMD", "OCELLUS_SOURCE", "OCELLUS_THREADS"];

/// Calls this program and waits for its end.
fn call(job: &Arc<Mutex<Job>>, arguments: &[OsString]) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OCELLUS_") && !VARIABLES.iter().any(|known| name == *known) {
            command.env_remove(name);
        }
    }
    set_apart(&mut command);
    let mut child = command.spawn().context("cannot start this program again")?;
    let readers = [child.stdout.take().map(|out| listen(job, out)), child.stderr.take().map(|err| listen(job, err))];
    let status = wait(job, &mut child)?;
    readers.into_iter().flatten().for_each(|reader| _ = reader.join());
    anyhow::ensure!(status.success() && lock(job).state == State::Running, "it ended with {status}");
    Ok(())
}

/// Keeps what a child says.
fn listen(job: &Arc<Mutex<Job>>, output: impl Read + Send + 'static) -> thread::JoinHandle<()> {
    let job = Arc::clone(job);
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // A line without an end is cut.
        while matches!(reader.by_ref().take(1 << 16).read_until(b'\n', &mut line), Ok(1..)) {
            keep(&mut lock(&job), String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    })
}

/// The end of a child, which is asked to end where the job is to stop.
fn wait(job: &Mutex<Job>, child: &mut Child) -> Result<std::process::ExitStatus> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for it")? {
            return Ok(status);
        }
        match asked {
            None if lock(job).state == State::Stopping => {
                ask_to_end(child);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => {
                let _ = child.kill();
            }
            _ => {}
        }
        thread::sleep(TURN);
    }
}

/// What a child gave that says what it knows on its output; it is ended where `go_on` fails.
///
/// # Errors
/// It cannot be started, or `go_on` failed.
pub fn output(command: &mut Command, go_on: &dyn Fn() -> Result<()>) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    set_apart(command);
    let mut child = command.spawn().context("cannot start this program again")?;
    let (out, err) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for it")? {
            break status;
        }
        if let Err(error) = go_on() {
            ask_to_end(&mut child);
            let _ = child.wait();
            return Err(error);
        }
        thread::sleep(TURN);
    };
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: text(out), stderr: text(err) })
}

/// All that comes.
fn collect(mut output: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.read_to_end(&mut bytes);
        bytes
    })
}

/// Gives a child a group of its own: a terminal's Ctrl-C is for the server, which then asks its children to end, once.
#[cfg(unix)]
fn set_apart(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Asks a child and what it started to end.
#[cfg(unix)]
fn ask_to_end(child: &mut Child) {
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}

#[cfg(not(unix))]
fn set_apart(_: &mut Command) {}

#[cfg(not(unix))]
fn ask_to_end(child: &mut Child) {
    let _ = child.kill();
}
