//! `ocellus capture`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Crop;
use serde_json::json;

use super::helpers::camera_source::PictureSource;
use super::helpers::signals::Stop;
use super::helpers::targets;
use crate::camera::{self, Sensor};
use crate::cli::{CaptureArgs, Stage};
use crate::client::Client;
use crate::commands::Failure;
use crate::data::album::{self, Album, Verdict};
use crate::data::picture::Picture;
use crate::probe::{self, Selector};
use crate::{report, view};

/// Frames that are looked at for each picture that is wanted, before a still scene is given up.
const FRAMES_PER_PICTURE: u32 = 20;

/// Takes what a board's camera sees into a class folder, until there are enough pictures, or Ctrl-C.
///
/// # Errors
/// A label that is no folder's name, no board, probe or source, a board that fails, or files that cannot be written. The
/// pictures that were taken before stay.
pub fn run(args: &CaptureArgs) -> Result<()> {
    album::check_label(&args.label).map_err(|error| Failure::Usage(format!("--label {error}")))?;
    let signals = Stop::on_signals(None, false)?;
    let stop = signals.asked();
    // Before a folder is made: without a board or something to look at there would be nothing in it.
    let source = open(args)?;
    let mut album = Album::open(&args.out, &args.label, args.difference)?;
    let bar = view::bar(args.count.into(), &args.label);
    let mut take = |frame: &Frame| -> Result<bool> {
        let verdict = album.offer(&camera::rgb(frame)?)?;
        bar.set_position(album.taken().into());
        if let Verdict::Kept(path) = verdict {
            view::above(&bar, &path.display().to_string());
        }
        Ok(album.taken() < args.count && !stop.load(Ordering::Relaxed))
    };
    let outcome = match source {
        FrameSource::Board(client) => from_board(args, *client, &mut take, stop),
        FrameSource::Sim(source, sensor) => from_source(args, source, sensor, &mut take, stop),
    };
    bar.finish_and_clear();
    let reported = print_summary(args, &album);
    outcome.and(signals.ended_by_user()).and(reported)
}

/// What takes the pictures.
enum FrameSource {
    /// A real board.
    Board(Box<Client>),
    /// The sensor of an emulated one, and what it looks at.
    Sim(PictureSource, Sensor),
}

/// What the arguments name.
fn open(args: &CaptureArgs) -> Result<FrameSource> {
    if args.on == Stage::Board {
        return Ok(FrameSource::Board(Box::new(call(args)?)));
    }
    let usual = Sensor::default();
    let (width, height) = args.frame_size.map_or((usual.width, usual.height), |size| (size.width, size.height));
    let sensor = Sensor { format: args.frame_format.map_or(usual.format, PixelFormat::from), width, height };
    Ok(FrameSource::Sim(PictureSource::open(args.source.as_deref(), sensor)?, sensor))
}

/// Asks a real board for frame after frame; `take` says whether to go on.
fn from_board(
    args: &CaptureArgs,
    mut client: Client,
    take: &mut dyn FnMut(&Frame) -> Result<bool>,
    stop: &AtomicBool,
) -> Result<()> {
    let outcome = repeat(args, stop, &mut || {
        let go_on = match client.newest_frame()? {
            Some(raw) => take(&raw.frame()?)?,
            None => !stop.load(Ordering::Relaxed),
        };
        if go_on {
            client.release()?;
        }
        Ok(go_on)
    })?;
    client.end()?;
    outcome.as_result()
}

/// How taking frames came to an end.
enum Outcome {
    /// There are enough pictures, or it was interrupted.
    Enough,
    /// Most frames showed what others had shown.
    TooFewNew,
}

impl Outcome {
    fn as_result(&self) -> Result<()> {
        match self {
            Self::Enough => Ok(()),
            Self::TooFewNew => bail!(
                "the camera gave {FRAMES_PER_PICTURE} frames for each picture that is wanted, and too few were new: move what it looks \
                 at, see with `ocellus monitor` that frames come, or lower --difference"
            ),
        }
    }
}

/// Takes a frame whenever the time has come, until `take_one` says that there are enough.
fn repeat(args: &CaptureArgs, stop: &AtomicBool, take_one: &mut dyn FnMut() -> Result<bool>) -> Result<Outcome> {
    let mut due = Instant::now();
    for _ in 0..args.count.saturating_mul(FRAMES_PER_PICTURE) {
        while Instant::now() < due && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        due = Instant::now() + Duration::from_millis(args.every);
        if !take_one()? {
            return Ok(Outcome::Enough);
        }
    }
    Ok(Outcome::TooFewNew)
}

/// A real board, whatever model it has.
fn call(args: &CaptureArgs) -> Result<Client> {
    let board = targets::required_board(args.board.as_deref())?;
    let (elf, settings) = (targets::program(&board, args.elf.as_deref())?, targets::settings(&args.probe));
    if matches!(settings.probe, Selector::Simulated(_)) {
        view::note("a rehearsal on a simulated board: its camera shows a test pattern");
    }
    // Which model a real board runs is all the same, as long as it runs one; a simulated one is given this.
    let plan = match settings.probe {
        Selector::Simulated(_) => probe::simulated::dummy_plan()?,
        _ => Vec::new(),
    };
    Client::restart(&board, probe::reach(&board, &settings, &elf, &plan)?, &elf)
}

/// Shows pictures to the camera of an emulated board, once each, or what this machine's own camera sees.
fn from_source(
    args: &CaptureArgs,
    source: PictureSource,
    sensor: Sensor,
    take: &mut dyn FnMut(&Frame) -> Result<bool>,
    stop: &AtomicBool,
) -> Result<()> {
    match source {
        PictureSource::Pictures(paths, _) => {
            for path in paths {
                let picture = Picture::open(&path).with_context(|| path.display().to_string())?;
                if !show(&picture, sensor, take).with_context(|| path.display().to_string())? {
                    break;
                }
            }
            Ok(())
        }
        PictureSource::Webcam(mut webcam) => repeat(args, stop, &mut || match webcam.look()? {
            Some(picture) => show(&picture, sensor, take),
            None => Ok(!stop.load(Ordering::Relaxed)),
        })?
        .as_result(),
    }
}

fn show(picture: &Picture, sensor: Sensor, take: &mut dyn FnMut(&Frame) -> Result<bool>) -> Result<bool> {
    let data = camera::shoot(sensor, Crop::Centre, picture.width, picture.height, &picture.pixels)?;
    take(&Frame::new(sensor.format, sensor.width, sensor.height, &data).context("the frame")?)
}

fn print_summary(args: &CaptureArgs, album: &Album) -> Result<()> {
    let (taken, skipped, folder) = (album.taken(), album.skipped(), album.folder());
    if args.json {
        return report::print_json(&json!({
            "label": args.label,
            "folder": view::json_path(folder),
            "taken": taken,
            "near_duplicates": skipped,
        }));
    }
    report::print(&format!(
        "{taken} pictures of {} in {}, {skipped} near-duplicates left out; look at the set with `ocellus data check {}`",
        args.label,
        folder.display(),
        args.out.display()
    ))
}
