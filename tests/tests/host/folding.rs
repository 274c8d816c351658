//! Lowering and folding do not change what a network computes.

use burn::tensor::{Device, Tensor, TensorData};
use ocellus::checkpoint::Checkpoint;
use ocellus::fold::{centre, fold};
use ocellus::graph::{Graph, lower, run};
use ocellus::net::module::{Module, to_vec};
use ocellus::net::{Array, Layer, LayerKind, Network, Parameter};
use ocellus::recipe::{Normalise, Recipe};
use ocellus_shared::{Op, Shape, Window};
use rayon::prelude::*;

/// Random networks.
const NETWORKS: u64 = 400;

/// The largest difference between two results, as a part of the largest value.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0f32, |m, (x, y)| m.max((x - y).abs())) / largest
}

/// A network's graph before folding, and some images.
fn lowered(seed: u64) -> (Network, Graph, Vec<Vec<f32>>) {
    let (network, checkpoint) = crate::random::network::network(seed);
    let pictures = crate::random::network::pictures(&network, seed, 3);
    let images = (0..pictures.len()).map(|i| run::image(pictures.image(i))).collect();
    let graph = lower(&network, &checkpoint).unwrap();
    (network, graph, images)
}

#[test]
fn folding_keeps_the_logits_of_random_networks() {
    (0..NETWORKS).into_par_iter().for_each(|seed| {
        let (network, graph, images) = lowered(seed);
        let folded = fold(graph.clone());
        for image in &images {
            let off = difference(&run::logits(&graph, image), &run::logits(&folded, image));
            assert!(off < 3e-5, "seed {seed}: {off}\n{network:#?}\n{folded:#?}");
        }
    });
}

#[test]
fn lowering_keeps_the_logits_of_the_trained_module() {
    for seed in 0..NETWORKS / 4 {
        let (network, checkpoint) = crate::random::network::network(seed);
        let (_, graph, images) = lowered(seed);
        let device = Device::default();
        let module = Module::new(network.clone()).unwrap();
        let arrays = module.upload(&checkpoint.weights, &device).unwrap();
        let [h, w, c] = [network.input.h, network.input.w, network.input.c].map(usize::from);
        for image in &images {
            let planes: Vec<f32> = (0..image.len()).map(|k| image[k % (h * w) * c + k / (h * w)]).collect();
            let tensor = Tensor::from_data(TensorData::new(planes, [1, c, h, w]), &device);
            let expected = to_vec(module.forward(&arrays, tensor, None));
            let off = difference(&expected, &run::logits(&graph, image));
            assert!(off < 3e-5, "seed {seed}: {off}\n{network:#?}");
        }
    }
}

/// What remains of the random networks' normalisations and activations, to know that the folding is not idle.
#[test]
fn few_channel_scales_remain() {
    let count = |graph: &Graph| graph.nodes.iter().filter(|n| n.op == Op::ChannelScale).count();
    let (mut before, mut after) = (0, 0);
    for seed in 0..NETWORKS {
        let (_, graph, _) = lowered(seed);
        before += count(&graph);
        after += count(&fold(graph));
    }
    assert!(after * 3 < before, "{after} of {before} channel scales remain");
}

/// The operators that remain of `convolution - ReLU - normalisation with these factors - operator`.
fn remaining(factors: [f32; 2], next: Op) -> Vec<&'static str> {
    let conv = Op::Conv { window: Window::same(3), out_channels: 2 };
    let kinds = [
        LayerKind::Op { op: conv, bias: true },
        LayerKind::Relu,
        LayerKind::BatchNorm { epsilon: 1e-5, momentum: 0.1 },
        LayerKind::Op { op: next, bias: true },
        LayerKind::Op { op: Op::Dense { out_channels: 2 }, bias: true },
    ];
    let (network, mut checkpoint) = checkpoint_of(&kinds);
    checkpoint.weights.get_mut("2.weight").unwrap().values = factors.to_vec();
    fold(lower(&network, &checkpoint).unwrap()).nodes.iter().map(|n| n.op.name()).collect()
}

/// A chain of layers called `0`, `1`, ... on a 4x4 image, with all weights 0.5.
fn checkpoint_of(kinds: &[LayerKind]) -> (Network, Checkpoint) {
    let layer = |(i, &kind): (usize, &LayerKind)| Layer { name: i.to_string(), kind, inputs: vec![i] };
    let network = Network {
        input: Shape::new(4, 4, 3),
        normalise: Normalise::NONE,
        layers: kinds.iter().enumerate().map(layer).collect(),
    };
    let array = |p: Parameter| (p.name, Array { values: vec![0.5; p.shape.iter().product()], shape: p.shape });
    let checkpoint = Checkpoint {
        recipe: Recipe::default(),
        classes: vec!["cat".into(), "dog".into()],
        input: network.input,
        dataset_hash: String::new(),
        weights: network.parameters().unwrap().into_iter().map(array).collect(),
        resume: None,
    };
    (network, checkpoint)
}

