//! Networks of other programs that are trained and quantized here: each computes what tract computes of its file, or is refused by the
//! name of the node.

use crate::classifier::{conv, number, values, whole};
use crate::onnx::{IMAGE, file, int, ints, node};
use ocellus::checkpoint::Checkpoint;
use ocellus::data::Split;
use ocellus::recipe::{DataRecipe, layer_names};
use ocellus::{deploy, import, net};
use std::fs;
use tract_onnx::pb::{NodeProto, TensorProto};

/// What is imported; that it computes the same as the file is a part of it.
fn load(bytes: &[u8], labels: Option<Vec<String>>) -> anyhow::Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    fs::write(&path, bytes).unwrap();
    let data = DataRecipe { mean: Some([0.4, 0.5, 0.6]), std: Some([0.25, 0.5, 0.3]), ..DataRecipe::default() };
    import::load(&path, data, labels)
}

fn refusal(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> String {
    format!("{:#}", load(&file(&IMAGE, nodes, constants), None).unwrap_err())
}

#[test]
fn a_network_of_every_operator_is_trained_and_quantized_like_ours() {
    let (nodes, constants) = whole();
    let labels = ["ant", "bee", "cat", "dog"].map(String::from).to_vec();
    let imported = load(&file(&IMAGE, nodes, constants), Some(labels.clone())).unwrap();
    assert_eq!((&imported.classes, imported.input.h), (&labels, 8));
    let lines: Vec<String> = imported.recipe.net.layers.iter().map(ToString::to_string).collect();
    let expected = [
        "conv 6 stride=2 padding=0,0,1,1",
        "batch-norm epsilon=0.001",
        "relu",
        "conv 6 bias=false",
        "batch-norm epsilon=0.001",
        "relu6",
        "conv 6 bias=false",
        "add conv1.relu",
        "conv 8 kernel=1 bias=false",
        "silu",
        "depthwise stride=2 bias=false",
        "hard-swish",
        "global-avg-pool",
        "conv 2 kernel=1 bias=false",
        "relu",
        "conv 8 kernel=1 bias=false",
        "hard-sigmoid",
        "mul depthwise1.hard-swish",
        "max-pool 1x2 stride=1",
        "avg-pool 1x2 stride=1 from=conv6.mul",
        "concat conv6.avg-pool from=conv6.max-pool",
        "dense 5",
        "relu",
    ];
    assert_eq!(lines, expected);
    // All parameters of the network that the recipe describes are there.
    let network = net::build(&imported.recipe, imported.input, 4).unwrap();
    for parameter in network.parameters().unwrap() {
        assert_eq!(imported.weights[&parameter.name].shape, parameter.shape, "{}", parameter.name);
    }
    assert_eq!(
        layer_names(&imported.recipe.net.layers).len() + 2,
        network.layers.len(),
        "a flatten and the classifier"
    );
    let images = (0..8 * imported.input.len()).map(|i| (i * 89 % 256) as u8).collect();
    let images = Split { images, labels: vec![0; 8], height: 8, width: 8 };
    let artifacts = deploy::build(&imported, &images, None).unwrap();
    assert!(artifacts.verify(&images).unwrap() > 0);
}

#[test]
fn constants_may_be_copied_and_transposed() {
    let nodes = vec![
        node("Identity", &["b"], &["b2"], &[]),
        node("Conv", &["x", "w", "b2"], &["c"], &[]),
        node("GlobalAveragePool", &["c"], &["g"], &[]),
        node("Flatten", &["g"], &["f"], &[]),
        node("Transpose", &["d"], &["dt"], &[ints("perm", &[1, 0])]),
        node("Identity", &["dt"], &["dt2"], &[]),
        node("Gemm", &["f", "dt2", "b2"], &["y"], &[]),
    ];
    let constants = vec![values("w", &[4, 3, 1, 1]), values("b", &[4]), values("d", &[4, 4])];
    // That the scores are those of tract is a part of it.
    let imported = load(&file(&IMAGE, nodes, constants.clone()), None).unwrap();
    let lines: Vec<String> = imported.recipe.net.layers.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["conv 4 kernel=1", "global-avg-pool"]);
    assert_eq!(imported.weights["conv1.bias"].values, imported.weights["head.bias"].values);
    // Of anything but a matrix of weights the node is refused.
    let nodes = vec![node("Transpose", &["w"], &["wt"], &[ints("perm", &[1, 0, 2, 3])])];
    assert!(refusal(nodes, constants).contains("its node `the wt` (Transpose): its operator cannot be trained here"));
}

#[test]
fn what_cannot_be_trained_is_refused_by_its_node() {
    let row = |input: &str| {
        vec![
            node("GlobalAveragePool", &[input], &["g"], &[]),
            node("Flatten", &["g"], &["f"], &[]),
            node("Gemm", &["f", "d"], &["y"], &[int("transB", 1)]),
        ]
    };
    let first = |op_type: &str, inputs: &[&str], attributes| {
        [vec![node(op_type, inputs, &["a"], attributes)], row("a")].concat()
    };
    let dense = values("d", &[2, 3]);
    let filters = |dims: &[i64]| vec![values("w", dims), dense.clone()];
    let window = ints("kernel_shape", &[2, 2]);
    for (nodes, constants, reason) in [
        (first("Erf", &["x"], &[]), vec![dense.clone()], "its node `the a` (Erf): its operator cannot be trained here"),
        (first("Ceil", &["x"], &[]), vec![dense.clone()], "export the network for images of one size"),
        (first("Clip", &["x", "", "six"], &[]), vec![number("six", 6.0), dense.clone()], "supported are 0 and 6"),
        (first("Conv", &["x", "w"], &[ints("dilations", &[2, 2])]), filters(&[3, 3, 3, 3]), "it is dilated"),
        (
            [vec![conv("w0", "x", 1, 1, 1), node("Conv", &["w0", "w"], &["a"], &[int("group", 2)])], row("a")].concat(),
            vec![values("w0.w", &[4, 3, 1, 1]), values("w", &[4, 2, 3, 3]), values("d", &[2, 4])],
            "a grouped convolution of 4 channels in 2 groups",
        ),
        (
            first("AveragePool", &["x"], &[window.clone(), ints("pads", &[1, 1, 1, 1])]),
            vec![dense.clone()],
            "not supported of average pooling",
        ),
        (
            first("MaxPool", &["x"], &[ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), int("ceil_mode", 1)]),
            vec![dense.clone()],
            "ceil_mode",
        ),
        (first("Concat", &["x", "x"], &[int("axis", 2)]), vec![dense.clone()], "it joins the axis 2"),
        (first("Mul", &["x", "x"], &[]), vec![dense.clone()], "supported is one factor for each channel"),
        (first("Add", &["x", "k"], &[]), vec![values("k", &[1, 3, 8, 8]), dense.clone()], "it adds a constant"),
        (vec![node("GlobalAveragePool", &["x"], &["y"], &[])], vec![], "it does not end in a dense layer"),
    ] {
        let said = refusal(nodes, constants);
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("net.onnx"), "{said}");
    }
    let (nodes, constants) = whole();
    let few = load(&file(&IMAGE, nodes, constants), Some(vec!["one".into()])).unwrap_err();
    assert!(few.to_string().contains("tells 4 classes apart, there are 1 labels"), "{few}");
}
