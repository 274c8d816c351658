//! The live view of a real board: one board at a time, by the client that `ocellus monitor` uses, as long as somebody looks.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ocellus_shared::plan::Plan;
use serde_json::{Value, json};

use super::inspect::{SHOWN, data_url};
use super::library::Loaded;
use super::message::Fault;
use crate::board::Board;
use crate::camera;
use crate::client::Client;
use crate::eval::single;
use crate::probe::{Selector, Settings};
use crate::toolchain;
use crate::watch::{Seen, Tally, Turn, Watch};

/// How long a board is watched that nobody asks for: pages ask several times a second.
const LEASE: Duration = Duration::from_secs(8);
/// How long an answer waits for something new.
const WAIT: Duration = Duration::from_millis(500);
/// Lines about faults and of the board's log that are kept.
const KEPT_LINES: usize = 100;
/// How long the server waits for the board to be left in good order.
const MOMENT: Duration = Duration::from_secs(3);
/// How often it looks.
const TURN: Duration = Duration::from_millis(20);

/// A real board, and how to reach it.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The board.
    pub board: Board,
    /// The way to it.
    pub settings: Settings,
    /// Its program, where it is not to be built.
    pub elf: Option<std::path::PathBuf>,
}

impl Reached {
    /// Whether it is a board in software.
    pub fn is_rehearsal(&self) -> bool {
        matches!(self.settings.probe, Selector::Simulated(_))
    }

    /// The board's program: the one that was given, or one that is built now. `hear` gets what the compiler says.
    ///
    /// # Errors
    /// It cannot be built or read, or is another board's.
    pub fn program(&self, hear: &dyn Fn(&str)) -> Result<Vec<u8>> {
        let path = match &self.elf {
            Some(elf) => elf.clone(),
            None => toolchain::build_firmware(&self.board, hear)?.elf,
        };
        toolchain::read_program(&self.board, &path)
    }
}

/// How a view stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Watching,
    Stopped,
    Failed,
}

/// What is seen.
#[derive(Debug)]
struct View {
    state: State,
    /// What is done before there is something to see; why there is nothing more, where it failed.
    doing: String,
    /// Grows with everything that happens.
    number: u64,
    /// Label, best classes and picture of the newest frame.
    newest: Value,
    tally: Tally,
    lines: VecDeque<String>,
}

/// What the thread that watches and the requests share.
#[derive(Debug)]
struct Shared {
    model: String,
    board: String,
    is_rehearsal: bool,
    view: Mutex<View>,
    changed: Condvar,
    asked: Mutex<Instant>,
    is_stopped: AtomicBool,
}

/// The view that goes on, or the last one.
#[derive(Debug, Default)]
pub struct LiveDesk(Mutex<Option<(Arc<Shared>, JoinHandle<()>)>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveDesk {
    /// Watches a board that runs `model`, instead of the one that was watched before. With `wants_frames` it sends its frames.
    pub fn start(&self, model: Arc<Loaded>, reached: Reached, wants_frames: bool) -> Value {
        let mut place = lock(&self.0);
        let view = View {
            state: State::Starting,
            doing: "looking for the board".to_owned(),
            number: 0,
            newest: Value::Null,
            tally: Tally::default(),
            lines: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            model: model.id.clone(),
            board: reached.board.name.clone(),
            is_rehearsal: reached.is_rehearsal(),
            view: Mutex::new(view),
            changed: Condvar::new(),
            asked: Mutex::new(Instant::now()),
            is_stopped: AtomicBool::new(false),
        });
        let before = place.take();
        if let Some((before, _)) = &before {
            before.is_stopped.store(true, Ordering::Relaxed);
        }
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            // A probe serves one at a time.
            let _ = before.map(|(_, thread)| thread.join());
            let outcome = catch_unwind(AssertUnwindSafe(|| watch(&watched, &model, &reached, wants_frames)));
            watched.end(outcome.unwrap_or_else(|_| Err(anyhow!("it failed unexpectedly"))));
        });
        let described = shared.describe(None);
        *place = Some((shared, thread));
        described
    }

    /// What is seen, at once or as soon as more happens than what had the number `after`; null before the first view.
    pub fn describe(&self, after: Option<u64>) -> Value {
        // Others need not wait for what this one waits for.
        let shared = lock(&self.0).as_ref().map(|(shared, _)| Arc::clone(shared));
        shared.map_or(Value::Null, |shared| shared.describe(after))
    }

    /// Whether a board is watched.
    pub fn is_on(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|(_, thread)| !thread.is_finished())
    }

    /// Asks for the end of the view.
    ///
    /// # Errors
    /// There is none.
    pub fn stop(&self) -> Result<Value, Fault> {
        let place = lock(&self.0);
        let (shared, _) = place.as_ref().ok_or_else(|| Fault::new(409, "no board is being watched"))?;
        shared.is_stopped.store(true, Ordering::Relaxed);
        Ok(shared.describe(None))
    }

    /// Ends the view, and waits a moment for the board to be left in good order.
    pub fn end(&self) {
        let start = Instant::now();
        if self.stop().is_err() {
            return;
        }
        while self.is_on() && start.elapsed() < MOMENT {
            thread::sleep(TURN);
        }
    }
}

