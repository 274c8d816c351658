//! `ocellus export`.

use super::helpers::{datasets, runs};
use crate::board::Board;
use crate::checkpoint::Checkpoint;
use crate::cli::ExportArgs;
use crate::deploy::{self, Artifacts};
use crate::files;
use crate::trim::Removed;
use crate::{report, view};
use anyhow::Result;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What an export made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Folder of the files.
    #[serde(serialize_with = "view::serialize_path")]
    pub folder: PathBuf,
    /// Digest of the quantized graph, which plan and int8 ONNX file share, in hex.
    pub digest: String,
    /// Size of the plan, which the board keeps in flash.
    pub plan_bytes: usize,
    /// Working memory on the board.
    pub arena_bytes: usize,
    /// The least working memory that any arrangement of its buffers could need.
    pub arena_lower_bound: usize,
    /// Size of the int8 ONNX file.
    pub onnx_bytes: usize,
    /// Dead channels, and what is saved without them.
    pub removed: Removed,
    /// Values on which tract and the engine agreed before anything was written.
    pub values_compared: usize,
}

/// Exports a run's best checkpoint.
///
/// # Errors
/// There is no checkpoint, or no dataset to calibrate with; a layer that cannot be exported, by name; tract and the engine
/// [differ](crate::eval::agreement::Difference); or the folder cannot be written. Nothing is written then.
pub fn run(args: &ExportArgs) -> Result<()> {
    let mut checkpoint = runs::trained(&args.run, &args.calibration)?;
    if let Some(optimize) = args.optimize {
        checkpoint.recipe.quant.optimize = optimize.into();
    }
    let board = args.board.as_deref().map(Board::load).transpose()?;
    let own_folder = if args.run.is_dir() { Some(args.run.as_path()) } else { args.run.parent() };
    let own_folder = own_folder.filter(|folder| !folder.as_os_str().is_empty());
    let out = args.out.as_deref().or(own_folder).unwrap_or(Path::new("."));
    files::check_folder(out)?;
    let Checkpoint { recipe, input, classes, .. } = &checkpoint;
    let dataset = datasets::labelled_dataset(&recipe.data, args.data.as_deref(), *input, classes)?;
    if dataset.hash != checkpoint.dataset_hash {
        view::warn(&format!(
            "{} is not the dataset that the model was trained on; it calibrates with it",
            dataset.name
        ));
    }
    let artifacts = deploy::build(&checkpoint, &dataset.train, board.as_ref())?;
    let values_compared = artifacts.verify(&dataset.train)?;
    artifacts.write(out)?;
    let summary = Summary::new(artifacts, out, values_compared);
    if args.json { report::print_json(&summary) } else { report::print(&text(&summary)) }
}

impl Summary {
    fn new(artifacts: Artifacts, folder: &Path, values_compared: usize) -> Self {
        let Artifacts { packed, int8_onnx, digest, removed, .. } = artifacts;
        Self {
            folder: folder.to_owned(),
            digest: hex::encode(digest),
            plan_bytes: packed.plan.len(),
            arena_bytes: packed.arena.bytes,
            arena_lower_bound: packed.arena.lower_bound,
            onnx_bytes: int8_onnx.len(),
            removed,
            values_compared,
        }
    }
}

fn text(summary: &Summary) -> String {
    let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let mut rows = vec![
        row("plan (flash)", kib(summary.plan_bytes)),
        row("working memory (RAM)", kib(summary.arena_bytes)),
        row("  at the least", kib(summary.arena_lower_bound)),
        row("int8 ONNX", kib(summary.onnx_bytes)),
        row("values on which tract and engine agree", report::thousands(summary.values_compared as u64)),
        row("digest", summary.digest.clone()),
    ];
    rows.extend(removed(&summary.removed));
    report::table(&[&summary.folder.display().to_string(), ""], &rows)
}

/// The dead channels, a row for each layer; nothing where there were none.
fn removed(Removed { filters, macs, bytes, layers }: &Removed) -> Vec<Vec<String>> {
    if *filters == 0 {
        return Vec::new();
    }
    let t = report::thousands;
    let row = |what: String, figure: String| vec![what, figure];
    let head = [
        row("dead filters left out, on which no score depends".into(), t(*filters as u64)),
        row("  multiply-accumulates without them".into(), format!("-{}", t(*macs))),
        row("  bytes of parameters without them".into(), format!("-{}", t(*bytes as u64))),
    ];
    head.into_iter()
        .chain(layers.iter().map(|l| row(format!("  {}", l.name), format!("{} -> {}", l.before, l.after))))
        .collect()
}
