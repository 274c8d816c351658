//! What probe-rs knows of a board's chip.

use anyhow::{Context, Result, bail};
use probe_rs::Target;
use probe_rs::config::Registry;

use crate::board::Board;

/// What probe-rs knows of the board's chip.
pub(super) fn target_of(board: &Board) -> Result<Target> {
    if board.machine.is_some() {
        bail!("{} is emulated and needs no probe: use `ocellus run --on sim --board {0}`", board.name);
    }
    Registry::from_builtin_families().get_target_by_name(&board.chip).with_context(|| {
        format!("probe-rs knows no chip called {}, which the table of {} names", board.chip, board.name)
    })
}
