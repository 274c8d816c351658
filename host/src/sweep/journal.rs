//! The journal: everything that happened in a study, one JSON object a line, in the order in which it happened.
//!
//! | event | says | its fields |
//! |---|---|---|
//! | `study` | what is searched, once, in the first line | `format`, `study` and `recipe` (TOML), `dataset` (its hash), `classes`, `side` |
//! | `start` | a worker took a new point | `trial` (from 0), `worker`, `set` (`KEY=VALUE`), `bracket` |
//! | `take` | a worker took a trial again, whose worker had died | `trial`, `worker` |
//! | `plan` | what its network needs on a board | `trial`, `cost` |
//! | `reject` | it does not fit, and is not trained | `trial`, `why`, `violation`, `cost` |
//! | `rung` | how good it was after so many epochs, and whether it goes on | `trial`, `epoch`, `accuracy`, `goes_on` |
//! | `finish` | how good it is | `trial`, `epochs`, `accuracy`, `test_accuracy` |
//! | `fail` | why it has no result | `trial`, `why` |
//!
//! A line is `{"seq":7,"event":{"finish":{"trial":2,...}}}`: its number, from 0, and what happened. A worker appends a line while it has the file locked, and nothing is ever
//! changed or taken away. So a line that is no JSON object was cut off with its worker, if the next one has its number; and
//! a number that is missing or there twice says that the file was damaged, or that locks do not work where it lies.

use crate::files::Appended;
use crate::view;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of this format.
pub const FORMAT: u32 = 1;
/// The journal's name in the folder of a study.
pub const JOURNAL: &str = "journal.jsonl";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// What is searched.
    Study {
        /// [`FORMAT`].
        format: u32,
        /// The study, TOML.
        study: String,
        /// The base recipe, TOML.
        recipe: String,
        /// Hash of the dataset.
        dataset: String,
        /// Names of its classes.
        classes: Vec<String>,
        /// Rows and columns of its images by the base recipe.
        side: u16,
    },
    /// A worker took a new point.
    Start {
        /// Its number.
        trial: u32,
        /// The worker.
        worker: String,
        /// `KEY=VALUE` of every key that is searched.
        set: Vec<String>,
        /// Its bracket: see [`halving`](crate::sweep::halving).
        bracket: u32,
    },
    /// A worker took a trial again, whose worker had died or left.
    Take {
        /// Its number.
        trial: u32,
        /// The worker.
        worker: String,
    },
    /// What its network needs on a board.
    Plan {
        /// Its number.
        trial: u32,
        /// What it needs.
        cost: Cost,
    },
    /// It does not fit.
    Reject {
        /// Its number.
        trial: u32,
        /// What it needs too much of.
        why: String,
        /// How far it is from fitting, above 0.
        violation: f64,
        /// What it needs; nothing where there is no such network.
        cost: Option<Cost>,
    },
    /// How good it was after so many epochs.
    Rung {
        /// Its number.
        trial: u32,
        /// Finished epochs.
        epoch: u32,
        /// Best validation accuracy so far, in `[0, 1]`.
        accuracy: f64,
        /// Whether it goes on.
        goes_on: bool,
    },
    /// It was trained to its end.
    Finish {
        /// Its number.
        trial: u32,
        /// Finished epochs.
        epochs: u32,
        /// Validation accuracy, in `[0, 1]`.
        accuracy: f64,
        /// Test accuracy, in `[0, 1]`. Nothing is decided by it.
        test_accuracy: f64,
    },
    /// It has no result.
    Fail {
        /// Its number.
        trial: u32,
        /// What happened.
        why: String,
    },
}

/// What a network needs on a board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of its plan.
    pub flash_bytes: u64,
    /// Bytes of feature maps and scratch memory.
    pub ram_bytes: u64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// Predicted instructions of an inference.
    pub instructions: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    event: Event,
}

/// What the journal `path` says; nothing where it is not there. It is not locked: what is being written may be missing.
///
/// # Errors
/// It cannot be read or is damaged.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    match std::fs::read(path) {
        Ok(bytes) => parse(path, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut cut_off = None;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let number = number + 1;
        let Ok(Line { seq, event }) = serde_json::from_slice(line) else {
            cut_off = cut_off.or(Some(number));
            continue;
        };
        let expected = events.len() as u64;
        if seq == expected {
            events.push(event);
            cut_off = None;
            continue;
        }
        let path = path.display();
        if let Some(number) = cut_off.filter(|_| seq > expected) {
            bail!(
                "{path}, line {number}: it is damaged; put the file back as it was, or begin the study anew with another --out"
            );
        }
        ensure!(
            seq > expected,
            "{path}, line {number}: it has the number {seq}, which another line has: two workers wrote at once. The locks of this file \
             system do not work between them: begin the study anew with --out on another one"
        );
        bail!(
            "{path}, line {number}: lines {expected} to {} are missing before it; put the file back as it was",
            seq - 1
        );
    }
    Ok(events)
}

