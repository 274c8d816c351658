//! What a camera loop does: that of a real board, which is followed, or of an emulated one, on its simulated sensor.

use std::mem::take;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocellus_shared::scores;
use ocellus_shared::wire::{Event, FrameCounts, Kind, Reply};

use super::{Classification, Client, checked};

/// Longest wait for the next thing that a simulation brings, besides that for a run.
const TURN: Duration = Duration::from_secs(20);

/// Frames that a loop may have before the one that its camera is shown: one is taken in, one waits.
const UNDER_WAY: u32 = 2;
/// Failures of a camera after which it is given up.
const MOST_FAULTS: u32 = 10;

/// A live frame's classification.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFrame {
    /// The turn of the loop in which it was taken in.
    pub turn: u32,
    /// The frame's int8 scores.
    pub scores: Vec<i8>,
    /// The label that stands, or the likeliest class.
    pub label: String,
    /// Whether that label stands.
    pub settled: bool,
    /// Time from frame to label.
    pub latency: Duration,
    /// Time since the frame before; zero for the first.
    pub interval: Duration,
}

/// Something that a camera loop does.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveEvent {
    /// A frame was classified.
    Frame(LiveFrame),
    /// A frame did not come.
    Fault {
        /// The turn.
        turn: u32,
        /// What happened, in one word.
        what: String,
        /// What happened so far.
        counts: FrameCounts,
    },
    /// A simulation is over.
    Over(FrameCounts),
}

/// What came of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulation {
    /// Every frame that was classified.
    pub frames: Vec<LiveFrame>,
    /// Turn and name of everything that went wrong.
    pub faults: Vec<(u32, String)>,
    /// How often what happened.
    pub counts: FrameCounts,
}

impl Client {
    /// Runs the camera loop of an emulated board for `turns` turns, through `events`.
    ///
    /// # Errors
    /// The board refuses, stops (also because its watchdog was not fed), or is silent for too long.
    pub fn simulate(&mut self, turns: u32, events: &[Event]) -> Result<Simulation> {
        let payload = turns.to_le_bytes().into_iter().chain(events.iter().flat_map(Event::emit)).collect::<Vec<u8>>();
        self.send(Kind::Simulate, &payload)?;
        let mut simulation = Simulation::default();
        loop {
            let timeout = self.run_timeout + TURN;
            match self.poll_event(timeout)?.with_context(|| self.transport.explain_silence(timeout))? {
                LiveEvent::Frame(frame) => simulation.frames.push(frame),
                LiveEvent::Fault { turn, what, .. } => simulation.faults.push((turn, what)),
                LiveEvent::Over(counts) => return Ok(Simulation { counts, ..simulation }),
            }
        }
    }

    /// Asks a real board for what its camera loop does from now on; [`Client::release`] ends it.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn follow(&mut self) -> Result<()> {
        self.live_scores.clear();
        self.send(Kind::Follow, &[]).map(|_| ())
    }

    /// What the camera loop says of the frame that its camera was just shown: of the third that it classifies from now on,
    /// since one may be under way and one may wait.
    pub(super) fn watched_frame(&mut self) -> Result<Classification> {
        self.follow()?;
        let (mut seen, mut faults, timeout) = (0, 0, self.run_timeout + TURN);
        let scores = loop {
            match self.poll_event(timeout)?.with_context(|| self.transport.explain_silence(timeout))? {
                LiveEvent::Frame(frame) if seen == UNDER_WAY => break frame.scores,
                LiveEvent::Frame(_) => seen += 1,
                LiveEvent::Fault { what, .. } => {
                    faults += 1;
                    ensure!(faults < MOST_FAULTS, "the camera of {} gives no frames: {what}", self.board.name);
                }
                LiveEvent::Over(_) => {}
            }
        };
        self.release()?;
        let (labels, params) = self.output.as_ref().context("the board has no plan yet")?;
        let label = labels.get(usize::from(scores::best(&scores).class)).cloned().unwrap_or_default();
        let margin = scores::margin(&scores, *params);
        Ok(Classification { scores, label, margin })
    }

    /// What the camera loop does next, if it does within `timeout`.
    ///
    /// # Errors
    /// The board refuses to be followed, has stopped or started anew, or the connection is lost.
    pub fn poll_event(&mut self, timeout: Duration) -> Result<Option<LiveEvent>> {
        let mut scores = take(&mut self.live_scores);
        let outcome = self.poll(timeout, |reply| event(reply, &mut scores));
        self.live_scores = scores;
        outcome?.transpose()
    }
}

/// The event that `reply` completes. The scores of a frame come before it.
fn event(reply: &Reply, scores: &mut Vec<i8>) -> Option<Result<LiveEvent>> {
    Some(Ok(match *reply {
        Reply::Scores { crc, values, .. } => match checked(crc, values) {
            Ok(values) => {
                *scores = values;
                return None;
            }
            Err(error) => return Some(Err(error)),
        },
        Reply::Classified { sequence, settled, latency_us, interval_us, name, .. } => LiveEvent::Frame(LiveFrame {
            turn: sequence,
            scores: take(scores),
            label: name.to_owned(),
            settled,
            latency: Duration::from_micros(latency_us.into()),
            interval: Duration::from_micros(interval_us.into()),
        }),
        Reply::Fault { sequence, what, counts } => LiveEvent::Fault { turn: sequence, what: what.to_owned(), counts },
        Reply::Simulated { counts, .. } => LiveEvent::Over(counts),
        _ => return None,
    }))
}
