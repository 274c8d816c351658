//! `ocellus analyze`: whether a plan fits a board, what it needs, and what it is expected to cost, without running it.

use super::helpers::targets;
use crate::board::{Board, DoesNotFit};
use crate::cli::AnalyzeArgs;
use crate::cost::{self, Core, Costs};
use crate::model::ModelFiles;
use crate::ops;
use crate::toolchain::{self, ProgramSize};
use crate::{report, view};
use anyhow::Result;
use ocellus_shared::Op;
use ocellus_shared::plan::{Operand, Plan, Step};
use serde::Serialize;

/// Instructions that the board takes for every byte of a plan when it looks at it after power-up: those of a CRC-32 by
/// table, half a byte at a time.
const CHECK_INSTRUCTIONS: f64 = 11.0;
/// Time between two frames of a sensor in good light, in milliseconds: 30 a second.
const FRAME_MS: f64 = 1e3 / 30.0;

/// What a plan needs of a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// The board.
    pub board: String,
    /// Whether the plan and what it works on have room.
    pub fits: bool,
    /// Bytes of flash: the board's program and the plan.
    pub flash_bytes: u64,
    /// Of these, the program.
    pub program_bytes: u64,
    /// Whether that is the recorded size of the program, since this machine cannot build it.
    pub program_is_recorded: bool,
    /// Flash that a real board sets aside for it.
    pub program_room_bytes: Option<u64>,
    /// Of these, the plan.
    pub plan_bytes: u64,
    /// Memory that the board sets aside for it.
    pub plan_room_bytes: u64,
    /// Of the plan, what no form of it could do without: see [`raw_bytes`].
    pub raw_bytes: u64,
    /// What the plan takes beyond that, as a part of it.
    pub plan_overhead: f64,
    /// Bytes of RAM: arena, stack, frame and the program's own variables.
    pub ram_bytes: u64,
    /// Of these, feature maps and scratch memory.
    pub arena_bytes: u64,
    /// Memory that the board sets aside for them.
    pub arena_room_bytes: u64,
    /// Of the arena, the scratch memory of the step that needs most.
    pub scratch_bytes: u64,
    /// Of the RAM, the most that the stack was measured to take.
    pub stack_bytes: u64,
    /// Of the RAM, the camera's frame; an emulated board gets images as messages and needs none.
    pub frame_bytes: u64,
    /// Of the RAM, the program's own variables.
    pub static_bytes: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Predicted instructions of one inference. They are not cycles.
    pub instructions: u64,
    /// Largest error of that prediction, as a part of what is counted.
    pub instructions_error: f64,
    /// Shortest and longest time of one inference that is to be expected, in milliseconds, where the board's table says
    /// its clock.
    pub time_ms: Option<[f64; 2]>,
    /// Whether reading parameters from serial flash comes on top of that, for which there is no figure.
    pub serial_flash: bool,
    /// Shortest and longest time from power-up to the first label in good light, in milliseconds, on a real board: clocks,
    /// the sensor's registers and its settling, the plan's checksum, a frame, and an inference.
    pub first_label_ms: Option<[f64; 2]>,
    /// Each step, in the order they run.
    pub layers: Vec<Layer>,
}

/// What one step needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The operator.
    pub op: &'static str,
    /// Shapes of its first input and of its result.
    pub shape: String,
    /// The kernel that computes it.
    pub kernel: &'static str,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Predicted instructions.
    pub instructions: u64,
    /// Bytes of parameters.
    pub parameter_bytes: usize,
    /// Bytes of working memory: inputs, result and scratch, less what they share.
    pub working_bytes: usize,
    /// Rows of the result that are computed at a time, where it lies over an input; 0 for all.
    pub strip_rows: u16,
}

/// Says what a plan needs of a board.
///
/// # Errors
/// There is no plan or no such board, its program does not build or has no recorded size, nothing was measured on its core, or the plan does not
/// fit: the last after everything has been printed.
pub fn run(args: &AnalyzeArgs) -> Result<()> {
    let bytes = ModelFiles::find(&args.model)?.read_plan()?;
    let plan = Plan::parse(&bytes)?;
    let board = Board::load(&args.board)?;
    if is_for_speed(&plan) && Core::of(&board.cpu)? == Core::Vector {
        view::warn(
            "the plan is packed for the speed of Cortex-M4, M7 and M33; this core takes fewer instructions with \
             `ocellus export --optimize size`",
        );
    }
    let analysis = analyse(&plan, &board)?;
    if args.json {
        report::print_json(&analysis)?
    } else {
        report::print(&text(&analysis))?
    }
    board.check_fit(&plan).map_err(|unfit| advised(&plan, &board, &unfit).into())
}

