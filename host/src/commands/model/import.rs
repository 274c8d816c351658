//! `ocellus model import`: the network of another program.

use crate::checkpoint::BEST;
use crate::cli::ModelImportArgs;
use crate::commands::Failure;
use crate::commands::helpers::runs;
use crate::model::RECIPE;
use crate::net;
use crate::net::summary::summarise;
use crate::recipe::DataRecipe;
use crate::report::{print, print_json, thousands};
use crate::{files, import, view};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;

/// Reads the file, checks that the network computes the same, and writes a run folder.
///
/// # Errors
/// See [`import::load`]; the folder holds something already, or cannot be written.
pub fn run(args: &ModelImportArgs) -> Result<()> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.with_context(|| format!("{} is no name of a file that can name a run", args.file.display()))?;
    let labels = args.labels.as_deref().map(labels).transpose()?;
    let data =
        DataRecipe { img_size: args.img_size, mean: Some(args.mean), std: Some(args.std), ..DataRecipe::default() };
    let checkpoint = import::load(&args.file, data, labels)?;
    let folder = runs::run_folder(args.out.as_deref(), stem)?;
    let out = folder.path();
    let is_taken = out.is_dir() && std::fs::read_dir(out)?.next().is_some();
    if is_taken && args.out.is_some() {
        return Err(Failure::Usage(format!("{} holds files already: give another --out", out.display())).into());
    }
    files::check_folder(out)?;
    files::make_folder(out)?;
    checkpoint.save(&out.join(BEST))?;
    files::write(&out.join(RECIPE), checkpoint.recipe.to_toml().as_bytes())?;
    let summary = summarise(&net::build(&checkpoint.recipe, checkpoint.input, checkpoint.classes.len())?)?;
    if args.json {
        return print_json(&json!({
            "out": view::json_path(out),
            "layers": checkpoint.recipe.net.layers,
            "classes": checkpoint.classes.len(),
            "img_size": checkpoint.input.h,
            "parameters": summary.parameters,
            "macs": summary.macs,
        }));
    }
    print(&format!(
        "{}: {} layers, {} classes, images of {}x{}, {} parameters, {} MACs; the same scores as the file's on random images",
        out.display(),
        checkpoint.recipe.net.layers.len() + 1,
        checkpoint.classes.len(),
        checkpoint.input.h,
        checkpoint.input.w,
        thousands(summary.parameters as u64),
        thousands(summary.macs)
    ))?;
    let (out, recipe) = (out.display(), out.join(RECIPE));
    print(&format!(
        "quantize it for a board:  ocellus export {out} --data DIR\nfine-tune it first:       ocellus train --recipe {} --pretrained {out} \
         --data DIR --lr 0.001",
        recipe.display()
    ))
}

/// The names of classes, one a line.
fn labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the labels {}", path.display()))?;
    let labels: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let bad = labels.iter().find(|label| label.chars().any(char::is_control));
    ensure!(
        bad.is_none(),
        "in the labels {}: {:?} holds a control character",
        path.display(),
        bad.map_or("", |bad| bad)
    );
    Ok(labels)
}
