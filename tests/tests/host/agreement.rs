//! tract, over the ONNX file, and the engine, over the plan, give the same int8 values in every layer.

use crate::random::{network, quant_graph};
use ocellus::checkpoint::Checkpoint;
use ocellus::deploy::Quantized;
use ocellus::eval::agreement::compare;
use ocellus::eval::engine::EngineModel;
use ocellus::eval::int8_pixels;
use ocellus::eval::tract::{FloatModel, TractModel};
use ocellus::fold::fold;
use ocellus::graph::{lower, run};
use ocellus::net::Network;
use ocellus::quantize::QuantGraph;
use ocellus::recipe::{CalibrationMethod, Optimize, QuantRecipe};
use ocellus::{deploy, onnx, pack};
use ocellus_shared::Op;
use ocellus_shared::plan::Plan;
use ocellus_tests::overlaps;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Values that have to be compared before the test is satisfied.
const VALUES: usize = 1_000_000;
const NETWORKS: u64 = 1000;
const IMAGES: usize = 6;

/// Steps whose output the planner put over an input, in all networks so far.
static OVERLAPS: AtomicUsize = AtomicUsize::new(0);

/// Compares every value of a network; how many there were.
fn check(seed: u64, graph: &QuantGraph) -> Result<usize, String> {
    let layers = graph.nodes.iter().map(|n| format!("\n  {}: {:?} of {:?}", n.name, n.op, n.inputs));
    compare_files(graph, seed, Optimize::Size)
        .map_err(|error| format!("seed {seed}: {error:#}{}", layers.collect::<String>()))
}

fn compare_files(graph: &QuantGraph, seed: u64, optimize: Optimize) -> anyhow::Result<usize> {
    let plan = pack::pack(graph, optimize)?.plan;
    OVERLAPS.fetch_add(Plan::parse(&plan)?.steps().filter(overlaps::meets).count(), Ordering::Relaxed);
    let tract = TractModel::load(&onnx::write(graph)?)?;
    let images = quant_graph::images(graph, seed, IMAGES);
    compare(&tract, &EngineModel::new(&plan)?, images.iter().map(Vec::as_slice))
}

/// The number of values on which all networks agree.
fn total(results: &[Result<usize, String>]) -> usize {
    let failures: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(failures.is_empty(), "{} of {} networks fail; the first is {}", failures.len(), results.len(), failures[0]);
    results.iter().flatten().sum()
}

#[test]
fn random_integers() {
    let results: Vec<_> =
        (0..NETWORKS).into_par_iter().map(|seed| check(seed, &quant_graph::quant_graph(seed))).collect();
    let compared = total(&results);
    assert!(compared >= VALUES, "only {compared} values were compared");
    let overlaps = OVERLAPS.load(Ordering::Relaxed);
    assert!(overlaps >= NETWORKS as usize / 10, "only {overlaps} outputs lie over an input");
    eprintln!("{compared} values of {NETWORKS} graphs agree, {overlaps} outputs over an input");
}

/// The smallest products of maps, of which ONNX has other forms where tract cannot run the usual one.
#[test]
fn products_of_maps_of_few_values() {
    let results: Vec<_> =
        (0..NETWORKS).into_par_iter().map(|seed| check(seed, &quant_graph::attention_graph(seed))).collect();
    eprintln!("{} values of {NETWORKS} graphs agree", total(&results));
}

/// Winograd plans, whose convolutions by Winograd's formula must be tract's to the bit.
#[test]
fn plans_for_speed() {
    let compared = |seed| {
        let graph = quant_graph::thick_graph(seed);
        let plan = pack::pack(&graph, Optimize::Speed).unwrap().plan;
        let steps = Plan::parse(&plan).unwrap().steps().filter(|step| matches!(step.op, Op::Winograd { .. })).count();
        let values = compare_files(&graph, seed, Optimize::Speed);
        (steps, values.unwrap_or_else(|error| panic!("seed {seed}: {error:#}")))
    };
    let networks = NETWORKS / 10;
    let sum = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    let (steps, values) = (0..networks).into_par_iter().map(compared).reduce(|| (0, 0), sum);
    assert!(steps > networks as usize, "only {steps} convolutions of {networks} graphs were chosen");
    eprintln!("{values} values of {networks} graphs agree, {steps} convolutions by Winograd's formula");
}

/// The same for float networks that took the whole way, whose int8 logits must also be near the float ones.
#[test]
fn random_quantized_networks() {
    let networks = NETWORKS / 10;
    let results: Vec<_> = (0..networks).into_par_iter().map(|seed| check_network(seed, network::network)).collect();
    eprintln!("{} values of {networks} networks agree", total(&results));
}

/// The same with attention.
#[test]
fn random_quantized_networks_with_products_of_maps() {
    let networks = NETWORKS / 20;
    let results: Vec<_> = (0..networks).into_par_iter().map(|seed| check_network(seed, network::attention)).collect();
    eprintln!("{} values of {networks} networks agree", total(&results));
}

fn check_network(seed: u64, kind: fn(u64) -> (Network, Checkpoint)) -> Result<usize, String> {
    let (network, checkpoint) = kind(seed);
    let pictures = network::pictures(&network, seed, 24);
    let graph = fold(lower(&network, &checkpoint).unwrap());
    let recipe = QuantRecipe { method: CalibrationMethod::MinMax, ..QuantRecipe::default() };
    let quantized = deploy::quantized_graph(graph.clone(), &pictures, &recipe);
    let Quantized { quantized, .. } = quantized.map_err(|error| format!("seed {seed}: {error:#}"))?;
    let tract = FloatModel::load(&onnx::write_float(&graph)).unwrap();
    let plan = pack::pack(&quantized, Optimize::Size).unwrap().plan;
    let engine = EngineModel::new(&plan).unwrap();
    let (mut error, mut size) = (0.0, 0.0);
    for i in 0..pictures.len() {
        let image = run::image(pictures.image(i));
        let int8 = int8_pixels(pictures.image(i));
        let exact = run::logits(&graph, &image);
        for (a, b) in exact.iter().zip(tract.logits(&image).unwrap()) {
            assert!((a - b).abs() < 1e-3 * a.abs().max(1.0), "seed {seed}: float logit {b} in tract, {a} here");
        }
        for (q, x) in engine.scores(&int8).unwrap().into_iter().zip(&exact) {
            error += (quantized.scores().params.dequantize(q) - x).powi(2);
            size += x.powi(2);
        }
    }
    if error > 0.05 * size {
        return Err(format!("seed {seed}: squared error {error} of int8 logits whose square is {size}"));
    }
    check(seed, &quantized)
}
