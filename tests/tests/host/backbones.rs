//! Backbones of other programs: what is well formed is run, and what is not is an error that names the node, before anything large is
//! allocated.

use crate::onnx::{IMAGE, alone, f32s, file, i64s, int, ints, node, of_opset, scalar, text};
use ocellus::eval::backbone::OnnxBackbone;
use ocellus::features::Extractor;
use ocellus::recipe::TransferRecipe;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tract_onnx::pb::{NodeProto, TensorProto};

fn load_file(path: &Path) -> anyhow::Result<OnnxBackbone> {
    let recipe = TransferRecipe {
        backbone: Some(path.to_owned()),
        backbone_mean: [0.0; 3],
        backbone_std: [1.0; 3],
        ..TransferRecipe::default()
    };
    OnnxBackbone::load(&recipe, None)
}

fn load(bytes: &[u8]) -> anyhow::Result<OnnxBackbone> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.onnx");
    fs::write(&path, bytes).unwrap();
    load_file(&path)
}

/// Why the file is refused, soon.
fn refusal(bytes: &[u8]) -> String {
    let start = Instant::now();
    let error = load(bytes).expect_err("it is taken");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {error:#}", start.elapsed());
    format!("{error:#}")
}

#[test]
fn what_exporters_write_is_run() {
    let conv = |k: i64, name: &str| f32s(name, &[6, 3, k, k]);
    let networks: Vec<(&str, usize, Vec<u8>)> = vec![
        (
            "a convolution",
            6 * 64,
            alone("Conv", vec![conv(3, "w")], &[ints("pads", &[1; 4]), ints("kernel_shape", &[3, 3])]),
        ),
        (
            "dilated, in steps",
            6 * 9,
            alone("Conv", vec![conv(2, "w")], &[ints("dilations", &[2, 2]), ints("strides", &[2, 2])]),
        ),
        (
            "padded by its size",
            6 * 16,
            alone("Conv", vec![conv(3, "w")], &[text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])]),
        ),
        ("depthwise", 3 * 36, alone("Conv", vec![f32s("w", &[3, 1, 3, 3])], &[int("group", 3)])),
        ("transposed", 2 * 256, alone("ConvTranspose", vec![f32s("w", &[3, 2, 2, 2])], &[ints("strides", &[2, 2])])),
        (
            "a maximum",
            3 * 16,
            alone("MaxPool", vec![], &[ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1; 4])]),
        ),
        ("an average", 3, alone("AveragePool", vec![], &[ints("kernel_shape", &[8, 8])])),
        ("a margin", 3 * 100, alone("Pad", vec![i64s("p", &[0, 0, 1, 1, 0, 0, 1, 1])], &[])),
        ("a window onto it", 3 * 2 * 8, alone("Slice", vec![i64s("a", &[2]), i64s("b", &[4]), i64s("c", &[2])], &[])),
        (
            "all from the second row",
            3 * 7 * 8,
            alone("Slice", vec![i64s("a", &[1]), i64s("b", &[i64::MAX]), i64s("c", &[2])], &[]),
        ),
        ("repeated", 3 * 8 * 16, alone("Tile", vec![i64s("r", &[1, 1, 1, 2])], &[])),
        ("spread out", 2 * 192, alone("Expand", vec![i64s("s", &[2, 3, 8, 8])], &[])),
        ("chosen rows", 3 * 3 * 8, alone("Gather", vec![i64s("i", &[0, -1, 5])], &[int("axis", 2)])),
        ("turned", 192, alone("Transpose", vec![], &[ints("perm", &[0, 2, 3, 1])])),
        ("reshaped", 192, alone("Reshape", vec![i64s("s", &[0, -1])], &[])),
        ("to depth", 192, alone("SpaceToDepth", vec![], &[int("blocksize", 2)])),
        ("a mean", 3, alone("ReduceMean", vec![], &[ints("axes", &[2, 3]), int("keepdims", 0)])),
        ("a sum", 3, alone("ReduceSum", vec![i64s("a", &[2, -1])], &[int("keepdims", 0)])),
        (
            "the five largest",
            3 * 8 * 5,
            file(&IMAGE, vec![node("TopK", &["x", "k"], &["y", "z"], &[])], vec![i64s("k", &[5])]),
        ),
        (
            "twice the size",
            3 * 256,
            file(&IMAGE, vec![node("Resize", &["x", "", "s"], &["y"], &[text("mode", "nearest")])], vec![scales()]),
        ),
        (
            "shapes that are computed",
            192,
            file(
                &IMAGE,
                vec![
                    node("Shape", &["x"], &["s"], &[]),
                    node("Gather", &["s", "zero"], &["n"], &[]),
                    node("Unsqueeze", &["n", "axis"], &["n1"], &[]),
                    node("Concat", &["n1", "minus"], &["to"], &[int("axis", 0)]),
                    node("Reshape", &["x", "to"], &["y"], &[]),
                ],
                vec![scalar(i64s("zero", &[0])), i64s("axis", &[0]), i64s("minus", &[-1])],
            ),
        ),
        (
            "attention of a row",
            3 * 64,
            file(
                &IMAGE,
                vec![
                    node("Transpose", &["x"], &["t"], &[ints("perm", &[0, 1, 3, 2])]),
                    node("MatMul", &["x", "t"], &["scores"], &[]),
                    node("Softmax", &["scores"], &["p"], &[int("axis", -1)]),
                    node("MatMul", &["p", "x"], &["y"], &[]),
                ],
                vec![],
            ),
        ),
        (
            "positions",
            8,
            file(
                &IMAGE,
                vec![
                    node("Range", &["a", "b", "c"], &["r"], &[]),
                    node("Cast", &["r"], &["f"], &[int("to", 1)]),
                    node("ReduceMean", &["x"], &["m"], &[ints("axes", &[0, 1, 2]), int("keepdims", 0)]),
                    node("Add", &["m", "f"], &["y"], &[]),
                ],
                vec![scalar(i64s("a", &[0])), scalar(i64s("b", &[8])), scalar(i64s("c", &[1]))],
            ),
        ),
        (
            "a classifier's layers",
            10,
            file(
                &IMAGE,
                vec![
                    node("Conv", &["x", "w"], &["c"], &[]),
                    node("BatchNormalization", &["c", "g", "b", "m", "v"], &["n"], &[]),
                    node("Clip", &["n", "low", "high"], &["r"], &[]),
                    node("GlobalAveragePool", &["r"], &["p"], &[]),
                    node("Flatten", &["p"], &["f"], &[]),
                    node("Gemm", &["f", "d"], &["y"], &[int("transB", 1)]),
                ],
                vec![
                    f32s("w", &[6, 3, 3, 3]),
                    f32s("g", &[6]),
                    f32s("b", &[6]),
                    f32s("m", &[6]),
                    positive("v"),
                    scalar(f32s("low", &[1])),
                    scalar(positive("high")),
                    f32s("d", &[10, 6]),
                ],
            ),
        ),
    ];
    for (what, width, bytes) in networks {
        let backbone = load(&bytes).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert_eq!(backbone.width(), width, "{what}");
        assert_eq!(backbone.features(&[0.5; 192]).unwrap().len(), width, "{what}");
    }
}

