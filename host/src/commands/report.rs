//! `ocellus report`: everything that is known of a model, or of several, as one HTML file.

mod measure;

use std::path::Path;

use anyhow::Result;

use super::helpers::targets;
use crate::cli::ReportArgs;
use crate::files;
use crate::report::figures::{self, Report};
use crate::report::{self, page};
use crate::view;

/// Measures the models and writes the report.
///
/// # Errors
/// The board is not an emulated one, a model cannot be read, no dataset suits it, an evaluator fails, or a file cannot be written.
pub fn run(args: &ReportArgs) -> Result<()> {
    // What could spoil the report at the end is looked at before minutes of measuring.
    [Some(&args.out), args.csv.as_ref()].into_iter().flatten().try_for_each(|path| files::check_file(path))?;
    if args.board_images > 0 {
        targets::emulated_board(&args.board)?;
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: report::machine(),
        command: command(args),
        models: args.runs.iter().map(|path| measure::figures(path, args)).collect::<Result<_>>()?,
    };
    files::write(&args.out, page::html(&report)?.as_bytes())?;
    if let Some(path) = &args.csv {
        files::write(path, &figures::csv(&report)?)?;
    }
    if args.json { report::print_json(&report) } else { report::print_path(&args.out) }
}

/// The command line that makes the report again.
fn command(args: &ReportArgs) -> String {
    let path = |path: &Path| view::quoted(&view::name(path));
    let mut words = vec!["ocellus report".to_owned()];
    words.extend(args.runs.iter().map(|run| path(run)));
    words.extend(args.data.iter().map(|data| format!("--data {}", path(data))));
    words.push(format!("--images {} --robustness {} --seed {}", args.images, args.robustness, args.seed));
    words.push(format!("--board {} --board-images {} --out {}", args.board, args.board_images, path(&args.out)));
    words.join(" ")
}
