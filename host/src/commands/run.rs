//! `ocellus run`.

mod joined;

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Plan;
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
use crate::eval::single::{self, Enlarged};
use crate::model::ModelFiles;
use crate::{report, view};

/// Classifies pictures, one after the other: each result is written before the next picture is read. One that cannot be read does
/// not stop the others.
///
/// # Errors
/// A file that is no picture or no plan, a plan that does not fit the board, or a board that answers differently; an ensemble's member
/// that is gone, or an ensemble that is to run on a board.
pub fn run(args: &RunArgs) -> Result<()> {
    let files = ModelFiles::find(&args.model)?;
    if files.ensemble.is_some() {
        joined::check(args)?;
        let ensemble = files.load_float()?;
        return each(args, None, |path, picture| joined::classify(&ensemble, path, picture, args.reject), || Ok(()));
    }
    let bytes = files.read_plan()?;
    let engine = EngineModel::new(&bytes)?;
    let sensor = sensor(args);
    // What no camera brings to a size of its own is enlarged as the images were that the model was trained on.
    let enlarged = match sensor {
        None => files.read_recipe().ok().and_then(|recipe| Enlarged::of(&recipe.data, engine.plan())),
        Some(_) => None,
    };
    let board: RefCell<Option<Client>> = RefCell::new(None);
    let mut is_connected = false;
    let classify = |path: &Path, picture: &Picture| {
        // The first picture is looked at before a board takes its time to boot.
        if !is_connected {
            *board.borrow_mut() = targets::connect(args.on, &args.device, &bytes)?;
            is_connected = true;
        }
        let scores =
            classify(&engine, board.borrow_mut().as_mut(), sensor, picture).with_context(|| view::name(path))?;
        let plan = engine.plan();
        let object = single::result(&view::json_path(path), plan, &scores, args.reject);
        Ok(Answer { line: describe(path, plan, &scores, args.reject), object })
    };
    each(args, enlarged, classify, || board.take().map_or(Ok(()), Client::end))
}

/// What is said of a picture.
struct Answer {
    /// To people.
    line: String,
    /// To programs.
    object: Value,
}

/// Writes what `classify` says of each picture that can be read, and then calls `end`.
fn each(
    args: &RunArgs,
    enlarged: Option<Enlarged>,
    mut classify: impl FnMut(&Path, &Picture) -> Result<Answer>,
    end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut results = ResultWriter { is_json: args.json, is_one: args.pictures.len() == 1, written: 0 };
    let mut unreadable = 0;
    let outcome = args.pictures.iter().try_for_each(|path| {
        let picture = match open(path, enlarged).with_context(|| view::name(path)) {
            Ok(picture) => picture,
            Err(error) if results.is_one => return Err(error),
            Err(error) => {
                unreadable += 1;
                view::warn(&format!("{error:#}"));
                return results
                    .write(None, &json!({ "picture": view::json_path(path), "error": format!("{error:#}") }));
            }
        };
        let Answer { line, object } = classify(path, &picture)?;
        results.write(Some(&line), &object)
    });
    let outcome = outcome.and_then(|()| end());
    results.finish().and(outcome)?;
    ensure!(unreadable == 0, "{unreadable} of {} pictures cannot be used, see above", args.pictures.len());
    Ok(())
}

/// Writes results as they come: lines for people, one JSON object for programs.
struct ResultWriter {
    is_json: bool,
    /// There is but one picture, whose result is the object.
    is_one: bool,
    written: usize,
}

impl ResultWriter {
    /// Writes one result; people may have seen it already.
    fn write(&mut self, line: Option<&str>, object: &Value) -> Result<()> {
        let before = if self.written == 0 { "{\"results\":[" } else { "," };
        self.written += 1;
        match line {
            _ if self.is_json && self.is_one => report::print_json(object),
            _ if self.is_json => report::print(&format!("{before}{}", report::json(object)?)),
            Some(line) => report::print(line),
            None => Ok(()),
        }
    }

    /// Ends the object, also where something failed on the way.
    fn finish(&self) -> Result<()> {
        if self.is_json && !self.is_one && self.written > 0 { report::print("]}") } else { Ok(()) }
    }
}

/// The picture at `path`, as the model's images were enlarged where it is smaller.
fn open(path: &Path, enlarged: Option<Enlarged>) -> Result<Picture> {
    ensure!(!path.is_dir(), "it is a folder: name the pictures in it, as {}", path.join("*.jpg").display());
    Ok(single::enlarged(Picture::open(path)?, enlarged))
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

fn describe(path: &Path, plan: &Plan, scores: &[i8], reject: Option<f64>) -> String {
    let probabilities = eval::probabilities(plan, scores);
    let class = |r: &Ranked| {
        let name = plan.label(r.class.into()).unwrap_or_default();
        format!("{name} {:.1} %", 100.0 * probabilities[usize::from(r.class)])
    };
    let classes: Vec<String> = single::best(scores, single::NAMED).iter().map(class).collect();
    let margin = scores::margin(scores, plan.output_params());
    let unsure = if single::is_rejected(plan, scores, reject) { "unsure: " } else { "" };
    format!("{}: {unsure}{}   (margin {margin:.2})", view::name(path), classes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::plan::Crop;

    #[test]
    fn small_pictures_grow_as_in_training() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.png");
        let picture = Picture { width: 4, height: 5, pixels: (0..60).map(|i| 4 * i).collect() };
        std::fs::write(&path, picture.to_png().unwrap()).unwrap();
        assert_eq!(open(&path, None).unwrap(), picture);
        let to = |side| Some(Enlarged { side, crop: Crop::Centre });
        assert_eq!(open(&path, to(4)).unwrap(), picture, "large enough");
        assert_eq!(open(&path, to(16)).unwrap(), picture.enlarged(16, Crop::Centre));
    }
}