/// Doubles rows and columns.
fn scales() -> TensorProto {
    let raw_data = [1.0f32, 1.0, 2.0, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { raw_data, ..f32s("s", &[4]) }
}

/// Six ones, or as many as there are.
fn positive(name: &str) -> TensorProto {
    let count = if name == "v" { 6 } else { 1 };
    TensorProto { raw_data: 6.0f32.to_le_bytes().repeat(count), ..f32s(name, &[count as i64]) }
}

#[test]
fn numbers_that_size_something_are_checked_first() {
    let (huge, half) = (1 << 40, 1 << 31);
    let conv = || vec![f32s("w", &[6, 3, 3, 3])];
    let window = |name: &str, values: &[i64]| vec![ints("kernel_shape", &[3, 3]), ints(name, values)];
    let pads = |pads: &[i64]| vec![i64s("p", pads)];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("dilations", alone("Conv", conv(), &[ints("dilations", &[0, 1])])),
        ("dilations", alone("Conv", conv(), &[ints("dilations", &[1, huge])])),
        ("strides", alone("Conv", conv(), &[ints("strides", &[0, 0])])),
        ("strides", alone("MaxPool", vec![], &window("strides", &[-1, 1]))),
        ("pads", alone("Conv", conv(), &[ints("pads", &[half, 0, 0, 0])])),
        ("pads", alone("AveragePool", vec![], &window("pads", &[0, 0, 0, i64::MAX]))),
        ("pads", alone("Conv", conv(), &[ints("pads", &[-1, 0, 0, 0])])),
        ("group", alone("Conv", conv(), &[int("group", 0)])),
        ("kernel_shape", alone("MaxPool", vec![], &[ints("kernel_shape", &[0, 2])])),
        ("kernel_shape", alone("AveragePool", vec![], &[ints("kernel_shape", &[huge, 1])])),
        ("window", alone("MaxPool", vec![], &[ints("kernel_shape", &[9_000, 9_000]), ints("pads", &[9_000; 4])])),
        ("output_padding", alone("ConvTranspose", vec![f32s("w", &[3, 2, 2, 2])], &[ints("output_padding", &[-1, 0])])),
        ("blocksize", alone("SpaceToDepth", vec![], &[int("blocksize", 0)])),
        ("blocksize", alone("DepthToSpace", vec![], &[int("blocksize", -2)])),
        ("perm", alone("Transpose", vec![], &[ints("perm", &[0, 1, 1, 2])])),
        ("perm", alone("Transpose", vec![], &[ints("perm", &[0, 1, 2, 9])])),
        ("axis", alone("Softmax", vec![], &[int("axis", huge)])),
        ("size", alone("Expand", vec![i64s("s", &[huge, 3, 8, 8])], &[])),
        ("size", alone("Expand", vec![i64s("s", &[i64::MAX, 3, 8, 8])], &[])),
        ("elements", alone("Expand", vec![i64s("s", &[1 << 24, 3, 8, 8])], &[])),
        ("size", alone("Tile", vec![i64s("r", &[huge, 1, 1, 1])], &[])),
        ("elements", alone("Tile", vec![i64s("r", &[1 << 12, 1 << 12, 1 << 12, 1 << 12])], &[])),
        ("size", alone("Pad", pads(&[0, 0, 0, huge, 0, 0, 0, 0]), &[])),
        ("size", alone("Pad", pads(&[0, 0, i64::MIN, 0, 0, 0, 0, 0]), &[])),
        ("elements", alone("Pad", pads(&[0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0]), &[])),
        (
            "pads",
            of_opset(
                9,
                &IMAGE,
                vec![node("Pad", &["x"], &["y"], &[ints("pads", &[0, 0, 0, huge, 0, 0, 0, 0])])],
                vec![],
            ),
        ),
        ("steps of 0", alone("Slice", vec![i64s("a", &[0]), i64s("b", &[4]), i64s("c", &[2]), i64s("d", &[0])], &[])),
        ("elements", alone("Gather", vec![i64s("i", &vec![0; 1 << 21])], &[int("axis", 0)])),
        (
            "elements",
            file(&IMAGE, vec![node("ConstantOfShape", &["s"], &["y"], &[])], vec![i64s("s", &[1 << 20, 1 << 20])]),
        ),
        ("size", file(&IMAGE, vec![node("ConstantOfShape", &["s"], &["y"], &[])], vec![i64s("s", &[-1, huge])])),
        ("counts from", range(0, 1 << 28, 0)),
        ("counts from", range(0, 1 << 28, -1)),
        ("size", range(i64::MIN, i64::MAX, 1)),
        ("size", alone("TopK", vec![i64s("k", &[i64::MAX])], &[])),
    ];
    for (word, bytes) in cases {
        let message = refusal(&bytes);
        assert!(
            message.contains("b.onnx") && message.contains("`the y`") && message.contains(word),
            "{word}: {message}"
        );
    }
}

