//! What a plan needs of a board, and what it is expected to cost there, without running it.

pub mod plots;

use anyhow::Result;
use ocellus_shared::plan::{Operand, Plan, Step};
use serde::Serialize;

use crate::board::Board;
use crate::cost::{self, Core, Costs};
use crate::ops;
use crate::toolchain::ProgramSize;

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

/// What `plan` needs of `board`, whose program takes `program`; `is_recorded` says that this is only what was recorded of it.
///
/// # Errors
/// Nothing was measured on the board's core.
pub fn analyse(plan: &Plan, board: &Board, (program, is_recorded): (ProgramSize, bool)) -> Result<Analysis> {
    let costs = Costs::load(Core::of(&board.cpu)?)?;
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
pub fn working_bytes(step: &Step) -> usize {
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
