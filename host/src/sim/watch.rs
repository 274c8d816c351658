//! The camera loop of an emulated board, on its simulated sensor.

use std::time::Duration;

use anyhow::{Result, bail};
use ocellus_shared::wire::{Event, Kind, Reply, FrameCounts};

use super::{PATIENCE, Sim, checked_scores};

/// Longest wait for the next thing that a watching board says, besides its patience with a frame.
const TURN: Duration = Duration::from_secs(20);

/// What a live frame showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The turn in which it was taken in.
    pub turn: u32,
    /// The frame's int8 scores.
    pub scores: Vec<i8>,
    /// The label that stands, or the likeliest class.
    pub label: String,
    /// Whether that label stands.
    pub settled: bool,
    /// Time from frame to label.
    pub latency: Duration,
    /// Time since the frame before.
    pub interval: Duration,
}

/// What came of a watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Every frame that was seen.
    pub seen: Vec<Seen>,
    /// Turn and name of everything that went wrong.
    pub faults: Vec<(u32, String)>,
    /// How often what happened.
    pub tally: FrameCounts,
}

impl Sim {
    /// Runs the camera loop for `turns` turns, through `events`.
    ///
    /// # Errors
    /// The board refuses, stops (also because its watchdog was not fed), or is silent for too long.
    pub fn watch(&mut self, turns: u32, events: &[Event]) -> Result<Watched> {
        let payload = turns.to_le_bytes().into_iter().chain(events.iter().flat_map(Event::emit)).collect::<Vec<u8>>();
        let sequence = self.send(Kind::Watch, &payload)?;
        let (mut watched, mut scores) = (Watched::default(), Vec::new());
        loop {
            let line = self.wait(self.patience.max(PATIENCE) + TURN, |reply| {
                matches!(reply, Reply::Scores { .. } | Reply::Seen { .. } | Reply::Fault { .. } | Reply::Watched { .. })
            })?;
            match Reply::parse(&line) {
                Some(Reply::Scores { .. }) => scores = checked_scores(&line)?,
                Some(Reply::Seen { sequence, settled, latency_us, interval_us, name, .. }) => watched.seen.push(Seen {
                    turn: sequence,
                    scores: std::mem::take(&mut scores),
                    label: name.to_owned(),
                    settled,
                    latency: Duration::from_micros(latency_us.into()),
                    interval: Duration::from_micros(interval_us.into()),
                }),
                Some(Reply::Fault { sequence, what, .. }) => watched.faults.push((sequence, what.to_owned())),
                Some(Reply::Watched { sequence: s, tally }) if s == sequence => {
                    return Ok(Watched { tally, ..watched });
                }
                _ => bail!(self.story(&format!("not an answer to a watch: {line}"))),
            }
        }
    }
}
