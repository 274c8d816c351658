//! `ocellus boards`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::board::Board;
use crate::cli::BoardsArgs;
use crate::report::{self, table, thousands};
use crate::transport::chip;

/// Lists every board.
///
/// # Errors
/// A board's table that does not parse, or standard output cannot be written.
pub fn run(args: &BoardsArgs) -> Result<()> {
    let boards = Board::all()?;
    if args.json {
        return report::print_json(&boards.iter().map(facts).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = boards.iter().map(row).collect();
    report::print(&table(&["board", "chip", "core", "plan bytes", "arena bytes", "kind", "tried"], &rows))
}

fn kind(board: &Board) -> &'static str {
    if board.machine.is_some() { "emulated" } else { "real" }
}

/// What of the board `--on sim` emulates.
fn emulation(board: &Board) -> Option<&'static str> {
    match board.machine {
        Some(_) => Some("core"),
        None => chip::is_modelled(&board.name).then_some("chip"),
    }
}

/// The same for people, with what nobody has seen yet.
fn tried(board: &Board) -> String {
    match (board.machine.is_some(), emulation(board)) {
        (true, _) => "emulated core".to_owned(),
        (false, Some(part)) => format!("emulated {part}, not tried on hardware by anyone yet"),
        (false, None) => "not tried on hardware by anyone yet".to_owned(),
    }
}

fn facts(board: &Board) -> Value {
    json!({
        "board": board.name,
        "chip": board.chip,
        "core": board.cpu,
        "plan_bytes": board.plan_bytes,
        "arena_bytes": board.arena_bytes,
        "kind": kind(board),
        "emulation": emulation(board),
        "machine": board.machine,
    })
}

fn row(board: &Board) -> Vec<String> {
    vec![
        board.name.clone(),
        board.chip.clone(),
        board.cpu.clone(),
        thousands(board.plan_bytes as u64),
        thousands(board.arena_bytes as u64),
        kind(board).to_owned(),
        tried(board),
    ]
}
