//! `ocellus monitor`.

mod gallery;
mod live;
mod source;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ocellus_shared::frame::Frame;
use ocellus_shared::plan::Plan;
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::wire::Reply;

use super::inputs;
use crate::board::Board;
use crate::camera::{self, Sensor};
use crate::cli::{MonitorArgs, Stage};
use crate::data::picture::Picture;
use crate::eval::engine::EngineModel;
use crate::model::ModelFiles;
use crate::probe::{self, Heard};
use crate::report;
use crate::sim::{Clock, Sim};
use gallery::Gallery;
use live::{Live, Look};
pub(super) use source::{Source, pictures};

/// How long Ctrl-C may take to reach this process after it reached the emulator, which it ends.
const SLOWEST_SIGNAL: Duration = Duration::from_millis(300);
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
    let stop = stop_on_ctrl_c()?;
    match args.on {
        Stage::Board if gallery.wants_frames() => fetch_frames(args, &plan, &mut live, &mut gallery, &stop)?,
        Stage::Board => watch_board(args, &plan, &mut live, &stop)?,
        Stage::Sim => watch_sim(args, &plan, &mut live, &mut gallery, &stop)?,
    }
    live.finish();
    match args.json {
        true => report::print_json(&live.summary()),
        false => report::print(&live.last_words()),
    }
}

/// A flag that Ctrl-C sets: the board must be left in good order.
pub(super) fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot catch Ctrl-C")?;
    Ok(stop)
}