/// A journal that nobody else can append to as long as this lives.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: Appended,
    events: Vec<Event>,
}

impl Writer {
    /// Waits for the journal at `path`, and reads it.
    ///
    /// # Errors
    /// It cannot be locked or read, or is damaged.
    pub fn lock(path: &Path) -> Result<Self> {
        let (file, bytes) = Appended::lock(path)?;
        Ok(Self { events: parse(path, &bytes)?, path: path.to_owned(), file })
    }

    /// What it says.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Appends `event`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, event: Event) -> Result<()> {
        let line = Line { seq: self.events.len() as u64, event };
        let text = serde_json::to_string(&line).with_context(|| format!("{} cannot hold it", self.path.display()))?;
        self.file.append(&text)?;
        self.events.push(line.event);
        Ok(())
    }
}

/// What a worker calls itself: machine and process.
pub fn worker() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    format!("{}:{}", view::plain(host.as_deref().unwrap_or("machine").trim()), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(trial: u32) -> Event {
        Event::Take { trial, worker: "here:1".into() }
    }

    fn journal(events: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        let mut writer = Writer::lock(&path).unwrap();
        (0..events).for_each(|trial| writer.append(take(trial)).unwrap());
        (folder, path)
    }

    #[test]
    fn every_event_is_found_again() {
        let cost = Cost { flash_bytes: 1, ram_bytes: 2, macs: 3, instructions: 4 };
        let events = [
            Event::Study {
                format: FORMAT,
                study: "a = 1\n".into(),
                recipe: String::new(),
                dataset: "00".into(),
                classes: vec!["\u{202e}\n".into()],
                side: 32,
            },
            Event::Start { trial: 0, worker: worker(), set: vec!["train.lr=0.1".into()], bracket: 1 },
            take(0),
            Event::Plan { trial: 0, cost },
            Event::Reject { trial: 1, why: "it".into(), violation: 0.5, cost: None },
            Event::Rung { trial: 0, epoch: 3, accuracy: 0.25, goes_on: true },
            Event::Finish { trial: 0, epochs: 9, accuracy: 0.1 + 0.2, test_accuracy: 1.0 },
            Event::Fail { trial: 2, why: String::new() },
        ];
        let (_folder, path) = journal(0);
        let mut writer = Writer::lock(&path).unwrap();
        events.iter().for_each(|event| writer.append(event.clone()).unwrap());
        assert_eq!(read(&path).unwrap(), events);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), events.len());
        assert_eq!(read(&path.with_file_name("gone")).unwrap(), []);
    }

    #[test]
    fn a_line_that_was_cut_off_anywhere_loses_itself_alone() {
        let (_folder, path) = journal(3);
        let whole = std::fs::read(&path).unwrap();
        let start = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in start..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            // Without its line break it is complete.
            let left = if cut == whole.len() - 1 { 3 } else { 2 };
            assert_eq!(read(&path).unwrap().len(), left, "cut at {cut}");
            let mut writer = Writer::lock(&path).unwrap();
            writer.append(take(7)).unwrap();
            drop(writer);
            let events = read(&path).unwrap();
            assert_eq!((events.len(), &events[left]), (left + 1, &take(7)), "cut at {cut}");
        }
    }

    #[test]
    fn damage_and_two_writers_at_once_are_noticed() {
        let (_folder, path) = journal(4);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (changed, part) in [
            (vec![lines[0], "{\"seq\":1,\"ev", lines[2]], "line 2: it is damaged"),
            (vec![lines[0], lines[2], lines[3]], "line 2: lines 1 to 1 are missing"),
            (vec![lines[0], lines[1], lines[1], lines[2]], "line 3: it has the number 1, which another line has"),
            (vec!["\u{0}\u{0}\u{0}", lines[1]], "line 1: it is damaged"),
        ] {
            std::fs::write(&path, changed.join("\n") + "\n").unwrap();
            for error in [read(&path).unwrap_err(), Writer::lock(&path).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains(part) && error.contains(JOURNAL), "{error}");
            }
        }
    }
}
