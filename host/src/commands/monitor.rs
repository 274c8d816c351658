//! `ocellus monitor`.

mod gallery;
mod live;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ocellus_shared::frame::Frame;
use ocellus_shared::plan::Plan;

use super::helpers::camera_source::PictureSource;
use super::helpers::signals::Stop;
use super::helpers::targets;
use crate::camera::{self, Sensor};
use crate::cli::{MonitorArgs, Stage};
use crate::client::{Client, LiveEvent};
use crate::data::picture::Picture;
use crate::eval::engine::EngineModel;
use crate::model::ModelFiles;
use crate::probe::Restarted;
use crate::report;
use gallery::Gallery;
use live::{FrameScores, Live};

/// How long Ctrl-C may take to reach this process after it reached the emulator, which it ends.
const SLOWEST_SIGNAL: Duration = Duration::from_millis(300);
/// Longest wait for what a board does next, before Ctrl-C and its log are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Time between two questions to a board whose camera gives no frames.
const PAUSE: Duration = Duration::from_millis(200);

/// Shows live what a board sees, until Ctrl-C or for as many frames as asked for.
///
/// # Errors
/// No model, board, probe or picture; or the board fails.
pub fn run(args: &MonitorArgs) -> Result<()> {
    let plan = ModelFiles::find(&args.model)?.read_plan()?;
    let parsed = Plan::parse(&plan)?;
    let mut live = Live::new(&parsed, args.frames.map_or(u64::MAX, u64::from));
    let mut gallery = Gallery::open(args)?;
    // The board must be left in good order.
    let signals = Stop::on_signals(None, false)?;
    let stop = signals.asked();
    match args.on {
        Stage::Board if gallery.wants_frames() => fetch_frames(args, &plan, &mut live, &mut gallery, stop)?,
        Stage::Board => follow_board(args, &plan, &mut live, stop)?,
        Stage::Sim => watch_sim(args, &plan, &mut live, &mut gallery, stop)?,
    }
    live.finish();
    let told = match args.json {
        true => report::print_json(&live.summary()),
        false => report::print(&live.closing_line()),
    };
    signals.ended_by_user().and(told)
}

/// A real board with `plan`, restarted.
fn reach(args: &MonitorArgs, plan: &[u8]) -> Result<Client> {
    let board = targets::required_board(args.board.as_deref())?;
    board.check_fit(&Plan::parse(plan)?)?;
    targets::reach(&board, &args.probe, args.elf.as_deref(), plan)
}

/// Shows what a real board's camera loop does.
fn follow_board(args: &MonitorArgs, plan: &[u8], live: &mut Live, stop: &AtomicBool) -> Result<()> {
    let mut client = reach(args, plan)?;
    client.follow()?;
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        match client.poll_event(POLL) {
            Ok(Some(event)) => show(&event, live),
            Ok(None) => {}
            Err(error) if error.is::<Restarted>() => {
                live.note("the board started anew");
                client.set_plan(plan)?;
                client.follow()?;
            }
            Err(error) => return Err(error),
        }
        client.log().iter().for_each(|line| live.note(line));
    }
    client.end()
}

fn show(event: &LiveEvent, live: &mut Live) {
    match event {
        LiveEvent::Frame(frame) => live.show(&FrameScores {
            scores: &frame.scores,
            latency_us: micros(frame.latency),
            interval_us: micros(frame.interval),
        }),
        LiveEvent::Fault { what, counts, .. } => live.miss(what, counts.turns.saturating_sub(counts.frames).into()),
        LiveEvent::Over(_) => {}
    }
}

/// Asks a real board for frame after frame. Their scores are computed here: the very ones that the board computes.
fn fetch_frames(
    args: &MonitorArgs,
    plan: &[u8],
    live: &mut Live,
    gallery: &mut Gallery,
    stop: &AtomicBool,
) -> Result<()> {
    let engine = EngineModel::new(plan)?;
    let mut client = reach(args, plan)?;
    let (mut before, mut missed) = (None, 0);
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        let start = Instant::now();
        match client.newest_frame()? {
            None => {
                missed += 1;
                live.miss(
                    "the camera gives none; the log says why, which `ocellus monitor` shows without --picture",
                    missed,
                );
                thread::sleep(PAUSE);
            }
            Some(raw) => {
                let frame = raw.frame()?;
                let scores = engine.classify(&frame)?;
                gallery.add(&frame, live)?;
                let interval_us = before.map_or(0, |before: Instant| micros(before.elapsed()));
                live.show(&FrameScores { scores: &scores, latency_us: micros(start.elapsed()), interval_us });
                before = Some(start);
            }
        }
        client.release()?;
    }
    client.end()
}

