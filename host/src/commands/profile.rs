//! `ocellus profile`: what each layer of a plan costs on a board.

use super::helpers::targets;
use crate::board::Board;
use crate::cli::{ProfileArgs, Stage};
use crate::client::{self, Profile};
use crate::model::ModelFiles;
use crate::report;
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::plan::{Plan, Step};
use serde::Serialize;

/// What one inference costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Where it was counted.
    pub board: String,
    /// Instructions of the whole run, on an emulated board. They are not cycles: the emulator knows no pipeline and no
    /// cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Cycles of the whole run, on a real board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// What the cycles take at the board's clock, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
    /// Most bytes of stack that the run used.
    pub stack_bytes: u32,
    /// Multiply-accumulates of the whole run.
    pub macs: u64,
    /// Each step, in the order they run.
    pub layers: Vec<Layer>,
}

/// What one step costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The operator.
    pub op: &'static str,
    /// Shape of its first input.
    #[serde(serialize_with = "as_text")]
    pub input: Shape,
    /// Shape of its result.
    #[serde(serialize_with = "as_text")]
    pub output: Shape,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Instructions, on an emulated board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Cycles, on a real board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// Bytes of parameters.
    pub parameter_bytes: usize,
}

fn as_text<S: serde::Serializer>(shape: &Shape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(shape)
}

/// Counts what one inference takes, step by step: instructions, which do not depend on the image, or cycles.
///
/// # Errors
/// There is no plan, it does not fit the board or is not on it, or the board cannot be built, emulated or reached.
pub fn run(args: &ProfileArgs) -> Result<()> {
    let bytes = ModelFiles::find(&args.model)?.read_plan()?;
    let plan = Plan::parse(&bytes)?;
    let board = match args.on {
        Stage::Sim => targets::emulated_or_usual(args.device.board.as_deref())?,
        Stage::Board => targets::required_board(args.device.board.as_deref())?,
    };
    board.check_fit(&plan)?;
    let image = vec![0; plan.input().shape.len()];
    let profile = match args.on {
        Stage::Sim => client::profile(&board, &targets::firmware(&board)?, &bytes, &image)?,
        Stage::Board => on_board(args, &board, &bytes, &image)?,
    };
    let layers: Vec<Layer> = plan.steps().zip(&profile.steps).map(|(step, n)| layer(&step, *n, args.on)).collect();
    let macs = layers.iter().map(|layer| layer.macs).sum();
    let (instructions, cycles) = either(profile.total, args.on);
    let milliseconds = cycles.zip(board.clock_hz).map(|(cycles, hertz)| 1e3 * cycles as f64 / hertz as f64);
    let stack_bytes = profile.stack_bytes;
    let summary = Summary { board: board.name, instructions, cycles, milliseconds, stack_bytes, macs, layers };
    if args.json { report::print_json(&summary) } else { report::print(&text(&summary)) }
}

fn on_board(args: &ProfileArgs, board: &Board, plan: &[u8], image: &[i8]) -> Result<Profile> {
    let mut client = targets::reach(board, &args.device.probe, args.device.elf.as_deref(), plan)?;
    // The second time code and parameters are in the caches, as in every frame but the first.
    client.profile(image)?;
    let profile = client.profile(image)?;
    client.end()?;
    Ok(profile)
}

/// A count as instructions, or as the cycles of a real core.
fn either(count: u64, on: Stage) -> (Option<u64>, Option<u64>) {
    match on {
        Stage::Sim => (Some(count), None),
        Stage::Board => (None, Some(count)),
    }
}

fn layer(step: &Step, count: u64, on: Stage) -> Layer {
    let (input, output) = (step.input().shape, step.output.shape);
    let (instructions, cycles) = either(count, on);
    Layer {
        op: step.op.name(),
        input,
        output,
        macs: step.macs(),
        instructions,
        cycles,
        parameter_bytes: step.weights.len() + 4 * (step.biases.len() + step.multipliers.len()),
    }
}

fn text(summary: &Summary) -> String {
    let ratio = |instructions: u64, macs: u64| match macs {
        0 => String::new(),
        _ => format!("{:.2}", instructions as f64 / macs as f64),
    };
    let row = |first: [String; 3], macs: u64, instructions: u64, bytes: usize| {
        let [number, op, shapes] = first;
        let figures = [macs, instructions, bytes as u64].map(report::thousands);
        let [macs_text, instructions_text, bytes] = figures;
        vec![number, op, shapes, macs_text, instructions_text, ratio(instructions, macs), bytes]
    };
    let mut rows: Vec<Vec<String>> = (summary.layers.iter().enumerate())
        .map(|(i, l)| {
            let first = [i.to_string(), l.op.to_owned(), format!("{} -> {}", l.input, l.output)];
            row(first, l.macs, l.instructions.or(l.cycles).unwrap_or_default(), l.parameter_bytes)
        })
        .collect();
    let bytes = summary.layers.iter().map(|l| l.parameter_bytes).sum();
    let all = summary.instructions.or(summary.cycles).unwrap_or_default();
    rows.push(row(["all".into(), String::new(), summary.board.clone()], summary.macs, all, bytes));
    let unit = if summary.cycles.is_some() { "cycles" } else { "instructions" };
    let table = report::table(&["", "layer", "shape", "MACs", unit, "per MAC", "bytes"], &rows);
    let stack = format!("stack  {} bytes at most", report::thousands(summary.stack_bytes.into()));
    match summary.milliseconds {
        Some(time) => format!("{table}\n\n{stack}\ntime   {time:.1} ms at the board's clock"),
        None => format!("{table}\n\n{stack}"),
    }
}
