//! `ocellus firmware`.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Failure;
use crate::board::Board;
use crate::cli::FirmwareArgs;
use crate::report;
use crate::toolchain::{self, Built};
use crate::view;

/// Builds the firmware of one board or of all.
///
/// # Errors
/// An unknown board, a missing compiler, a failing build, or warnings where they are denied.
pub fn run(args: &FirmwareArgs) -> Result<()> {
    let known = Board::names()?;
    if !known.contains(&args.board) {
        return Err(Failure::Usage(format!("no board called {:?}; there are: {}", args.board, known.join(", "))).into());
    }
    let names = if args.all { known } else { vec![args.board.clone()] };
    let mut built = Vec::new();
    for name in names {
        let board = Board::load(&name)?;
        let Built { elf, warnings } = toolchain::build_firmware(&board, &view::note)?;
        ensure!(
            !args.deny_warnings || warnings == 0,
            "the firmware of {name} builds with {warnings} warnings, see above"
        );
        let bytes = elf.metadata().with_context(|| format!("cannot read {}", elf.display()))?.len();
        built.push(json!({ "board": name, "elf": elf, "file_bytes": bytes, "warnings": warnings }));
    }
    if args.json {
        return report::print_json(&json!({ "built": built }));
    }
    built.iter().try_for_each(|b| report::print(b["elf"].as_str().unwrap_or_default()))
}
