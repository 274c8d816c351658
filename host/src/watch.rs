//! What a real board's camera loop does, watched from here: for `ocellus monitor` and for the web page.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Client, LiveEvent, RawFrame};
use crate::eval::engine::EngineModel;
use crate::probe::Restarted;

/// Longest wait for what a board does next, before its log and whoever watches are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Time between two questions to a board whose camera gives no frames.
const PAUSE: Duration = Duration::from_millis(200);
/// How much a frame counts in the averages of latency and interval.
const WEIGHT: f64 = 0.1;

/// A frame that a board saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The frame, where the board sends it.
    pub frame: Option<RawFrame>,
    /// Its int8 scores: the board's, or for a frame that it sent those that the engine here computes of it.
    pub scores: Vec<i8>,
    /// From when the frame was there to its scores.
    pub latency: Duration,
    /// Since the frame before; zero for the first.
    pub interval: Duration,
}

/// Something that happens on a board.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// It saw a frame.
    Frame(Seen),
    /// A frame did not come.
    Fault {
        /// What happened.
        what: String,
        /// How many did not come so far.
        missed: u64,
    },
    /// A line of its log, or that it started anew.
    Note(String),
}

/// A real board that is watched.
pub struct Watch<'p> {
    client: Client,
    plan: &'p [u8],
    engine: EngineModel<'p>,
    /// Whether the board sends its frames.
    wants_frames: bool,
    before: Option<Instant>,
    missed: u64,
}

impl<'p> Watch<'p> {
    /// Watches the board behind `client`, which runs `plan`. Either it tells what its own loop does, or, with `wants_frames`, it
    /// sends frame after frame, and their scores are computed here.
    ///
    /// # Errors
    /// The plan does not parse, or the connection is lost.
    pub fn start(mut client: Client, plan: &'p [u8], wants_frames: bool) -> Result<Self> {
        let engine = EngineModel::new(plan)?;
        if !wants_frames {
            client.follow()?;
        }
        Ok(Self { client, plan, engine, wants_frames, before: None, missed: 0 })
    }

    /// What happens next; nothing where that is nothing for a moment.
    ///
    /// # Errors
    /// The board fails, or the connection is lost.
    pub fn next_turns(&mut self) -> Result<Vec<Turn>> {
        let turn = if self.wants_frames { Some(self.fetch()?) } else { self.follow()? };
        Ok(turn.into_iter().chain(self.client.log().into_iter().map(Turn::Note)).collect())
    }

    /// Lets the board go on alone.
    ///
    /// # Errors
    /// It does not answer, or the connection is lost.
    pub fn end(self) -> Result<()> {
        self.client.end()
    }

    /// What the board's loop does.
    fn follow(&mut self) -> Result<Option<Turn>> {
        match self.client.poll_event(POLL) {
            Ok(event) => Ok(event.and_then(turn)),
            Err(error) if error.is::<Restarted>() => {
                self.client.set_plan(self.plan)?;
                self.client.follow()?;
                Ok(Some(Turn::Note("the board started anew".to_owned())))
            }
            Err(error) => Err(error),
        }
    }

    /// The board's newest frame, and what the engine says of it: the very scores that the board computes.
    fn fetch(&mut self) -> Result<Turn> {
        let start = Instant::now();
        let Some(raw) = self.client.newest_frame()? else {
            self.missed += 1;
            thread::sleep(PAUSE);
            self.client.release()?;
            let what = "the camera gives none: the board's log says why".to_owned();
            return Ok(Turn::Fault { what, missed: self.missed });
        };
        let scores = self.engine.classify(&raw.frame()?)?;
        let interval = self.before.replace(start).map_or(Duration::ZERO, |before| start - before);
        let seen = Seen { frame: Some(raw), scores, latency: start.elapsed(), interval };
        self.client.release()?;
        Ok(Turn::Frame(seen))
    }
}

/// What a board's loop says.
fn turn(event: LiveEvent) -> Option<Turn> {
    match event {
        LiveEvent::Frame(frame) => Some(Turn::Frame(Seen {
            frame: None,
            scores: frame.scores,
            latency: frame.latency,
            interval: frame.interval,
        })),
        LiveEvent::Fault { what, counts, .. } => {
            Some(Turn::Fault { what, missed: counts.turns.saturating_sub(counts.frames).into() })
        }
        LiveEvent::Over(_) => None,
    }
}

/// How well frames come, and what they show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Frames that were seen.
    pub frames: u64,
    /// Frames that did not come.
    pub missed: u64,
    /// How many frames showed what.
    pub labels: BTreeMap<String, u64>,
    /// Averages over the last frames in microseconds: of the latency, and of the time between frames.
    latency_us: Option<f64>,
    interval_us: Option<f64>,
}

impl Tally {
    /// A frame showed `label`; `interval` is zero for the first one.
    pub fn add(&mut self, label: &str, latency: Duration, interval: Duration) {
        self.frames += 1;
        *self.labels.entry(label.to_owned()).or_default() += 1;
        average(&mut self.latency_us, latency);
        if !interval.is_zero() {
            average(&mut self.interval_us, interval);
        }
    }

    /// Frames per second of late; nothing before there are two.
    pub fn fps(&self) -> Option<f64> {
        self.interval_us.map(|us| 1e6 / us)
    }

    /// Milliseconds from frame to label of late.
    pub fn latency_ms(&self) -> Option<f64> {
        self.latency_us.map(|us| us / 1e3)
    }
}

fn average(mean: &mut Option<f64>, time: Duration) {
    let value = time.as_secs_f64() * 1e6;
    *mean = Some(mean.map_or(value, |mean| mean + WEIGHT * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::LiveFrame;
    use ocellus_shared::wire::FrameCounts;

    #[test]
    fn what_a_board_says_becomes_frames_and_faults() {
        let (scores, latency, interval) = (vec![10, 90, -3], Duration::from_millis(40), Duration::from_millis(100));
        let live =
            LiveFrame { turn: 1, scores: scores.clone(), label: "b".to_owned(), settled: false, latency, interval };
        assert_eq!(turn(LiveEvent::Frame(live)), Some(Turn::Frame(Seen { frame: None, scores, latency, interval })));
        let counts = FrameCounts { turns: 5, frames: 3, missing: 2, ..FrameCounts::default() };
        let fault = LiveEvent::Fault { turn: 5, what: "timeout".to_owned(), counts };
        assert_eq!(turn(fault), Some(Turn::Fault { what: "timeout".to_owned(), missed: 2 }));
        assert_eq!(turn(LiveEvent::Over(counts)), None);
    }

    #[test]
    fn averages_follow_slowly() {
        let (mut tally, ms) = (Tally::default(), Duration::from_millis);
        tally.add("cup", ms(100), Duration::ZERO);
        assert_eq!((tally.latency_ms(), tally.fps()), (Some(100.0), None), "one frame has no rate");
        tally.add("cup", ms(200), ms(50));
        assert_eq!((tally.latency_ms(), tally.fps()), (Some(110.0), Some(20.0)));
        tally.add("saucer", ms(110), ms(50));
        assert_eq!((tally.frames, &tally.labels["cup"], &tally.labels["saucer"]), (3, &2, &1));
    }
}
