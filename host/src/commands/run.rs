//! `ocellus run`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::{Crop, Plan};
use ocellus_shared::scores::{self, Ranked};
use serde_json::{Value, json};

use super::Failure;
use super::helpers::targets;
use crate::camera::{self, Sensor};
use crate::cli::{RunArgs, Target};
use crate::client::Client;
use crate::data::picture::Picture;
use crate::eval;
use crate::eval::engine::EngineModel;
use crate::model::ModelFiles;
use crate::recipe::Enlarge;
use crate::report;

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
    let mut board = targets::connect(args.on, &args.device, &bytes)?;
    let mut results = Vec::new();
    for (path, picture) in args.pictures.iter().zip(&pictures) {
        let scores = classify(&engine, board.as_mut(), sensor, picture).with_context(|| path.display().to_string())?;
        if !args.json {
            report::print(&describe(path, engine.plan(), &scores))?;
        }
        results.push(result(path, engine.plan(), &scores));
    }
    board.map_or(Ok(()), Client::end)?;
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

/// The camera that shows the pictures; none where they go to the model as they are.
fn sensor(args: &RunArgs) -> Option<Sensor> {
    let wanted = args.on != Target::Engine || args.frame_format.is_some() || args.frame_size.is_some();
    let usual = Sensor::default();
    let (width, height) = args.frame_size.map_or((usual.width, usual.height), |size| (size.width, size.height));
    wanted.then(|| Sensor { format: args.frame_format.map_or(usual.format, PixelFormat::from), width, height })
}

/// int8 scores of a picture, from the engine here, and from the board where there is one: both see the same frame.
fn classify(
    engine: &EngineModel,
    board: Option<&mut Client>,
    sensor: Option<Sensor>,
    picture: &Picture,
) -> Result<Vec<i8>> {
    let Picture { width, height, pixels } = picture;
    let plan = engine.plan();
    let pixels_of_sensor =
        sensor.map(|sensor| camera::shoot(sensor, plan.crop(), *width, *height, pixels)).transpose()?;
    let frame = match (&pixels_of_sensor, sensor) {
        (Some(data), Some(sensor)) => Frame::new(sensor.format, sensor.width, sensor.height, data),
        _ => Frame::new(PixelFormat::Rgb888, *width, *height, pixels),
    };
    let frame = frame.context("the frame")?;
    let here = engine.classify(&frame)?;
    if let Some(there) = board.map(|board| board.frame(&frame)).transpose()?.map(|seen| seen.scores)
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
