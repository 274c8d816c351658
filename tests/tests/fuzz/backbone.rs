//! ONNX files of other programs.

use super::target::Target;
use crate::onnx::{IMAGE, f32s, file, i64s, int, ints, node, scalar, text};
use ocellus::eval::backbone::OnnxBackbone;
use ocellus::features::Extractor;
use ocellus::import;
use ocellus::recipe::{DataRecipe, TransferRecipe};

/// Small networks of the operators whose attributes and constants size something.
fn seeds() -> Vec<Vec<u8>> {
    let window = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
    let pooled = vec![
        node("Conv", &["x", "w"], &["c"], &[&window[..], &[ints("dilations", &[1, 1]), int("group", 1)]].concat()),
        node("Relu", &["c"], &["r"], &[]),
        node("MaxPool", &["r"], &["m"], &window),
        node("GlobalAveragePool", &["m"], &["g"], &[]),
        node("Flatten", &["g"], &["f"], &[int("axis", 1)]),
        node("Gemm", &["f", "d"], &["y"], &[int("transB", 1)]),
    ];
    let sized = vec![
        node("Pad", &["x", "p"], &["a"], &[text("mode", "constant")]),
        node("Slice", &["a", "from", "to", "axes"], &["b"], &[]),
        node("Tile", &["b", "times"], &["c"], &[]),
        node("Reshape", &["c", "shape"], &["d"], &[]),
        node("Transpose", &["d"], &["e"], &[ints("perm", &[1, 0])]),
        node("Gather", &["e", "chosen"], &["f"], &[int("axis", 0)]),
        node("Expand", &["f", "wide"], &["y"], &[]),
    ];
    let constants = vec![
        i64s("p", &[0, 0, 1, 1, 0, 0, 1, 1]),
        i64s("from", &[1, 1]),
        i64s("to", &[i64::MAX, 9]),
        i64s("axes", &[2, 3]),
        i64s("times", &[1, 1, 2, 1]),
        i64s("shape", &[0, -1]),
        i64s("chosen", &[0, 3, -1]),
        i64s("wide", &[2, 3, 1]),
    ];
    let attention = vec![
        node("Shape", &["x"], &["s"], &[]),
        node("Gather", &["s", "two"], &["n"], &[int("axis", 0)]),
        node("Range", &["zero", "n", "one"], &["i"], &[]),
        node("Cast", &["i"], &["j"], &[int("to", 1)]),
        node("Add", &["x", "j"], &["z"], &[]),
        node("Transpose", &["z"], &["t"], &[ints("perm", &[0, 1, 3, 2])]),
        node("MatMul", &["z", "t"], &["q"], &[]),
        node("Softmax", &["q"], &["p"], &[int("axis", -1)]),
        node("Einsum", &["p", "z"], &["e"], &[text("equation", "bhij,bhjd->bhid")]),
        node("ReduceMean", &["e"], &["y"], &[ints("axes", &[1, 2]), int("keepdims", 0)]),
    ];
    let scalars = [("two", 2), ("zero", 0), ("one", 1)].map(|(name, value)| scalar(i64s(name, &[value])));
    vec![
        file(&IMAGE, pooled, vec![f32s("w", &[4, 3, 3, 3]), f32s("d", &[5, 4])]),
        file(&IMAGE, sized, constants),
        file(&IMAGE, attention, scalars.into()),
    ]
}

/// A backbone that is taken computes as many features as it says.
#[test]
fn backbone() {
    let seeds = seeds();
    let words: &[&[u8]] = &[
        b"Conv",
        b"MaxPool",
        b"AveragePool",
        b"ConvTranspose",
        b"Resize",
        b"ConstantOfShape",
        b"OneHot",
        b"TopK",
        b"Split",
        b"Concat",
        b"GatherND",
        b"ScatterND",
        b"SpaceToDepth",
        b"DepthToSpace",
        b"Squeeze",
        b"Unsqueeze",
        b"Where",
        b"CumSum",
        b"LRN",
        b"auto_pad",
        b"SAME_LOWER",
        b"ceil_mode",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",
        b"\x00\x00\x00\x00\x00\x01\x00\x00",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.onnx");
    let recipe = TransferRecipe { backbone: Some(path.clone()), ..TransferRecipe::default() };
    // The largest image as floats, in some copies.
    Target { quick: 2_000, most_bytes: 2 << 30, words, ..Target::new("backbone", &seeds) }.run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(backbone) = OnnxBackbone::load(&recipe, None) else { return false };
        // Whether it can be trained is another question.
        if let Ok(imported) = import::load(&path, DataRecipe::default(), None) {
            assert!(imported.classes.len() > 1);
        }
        // They may be infinite, or ask for what an image of before did not.
        if let Ok(features) = backbone.features(&vec![0.5; backbone.input().len()]) {
            assert_eq!(features.len(), backbone.width());
        }
        true
    });
}
