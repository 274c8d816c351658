//! `ocellus flash`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ocellus_shared::plan::Plan;
use serde_json::json;

use super::Failure;
use super::helpers::targets;
use crate::board::{Board, DoesNotFit};
use crate::cli::FlashArgs;
use crate::model::ModelFiles;
use crate::probe::{Image, Link, Phase, Selector, Settings, Written};
use crate::toolchain::ProgramSize;
use crate::{report, view};

/// Programs a board, or its model alone, once it is sure that all of it fits.
///
/// # Errors
/// An unknown or emulated board, a plan or program that does not fit, no probe, or flash that cannot be programmed.
pub fn run(args: &FlashArgs) -> Result<()> {
    let board = targets::real_board(&args.board)?;
    let plan = ModelFiles::find(&args.model)?.read_plan()?;
    let parsed = Plan::parse(&plan)?;
    board.check_fit(&parsed)?;
    check_act(args, &parsed)?;
    let program = program(args, &board)?.map(|path| read_program(&board, &path)).transpose()?;
    let settings = Settings { allow_erase_all: args.allow_erase_all, ..targets::settings(&args.probe) };
    let rehearses = matches!(settings.probe, Selector::Simulated(_));
    if rehearses {
        view::note("a rehearsal on a simulated board: nothing real is programmed");
    }
    let mut link = Link::attach(&board, &settings)?;
    let bar = view::bytes_bar("erasing");
    let written = link.flash(&Image { elf: program.as_deref(), plan: &plan }, &mut |phase, done, all| {
        bar.set_message(doing(phase));
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    print_summary(args, &board, &written, rehearses)
}

/// The program to write: the given one, or a fresh one; nothing where only the model is replaced.
fn program(args: &FlashArgs, board: &Board) -> Result<Option<PathBuf>> {
    match (&args.elf, args.model_only) {
        (_, true) => Ok(None),
        (Some(elf), _) => Ok(Some(elf.clone())),
        (None, _) => targets::firmware_that(board, &args.act.env()).map(Some),
    }
}

/// Refuses a label that the model does not have, and says where a program that is kept decides.
fn check_act(args: &FlashArgs, plan: &Plan) -> Result<()> {
    if args.model_only || args.elf.is_some() {
        if !args.act.env().is_empty() {
            view::warn(
                "the program decides for which label the LED lights, and how labels are smoothed: --look-for and --smoothing are ignored",
            );
        }
        return Ok(());
    }
    let labels: Vec<&str> = (0..plan.output().shape.len()).filter_map(|class| plan.label(class)).collect();
    match &args.act.look_for {
        Some(label) if !labels.contains(&label.as_str()) => Err(Failure::Usage(format!(
            "the model has no label {label:?} for --look-for; it has: {}",
            labels.join(", ")
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Reads a program, and refuses one of another board or that is larger than the board's flash for it, before any probe is
/// looked for.
fn read_program(board: &Board, elf: &Path) -> Result<Vec<u8>> {
    let (bytes, room) = (ProgramSize::of(elf)?.flash_bytes, board.flash.map_or(0, |flash| flash.bytes));
    if bytes > u64::from(room) {
        let what = format!(
            "{} does not fit {}: it takes {bytes} bytes of flash, the board has {room}; choose another --board",
            elf.display(),
            board.name
        );
        return Err(DoesNotFit::new(what).into());
    }
    targets::program(board, Some(elf))
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Erase => "erasing",
        Phase::Program => "programming",
        Phase::Verify => "verifying",
    }
}

fn print_summary(args: &FlashArgs, board: &Board, written: &Written, rehearses: bool) -> Result<()> {
    let Written { program_bytes, model_bytes, starts, time } = written;
    if args.json {
        return report::print_json(&json!({
            "board": board.name,
            "program_bytes": program_bytes,
            "model_bytes": model_bytes,
            "starts": starts,
            "seconds": time.as_secs_f64(),
        }));
    }
    let program = match (args.model_only, starts) {
        (true, true) => "program kept".to_owned(),
        (true, false) => "no program".to_owned(),
        (false, _) => format!("program {program_bytes} bytes"),
    };
    let then = match (starts, rehearses) {
        (true, _) => "the board starts",
        (false, true) => "a board with a program starts",
        (false, false) => "its flash holds no program to run it: write both, without --model",
    };
    report::print(&format!(
        "{}: {program}, model {model_bytes} bytes, written and verified in {:.1} s; {then}",
        board.name,
        time.as_secs_f64()
    ))
}