fn micros(time: Duration) -> u32 {
    time.as_micros().try_into().unwrap_or(u32::MAX)
}

/// Feeds an emulated board with what `--source` shows, as its sensor would.
fn watch_sim(args: &MonitorArgs, plan: &[u8], live: &mut Live, gallery: &mut Gallery, stop: &AtomicBool) -> Result<()> {
    targets::emulated_or_usual(args.board.as_deref())?.check_fit(&Plan::parse(plan)?)?;
    let crop = Plan::parse(plan)?.crop();
    let sensor = Sensor::default();
    let mut source = PictureSource::open(args.source.as_deref(), sensor)?;
    let Some(mut client) = unless_stopped(targets::boot(args.board.as_deref(), plan), stop)? else { return Ok(()) };
    let mut before = Instant::now();
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        let Some(Picture { width, height, pixels }) = source.next_picture()? else { continue };
        let data = camera::shoot(sensor, crop, width, height, &pixels)?;
        let frame = Frame::new(sensor.format, sensor.width, sensor.height, &data).context("the frame")?;
        let start = Instant::now();
        let Some(seen) = unless_stopped(client.frame(&frame), stop)? else { return Ok(()) };
        gallery.add(&frame, live)?;
        live.show(&FrameScores {
            scores: &seen.scores,
            latency_us: micros(start.elapsed()),
            interval_us: micros(before.elapsed()),
        });
        before = start;
    }
    unless_stopped(client.end(), stop)?;
    Ok(())
}

/// What the emulator gave; nothing where it failed because it is being stopped: a terminal's Ctrl-C goes to every process of
/// the command, this one and QEMU, and cargo where the firmware is being built.
fn unless_stopped<T>(outcome: Result<T>, stop: &AtomicBool) -> Result<Option<T>> {
    let Err(error) = outcome else { return outcome.map(Some) };
    let deadline = Instant::now() + SLOWEST_SIGNAL;
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    if stop.load(Ordering::Relaxed) { Ok(None) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::LiveFrame;
    use ocellus_shared::wire::FrameCounts;

    #[test]
    fn an_emulator_that_is_stopped_has_not_failed() {
        let stop = AtomicBool::new(false);
        assert_eq!(unless_stopped(Ok(3), &stop).unwrap(), Some(3));
        assert_eq!(unless_stopped::<()>(Err(anyhow::anyhow!("broken")), &stop).unwrap_err().to_string(), "broken");
        thread::scope(|scope| {
            // The signal comes a little later here than there.
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                stop.store(true, Ordering::Relaxed);
            });
            assert_eq!(unless_stopped::<()>(Err(anyhow::anyhow!("it ended")), &stop).unwrap(), None);
        });
        assert_eq!(unless_stopped(Ok(3), &stop).unwrap(), Some(3), "what was seen counts");
    }

    #[test]
    fn what_a_board_does_becomes_frames_and_losses() {
        let bytes = live::tests::plan();
        let plan = Plan::parse(&bytes).unwrap();
        let mut live = Live::new(&plan, 2);
        let frame = |turn, scores: [i8; 3], interval| {
            let (latency, interval) = (Duration::from_millis(40), Duration::from_millis(interval));
            let (scores, label) = (scores.to_vec(), String::new());
            LiveEvent::Frame(LiveFrame { turn, scores, label, settled: false, latency, interval })
        };
        let counts = FrameCounts { turns: 2, frames: 1, missing: 1, ..FrameCounts::default() };
        let fault = LiveEvent::Fault { turn: 2, what: "timeout".to_owned(), counts };
        for event in [frame(1, [10, 90, -3], 0), fault, frame(3, [99, 0, -3], 100)] {
            assert!(!live.is_done());
            show(&event, &mut live);
        }
        assert!(live.is_done());
        let expected = serde_json::json!({
            "frames": 2, "dropped": 1, "latency_ms": 40.0, "fps": 10.0, "labels": { "green": 1, "red": 1 },
        });
        assert_eq!(live.summary(), expected);
        assert_eq!(
            live.closing_line(),
            "2 frames, 10.0 fps, 40.0 ms from frame to label, 1 dropped; seen: green 1, red 1"
        );
    }
}