/// Brings the board up and watches it until nobody looks any more.
fn watch(shared: &Shared, model: &Loaded, reached: &Reached, wants_frames: bool) -> Result<()> {
    let bytes = model.plan_bytes();
    let plan = Plan::parse(bytes)?;
    reached.board.check_fit(&plan)?;
    shared.doing("its program is being built");
    let elf = reached.program(&|line| shared.doing(&format!("its program is being built: {line}")))?;
    if !shared.is_wanted() {
        return Ok(());
    }
    shared.doing("connecting");
    let client = Client::on_board(&reached.board, &reached.settings, &elf, bytes)?;
    let mut watch = Watch::start(client, bytes, wants_frames)?;
    shared.change(|view| view.state = State::Watching);
    while shared.is_wanted() {
        for turn in watch.next_turns()? {
            shared.take(&turn, &plan)?;
        }
    }
    watch.end()
}

impl Shared {
    /// Whether somebody looks.
    fn is_wanted(&self) -> bool {
        !self.is_stopped.load(Ordering::Relaxed) && lock(&self.asked).elapsed() < LEASE
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = lock(&self.view);
        change(&mut view);
        view.number += 1;
        drop(view);
        self.changed.notify_all();
    }

    fn doing(&self, what: &str) {
        self.change(|view| view.doing = what.to_owned());
    }

    /// Shows what happened on the board.
    fn take(&self, turn: &Turn, plan: &Plan) -> Result<()> {
        match turn {
            Turn::Frame(seen) if seen.scores.len() != plan.output().shape.len() => {
                self.change(|view| view.note("the board runs another model: flash the chosen one"));
            }
            Turn::Frame(seen) => {
                let newest = newest(seen, plan)?;
                self.change(|view| {
                    view.tally.add(newest["label"].as_str().unwrap_or_default(), seen.latency, seen.interval);
                    view.newest = newest;
                });
            }
            Turn::Fault { what, missed } => self.change(|view| {
                view.tally.missed = *missed;
                view.note(&format!("no frame: {what}"));
            }),
            Turn::Note(line) => self.change(|view| view.note(line)),
        }
        Ok(())
    }

    fn end(&self, outcome: Result<()>) {
        self.change(|view| match outcome {
            Ok(()) => view.state = State::Stopped,
            Err(error) => (view.state, view.doing) = (State::Failed, format!("{error:#}")),
        });
    }

    fn describe(&self, after: Option<u64>) -> Value {
        *lock(&self.asked) = Instant::now();
        let is_old = |view: &mut View| after.is_some_and(|after| view.number <= after) && !view.is_over();
        let (view, _) =
            self.changed.wait_timeout_while(lock(&self.view), WAIT, is_old).unwrap_or_else(PoisonError::into_inner);
        json!({
            "model": self.model,
            "board": self.board,
            "rehearsal": self.is_rehearsal,
            "state": view.state.name(),
            "is_over": view.is_over(),
            "doing": view.doing,
            "number": view.number,
            "newest": view.newest,
            "frames": view.tally.frames,
            "dropped": view.tally.missed,
            "fps": view.tally.fps(),
            "latency_ms": view.tally.latency_ms(),
            "labels": view.tally.labels,
            "log": view.lines,
        })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Watching => "watching",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl View {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Stopped | State::Failed)
    }

    fn note(&mut self, line: &str) {
        self.lines.push_back(line.to_owned());
        let surplus = self.lines.len().saturating_sub(KEPT_LINES);
        self.lines.drain(..surplus);
    }
}

/// What is said of a frame.
fn newest(seen: &Seen, plan: &Plan) -> Result<Value> {
    let picture = seen.frame.as_ref().map(|raw| camera::rgb(&raw.frame()?).and_then(data_url)).transpose()?;
    Ok(json!({
        "label": plan.label(single::best(&seen.scores, 1)[0].class.into()),
        "top": single::top(plan, &seen.scores, SHOWN),
        "picture": picture,
    }))
}
