//! `ocellus bench train`: how many images a second a recipe trains on, and whether their loading keeps up.

use crate::cli::TrainBenchArgs;
use crate::commands::helpers::runs;
use crate::net::{self, summary};
use crate::recipe::{DeviceKind, Model, Recipe};
use crate::report;
use crate::train::throughput;
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
    let flags = |recipe: &mut Recipe| {
        recipe.model = args.model.unwrap_or(recipe.model);
        recipe.data.img_size = args.img_size.or(recipe.data.img_size);
        let train = &mut recipe.train;
        train.batch_size = args.batch_size.unwrap_or(train.batch_size);
        train.device = args.compute.device.unwrap_or(train.device);
        train.precision = args.compute.precision.unwrap_or(train.precision);
    };
    let recipe = Recipe::of_command_line(args.recipe.as_deref(), flags, &args.set)?.resolved();
    ensure!(
        recipe.transfer.backbone.is_none(),
        "the recipe trains a head on the features of transfer.backbone, which are computed once: `ocellus train` says how long \
         that takes; leave it out to time a network"
    );
    let size = recipe.img_size();
    let threads = runs::threads(args.threads);
    let network = net::build(&recipe, Shape::new(size, size, 3), args.classes.into())?;
    let costs = summary::summarise(&network)?;
    let spinner = view::spinner(&format!("training {} on noise", recipe.model.name()));
    let time = Duration::from_secs(args.seconds);
    let throughput = throughput::measure(&recipe, size, args.classes.into(), (threads, &args.compute.devices), time)?;
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
        steps: throughput.steps.len(),
        images_per_second: throughput.steps.len() as f64 * batch / throughput.seconds(),
        images_per_second_median: batch / throughput.median(),
        waited: throughput.waited / throughput.seconds(),
        loaded_per_second: throughput.loaded_per_second,
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