fn range(from: i64, to: i64, step: i64) -> Vec<u8> {
    let constants = [("a", from), ("b", to), ("c", step)].map(|(name, value)| scalar(i64s(name, &[value])));
    file(&IMAGE, vec![node("Range", &["a", "b", "c"], &["y"], &[])], constants.into())
}

#[test]
fn sums_are_bounded_where_each_part_is_small() {
    // Values of 100 MB each, all of which are read at the end.
    let count = 64;
    let names: Vec<String> = (0..count).map(|i| format!("e{i}")).collect();
    let mut nodes: Vec<NodeProto> = names.iter().map(|name| node("Expand", &["x", "s"], &[name], &[])).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push(node("Sum", &all, &["y"], &[]));
    let message = refusal(&file(&IMAGE, nodes, vec![i64s("s", &[130_000, 3, 8, 8])]));
    assert!(message.contains("needed at one time") && message.contains("Expand"), "{message}");
    // A product of matrices takes longer than anybody waits, though its values are small.
    let constants = vec![f32s("w", &[192, 192]), i64s("s", &[1, 1_000_000, 192]), i64s("r", &[1, 1, 192])];
    let mut nodes = vec![node("Reshape", &["x", "r"], &["f"], &[]), node("Expand", &["f", "s"], &["m0"], &[])];
    let names: Vec<String> = (0..40).map(|i| format!("m{i}")).collect();
    nodes.extend(names.windows(2).map(|pair| node("MatMul", &[&pair[0], "w"], &[&pair[1]], &[])));
    let message = refusal(&file(&IMAGE, nodes, constants));
    assert!(message.contains("multiplications") && message.contains("MatMul"), "{message}");
}

