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
use crate::client::Client;
use crate::data::picture::Picture;
use crate::model::ModelFiles;
use crate::report;
use crate::watch::{Turn, Watch};
use gallery::Gallery;
use live::{FrameScores, Live};

/// How long Ctrl-C may take to reach this process after it reached the emulator, which it ends.
const SLOWEST_SIGNAL: Duration = Duration::from_millis(300);

/// Shows live what a board sees, until Ctrl-C or for as many frames as asked for.
///
/// # Errors
/// No model, board, probe or picture; or the board fails.
pub fn run(args: &MonitorArgs) -> Result<()> {
    let plan = ModelFiles::find(&args.model)?.read_plan()?;
    let parsed = Plan::parse(&plan)?;
    let mut live = Live::new(&parsed, args.frames.map_or(u64::MAX, u64::from), args.reject);
    let mut gallery = Gallery::open(args)?;
    // The board must be left in good order.
    let signals = Stop::on_signals(None, false)?;
    let stop = signals.asked();
    match args.on {
        Stage::Board => watch_board(args, &plan, &mut live, &mut gallery, stop)?,
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

/// Shows what a real board's camera sees.
fn watch_board(
    args: &MonitorArgs,
    plan: &[u8],
    live: &mut Live,
    gallery: &mut Gallery,
    stop: &AtomicBool,
) -> Result<()> {
    let mut watch = Watch::start(reach(args, plan)?, plan, gallery.wants_frames())?;
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        for turn in watch.next_turns()? {
            show(&turn, live, gallery)?;
        }
    }
    watch.end()
}

fn show(turn: &Turn, live: &mut Live, gallery: &mut Gallery) -> Result<()> {
    match turn {
        Turn::Frame(seen) => {
            if let Some(raw) = &seen.frame {
                gallery.add(&raw.frame()?, live)?;
            }
            live.show(&FrameScores { scores: &seen.scores, latency: seen.latency, interval: seen.interval });
        }
        Turn::Fault { what, missed } => live.miss(what, *missed),
        Turn::Note(line) => live.note(line),
    }
    Ok(())
}

/// Feeds an emulated board with what `--source` shows, as its sensor would.
fn watch_sim(args: &MonitorArgs, plan: &[u8], live: &mut Live, gallery: &mut Gallery, stop: &AtomicBool) -> Result<()> {
    targets::sim_or_usual(args.board.as_deref())?.check_fit(&Plan::parse(plan)?)?;
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
        live.show(&FrameScores { scores: &seen.scores, latency: start.elapsed(), interval: before.elapsed() });
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
    use crate::watch::Seen;

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
        let mut live = Live::new(&plan, 2, None);
        let mut gallery = Gallery::default();
        let frame = |scores: [i8; 3], interval| {
            let (latency, interval) = (Duration::from_millis(40), Duration::from_millis(interval));
            Turn::Frame(Seen { frame: None, scores: scores.to_vec(), latency, interval })
        };
        let fault = Turn::Fault { what: "timeout".to_owned(), missed: 1 };
        for turn in [frame([10, 90, -3], 0), fault, frame([99, 0, -3], 100)] {
            assert!(!live.is_done());
            show(&turn, &mut live, &mut gallery).unwrap();
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
