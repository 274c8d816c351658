//! Pictures by an ensemble: each member makes its own image of them.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::Answer;
use crate::cli::{RunArgs, Target};
use crate::commands::Failure;
use crate::data::Split;
use crate::data::picture::Picture;
use crate::eval::Evaluator;
use crate::eval::single::{self, UNSURE};
use crate::recipe::DataRecipe;
use crate::view;

/// Refuses what only a board, or its camera, could do.
///
/// # Errors
/// The arguments ask for it.
pub fn check(args: &RunArgs) -> Result<()> {
    let wants_board = args.on != Target::Engine || args.frame_format.is_some() || args.frame_size.is_some();
    let what = "an ensemble runs on this machine, and takes pictures as they are: leave out --on, --frame-format and --frame-size";
    if wants_board { Err(Failure::Usage(what.to_owned()).into()) } else { Ok(()) }
}

/// What `ensemble` says of a picture: below the probability `reject`, that it is unsure.
///
/// # Errors
/// A member fails.
pub fn classify(ensemble: &Evaluator, path: &Path, picture: &Picture, reject: Option<f64>) -> Result<Answer> {
    let (_, classes) = ensemble.signature()?;
    let images: Vec<Split> = ensemble.views(&DataRecipe::default())?.iter().map(|view| view.split(picture)).collect();
    let logs = ensemble.scores_of_views(&images, &|| ())?.log_probabilities(classes.len(), 1.0);
    let mut order: Vec<usize> = (0..logs.len()).collect();
    // Of equals the first, as everywhere.
    order.sort_by(|&a, &b| logs[b].total_cmp(&logs[a]));
    let best: Vec<(&str, f64)> =
        order.iter().take(single::NAMED).map(|&class| (classes[class].as_str(), logs[class].exp())).collect();
    let margin = order.get(1).map_or(0.0, |&second| logs[order[0]] - logs[second]);
    let named: Vec<String> = best.iter().map(|(label, p)| format!("{label} {:.1} %", 100.0 * p)).collect();
    let top: Vec<_> = best.iter().map(|(label, p)| json!({ "label": label, "probability": p })).collect();
    let is_rejected = reject.is_some_and(|threshold| best[0].1 < threshold);
    let mut object = json!({
        "picture": view::json_path(path),
        "label": if is_rejected { UNSURE } else { best[0].0 },
        "log_probabilities": logs,
        "top": top,
        "margin": margin,
    });
    if reject.is_some() {
        object["rejected"] = json!(is_rejected);
    }
    let unsure = if is_rejected { "unsure: " } else { "" };
    let line = format!("{}: {unsure}{}   (margin {margin:.2})", view::name(path), named.join(", "));
    Ok(Answer { line, object })
}
