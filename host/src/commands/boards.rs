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
    report::print(&table(&["board", "chip", "core", "plan bytes", "arena bytes", "kind"], &rows))
}

fn kind(board: &Board) -> &'static str {
    match board.machine {
        Some(_) => "emulated",
        None if chip::is_modelled(&board.name) => "real, its chip also in software",
        None => "real",
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
    ]
}