fn analyse(plan: &Plan, board: &Board) -> Result<Analysis> {
    let costs = Costs::load(Core::of(&board.cpu)?)?;
    let (program, is_recorded) = program_size(board)?;
    let layers: Vec<Layer> = plan.steps().map(|step| layer(&costs, &step)).collect();
    let (program_bytes, plan_bytes) = (program.flash_bytes, plan.bytes().len() as u64);
    let raw_bytes = raw_bytes(plan);
    // The program of an emulated board keeps room for the largest plan and frame; what a plan needs of it counts here.
    // A camera board keeps two frames: one is classified while the other is taken in.
    let is_real = board.machine.is_none();
    let frames = board.frame_bytes * if is_real { 2 } else { 1 };
    let rooms = if is_real { 0 } else { board.plan_bytes } + board.arena_bytes + frames;
    let static_bytes = program.static_bytes.saturating_sub(rooms as u64);
    let frame_bytes = if is_real { frames as u64 } else { 0 };
    let (arena_bytes, stack_bytes) = (plan.arena_bytes() as u64, board.stack_bytes as u64);
    let instructions: u64 = layers.iter().map(|layer| layer.instructions).sum();
    let time_ms = |instructions: f64| {
        let clock = board.clock_hz? as f64;
        Some(cost::cycles_per_instruction(&board.cpu).map(|cycles| 1e3 * instructions * cycles / clock))
    };
    Ok(Analysis {
        board: board.name.clone(),
        fits: board.check_fit(plan).is_ok(),
        flash_bytes: program_bytes + plan_bytes,
        program_bytes,
        program_is_recorded: is_recorded,
        program_room_bytes: board.flash.map(|flash| flash.bytes.into()),
        plan_bytes,
        plan_room_bytes: board.plan_bytes as u64,
        raw_bytes,
        plan_overhead: plan_bytes as f64 / raw_bytes as f64 - 1.0,
        ram_bytes: arena_bytes + stack_bytes + frame_bytes + static_bytes,
        arena_bytes,
        arena_room_bytes: board.arena_bytes as u64,
        scratch_bytes: plan.steps().map(|step| step.scratch.1 as u64).max().unwrap_or(0),
        stack_bytes,
        frame_bytes,
        static_bytes,
        macs: layers.iter().map(|layer| layer.macs).sum(),
        instructions,
        instructions_error: cost::ERROR,
        time_ms: time_ms(instructions as f64),
        serial_flash: board.serial_flash,
        first_label_ms: board.first_frame_ms.and_then(|first_frame| {
            let [least, most] = time_ms(instructions as f64 + CHECK_INSTRUCTIONS * plan_bytes as f64)?;
            // The table counts the longest wait for a frame: one that has begun must end before.
            Some([f64::from(first_frame) - FRAME_MS + least, f64::from(first_frame) + most])
        }),
        layers,
    })
}

/// What the board's program takes, and whether that is only recorded: of the program itself, where this machine can build it.
fn program_size(board: &Board) -> Result<(ProgramSize, bool)> {
    if toolchain::can_build(board)? {
        return Ok((ProgramSize::of(&targets::firmware(board)?)?, false));
    }
    view::note(&format!(
        "the size of {}'s program is the recorded one: this machine lacks the source tree or a compiler (`ocellus doctor`)",
        board.name
    ));
    Ok((ProgramSize::recorded(&board.name)?, true))
}

fn layer(costs: &Costs, step: &Step) -> Layer {
    let (input, output) = (step.input().shape, step.output.shape);
    let (kernel, instructions) = costs.predict(step);
    Layer {
        op: step.op.name(),
        shape: format!("{input} -> {output}"),
        kernel: kernel.name,
        macs: step.macs(),
        instructions,
        parameter_bytes: step.weights.len() + 4 * (step.biases.len() + step.multipliers.len()),
        working_bytes: working_bytes(step),
        strip_rows: step.strip_rows,
    }
}

/// Bytes of the int8 weights, int32 biases and f32 multipliers of a plan, without what fills rows up, arranges weights for
/// speed, says where everything is, or names the classes.
pub fn raw_bytes(plan: &Plan) -> u64 {
    let of_step = |step: Step| {
        let (input, output) = (step.input().shape, step.output.shape);
        let counts = ops::of(step.op).counts(step.op.param_counts(input, output), input, output);
        (counts.weights + 4 * (step.biases.len() + step.multipliers.len())) as u64
    };
    plan.steps().map(of_step).sum()
}

/// Bytes that a step works on; what two of its maps share counts once.
fn working_bytes(step: &Step) -> usize {
    let mut maps: Vec<_> = step.inputs().iter().chain([&step.output]).map(Operand::range).collect();
    maps.sort_unstable_by_key(|map| map.start);
    let mut reached = 0;
    let bytes = maps.into_iter().map(|map| {
        let new = map.end.saturating_sub(map.start.max(reached));
        reached = reached.max(map.end);
        new
    });
    bytes.sum::<usize>() + step.scratch.1
}