#[test]
fn a_normalisation_after_a_relu_goes_forward_only_where_that_is_exact() {
    let (padded, whole) = (Window::same(3), Window::valid(3, 1));
    let conv = |window| Op::Conv { window, out_channels: 2 };
    let pool = Op::MaxPool { window: Window::valid(2, 2) };
    // Its offset would have to stop at the border.
    assert_eq!(remaining([1.0, 2.0], conv(padded)), ["conv", "channel_scale", "conv", "dense"]);
    assert_eq!(remaining([1.0, 2.0], conv(whole)), ["conv", "conv", "dense"]);
    assert_eq!(remaining([1.0, 2.0], Op::Depthwise { window: whole }), ["conv", "depthwise", "dense"]);
    assert_eq!(remaining([1.0, 2.0], pool), ["conv", "max_pool", "dense"]);
    // A negative factor makes the smallest value the largest.
    assert_eq!(remaining([1.0, -2.0], pool), ["conv", "channel_scale", "max_pool", "dense"]);
    assert_eq!(remaining([1.0, -2.0], Op::GlobalAvgPool), ["conv", "global_avg_pool", "dense"]);
    assert_eq!(remaining([1.0, -2.0], Op::Flatten), ["conv", "flatten", "dense"]);
}

/// A normalised image before a 3x3 convolution: the folded graph, then the centred one.
fn normalised(normalise: Normalise, window: Window) -> [Graph; 2] {
    let conv = LayerKind::Op { op: Op::Conv { window, out_channels: 2 }, bias: true };
    let dense = LayerKind::Op { op: Op::Dense { out_channels: 2 }, bias: true };
    let (network, mut checkpoint) = checkpoint_of(&[conv, dense]);
    let weights = &mut checkpoint.weights.get_mut("0.weight").unwrap().values;
    weights.iter_mut().enumerate().for_each(|(k, w)| *w = (k * 7 % 11) as f32 / 5.0 - 1.0);
    let folded = fold(lower(&Network { normalise, ..network }, &checkpoint).unwrap());
    [folded.clone(), centre(folded)]
}

#[test]
fn a_normalisation_of_the_pixels_folds_as_far_as_int8_can_paint_its_padding() {
    let ops = |graph: &Graph| graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>();
    let one_mean = Normalise { mean: [0.3; 3], ..Normalise::IMAGENET };
    // Without padding, folding alone does it, and the image keeps its zero.
    for normalise in [Normalise::CENTRED, Normalise::IMAGENET] {
        let [folded, centred] = normalised(normalise, Window::valid(3, 1));
        assert_eq!((ops(&folded), centred.zero_pixel), (vec!["conv", "dense"], 0));
    }
    // Where the channels' means differ, no pixel value is the padding.
    let [folded, centred] = normalised(Normalise::IMAGENET, Window::same(3));
    assert_eq!(ops(&folded), ["channel_scale", "conv", "dense"]);
    assert_eq!(folded, centred);
    for (normalise, zero) in [(Normalise::CENTRED, 128), (one_mean, 77)] {
        let [folded, centred] = normalised(normalise, Window::same(3));
        assert_eq!((ops(&folded), ops(&centred)), (vec!["channel_scale", "conv", "dense"], vec!["conv", "dense"]));
        assert_eq!(centred.zero_pixel, zero);
        let picture: Vec<u8> = (0..folded.input.len()).map(|k| (k * 37 % 256) as u8).collect();
        let exact = &run::values(&folded, &run::input(&folded, &picture))[2];
        let found = &run::values(&centred, &run::input(&centred, &picture))[1];
        let (w, c) = (usize::from(folded.input.w), 2);
        for (k, (exact, found)) in exact.iter().zip(found).enumerate() {
            let (y, x) = (k / c / w, k / c % w);
            let is_inside = (1..w - 1).contains(&x) && (1..w - 1).contains(&y);
            // Five of nine taps in a corner, each of three channels by half a step times a weight of at most 1.
            let bound = if is_inside { 1e-4 } else { 15.0 * 0.5 / 255.0 / normalise.std[1] as f32 };
            assert!((exact - found).abs() < bound, "{normalise:?} at {y}, {x}: {found}, exactly {exact}");
        }
    }
}

#[test]
fn what_cannot_be_lowered_is_named() {
    let dense = LayerKind::Op { op: Op::Dense { out_channels: 2 }, bias: true };
    let conv = LayerKind::Op { op: Op::Conv { window: Window::same(3), out_channels: 4 }, bias: true };
    let refusal = |change: &dyn Fn(&mut Network, &mut Checkpoint)| {
        let (mut network, mut checkpoint) = checkpoint_of(&[conv, dense]);
        change(&mut network, &mut checkpoint);
        format!("{:#}", lower(&network, &checkpoint).unwrap_err())
    };
    let missing = refusal(&|_, c| drop(c.weights.remove("0.bias")));
    assert!(missing.contains("layer `0`: the checkpoint has no `0.bias`"), "{missing}");
    let shape = refusal(&|_, c| c.weights.get_mut("1.weight").unwrap().shape = vec![64, 2]);
    assert!(shape.contains("layer `1`: `1.weight` has the shape [64, 2], expected [2, 64]"), "{shape}");
    let diverged = refusal(&|_, c| c.weights.get_mut("0.weight").unwrap().values[5] = f32::NAN);
    assert!(diverged.contains("not finite"), "{diverged}");
    assert!(refusal(&|n, _| n.layers[1].name = "0".into()).contains("same name"));
    assert!(refusal(&|n, _| n.layers[0].name = "scores".into()).contains("reserved"));
    assert!(refusal(&|n, _| n.layers[0].inputs = vec![7]).contains("does not exist yet"));
    assert!(refusal(&|_, c| c.classes.push("cow".into())).contains("there are 3 classes"));
    let unread = refusal(&|n, c| {
        n.layers[1].inputs = vec![0];
        c.weights.insert("1.weight".into(), Array { shape: vec![2, 48], values: vec![0.0; 96] });
    });
    assert!(unread.contains("layer `0`: nothing reads its result"), "{unread}");
    assert!(refusal(&|n, _| n.layers.clear()).contains("computes nothing"));
}
