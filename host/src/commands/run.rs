//! `ocellus run`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::{Crop, Plan};
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::scores::{self, Ranked};
use serde_json::{Value, json};

use super::Failure;
use super::helpers::targets;
use crate::camera::{self, Sensor};
use crate::cli::{RunArgs, Target};
use crate::data::picture::Picture;
use crate::eval;
use crate::eval::engine::EngineModel;
use crate::model::ModelFiles;
use crate::probe::Conversation;
use crate::recipe::Enlarge;
use crate::report;
use crate::sim::{Clock, Sim};

/// Classes that are named for each picture.
const SHOWN: usize = 3;

/// Classifies pictures, one after the other.
///
/// # Errors
/// A file that is no picture or no plan, a plan that does not fit the board, or a board that answers differently.
pub fn run(args: &RunArgs) -> Result<()> {
    let files = ModelFiles::find(&args.model)?;
    let bytes = files.read_plan()?;
    let engine = EngineModel::new(&bytes)?;
    let sensor = sensor(args);
    // What no camera brings to a size of its own is enlarged as the images were that the model was trained on.
    let smooth =
        sensor.is_none() && files.read_recipe().is_ok_and(|recipe| recipe.data.enlarge == Some(Enlarge::Smooth));
    let enlarged = smooth.then_some((engine.plan().input().shape.h, engine.plan().crop()));
    // All pictures are read first: a bad one must not cost the time that a board takes to boot.
    let pictures = args
        .pictures
        .iter()
        .map(|path| open(path, enlarged).with_context(|| path.display().to_string()))
        .collect::<Result<Vec<_>>>()?;
    let mut device = match args.on {
        Target::Engine => Device::None,
        Target::Sim => Device::Sim(Box::new(boot(args.device.board.as_deref(), &bytes)?)),
        Target::Board => Device::Real(Box::new(targets::call(&args.device, &bytes)?)),
    };
    let mut results = Vec::new();
    for (path, picture) in args.pictures.iter().zip(&pictures) {
        let scores = classify(&engine, &mut device, sensor, picture).with_context(|| path.display().to_string())?;
        if !args.json {
            report::print(&describe(path, engine.plan(), &scores))?;
        }
        results.push(result(path, engine.plan(), &scores));
    }
    match device {
        Device::None => {}
        Device::Sim(sim) => sim.shut_down()?,
        Device::Real(line) => line.end()?,
    }
    match (args.json, results.len()) {
        (false, _) => Ok(()),
        (true, 1) => report::print_json(&results[0]),
        (true, _) => report::print_json(&json!({ "results": results })),
    }
}

/// The picture at `path`; smoothly enlarged to a side, if there is one, where it is smaller than that.
fn open(path: &Path, enlarged: Option<(u16, Crop)>) -> Result<Picture> {
    ensure!(!path.is_dir(), "it is a folder: name the pictures in it, as {}", path.join("*.jpg").display());
    let picture = Picture::open(path)?;
    Ok(match enlarged {
        Some((side, crop)) if picture.is_smaller_than(side) => picture.enlarged(side, crop),
        _ => picture,
    })
}

/// A board that sees the same frames.
enum Device {
    /// None.
    None,
    /// An emulated one.
    Sim(Box<Sim>),
    /// A real one.
    Real(Box<Conversation>),
}

impl Device {
    /// Its int8 scores of a frame, where there is one.
    fn scores(&mut self, frame: &Frame) -> Result<Option<Vec<i8>>> {
        Ok(match self {
            Self::None => None,
            Self::Sim(sim) => Some(sim.frame(frame)?.scores),
            Self::Real(line) => Some(line.frame(frame)?),
        })
    }
}

/// An emulated board with the plan in place.
fn boot(board: Option<&str>, plan: &[u8]) -> Result<Sim> {
    let board = targets::emulated_or_usual(board)?;
    board.check_fit(&Plan::parse(plan)?)?;
    let elf = targets::firmware(&board)?;
    let mut sim = Sim::boot(&board, &elf, Clock::Free)?;
    sim.load_plan(plan)?;
    Ok(sim)
}

/// The camera that shows the pictures; none where they go to the model as they are.
fn sensor(args: &RunArgs) -> Option<Sensor> {
    let wanted = args.on != Target::Engine || args.frame_format.is_some() || args.frame_size.is_some();
    let usual = Sensor::default();
    let (width, height) = args.frame_size.map_or((usual.width, usual.height), |size| (size.width, size.height));
    wanted.then(|| Sensor { format: args.frame_format.map_or(usual.format, PixelFormat::from), width, height })
}

/// int8 scores of a picture, from the engine here, and from the board where there is one: both see the same frame.
fn classify(engine: &EngineModel, device: &mut Device, sensor: Option<Sensor>, picture: &Picture) -> Result<Vec<i8>> {
    let Picture { width, height, pixels } = picture;
    let plan = engine.plan();
    let shot = sensor.map(|sensor| camera::shoot(sensor, plan.crop(), *width, *height, pixels)).transpose()?;
    let frame = match (&shot, sensor) {
        (Some(data), Some(sensor)) => Frame::new(sensor.format, sensor.width, sensor.height, data),
        _ => Frame::new(PixelFormat::Rgb888, *width, *height, pixels),
    };
    let frame = frame.context("the frame")?;
    let mut image = vec![0; plan.input().shape.len()];
    preprocess(&frame, plan.crop(), plan.input().shape, &mut image).context("the model takes no colour pictures")?;
    let here = engine.scores(&image)?;
    if let Some(there) = device.scores(&frame)?
        && here != there
    {
        let what = format!("host and board disagree: the engine here says {here:?}, the board {there:?}");
        return Err(Failure::Disagree(what).into());
    }
    Ok(here)
}

/// The best classes, best first.
fn best(scores: &[i8]) -> Vec<Ranked> {
    let mut room = [Ranked::default(); SHOWN];
    scores::top_k(scores, &mut room).to_vec()
}

fn describe(path: &Path, plan: &Plan, scores: &[i8]) -> String {
    let probabilities = eval::probabilities(plan, scores);
    let class = |r: &Ranked| {
        let name = plan.label(r.class.into()).unwrap_or_default();
        format!("{name} {:.1} %", 100.0 * probabilities[usize::from(r.class)])
    };
    let classes: Vec<String> = best(scores).iter().map(class).collect();
    let margin = scores::margin(scores, plan.output_params());
    format!("{}: {}   (margin {margin:.2})", path.display(), classes.join(", "))
}

fn result(path: &Path, plan: &Plan, scores: &[i8]) -> Value {
    let probabilities = eval::probabilities(plan, scores);
    let label = |class: u16| plan.label(class.into()).unwrap_or_default();
    let top = |r: &Ranked| {
        let probability = probabilities[usize::from(r.class)];
        json!({ "label": label(r.class), "score": r.score, "probability": probability })
    };
    json!({
        "picture": path,
        "label": label(scores::best(scores).class),
        "scores": scores,
        "top": best(scores).iter().map(top).collect::<Vec<_>>(),
        "margin": scores::margin(scores, plan.output_params()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_grow_as_in_training() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.png");
        let picture = Picture { width: 4, height: 5, pixels: (0..60).map(|i| 4 * i).collect() };
        std::fs::write(&path, picture.to_png().unwrap()).unwrap();
        assert_eq!(open(&path, None).unwrap(), picture);
        assert_eq!(open(&path, Some((4, Crop::Centre))).unwrap(), picture, "large enough");
        assert_eq!(open(&path, Some((16, Crop::Centre))).unwrap(), picture.enlarged(16, Crop::Centre));
    }
}