#[test]
fn graphs_that_make_no_sense_are_refused_by_name() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to], &[]);
    let cases = [
        ("nothing before it makes", file(&IMAGE, vec![relu("z", "y")], vec![])),
        ("nothing before it makes", file(&IMAGE, vec![relu("b", "a"), relu("a", "b"), relu("b", "y")], vec![])),
        ("is there already", file(&IMAGE, vec![relu("x", "y"), relu("x", "y")], vec![])),
        ("not supported: If", file(&IMAGE, vec![node("If", &["x"], &["y"], &[])], vec![])),
        ("not supported: Scan", file(&IMAGE, vec![node("Scan", &["x"], &["y"], &[])], vec![])),
        ("not supported: NonZero", file(&IMAGE, vec![node("NonZero", &["x"], &["y"], &[])], vec![])),
        ("two attributes", alone("Softmax", vec![], &[int("axis", 1), int("axis", 1)])),
        ("two constants", alone("Sum", vec![f32s("w", &[1]), f32s("w", &[1])], &[])),
        (
            "the x",
            file(
                &IMAGE,
                vec![node("Shape", &["x"], &["s"], &[]), node("Reshape", &["x", "x"], &["the x"], &[])],
                vec![],
            ),
        ),
    ];
    for (word, bytes) in cases {
        let message = refusal(&bytes);
        assert!(message.contains(word), "{word}: {message}");
    }
    // What tract panics at itself: attributes and inputs that it takes for granted.
    for bytes in [
        alone("Gemm", vec![], &[]),
        alone("Conv", vec![f32s("w", &[6, 3, 3])], &[]),
        alone("Conv", vec![f32s("w", &[6, 3, 3, 3])], &[ints("strides", &[1])]),
        alone("MaxPool", vec![], &[ints("kernel_shape", &[3])]),
        alone("Reshape", vec![], &[]),
        alone("Concat", vec![], &[]),
        alone("Einsum", vec![], &[text("equation", "((((")]),
        alone("GatherND", vec![i64s("i", &[9, 9])], &[]),
        alone("Gather", vec![i64s("i", &[99])], &[int("axis", 2)]),
        alone("Split", vec![i64s("s", &[3, 99])], &[]),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains("b.onnx") && message.contains("the y"), "{message}");
    }
}

