//! The emulated board that answers beside this machine: booted at the first question, kept while there are more.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ocellus_shared::plan::Plan;
use serde_json::{Value, json};

use super::inspect::{SHOWN, Seen, frame, millis};
use super::library::Loaded;
use super::message::{Fault, Gone};
use crate::board::Board;
use crate::client::Client;
use crate::eval::single;
use crate::toolchain;
use crate::transport::qemu::{self, ClockMode};

/// How long the board waits for the next question before it is switched off.
const IDLE: Duration = Duration::from_secs(60);
/// How often whoever waits looks whether anybody waits for it.
const TURN: Duration = Duration::from_millis(100);

/// What the board is to classify.
enum Input {
    /// A camera's frame, which the board preprocesses itself.
    Frame(Vec<u8>),
    /// An int8 image.
    Image(Vec<i8>),
}

struct Question {
    model: Arc<Loaded>,
    input: Input,
    gone: Gone,
    answer: SyncSender<Result<Answer>>,
}

/// The scores, and how long the emulator took.
struct Answer {
    scores: Vec<i8>,
    ms: f64,
}

/// The way to the board, which has a thread of its own.
#[derive(Debug)]
pub struct BoardDesk {
    name: String,
    questions: Mutex<Option<Sender<Question>>>,
}

impl BoardDesk {
    /// The emulated board called `name`.
    pub fn new(name: String) -> Self {
        Self { name, questions: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What keeps it from being emulated here, with the remedy.
    pub fn obstacle(&self) -> Option<String> {
        let find = || {
            let board = Board::load(&self.name)?;
            board.machine.as_ref().with_context(|| format!("{} is not an emulated board", self.name))?;
            qemu::find()?;
            let builds = toolchain::can_build(&board)?;
            anyhow::ensure!(
                builds,
                "its program cannot be built here: `ocellus doctor --install` gets what is missing"
            );
            Ok(())
        };
        find().err().map(|error: anyhow::Error| format!("{error:#}"))
    }

    /// What the board says of a picture, beside what the engine here says of the same.
    ///
    /// # Errors
    /// It cannot be emulated, the model does not fit it, or it fails.
    pub fn ask(&self, model: &Arc<Loaded>, seen: &Seen, gone: &Gone) -> Result<Value, Fault> {
        let input = seen.frame.clone().map_or_else(|| Input::Image(seen.image.clone()), Input::Frame);
        let (answer, answers) = sync_channel(1);
        let question = Question { model: Arc::clone(model), input, gone: gone.clone(), answer };
        self.send(question);
        let answer = wait(&answers, gone)?.map_err(|error| Fault::conflict(&error))?;
        let engine = model.engine()?;
        let here = engine.scores(&seen.image).map_err(|error| Fault::unusable(&error))?;
        let plan = engine.plan();
        Ok(json!({
            "board": self.name,
            "label": plan.label(single::best(&answer.scores, 1)[0].class.into()),
            "scores": answer.scores,
            "top": single::top(plan, &answer.scores, SHOWN),
            "ms": answer.ms,
            "equals_engine": answer.scores == here,
        }))
    }

    /// Hands a question to the thread, which is started where there is none.
    fn send(&self, question: Question) {
        let mut way = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let questions = way.get_or_insert_with(|| {
            let (questions, asked) = channel();
            let name = self.name.clone();
            thread::spawn(move || answer_all(&name, &asked));
            questions
        });
        // Where the thread is gone, the next question starts another, and whoever sent this one hears of it.
        if questions.send(question).is_err() {
            *way = None;
        }
    }

    /// Switches the board off.
    pub fn end(&self) {
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What comes of a question; nothing where its client is gone first.
fn wait(answers: &Receiver<Result<Answer>>, gone: &Gone) -> Result<Result<Answer>, Fault> {
    loop {
        match answers.recv_timeout(TURN) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Fault::new(503, "the board was switched off: try again"));
            }
            Err(RecvTimeoutError::Timeout) if gone.is_set() => {
                return Err(Fault::new(499, "nobody waits for the answer"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Answers questions until nobody can ask any more.
fn answer_all(name: &str, questions: &Receiver<Question>) {
    let mut running: Option<(Arc<Loaded>, Client)> = None;
    loop {
        let question = match questions.recv_timeout(IDLE) {
            Ok(question) => question,
            Err(RecvTimeoutError::Timeout) => {
                running = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Many may have come while the board booted.
        if question.gone.is_set() {
            continue;
        }
        let answer = answer_one(name, &mut running, &question);
        if answer.is_err() {
            running = None;
        }
        let _ = question.answer.send(answer);
    }
}

/// Answers one on the board that is `running`, if it runs that model, else on one that is booted now.
fn answer_one(name: &str, running: &mut Option<(Arc<Loaded>, Client)>, question: &Question) -> Result<Answer> {
    if !running.as_ref().is_some_and(|(model, _)| Arc::ptr_eq(model, &question.model)) {
        // Two emulators would share the cores.
        *running = None;
        *running = Some((Arc::clone(&question.model), boot(name, question.model.plan_bytes())?));
    }
    let (_, client) = running.as_mut().context("the board is off")?;
    let start = Instant::now();
    let scores = match &question.input {
        Input::Frame(data) => client.frame(&frame(data)?)?.scores,
        Input::Image(image) => client.scores(image)?,
    };
    Ok(Answer { scores, ms: millis(start) })
}

fn boot(name: &str, plan: &[u8]) -> Result<Client> {
    let board = Board::load(name)?;
    board.check_fit(&Plan::parse(plan)?)?;
    let built = toolchain::build_firmware(&board, &|_| ())?;
    Client::boot_with(&board, &built.elf, ClockMode::Free, plan)
}
