//! `ocellus validate`.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::tensor_crc;
use serde_json::{Map, Value, json};

use super::Failure;
use super::helpers::{datasets, targets};
use crate::board::Board;
use crate::cli::{Target, ValidateArgs};
use crate::client::Client;
use crate::data::Split;
use crate::eval::engine::EngineModel;
use crate::eval::tract::TractModel;
use crate::eval::{self, Evaluator, Scores};
use crate::model::ModelFiles;
use crate::transport::qemu::ClockMode;
use crate::{report, view};

/// A model that several sides compute.
struct Subject {
    tract: TractModel,
    plan: Vec<u8>,
    /// The board, where one takes part.
    board: Option<Device>,
}

/// A board that takes part.
enum Device {
    /// An emulated one and its firmware.
    Sim(Box<Board>, PathBuf),
    /// A real one: its answers come one after the other.
    Real(Box<RefCell<Client>>),
}

/// One side's int8 scores, `(n, classes)`.
struct Side {
    name: &'static str,
    scores: Vec<i8>,
}

/// Where two sides part for the first time.
struct Difference {
    side: &'static str,
    image: usize,
    layer: String,
}

/// Compares every score of tract, the engine, and the board where asked to.
///
/// # Errors
/// [`Failure::Disagree`] where any score differs; or a side cannot run.
pub fn run(args: &ValidateArgs) -> Result<()> {
    let mut files = ModelFiles::find(&args.plan)?;
    files.int8_onnx = args.onnx.clone().or(files.int8_onnx);
    let subject = subject(&files, args)?;
    let plan = Plan::parse(&subject.plan)?;
    let dataset = datasets::any_dataset(&files.read_recipe()?.data, args.data.as_deref(), plan.input().shape)?;
    let images = datasets::take(&dataset.test, args.images);
    ensure!(!images.is_empty(), "{} has no test images", dataset.name);
    view::note(&format!("comparing on {} test images of {}", images.len(), dataset.name));
    let (judge, sides) = subject.scores(&images)?;
    let classes = plan.output().shape.len();
    let different = (0..judge.scores.len()).filter(|&i| sides.iter().any(|s| s.scores[i] != judge.scores[i])).count();
    let difference = subject.first_difference(&judge, &sides, &images, classes)?;
    let digests: Map<String, Value> =
        [&judge].into_iter().chain(&sides).map(|s| (s.name.to_owned(), json!(eval::digest(&s.scores)))).collect();
    if args.json {
        report::print_json(&json!({
            "images": images.len(),
            "data": dataset.name,
            "scores_compared": judge.scores.len(),
            "scores_different": different,
            "digest": digests,
            "first_difference": difference.as_ref().map(|d| json!({ "side": d.side, "image": d.image, "layer": d.layer })),
        }))?;
    } else {
        for side in [&judge].into_iter().chain(&sides) {
            report::print(&format!("{:<7} {}", side.name, eval::digest(&side.scores)))?;
        }
        report::print(&format!("{different} of {} scores differ", judge.scores.len()))?;
    }
    if let Some(Device::Real(client)) = subject.board {
        client.into_inner().end()?;
    }
    let Some(Difference { side, image, layer }) = difference else { return Ok(()) };
    let what =
        format!("{side} and tract disagree on {different} scores, first on image {image}, from layer {layer} on");
    Err(Failure::Disagree(what).into())
}

/// The model, once it is sure that plan and ONNX file are two forms of the same one.
fn subject(files: &ModelFiles, args: &ValidateArgs) -> Result<Subject> {
    // The two are compared below, which knows of --onnx.
    let plan = ModelFiles { int8_onnx: None, ..files.clone() }.read_plan()?;
    let parsed = Plan::parse(&plan)?;
    let tract = ModelFiles { plan: None, ..files.clone() }.load_tract()?;
    if tract.digest() != parsed.digest() {
        bail!(
            "{} and {} are of different models: export both again, or name the right file with --onnx",
            shown(&files.plan),
            shown(&files.int8_onnx)
        );
    }
    let board = match args.on {
        Target::Engine => None,
        Target::Sim => {
            let board = targets::sim_or_usual(args.device.board.as_deref())?;
            board.check_fit(&parsed)?;
            let elf = targets::firmware(&board)?;
            Some(Device::Sim(Box::new(board), elf))
        }
        Target::Board => {
            targets::connect(args.on, &args.device, &plan)?.map(|client| Device::Real(Box::new(client.into())))
        }
    };
    Ok(Subject { tract, plan, board })
}

fn shown(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
}

/// A real board's scores of every image.
fn stream(client: &RefCell<Client>, images: &Split) -> Result<Vec<i8>> {
    let bar = view::bar(images.len() as u64, "board");
    let mut scores = Vec::new();
    for i in 0..images.len() {
        let pixels = eval::int8_pixels(images.image(i));
        scores.extend(client.borrow_mut().scores(&pixels).with_context(|| format!("image {i} of {}", images.len()))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(scores)
}

impl Subject {
    /// The judge's scores of every image, and those of the sides that must equal them.
    fn scores(&self, images: &Split) -> Result<(Side, Vec<Side>)> {
        let side = |name, evaluator: &Evaluator| {
            let bar = view::bar(images.len() as u64, name);
            let scores = evaluator.scores(images, &|| bar.inc(1)).context(name)?;
            bar.finish_and_clear();
            let Scores::Int8(scores) = scores else { bail!("{name} gives no int8 scores") };
            anyhow::Ok(Side { name, scores })
        };
        let judge = side("tract", &Evaluator::Tract(self.tract.clone()))?;
        let mut sides = vec![side("engine", &Evaluator::Engine(self.plan.clone()))?];
        match &self.board {
            None => {}
            Some(Device::Sim(board, elf)) => {
                let (board, elf, plan) = (board.clone(), elf.clone(), self.plan.clone());
                sides.push(side("sim", &Evaluator::Sim { board, elf, plan })?);
            }
            Some(Device::Real(client)) => sides.push(Side { name: "board", scores: stream(client, images)? }),
        }
        for side in &sides {
            ensure!(side.scores.len() == judge.scores.len(), "{} gives another number of scores", side.name);
        }
        Ok((judge, sides))
    }

    /// The first image that any side scores differently, and the first layer in which the two part.
    fn first_difference(
        &self,
        judge: &Side,
        sides: &[Side],
        images: &Split,
        classes: usize,
    ) -> Result<Option<Difference>> {
        let differs = |side: &Side, image: usize| {
            let scores = image * classes..(image + 1) * classes;
            side.scores[scores.clone()] != judge.scores[scores]
        };
        let first = (0..images.len()).find_map(|i| sides.iter().find(|s| differs(s, i)).map(|s| (s.name, i)));
        let Some((side, image)) = first else { return Ok(None) };
        let pixels = eval::int8_pixels(images.image(image));
        let expected = self.tract.trace(&pixels)?;
        let found = match (&self.board, side) {
            (Some(Device::Real(client)), "board") => client.borrow_mut().trace(&pixels)?.steps,
            (Some(Device::Sim(board, elf)), "sim") => {
                Client::boot_with(board, elf, ClockMode::Free, &self.plan)?.trace(&pixels)?.steps
            }
            _ => EngineModel::new(&self.plan)?.trace(&pixels)?.iter().map(|values| tensor_crc(values)).collect(),
        };
        let layer = expected.iter().zip(&found).find(|((_, values), crc)| tensor_crc(values) != **crc);
        let layer = layer.map_or_else(|| "the scores themselves".to_owned(), |((name, _), _)| name.clone());
        Ok(Some(Difference { side, image, layer }))
    }
}
