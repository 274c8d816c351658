//! Channels that decide nothing go, and no score changes.

use crate::random::{network, quant_graph};
use ocellus::eval::agreement::compare;
use ocellus::eval::engine::EngineModel;
use ocellus::eval::tract::TractModel;
use ocellus::graph::Origin;
use ocellus::quantize::{QuantGraph, QuantNode, Value, break_multiplier_ties};
use ocellus::recipe::Optimize;
use ocellus::trim::{Removed, Trimmed, trim};
use ocellus::{deploy, onnx, pack};
use ocellus_shared::plan::Crop;
use ocellus_shared::quant::QuantParams;
use ocellus_shared::{Op, Shape, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const GRAPHS: u64 = 600;
const IMAGES: usize = 6;
/// Filters that have to go from all random graphs before the test is satisfied.
const FILTERS: usize = 1000;

/// Asserts that every channel which `trimmed` kept has the values it has in `graph`, in the engine, that the scores are
/// the same in tract too, and that tract agrees with the engine on every value; gives what was trimmed.
fn assert_same(graph: &QuantGraph, name: &str) -> Trimmed {
    let trimmed = trim(graph).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let [before, after] = [graph, &trimmed.graph].map(|graph| pack::pack(graph, Optimize::Size).unwrap().plan);
    let [engine, engine_after] = [&before, &after].map(|plan| EngineModel::new(plan).unwrap());
    let [tract, tract_after] =
        [graph, &trimmed.graph].map(|graph| TractModel::load(&onnx::write(graph).unwrap()).unwrap());
    let images = quant_graph::images(graph, 3, IMAGES);
    for image in &images {
        let (values, found) = (engine.trace(image).unwrap(), engine_after.trace(image).unwrap());
        for (i, (value, found)) in values.iter().zip(&found).enumerate() {
            let (kept, channels) = (&trimmed.kept[i + 1], graph.values[i + 1].shape.c.into());
            let expected: Vec<i8> =
                value.chunks_exact(channels).flat_map(|pixel| kept.iter().map(|&c| pixel[c])).collect();
            assert!(expected == *found, "{name}: layer `{}` changed", graph.nodes[i].name);
        }
        let scores = engine.scores(image).unwrap();
        assert_eq!(engine_after.scores(image).unwrap(), scores, "{name}");
        assert_eq!(tract.scores(image).unwrap(), scores, "{name}");
        assert_eq!(tract_after.scores(image).unwrap(), scores, "{name}");
    }
    compare(&tract_after, &engine_after, images.iter().map(Vec::as_slice)).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    trimmed
}

#[test]
fn random_graphs_with_dead_channels() {
    let removed: Vec<[usize; 3]> = (0..GRAPHS)
        .into_par_iter()
        .map(|seed| {
            let mut graph = quant_graph::quant_graph(seed);
            deaden(&mut graph, &mut ChaCha8Rng::seed_from_u64(seed));
            let filters = assert_same(&graph, &format!("seed {seed}")).removed.filters;
            // A product of maps keeps the channels that it reads and gives.
            let is_free = !graph.nodes.iter().any(|node| matches!(node.op, Op::MatMul { .. }));
            [filters, usize::from(is_free && filters > 0), usize::from(is_free)]
        })
        .collect();
    let [filters, graphs, free] = [0, 1, 2].map(|k| removed.iter().map(|r| r[k]).sum::<usize>());
    let text = format!("{filters} filters went from {GRAPHS} graphs, from {graphs} of {free} without products of maps");
    eprintln!("{text}");
    assert!(filters >= FILTERS && 3 * graphs > free && 2 * free as u64 > GRAPHS, "{text}");
}

/// Makes some filters of a graph constants, in some layers all of them, and some channels unread.
fn deaden(graph: &mut QuantGraph, rng: &mut ChaCha8Rng) {
    for i in 0..graph.nodes.len() - 1 {
        let share = [0.0, 0.4, 0.4, 1.0][rng.random_range(0..4)];
        let channels = graph.nodes[i].biases.len();
        if !matches!(graph.nodes[i].op, Op::Conv { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale) {
            continue;
        }
        for c in (0..channels).filter(|_| rng.random_bool(share)).collect::<Vec<_>>() {
            let before = graph.nodes[i].clone();
            kill(&mut graph.nodes[i], c, rng.random_range(0..4));
            if graph.check().is_err() {
                graph.nodes[i] = before;
            }
        }
        let x = usize::from(graph.values[graph.nodes[i].inputs[0]].shape.c);
        if let Op::Conv { .. } | Op::Dense { .. } = graph.nodes[i].op
            && rng.random_bool(0.3)
        {
            let unread = rng.random_range(0..x);
            graph.nodes[i].weights.iter_mut().skip(unread).step_by(x).for_each(|w| *w = 0);
        }
    }
}

/// Makes filter `c` a constant: its bias, the zero point, or either end of int8.
fn kill(node: &mut QuantNode, c: usize, how: usize) {
    let channels = node.biases.len();
    let len = node.weights.len() / channels;
    let weights: Vec<usize> = match node.op {
        Op::Conv { .. } | Op::Dense { .. } => (c * len..(c + 1) * len).collect(),
        _ => (0..len).map(|tap| tap * channels + c).collect(),
    };
    let reach: i64 = weights.iter().map(|&k| 255 * i64::from(node.weights[k]).abs()).sum();
    let end = reach as f64 + 300.0 / f64::from(node.multipliers[c]);
    match how {
        2 => node.biases[c] = end as i32,
        3 => node.biases[c] = -end as i32,
        _ => weights.iter().for_each(|&k| node.weights[k] = 0),
    }
    if how == 1 {
        node.biases[c] = 0;
    }
}

/// A network of the house at its smallest, some of whose normalisations have channels that are 0 after their ReLU: by name
/// the channels.
fn with_dead(recipe: &str, dead: &[(&str, std::ops::Range<usize>)]) -> QuantGraph {
    let (mut checkpoint, network) = network::of_recipe(recipe);
    for (name, channels) in dead {
        for (part, value) in [("weight", 0.0), ("bias", -0.5)] {
            let array = checkpoint.weights.get_mut(&format!("{name}.{part}")).unwrap();
            array.values[channels.clone()].fill(value);
        }
    }
    deploy::quantized(&checkpoint, &network::pictures(&network, 1, 8)).unwrap().quantized
}

/// Filters of the layers that lost some.
fn narrowed(trimmed: &Trimmed) -> Vec<(&str, usize, usize)> {
    trimmed.removed.layers.iter().map(|layer| (layer.name.as_str(), layer.before, layer.after)).collect()
}

#[test]
fn channels_of_a_sum_go_on_all_sides_or_stay() {
    let recipe = "model = \"resnet8\"\n";
    let both = with_dead(recipe, &[("stem.bn", 3..7), ("block1.conv2.bn", 3..7)]);
    assert_eq!(narrowed(&assert_same(&both, "both")), [("stem", 16, 12), ("block1.conv2", 16, 12)]);
    let one = with_dead(recipe, &[("block1.conv2.bn", 3..7)]);
    assert_eq!(narrowed(&assert_same(&one, "one")), []);
    // Of what only one side reads, nothing keeps the channels.
    let inside = with_dead(recipe, &[("block2.conv1.bn", 0..9)]);
    assert_eq!(narrowed(&assert_same(&inside, "inside")), [("block2.conv1", 32, 24)]);
}

/// Operators one after the other on a 5x5 image in three channels, none of whose channels is dead.
fn chain(ops: &[Op]) -> QuantGraph {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut values = vec![Value { shape: Shape::new(5, 5, 3), params: QuantParams::IMAGE }];
    let mut nodes = Vec::new();
    for (i, &op) in ops.iter().enumerate() {
        // A map is multiplied by itself.
        let is_product = matches!(op, Op::MatMul { .. });
        let inputs = vec![i; if is_product { 2 } else { 1 }];
        let shapes: Vec<Shape> = inputs.iter().map(|&v| values[v].shape).collect();
        let (input, output) = (shapes[0], op.out_shape(&shapes).unwrap());
        let channels = usize::from(output.c);
        let weights = match op {
            Op::Conv { window, .. } => channels * usize::from(input.c) * window.taps(),
            Op::Depthwise { window } => channels * window.taps(),
            Op::MatMul { .. } => 0,
            _ => channels * input.len(),
        };
        let mut multipliers = vec![0.002; if is_product { 1 } else { channels }];
        break_multiplier_ties(&mut multipliers);
        nodes.push(QuantNode {
            name: format!("layer{i}"),
            op,
            inputs,
            weights: (0..weights).map(|_| rng.random_range(-127..=127)).collect(),
            biases: vec![77; if is_product { 0 } else { channels }],
            multipliers,
        });
        values.push(Value { shape: output, params: QuantParams { scale: 0.1, zero: -7 } });
    }
    let labels = (0..values[ops.len()].shape.len()).map(|i| i.to_string()).collect();
    QuantGraph { crop: Crop::Centre, labels, origin: Origin::default(), values, nodes }
}

const fn conv(window: Window, out_channels: u16) -> Op {
    Op::Conv { window, out_channels }
}

#[test]
fn a_dead_depthwise_channel_takes_the_filter_before_it_along() {
    let (point, depthwise) = (Window::valid(1, 1), Op::Depthwise { window: Window::same(3) });
    let mut graph = chain(&[conv(point, 16), depthwise, conv(point, 8), Op::Dense { out_channels: 2 }]);
    (4..12).for_each(|c| kill(&mut graph.nodes[1], c, 3));
    let trimmed = assert_same(&graph, "depthwise");
    assert_eq!(narrowed(&trimmed), [("layer0", 16, 8), ("layer1", 16, 8)]);
    assert_eq!(trimmed.kept[1], trimmed.kept[2]);
    // At 25 pixels: filters of three values, of nine, and what eight other filters read of them.
    assert_eq!(trimmed.removed.macs, 25 * 8 * (3 + 9 + 8));
    let [before, after] = [&graph, &trimmed.graph].map(|graph| pack::pack(graph, Optimize::Size).unwrap().plan.len());
    assert_eq!(before - after, trimmed.removed.bytes);
}

#[test]
fn a_product_of_maps_keeps_what_it_reads_and_gives() {
    let (point, products) = (Window::valid(1, 1), Op::MatMul { heads: 2, transpose_b: true });
    let layers =
        [conv(point, 8), conv(point, 8), products, conv(point, 8), conv(point, 4), Op::Dense { out_channels: 2 }];
    let mut graph = chain(&layers);
    for (i, channels) in [(0, 2..6), (1, 0..4), (3, 1..5)] {
        channels.for_each(|c| kill(&mut graph.nodes[i], c, 1));
    }
    let trimmed = assert_same(&graph, "products");
    assert_eq!(narrowed(&trimmed), [("layer0", 8, 4), ("layer3", 8, 4)]);
    assert_eq!([2, 3].map(|v| trimmed.kept[v].len()), [8, 50]);
}

/// Two convolutions and a dense layer; the first's second filter is `constant`, and the second convolution has `window` and
/// for that channel, if `only_centre`, nothing but the weight in its middle.
fn with_constant(constant: i32, window: Window, only_centre: bool) -> QuantGraph {
    let mut graph = chain(&[conv(Window::same(3), 3), conv(window, 3), Op::Dense { out_channels: 2 }]);
    kill(&mut graph.nodes[0], 1, 1);
    graph.nodes[0].biases[1] = constant * 500;
    if only_centre {
        let reads = graph.nodes[1].weights.iter_mut().skip(1).step_by(3).enumerate();
        reads.filter(|(at, _)| at % window.taps() != window.taps() / 2).for_each(|(_, weight)| *weight = 0);
    }
    graph
}

#[test]
fn under_padding_only_the_zero_point_is_the_same_everywhere() {
    let goes = |constant, window, only_centre| {
        let trimmed = assert_same(&with_constant(constant, window, only_centre), "chain");
        let expected: &[usize] = if trimmed.removed.filters > 0 { &[0, 2] } else { &[0, 1, 2] };
        assert_eq!(trimmed.kept[1], expected);
        trimmed.removed.filters > 0
    };
    assert!(goes(0, Window::same(3), false), "the zero point");
    assert!(!goes(20, Window::same(3), false), "another constant meets padding");
    assert!(goes(20, Window::same(3), true), "its weights do not");
    assert!(goes(20, Window::valid(3, 1), false), "there is no padding");
    assert!(goes(20, Window::valid(1, 1), false), "there is no padding");
}

#[test]
fn a_layer_of_constants_keeps_one_channel_or_one_word() {
    let mut graph = with_constant(20, Window::valid(3, 1), false);
    (0..3).for_each(|c| kill(&mut graph.nodes[0], c, 0));
    let trimmed = assert_same(&graph, "all constants");
    assert_eq!(trimmed.kept[1], [0]);
    assert_eq!(trimmed.graph.values[1].shape, Shape::new(5, 5, 1));
    // All of 16: a pixel stays a whole word.
    let graph = with_dead("model = \"resnet8\"\n", &[("block1.conv1.bn", 0..16)]);
    assert_eq!(narrowed(&assert_same(&graph, "a word")), [("block1.conv1", 16, 4)]);
}

#[test]
fn a_constant_stays_where_the_multipliers_would_not_differ_without_it() {
    let mut graph = with_constant(0, Window::same(3), false);
    graph.nodes[0].multipliers = vec![0.002, 0.003, 0.002];
    assert_eq!(assert_same(&graph, "multipliers").removed.filters, 0);
    graph.nodes[0].multipliers = vec![0.001, 0.003, 0.002];
    assert_eq!(assert_same(&graph, "multipliers").removed.filters, 1);
}

#[test]
fn a_network_without_dead_channels_is_left_as_it_is() {
    let graph = with_dead("model = \"resnet8\"\n", &[]);
    let trimmed = trim(&graph).unwrap();
    assert_eq!((trimmed.graph, trimmed.removed), (graph, Removed::default()));
}