/// Whether a plan was packed with more weights for fewer instructions.
fn is_for_speed(plan: &Plan) -> bool {
    plan.steps().any(|step| matches!(step.op, Op::Winograd { .. }))
}

/// What does not fit, with the layer that decides, and the image size at which it would.
fn advised(plan: &Plan, board: &Board, unfit: &DoesNotFit) -> DoesNotFit {
    let (needed, room) = (plan.arena_bytes(), board.arena_bytes);
    let largest = plan.steps().enumerate().max_by_key(|(_, step)| working_bytes(step));
    let Some((index, step)) = largest.filter(|_| needed > room) else {
        let largest = plan.steps().enumerate().max_by_key(|(_, step)| step.weights.len());
        let Some((index, step)) = largest else { return unfit.clone() };
        let (op, bytes) = (step.op.name(), step.weights.len());
        let smaller = match is_for_speed(plan) {
            true => "; `ocellus export --optimize size` packs a smaller plan with the same scores",
            false => "",
        };
        return DoesNotFit::new(format!(
            "{unfit}\nmost of the plan are the {bytes} bytes of weights of layer {index}, {op}{smaller}"
        ));
    };
    // Feature maps grow with the square of the image's side.
    let side = f64::from(plan.input().shape.h) * (room as f64 / needed as f64).sqrt();
    DoesNotFit::new(format!(
        "{unfit}\nthe most memory is for layer {index}, {} {} -> {}; an --img-size of {} would about fit",
        step.op.name(),
        step.input().shape,
        step.output.shape,
        side as u64
    ))
}

fn text(analysis: &Analysis) -> String {
    let cells = |first: [String; 4], figures: [u64; 4]| {
        first.into_iter().chain(figures.map(report::thousands)).collect::<Vec<String>>()
    };
    let mut rows: Vec<Vec<String>> = (analysis.layers.iter().enumerate())
        .map(|(i, l)| {
            let first = [i.to_string(), l.op.to_owned(), l.shape.clone(), l.kernel.to_owned()];
            cells(first, [l.macs, l.instructions, l.parameter_bytes as u64, l.working_bytes as u64])
        })
        .collect();
    let parameters = analysis.layers.iter().map(|l| l.parameter_bytes as u64).sum();
    let all = ["all".to_owned(), String::new(), analysis.board.clone(), String::new()];
    rows.push(cells(all, [analysis.macs, analysis.instructions, parameters, analysis.arena_bytes]));
    let header = ["", "layer", "shape", "kernel", "MACs", "instructions", "parameters", "memory"];
    format!("{}\n\n{}", report::table(&header, &rows), needs(analysis))
}

/// Flash, RAM and time, a line each.
fn needs(analysis: &Analysis) -> String {
    let t = report::thousands;
    let Analysis { arena_bytes, scratch_bytes, stack_bytes, frame_bytes, static_bytes, .. } = *analysis;
    let mut lines = vec![
        format!(
            "flash         {} bytes: program {}{}{}, plan {} of {}",
            t(analysis.flash_bytes),
            if analysis.program_is_recorded { "about " } else { "" },
            t(analysis.program_bytes),
            analysis.program_room_bytes.map_or_else(String::new, |room| format!(" of {}", t(room))),
            t(analysis.plan_bytes),
            t(analysis.plan_room_bytes)
        ),
        format!(
            "plan          {:.1} % more than its {} bytes of weights, biases and multipliers",
            100.0 * analysis.plan_overhead,
            t(analysis.raw_bytes)
        ),
        format!(
            "RAM           {} bytes: arena {} of {} (scratch of a layer up to {}), stack {}, frame {}, variables {}",
            t(analysis.ram_bytes),
            t(arena_bytes),
            t(analysis.arena_room_bytes),
            t(scratch_bytes),
            t(stack_bytes),
            t(frame_bytes),
            t(static_bytes)
        ),
        format!(
            "instructions  {}, predicted within {:.0} %; they are not cycles",
            t(analysis.instructions),
            100.0 * analysis.instructions_error
        ),
    ];
    let more = if analysis.serial_flash { ", and what reading parameters from its serial flash takes" } else { "" };
    if let Some([least, most]) = analysis.time_ms {
        lines.push(format!("time          {least:.1} to {most:.1} ms at the board's clock{more}"));
    }
    if let Some([least, most]) = analysis.first_label_ms {
        lines.push(format!("first label   {least:.0} to {most:.0} ms after power-up, by calculation{more}"));
    }
    lines.push(format!("fits          {}", if analysis.fits { "yes" } else { "no" }));
    lines.join("\n")
}
