//! The board that a command works with: real or emulated, and the program on it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ocellus_shared::plan::Plan;

use crate::board::{self, Board};
use crate::cli::{DeviceArgs, ProbeArgs, Target};
use crate::client::Client;
use crate::commands::Failure;
use crate::probe::{Selector, Settings};
use crate::toolchain::{self, Program};
use crate::transport::chip;
use crate::transport::qemu::ClockMode;
use crate::view;

/// The emulated board called `name`.
pub fn emulated_board(name: &str) -> Result<Board> {
    emulated_that(name, |board| board.machine.is_some())
}

/// The emulated board that a command means: the one called `name`, or the usual one.
pub fn emulated_or_usual(name: Option<&str>) -> Result<Board> {
    emulated_board(name.unwrap_or(board::DEFAULT))
}

/// The board of `--on sim`: an emulated one, or a real one whose chip is in software.
pub fn sim_or_usual(name: Option<&str>) -> Result<Board> {
    let is_sim = |board: &Board| board.machine.is_some() || chip::is_modelled(&board.name);
    emulated_that(name.unwrap_or(board::DEFAULT), is_sim)
}

fn emulated_that(name: &str, is_emulated: impl Fn(&Board) -> bool) -> Result<Board> {
    let board = Board::load(name)?;
    if !is_emulated(&board) {
        let names: Vec<String> = Board::all()?.into_iter().filter(is_emulated).map(|board| board.name).collect();
        let what = format!("{name} is a real board, not an emulated one; those are: {}", names.join(", "));
        return Err(Failure::Usage(what).into());
    }
    Ok(board)
}

/// The real board called `name`.
pub fn real_board(name: &str) -> Result<Board> {
    let board = Board::load(name)?;
    if board.machine.is_some() {
        let what = format!("{name} is emulated and has no flash: use `ocellus run --on sim --board {name}`");
        return Err(Failure::Usage(what).into());
    }
    Ok(board)
}

/// The real board that a command means, which has no usual one.
pub fn required_board(name: Option<&str>) -> Result<Board> {
    real_board(name.ok_or_else(|| Failure::Usage("which board? give its name with --board".to_owned()))?)
}

/// How the arguments reach a board.
pub fn settings(args: &ProbeArgs) -> Settings {
    Settings {
        probe: args.probe.clone().unwrap_or_default(),
        speed_khz: args.speed,
        under_reset: args.connect_under_reset,
        allow_erase_all: false,
    }
}

/// The program on `board`: the given file, which must not be another board's, or a fresh one.
pub fn program(board: &Board, elf: Option<&Path>) -> Result<Vec<u8>> {
    let path = elf.map_or_else(|| firmware(board), |elf| Ok(elf.to_owned()))?;
    toolchain::read_program(board, &path)
}

/// A real board that runs `plan`, restarted; a simulated one gets program and plan first.
pub fn reach(board: &Board, probe: &ProbeArgs, elf: Option<&Path>, plan: &[u8]) -> Result<Client> {
    let (elf, settings) = (program(board, elf)?, settings(probe));
    if matches!(settings.probe, Selector::Simulated(_)) {
        view::note("a rehearsal on a simulated board: its firmware runs on this machine, in this machine's time");
    }
    Client::on_board(board, &settings, &elf, plan)
}

/// The board of `--on sim` with `plan` in place.
pub fn boot(board: Option<&str>, plan: &[u8]) -> Result<Client> {
    let board = sim_or_usual(board)?;
    board.check_fit(&Plan::parse(plan)?)?;
    Client::boot_with(&board, &firmware(&board)?, ClockMode::Free, plan)
}

/// The board that a command means, if any, once it runs `plan`.
pub fn connect(on: Target, device: &DeviceArgs, plan: &[u8]) -> Result<Option<Client>> {
    match on {
        Target::Engine => Ok(None),
        Target::Sim => boot(device.board.as_deref(), plan).map(Some),
        Target::Board => {
            let board = required_board(device.board.as_deref())?;
            board.check_fit(&Plan::parse(plan)?)?;
            reach(&board, &device.probe, device.elf.as_deref(), plan).map(Some)
        }
    }
}

/// Builds the firmware of `board`, with a spinner that shows what cargo does.
pub fn firmware(board: &Board) -> Result<PathBuf> {
    firmware_that(board, &[])
}

/// The same with variables that decide what it does.
pub fn firmware_that(board: &Board, env: &[(&'static str, String)]) -> Result<PathBuf> {
    let spinner = view::spinner(&format!("building the firmware of {}", board.name));
    let hear = |line: &str| spinner.set_message(format!("{}: {line}", board.name));
    let built = toolchain::build_program(board, Program { name: &board.name, ops: &[], env }, &hear)?;
    spinner.finish_and_clear();
    Ok(built.elf)
}
