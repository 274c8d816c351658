//! Equalisation and bias correction: the first keeps the float function, and both make int8 better.

use ocellus::calibrate::{self, channels, equalise};
use ocellus::checkpoint::Checkpoint;
use ocellus::data::Split;
use ocellus::eval::sqnr;
use ocellus::fold::{centre, fold};
use ocellus::graph::{Graph, Params, lower, run};
use ocellus::net::{Array, Layer, LayerKind, Network, Parameter, Role};
use ocellus::pack;
use ocellus::quantize::{QuantGraph, correct_bias, quantize};
use ocellus::recipe::{CalibrationMethod, Normalise, Optimize, QuantRecipe, Recipe};
use ocellus_shared::{Op, Shape, Window};
use ocellus_tests::random::Random;

const CHANNELS: u16 = 12;

fn recipe() -> QuantRecipe {
    QuantRecipe { method: CalibrationMethod::MinMax, ..QuantRecipe::default() }
}

/// A chain of layers on images of `input` with weights in `[-1, 1] / sqrt(fan-in)`, folded and centred.
fn chain(input: Shape, kinds: &[LayerKind], change: impl Fn(&str, &mut [f32])) -> Graph {
    let layer = |(i, kind): (usize, &LayerKind)| Layer { name: i.to_string(), kind: *kind, inputs: vec![i] };
    let layers = kinds.iter().enumerate().map(layer).collect();
    let network = Network { input, normalise: Normalise::CENTRED, layers };
    let mut random = Random::new(7);
    let mut array = |Parameter { name, shape, role }: Parameter| {
        let spread = match role {
            Role::Weight => 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt(),
            _ => 0.1,
        };
        let mut values: Vec<f32> =
            (0..shape.iter().product()).map(|_| spread * (2.0 * random.fraction() - 1.0)).collect();
        change(&name, &mut values);
        (name, Array { shape, values })
    };
    let weights = network.parameters().unwrap().into_iter().map(&mut array).collect();
    let classes = network.shapes().unwrap().last().unwrap().len();
    let checkpoint = Checkpoint {
        recipe: Recipe::default(),
        classes: (0..classes).map(|i| format!("class {i}")).collect(),
        input,
        dataset_hash: String::new(),
        weights,
        resume: None,
    };
    centre(fold(lower(&network, &checkpoint).unwrap()))
}

fn pictures(side: u16, count: usize) -> Split {
    let images = Random::new(3).bytes(count * usize::from(side).pow(2) * 3);
    Split { images, labels: vec![0; count], height: side.into(), width: side.into() }
}

/// Two layers around a depthwise one, whose channels differ by up to four thousand to one.
fn uneven(activation: Option<LayerKind>) -> Graph {
    let filter = |op| LayerKind::Op { op, bias: true };
    let conv = filter(Op::Conv { window: Window::same(3), out_channels: CHANNELS });
    let depthwise = filter(Op::Depthwise { window: Window::same(3) });
    let mut kinds = vec![conv];
    kinds.extend(activation);
    kinds.push(depthwise);
    kinds.extend(activation);
    let pooled = LayerKind::Op { op: Op::MaxPool { window: Window::valid(2, 2) }, bias: false };
    kinds.extend([pooled, filter(Op::Dense { out_channels: 5 })]);
    let first_depthwise = if activation.is_some() { "2" } else { "1" };
    chain(Shape::new(8, 8, 3), &kinds, move |name, values| {
        let (layer, part) = name.split_once('.').unwrap();
        let per_channel = values.len() / usize::from(CHANNELS);
        for (k, value) in values.iter_mut().enumerate() {
            let channel = k / per_channel.max(1);
            let size = 2f32.powi(channel as i32 - 6);
            match (layer, part) {
                ("0", _) => *value *= size,
                (l, "weight") if l == first_depthwise => *value /= size,
                _ => {}
            }
        }
    })
}

/// The signal-to-noise ratio of the scores in dB.
fn scores_db(graph: &Graph, images: &Split) -> f64 {
    let ranges = calibrate::ranges(graph, images, &recipe()).unwrap();
    let quantized = quantize(graph, &ranges).unwrap();
    let found =
        sqnr::measure(graph, &quantized, &pack::pack(&quantized, Optimize::Size).unwrap().plan, images).unwrap();
    assert_eq!(found.layers.len(), graph.nodes.len());
    found.layers.last().unwrap().accumulated_db.unwrap()
}

