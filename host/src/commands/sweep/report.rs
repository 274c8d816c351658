//! `ocellus sweep report`: a study as one HTML file.

use anyhow::Result;

use super::status::Status;
use crate::cli::SweepReportArgs;
use crate::files;
use crate::report::page::study::{self, Pictures};
use crate::report::{self, print_json, print_path};
use crate::sweep::importance::importance;
use crate::sweep::plots;
use crate::view;
use serde_json::json;

/// Writes it.
///
/// # Errors
/// There is no study, it is damaged, or a file cannot be written.
pub fn run(args: &SweepReportArgs) -> Result<()> {
    let folder = super::open(&args.study)?;
    let out = args.out.clone().unwrap_or_else(|| folder.path().join("report.html"));
    files::check_file(&out)?;
    args.plots.as_deref().map_or(Ok(()), files::check_folder)?;
    let (plan, status) = (&folder.plan, Status::of(&folder)?);
    let found = importance(plan, &status.trials);
    let pictures = Pictures {
        history: plots::history(plan, &status.trials),
        parallel: plots::parallel(plan, &status.trials),
        importance: found.as_ref().map(|found| plots::importance(plan, found)),
        pareto: plots::pareto(plan, &status.trials),
    };
    let command = format!("ocellus sweep report {}", view::quoted(&view::name(&args.study)));
    let html = study::html(&study::StudyReport {
        plan,
        trials: &status.trials,
        pictures: &pictures,
        version: env!("CARGO_PKG_VERSION"),
        machine: &report::machine(),
        command: &command,
    })?;
    if let Some(plots) = &args.plots {
        files::make_folder(plots)?;
        for (name, drawing) in pictures.named() {
            drawing.write(&plots.join(name))?;
        }
    }
    files::write(&out, html.as_bytes())?;
    if args.json {
        print_json(&json!({ "report": view::json_path(&out), "importance": found, "best": status.best }))
    } else {
        print_path(&out)
    }
}
