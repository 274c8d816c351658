//! `ocellus bench train`: how many images a second a recipe trains on, and whether their loading keeps up.

use crate::cli::{TrainArgs, TrainBenchArgs};
use crate::commands::{inputs, train};
use crate::net::{self, summary};
use crate::recipe::{DeviceKind, Model};
use crate::report;
use crate::train::pace;
use crate::view;
use anyhow::{Result, ensure};
use ocellus_shared::Shape;
use serde::Serialize;
use std::time::Duration;

/// What training takes on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainBench {
    /// The network.
    pub model: Model,
    /// Height and width of the images.
    pub img_size: u16,
    /// Classes.
    pub classes: u16,
    /// Parameters, those of normalisations included.
    pub parameters: usize,
    /// Multiply-accumulates of one image forward; training takes about three times as many.
    pub macs: u64,
    /// Images of a step.
    pub batch_size: usize,
    /// What computed.
    pub device: DeviceKind,
    /// What it multiplied in: `f32` or `bf16`.
    pub precision: &'static str,
    /// GPUs that shared each step.
    pub gpus: usize,
    /// CPU threads.
    pub threads: usize,
    /// Steps that were timed.
    pub steps: usize,
    /// Images a second over all of them.
    pub images_per_second: f64,
    /// Images a second in the step in the middle: what other work on the machine disturbs least.
    pub images_per_second_median: f64,
    /// Share of the time that the trainer waited for images, in `[0, 1]`.
    pub waited: f64,
    /// Images a second that the CPU loads and varies while nothing is trained.
    pub loaded_per_second: f64,
}

/// Measures.
///
/// # Errors
/// The recipe cannot be read or builds no network, or the device does not compute or has no room.
pub fn run(args: &TrainBenchArgs) -> Result<()> {
    let recipe = train::resolve(&TrainArgs {
        recipe: args.recipe.clone(),
        model: args.model,
        img_size: args.img_size,
        batch_size: args.batch_size,
        compute: args.compute.clone(),
        set: args.set.clone(),
        ..TrainArgs::default()
    })?;
    ensure!(
        recipe.transfer.backbone.is_none(),
        "the recipe trains a head on the features of transfer.backbone, which are computed once: `ocellus train` says how long \
         that takes; leave it out to time a network"
    );
    let size = recipe.data.img_size.unwrap_or_else(|| recipe.model.img_size());
    let threads = inputs::threads(args.threads);
    let network = net::build(&recipe, Shape::new(size, size, 3), args.classes.into())?;
    let costs = summary::summarise(&network)?;
    let spinner = view::spinner(&format!("training {} on noise", recipe.model.name()));
    let time = Duration::from_secs(args.seconds);
    let pace = pace::measure(&recipe, size, args.classes.into(), (threads, &args.compute.devices), time)?;
    spinner.finish_and_clear();
    let batch = recipe.train.batch_size as f64;
    let bench = TrainBench {
        model: recipe.model,
        img_size: size,
        classes: args.classes,
        parameters: costs.parameters,
        macs: costs.macs,
        batch_size: recipe.train.batch_size,
        device: recipe.train.device,
        precision: if recipe.train.is_mixed() { "bf16" } else { "f32" },
        gpus: if recipe.train.device.is_cpu() { 0 } else { args.compute.devices.len().max(1) },
        threads,
        steps: pace.steps.len(),
        images_per_second: pace.steps.len() as f64 * batch / pace.seconds(),
        images_per_second_median: batch / pace.median(),
        waited: pace.waited / pace.seconds(),
        loaded_per_second: pace.loaded_per_second,
    };
    if args.json { report::print_json(&bench) } else { report::print(&shown(&bench)) }
}

fn shown(bench: &TrainBench) -> String {
    let rate = |images: f64| if images < 100.0 { format!("{images:.1}") } else { report::thousands(images as u64) };
    let header =
        ["network", "image", "batch", "precision", "images/s", "median", "waited for images", "images loaded/s"];
    let row = vec![
        bench.model.name().to_owned(),
        bench.img_size.to_string(),
        bench.batch_size.to_string(),
        bench.precision.to_owned(),
        rate(bench.images_per_second),
        rate(bench.images_per_second_median),
        format!("{:.1} %", 100.0 * bench.waited),
        rate(bench.loaded_per_second),
    ];
    let on = match bench.gpus {
        0 => format!("{} threads", bench.threads),
        1 => "one GPU".to_owned(),
        gpus => format!("{gpus} GPUs"),
    };
    format!("{}\n\n{} steps on {on}; {}.", report::markdown(&header, &[row]), bench.steps, report::machine())
}
