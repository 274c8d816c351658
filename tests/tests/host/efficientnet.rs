//! A network of EfficientNet-B0's size, 5 MB of weights in 96x96 pixels: tract, the engine, and an emulated Cortex-M7
//! compute the same in every layer.
//!
//! QEMU and a compiler for the boards are needed; where they are missing the second test fails and says how to get them.

use crate::random::{efficientnet, network};
use ocellus::board::Board;
use ocellus::client::Client;
use ocellus::eval::agreement::compare;
use ocellus::eval::engine::EngineModel;
use ocellus::eval::int8_pixels;
use ocellus::eval::tract::TractModel;
use ocellus::fold::fold;
use ocellus::graph::lower;
use ocellus::quantize::QuantGraph;
use ocellus::recipe::{CalibrationMethod, Optimize, QuantRecipe};
use ocellus::transport::qemu::ClockMode;
use ocellus::{deploy, onnx, pack, toolchain};
use ocellus_shared::Op;
use ocellus_shared::wire::tensor_crc;

const SIDE: u16 = 96;

/// The quantized network, and two int8 images.
fn quantized() -> (QuantGraph, Vec<Vec<i8>>) {
    let (network, checkpoint) = efficientnet::b0(SIDE);
    let pictures = network::pictures(&network, 1, 2);
    let folded = fold(lower(&network, &checkpoint).unwrap());
    let recipe = QuantRecipe { method: CalibrationMethod::MinMax, ..QuantRecipe::default() };
    let images = (0..pictures.len()).map(|i| int8_pixels(pictures.image(i))).collect();
    (deploy::quantized_graph(folded, &pictures, &recipe).unwrap().quantized, images)
}

#[test]
fn tract_and_the_engine_agree() {
    let (graph, images) = quantized();
    let count = |what: fn(&Op) -> bool| graph.nodes.iter().filter(|node| what(&node.op)).count();
    assert_eq!((count(|op| *op == Op::Mul), count(|op| matches!(op, Op::Depthwise { .. }))), (16, 16));
    let plan = pack::pack(&graph, Optimize::Size).unwrap().plan;
    // 4,007,548 parameters without the head, as published; some of them are int32 and f32 here.
    assert!(plan.len() > 4_000_000, "{}", plan.len());
    let tract = TractModel::load(&onnx::write(&graph).unwrap()).unwrap();
    let engine = EngineModel::new(&plan).unwrap();
    let compared = compare(&tract, &engine, images.iter().map(Vec::as_slice)).unwrap();
    assert!(compared > 2_000_000, "{compared}");
    // Deep inside, results must not all be alike, or the comparison says little.
    let trace = engine.trace(&images[0]).unwrap();
    for (node, values) in graph.nodes.iter().zip(&trace).filter(|(node, _)| matches!(node.op, Op::Conv { .. })) {
        let distinct = values.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(distinct > 20.min(values.len() / 4), "{}: {distinct} values", node.name);
    }
}

#[test]
fn an_emulated_cortex_m7_computes_the_same() {
    let (graph, images) = quantized();
    let plan = pack::pack(&graph, Optimize::Size).unwrap().plan;
    let engine = EngineModel::new(&plan).unwrap();
    let board = Board::load("mps2-an500").unwrap();
    board.check_fit(engine.plan()).unwrap();
    let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    let mut client = Client::boot(&board, &built.elf, ClockMode::Free).unwrap_or_else(|error| panic!("{error:#}"));
    client.set_plan(&plan).unwrap();
    let expected: Vec<u32> = engine.trace(&images[0]).unwrap().iter().map(|output| tensor_crc(output)).collect();
    assert_eq!(client.trace(&images[0]).unwrap().steps, expected);
    client.end().unwrap();
}
