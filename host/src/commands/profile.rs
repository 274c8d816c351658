//! `ocellus profile`: what each layer of a plan costs on an emulated board.

use super::inputs;
use crate::cli::ProfileArgs;
use crate::model::ModelFiles;
use crate::report;
use crate::sim::{Clock, Sim};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::plan::{Plan, Step};
use serde::Serialize;

/// What one inference costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Where it was counted.
    pub board: String,
    /// Instructions of the whole run. They are not cycles: the emulator knows no pipeline and no cache.
    pub instructions: u64,
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
    /// Instructions.
    pub instructions: u64,
    /// Bytes of parameters.
    pub parameter_bytes: usize,
}

fn as_text<S: serde::Serializer>(shape: &Shape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(shape)
}

/// Counts the instructions of one inference, step by step. They do not depend on the image.
///
/// # Errors
/// There is no plan, it does not fit the board, or the board cannot be built or emulated.
pub fn run(args: &ProfileArgs) -> Result<()> {
    let bytes = ModelFiles::find(&args.model)?.read_plan()?;
    let board = inputs::emulated_board(&args.board)?;
    let plan = Plan::parse(&bytes)?;
    board.check_fit(&plan)?;
    let elf = inputs::firmware(&board)?;
    let mut sim = Sim::boot(&board, &elf, Clock::Instructions)?;
    sim.load_plan(&bytes)?;
    let counted = sim.profile(&vec![0; plan.input().shape.len()])?;
    sim.shut_down()?;
    let layers: Vec<Layer> = plan.steps().zip(&counted.steps).map(|(step, &count)| layer(&step, count)).collect();
    let macs = layers.iter().map(|layer| layer.macs).sum();
    let summary = Summary {
        board: board.name,
        instructions: counted.instructions,
        stack_bytes: counted.stack_bytes,
        macs,
        layers,
    };
    if args.json { report::print_json(&summary) } else { report::print(&text(&summary)) }
}

fn layer(step: &Step, instructions: u64) -> Layer {
    let (input, output) = (step.input().shape, step.output.shape);
    Layer {
        op: step.op.name(),
        input,
        output,
        macs: step.op.macs(input, output),
        instructions,
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
            row(first, l.macs, l.instructions, l.parameter_bytes)
        })
        .collect();
    let bytes = summary.layers.iter().map(|l| l.parameter_bytes).sum();
    rows.push(row(["all".into(), String::new(), summary.board.clone()], summary.macs, summary.instructions, bytes));
    let table = report::table(&["", "layer", "shape", "MACs", "instructions", "per MAC", "bytes"], &rows);
    format!("{table}\n\nstack  {} bytes at most", report::thousands(summary.stack_bytes.into()))
}