fn equalised(graph: &Graph, images: &Split) -> Graph {
    let mut result = graph.clone();
    let mut seen = channels(graph, images, &recipe());
    equalise(&mut result, &mut seen);
    // What was seen went along with the values.
    for (seen, again) in seen.iter().zip(channels(&result, images, &recipe())) {
        for (a, b) in seen.largest.iter().zip(&again.largest) {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1e-3), "{a} {b}");
        }
    }
    result
}

#[test]
fn equalisation_keeps_the_float_function_and_helps_int8() {
    for activation in [None, Some(LayerKind::Relu), Some(LayerKind::Relu6)] {
        let (graph, images) = (uneven(activation), pictures(8, 24));
        let result = equalised(&graph, &images);
        for i in 0..images.len() {
            let pixels = run::input(&graph, images.image(i));
            let (before, after) = (run::logits(&graph, &pixels), run::logits(&result, &pixels));
            let largest = before.iter().fold(0f32, |m, x| m.max(x.abs()));
            let off = before.iter().zip(&after).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(off <= 1e-5 * largest, "{activation:?}: off by {off} of {largest}");
        }
        let (before, after) = (scores_db(&graph, &images), scores_db(&result, &images));
        eprintln!("{activation:?}: {before:.1} dB before, {after:.1} dB after");
        assert!(after > before + 6.0, "{activation:?}: {before} dB before, {after} dB after");
    }
}

#[test]
fn equalisation_stops_at_smooth_functions_and_at_second_readers() {
    let silu = LayerKind::Function(ocellus::net::Function::Silu);
    let (graph, images) = (uneven(Some(silu)), pictures(8, 4));
    // Only the table's neighbours could change, and a table cannot be scaled; no other pair is in this graph.
    assert_eq!(equalised(&graph, &images), graph);
    let mut graph = uneven(Some(LayerKind::Relu));
    let first = graph.nodes[0].output;
    let mut sum = graph.nodes[1].clone();
    (sum.op, sum.inputs, sum.params, sum.name) = (Op::Add, vec![1, 2], Params::None, "sum".into());
    assert_eq!(sum.output, first);
    graph.insert(2, sum);
    graph.nodes[3].inputs = vec![3];
    assert_eq!(equalised(&graph, &images).nodes[0], graph.nodes[0], "the sum reads it too");
}

/// The accumulators of a dense first layer for `pixels`, in real values.
fn accumulators(quant: &QuantGraph, pixels: &[u8]) -> Vec<f64> {
    let (image, node, scale) = (quant.values[0].params, &quant.nodes[0], quant.values[1].params.scale);
    let row = |c: usize| {
        let weights = &node.weights[c * pixels.len()..][..pixels.len()];
        let x = |p: u8| i64::from((p ^ 0x80) as i8) - i64::from(image.zero);
        let sum: i64 = pixels.iter().zip(weights).map(|(&p, &w)| x(p) * i64::from(w)).sum();
        (sum + i64::from(node.biases[c])) as f64 * f64::from(node.multipliers[c]) * f64::from(scale)
    };
    (0..node.biases.len()).map(row).collect()
}

#[test]
fn bias_correction_takes_back_what_rounding_shifts() {
    let dense = LayerKind::Op { op: Op::Dense { out_channels: 6 }, bias: true };
    let graph = chain(Shape::new(8, 8, 3), &[dense], |_, _| {});
    // Every pixel of a channel is the same, so that its mean says all.
    let images = [230, 180, 90].repeat(64);
    let split = Split { images: images.clone(), labels: vec![0], height: 8, width: 8 };
    let ranges = calibrate::ranges(&graph, &split, &recipe()).unwrap();
    let plain = quantize(&graph, &ranges).unwrap();
    let mut corrected = plain.clone();
    correct_bias(&mut corrected, &graph, &channels(&graph, &split, &recipe()));
    corrected.check().unwrap();
    let exact = run::logits(&graph, &run::input(&graph, &images));
    let off = |quant: &QuantGraph| -> Vec<f64> {
        accumulators(quant, &images).iter().zip(&exact).map(|(a, x)| (a - f64::from(*x)).abs()).collect()
    };
    let (before, after) = (off(&plain), off(&corrected));
    let scale = f64::from(plain.values[1].params.scale);
    for ((b, a), m) in before.iter().zip(&after).zip(&plain.nodes[0].multipliers) {
        // A step of the accumulator, for the bias's own rounding, and f32's.
        assert!(*a < f64::from(*m) * scale + 1e-5, "{a} after, {b} before");
    }
    assert!(before.iter().sum::<f64>() > 10.0 * after.iter().sum::<f64>(), "{before:?} before, {after:?} after");
}
