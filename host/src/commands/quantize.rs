//! `ocellus quantize`.

use super::helpers::{datasets, runs};
use crate::checkpoint::Checkpoint;
use crate::cli::QuantizeArgs;
use crate::deploy::{self, Quantized};
use crate::eval::plots;
use crate::eval::sqnr::{self, LayerNoise, Report};
use crate::{files, pack, report, view};
use anyhow::Result;

/// Quantizes a run's best checkpoint and says what that costs; writes the picture alone that it is asked for.
///
/// # Errors
/// There is no checkpoint, or one of a linear probe on an external ONNX backbone; no dataset to calibrate with; or a layer that
/// cannot be quantized.
pub fn run(args: &QuantizeArgs) -> Result<()> {
    let picture = args.report.as_ref().and_then(Option::as_deref);
    picture.map_or(Ok(()), files::check_file)?;
    let checkpoint = runs::trained(&args.run, &args.calibration)?;
    let Checkpoint { recipe, input, classes, .. } = &checkpoint;
    let dataset = datasets::labelled_dataset(&recipe.data, args.data.as_deref(), *input, classes)?;
    let Quantized { graph, quantized, .. } = deploy::quantized(&checkpoint, &dataset.train)?;
    let images = datasets::take(&dataset.train, args.images);
    let spinner = view::spinner("comparing float and int8");
    let mut found = sqnr::measure(&graph, &quantized, &pack::pack(&quantized, recipe.quant.optimize)?.plan, &images)?;
    spinner.finish_and_clear();
    if args.worst {
        found.layers.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
    if let Some(path) = picture {
        plots::layers(&format!("{}: what int8 costs each layer", view::name(&args.run)), &found).write(path)?;
    }
    let with_layers = args.report.is_some() || args.worst;
    if args.json { report::print_json(&found) } else { report::print(&text(&found, with_layers)) }
}

/// A layer that loses nothing ranks last.
fn rank(layer: &LayerNoise) -> f64 {
    layer.own_db.unwrap_or(f64::INFINITY)
}

fn text(found: &Report, with_layers: bool) -> String {
    let same = report::percent(found.same_class as f64 / found.images as f64);
    let head = format!("float and int8 name the same class for {same} of {} training images", found.images);
    let db = |ratio: Option<f64>| ratio.map_or_else(|| "exact".to_owned(), |db| format!("{db:.1}"));
    let row =
        |l: &LayerNoise| vec![l.name.clone(), l.op.to_owned(), l.shape.clone(), db(l.own_db), db(l.accumulated_db)];
    let rows: Vec<Vec<String>> = found.layers.iter().map(row).collect();
    if !with_layers {
        return head;
    }
    let table = report::table(&["layer", "operator", "shape", "own SQNR, dB", "accumulated, dB"], &rows);
    format!("{table}\n\n{head}")
}
