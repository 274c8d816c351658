//! `ocellus firmware`.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::board::Board;
use crate::cli::FirmwareArgs;
use crate::model::ModelFiles;
use crate::report;
use crate::toolchain::{self, Built, Program};
use crate::view;
use ocellus_shared::plan::Plan;
use std::collections::BTreeSet;
use std::path::Path;

/// Builds the firmware of one board or of all.
///
/// # Errors
/// An unknown board, a model without a plan, a missing compiler, a failing build, or warnings where they are denied.
pub fn run(args: &FirmwareArgs) -> Result<()> {
    let boards = if args.all { Board::all()? } else { vec![Board::load(&args.board)?] };
    let ops = args.ops_of.as_deref().map(ops_of).transpose()?.unwrap_or_default();
    let (env, mut built) = (args.act.env(), Vec::new());
    for board in boards {
        let name = &board.name;
        let program = Program { name, ops: &ops, env: &env };
        let Built { elf, warnings } = toolchain::build_program(&board, program, &view::note)?;
        ensure!(
            !args.deny_warnings || warnings == 0,
            "the firmware of {name} builds with {warnings} warnings, see above"
        );
        let bytes = elf.metadata().with_context(|| format!("cannot read {}", elf.display()))?.len();
        built.push(json!({ "board": name, "elf": view::json_path(&elf), "file_bytes": bytes, "warnings": warnings }));
    }
    if args.json {
        return report::print_json(&json!({ "built": built }));
    }
    built.iter().try_for_each(|b| report::print(b["elf"].as_str().unwrap_or_default()))
}

/// Names of the kernels that the plan of a model needs.
fn ops_of(model: &Path) -> Result<Vec<&'static str>> {
    let plan = ModelFiles::find(model)?.read_plan()?;
    let ops: BTreeSet<_> = Plan::parse(&plan)?.steps().map(|step| step.op.kernel(step.input().shape)).collect();
    Ok(ops.into_iter().collect())
}