#[test]
fn constants_have_as_many_values_as_they_say() {
    for dims in [&[1 << 40][..], &[-1], &[i64::MAX, i64::MAX], &[2], &[1; 9]] {
        let lying = TensorProto { dims: dims.to_vec(), ..f32s("w", &[1]) };
        let message = refusal(&alone("Add", vec![lying], &[]));
        assert!(message.contains("constant `w`"), "{message}");
    }
    let message = refusal(&alone("Add", vec![TensorProto { data_type: 99, ..f32s("w", &[1]) }], &[]));
    assert!(message.contains("type that is not supported"), "{message}");
    // In an attribute too.
    let value = |tensor| tract_onnx::pb::AttributeProto { t: Some(tensor), r#type: 4, ..int("value", 0) };
    let lying = TensorProto { dims: vec![1 << 40], ..f32s("w", &[1]) };
    let message = refusal(&file(&IMAGE, vec![node("Constant", &[], &["y"], &[value(lying)])], vec![]));
    assert!(message.contains("`the y`"), "{message}");
}

#[test]
fn chains_of_many_nodes_end() {
    let chain = |count: usize| {
        let names: Vec<String> = std::iter::once("x".to_owned()).chain((0..count).map(|i| format!("v{i}"))).collect();
        let nodes = names.windows(2).enumerate().map(|(i, pair)| {
            let op_type = ["Sigmoid", "Tanh"][i % 2];
            node(op_type, &[&pair[0]], &[&pair[1]], &[])
        });
        file(&IMAGE, nodes.collect(), vec![])
    };
    assert!(refusal(&chain(20_000)).contains("20000 nodes"));
    // As many as the largest networks have.
    let start = Instant::now();
    load(&chain(2_000)).unwrap();
    println!("2,000 nodes take {:?}", start.elapsed());
}

/// A file whose weights are in another.
fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Vec<u8> {
    use tract_onnx::pb::StringStringEntryProto;
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: (*key).into(), value: (*value).into() };
    let mut tensor = TensorProto { dims: dims.to_vec(), raw_data: vec![], data_location: Some(1), ..f32s("w", &[1]) };
    tensor.external_data = [("location", name)].iter().chain(entries).map(entry).collect();
    file(&IMAGE, vec![node("Add", &["x", "w"], &["y"], &[])], vec![tensor])
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_read_and_no_further_than_they_are_long() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let message = |bytes: &[u8]| {
        fs::write(at("b.onnx"), bytes).unwrap();
        format!("{:#}", load_file(&at("b.onnx")).expect_err("it is taken"))
    };
    std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
    std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    fs::write(at("four"), [0; 4]).unwrap();
    fs::File::create(at("long")).unwrap().set_len(1 << 42).unwrap();
    for name in ["zero", "pipe", "."] {
        let found = message(&external(name, &[1], &[]));
        assert!(found.contains("no regular file"), "{name}: {found}");
    }
    assert!(message(&external("long", &[1], &[("length", "4")])).contains("more than the"));
    assert!(message(&external("four", &[1], &[("offset", "1"), ("length", "4")])).contains("ends before"));
    assert!(
        message(&external("four", &[1], &[("offset", "18446744073709551615"), ("length", "4")])).contains("no end")
    );
    assert!(message(&external("four", &[1 << 40], &[])).contains("bytes of weights"));
    assert!(message(&external("four", &[2], &[("length", "4")])).contains("ends before"));
    assert!(message(&external("four", &[1, 0], &[("length", "4")])).contains("as many values"));
    // Links to files are how a cache of Hugging Face's keeps them.
    std::os::unix::fs::symlink(at("four"), at("link")).unwrap();
    fs::write(at("b.onnx"), external("link", &[1], &[])).unwrap();
    assert_eq!(load_file(&at("b.onnx")).unwrap().width(), 192);
    // The backbone itself.
    for name in ["zero", "pipe", "long"] {
        assert!(format!("{:#}", load_file(&at(name)).unwrap_err()).contains("cannot read the backbone"));
    }
}
