//! `ocellus analyze`: whether a plan fits a board, what it needs, and what it is expected to cost, without running it.

use anyhow::Result;
use ocellus_shared::Op;
use ocellus_shared::plan::Plan;

use super::helpers::targets;
use crate::analysis::{Analysis, analyse, plots, working_bytes};
use crate::board::{Board, DoesNotFit};
use crate::cli::AnalyzeArgs;
use crate::cost::Core;
use crate::files;
use crate::model::ModelFiles;
use crate::toolchain::{self, ProgramSize};
use crate::{report, view};

/// Says what a plan needs of a board.
///
/// # Errors
/// There is no plan or no such board, its program does not build or has no recorded size, nothing was measured on its core, or the plan does not
/// fit: the last after everything has been printed.
pub fn run(args: &AnalyzeArgs) -> Result<()> {
    args.plot.as_deref().map_or(Ok(()), files::check_file)?;
    let bytes = ModelFiles::find(&args.model)?.read_plan()?;
    let plan = Plan::parse(&bytes)?;
    let board = Board::load(&args.board)?;
    if is_for_speed(&plan) && Core::of(&board.cpu)? == Core::Vector {
        view::warn(
            "the plan is packed for the speed of Cortex-M4, M7 and M33; this core takes fewer instructions with \
             `ocellus export --optimize size`",
        );
    }
    let analysis = analyse(&plan, &board, program_size(&board)?)?;
    if let Some(path) = &args.plot {
        plots::drawing(&view::name(&args.model), &plan, &analysis).write(path)?;
    }
    if args.json {
        report::print_json(&analysis)?
    } else {
        report::print(&text(&analysis))?
    }
    board.check_fit(&plan).map_err(|unfit| advised(&plan, &board, &unfit).into())
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
        match analysis.raw_bytes {
            0 => "plan          no weights, biases and multipliers".to_owned(),
            raw => format!(
                "plan          {:.1} % more than its {} bytes of weights, biases and multipliers",
                100.0 * analysis.plan_overhead,
                t(raw)
            ),
        },
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