/// Listens to a real board.
fn watch_board(args: &MonitorArgs, plan: &[u8], live: &mut Live, stop: &AtomicBool) -> Result<()> {
    let (board, parsed) = (inputs::real_board(args.board.as_deref())?, Plan::parse(plan)?);
    board.check_fit(&parsed)?;
    let (mut link, elf) = inputs::reach(&board, &args.probe, args.elf.as_deref(), plan)?;
    let (mut scores, mut outcome) = (Vec::new(), Ok(()));
    link.listen(&elf, &mut |heard| {
        match heard {
            Heard::Line(line) => outcome = hear(line, &board.name, &parsed, &mut scores, live),
            Heard::Restart => live.note("the board started anew"),
            Heard::Silence => {}
        }
        match stop.load(Ordering::Relaxed) || live.is_done() || outcome.is_err() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    outcome
}

/// Asks a real board for frame after frame. Their scores are computed here: the very ones that the board computes.
fn fetch_frames(
    args: &MonitorArgs,
    plan: &[u8],
    live: &mut Live,
    gallery: &mut Gallery,
    stop: &AtomicBool,
) -> Result<()> {
    let board = inputs::real_board(args.board.as_deref())?;
    let engine = EngineModel::new(plan)?;
    board.check_fit(engine.plan())?;
    let mut line = inputs::converse(&board, &args.probe, args.elf.as_deref(), plan)?;
    let (mut before, mut missed) = (None, 0);
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        let start = Instant::now();
        match line.newest_frame()? {
            None => {
                missed += 1;
                live.miss(
                    "the camera gives none; the log says why, which `ocellus monitor` shows without --picture",
                    missed,
                );
                thread::sleep(PAUSE);
            }
            Some(shot) => {
                let frame = shot.frame()?;
                let scores = see(&engine, &frame)?;
                gallery.add(&frame, live)?;
                let interval_us = before.map_or(0, micros);
                live.show(&Look { scores: &scores, latency_us: micros(start), interval_us });
                before = Some(start);
            }
        }
        line.release()?;
    }
    line.end()
}

/// The engine's scores of a frame.
fn see(engine: &EngineModel, frame: &Frame) -> Result<Vec<i8>> {
    let plan = engine.plan();
    let mut image = vec![0; plan.input().shape.len()];
    preprocess(frame, plan.crop(), plan.input().shape, &mut image).context("the model takes no colour pictures")?;
    engine.scores(&image)
}

fn micros(since: Instant) -> u32 {
    since.elapsed().as_micros().try_into().unwrap_or(u32::MAX)
}

/// Takes one line of the log of `board`, a real one that is to run `plan`.
///
/// # Errors
/// It says that it is another board, or runs another model, whose labels would be wrong.
fn hear(line: &str, board: &str, plan: &Plan, scores: &mut Vec<i8>, live: &mut Live) -> Result<()> {
    match Reply::parse(line) {
        Some(Reply::Ready { board: says, .. }) => probe::check_program(says, board)?,
        Some(Reply::Plan { digest, .. }) => probe::check_model(digest, plan, board)?,
        Some(Reply::Scores { values, .. }) => *scores = values.iter().collect(),
        Some(Reply::Seen { latency_us, interval_us, .. }) => live.show(&Look { scores, latency_us, interval_us }),
        Some(Reply::Fault { what, tally, .. }) => live.miss(what, tally.turns.saturating_sub(tally.frames).into()),
        Some(Reply::Error { refusal, detail, .. }) => {
            live.note(&format!("the board refuses: {} {detail}", refusal.name()))
        }
        Some(_) => {}
        None => live.note(line),
    }
    Ok(())
}

/// Feeds an emulated board with what `--source` shows, as its sensor would.
fn watch_sim(args: &MonitorArgs, plan: &[u8], live: &mut Live, gallery: &mut Gallery, stop: &AtomicBool) -> Result<()> {
    let board = inputs::emulated_or_usual(args.board.as_deref())?;
    let parsed = Plan::parse(plan)?;
    board.check_fit(&parsed)?;
    let sensor = Sensor::default();
    let mut source = Source::open(args.source.as_deref(), sensor)?;
    let Some(mut sim) = unless_stopped(boot(&board, plan), stop)? else { return Ok(()) };
    let mut before = Instant::now();
    while !stop.load(Ordering::Relaxed) && !live.is_done() {
        let Some(Picture { width, height, pixels }) = source.look()? else { continue };
        let data = camera::shoot(sensor, parsed.crop(), width, height, &pixels)?;
        let frame = Frame::new(sensor.format, sensor.width, sensor.height, &data).context("the frame")?;
        let start = Instant::now();
        let Some(sighting) = unless_stopped(sim.frame(&frame), stop)? else { return Ok(()) };
        gallery.add(&frame, live)?;
        live.show(&Look { scores: &sighting.scores, latency_us: micros(start), interval_us: micros(before) });
        before = start;
    }
    unless_stopped(sim.shut_down(), stop)?;
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

fn boot(board: &Board, plan: &[u8]) -> Result<Sim> {
    let elf = inputs::firmware(board)?;
    let mut sim = Sim::boot(board, &elf, Clock::Free)?;
    sim.load_plan(plan)?;
    Ok(sim)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_real_boards_log_becomes_frames_and_losses() {
        let bytes = live::tests::plan();
        let plan = Plan::parse(&bytes).unwrap();
        let (mut live, mut scores) = (Live::new(&plan, 2), Vec::new());
        for line in [
            "ready board=weact-h743 plan_bytes=1835008 arena_bytes=393216",
            "plan seq=0 digest=0000000000000000 steps=1 arena_bytes=40",
            "scores seq=1 crc=00000000 values=[10, 90, -3]",
            "seen seq=1 class=1 settled=false margin=10.0 latency_us=40000 interval_us=0 name=green",
            "fault seq=2 what=timeout turns=2 frames=1 missing=1 overruns=0 losses=0 restarts=0",
            "scores seq=3 crc=00000000 values=[99, 0, -3]",
            "seen seq=3 class=0 settled=true margin=12.4 latency_us=40000 interval_us=100000 name=red",
        ] {
            assert!(!live.is_done());
            hear(line, "weact-h743", &plan, &mut scores, &mut live).unwrap();
        }
        assert!(live.is_done());
        let expected = serde_json::json!({
            "frames": 2, "dropped": 1, "latency_ms": 40.0, "fps": 10.0, "labels": { "green": 1, "red": 1 },
        });
        assert_eq!(live.summary(), expected);
        assert_eq!(
            live.last_words(),
            "2 frames, 10.0 fps, 40.0 ms from frame to label, 1 dropped; seen: green 1, red 1"
        );
        for (line, part) in [
            ("ready board=openmv-h7 plan_bytes=1835008 arena_bytes=393216", "that of openmv-h7, not of weact-h743"),
            ("plan seq=0 digest=0000000000000001 steps=1 arena_bytes=40", "runs another model"),
        ] {
            let error = hear(line, "weact-h743", &plan, &mut scores, &mut live).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("ocellus flash"), "{error}");
        }
    }
}
