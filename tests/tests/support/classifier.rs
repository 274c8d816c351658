//! A classifier of every operator that can be imported, as PyTorch exports one.

#![allow(dead_code, reason = "each of the tests that share it uses a part")]

use crate::onnx::{f32s, float, i64s, int, ints, node, scalar};
use tract_onnx::pb::{NodeProto, TensorProto};

/// Any numbers but zeros, none like the next.
pub fn values(name: &str, dims: &[i64]) -> TensorProto {
    let mut tensor = f32s(name, dims);
    let count = dims.iter().product::<i64>();
    tensor.raw_data = (0..count).flat_map(|i| (((i * 37 + 11) % 101) as f32 / 101.0 - 0.45).to_le_bytes()).collect();
    tensor
}

/// The same, above zero.
fn positive(name: &str, len: i64) -> TensorProto {
    let mut tensor = f32s(name, &[len]);
    tensor.raw_data = (0..len).flat_map(|i| (0.5 + (i % 5) as f32 / 4.0).to_le_bytes()).collect();
    tensor
}

/// A convolution of `input` that keeps the size of a map, or halves it.
pub fn conv(name: &str, input: &str, kernel: i64, stride: i64, group: i64) -> NodeProto {
    let window = [
        ints("kernel_shape", &[kernel; 2]),
        ints("strides", &[stride; 2]),
        ints("pads", &[kernel / 2; 4]),
        ints("dilations", &[1; 2]),
        int("group", group),
    ];
    node("Conv", &[input, &format!("{name}.w")], &[name], &window)
}

/// A residual block behind a stem, an inverted bottleneck with squeeze-excite, and a classifier, as PyTorch exports them.
pub fn whole() -> (Vec<NodeProto>, Vec<TensorProto>) {
    let normal = |name: &str, input: &str, of: &str| {
        let parts = ["g", "b", "m", "v"].map(|part| format!("{of}.{part}"));
        let inputs: Vec<&str> = std::iter::once(input).chain(parts.iter().map(String::as_str)).collect();
        node("BatchNormalization", &inputs, &[name], &[float("epsilon", 1e-3)])
    };
    let nodes = vec![
        node("Pad", &["x", "pads"], &["padded"], &[]),
        node(
            "Conv",
            &["padded", "stem.w", "stem.b"],
            &["stem"],
            &[ints("strides", &[2, 2]), ints("kernel_shape", &[3, 3])],
        ),
        normal("stem.n", "stem", "n6"),
        node("Relu", &["stem.n"], &["a"], &[]),
        conv("c1", "a", 3, 1, 1),
        normal("c1.n", "c1", "n6"),
        node("Clip", &["c1.n", "zero", "six"], &["c1.r"], &[]),
        conv("c2", "c1.r", 3, 1, 1),
        node("Add", &["c2", "a"], &["sum"], &[]),
        conv("up", "sum", 1, 1, 1),
        node("Sigmoid", &["up"], &["up.s"], &[]),
        node("Mul", &["up", "up.s"], &["up.silu"], &[]),
        conv("dw", "up.silu", 3, 2, 8),
        node("HardSwish", &["dw"], &["dw.h"], &[]),
        node("ReduceMean", &["dw.h"], &["mean"], &[ints("axes", &[-1, -2]), int("keepdims", 1)]),
        conv("se1", "mean", 1, 1, 1),
        node("Relu", &["se1"], &["se1.r"], &[]),
        conv("se2", "se1.r", 1, 1, 1),
        node("HardSigmoid", &["se2"], &["gate"], &[float("alpha", 1.0 / 6.0), float("beta", 0.5)]),
        node("Mul", &["dw.h", "gate"], &["scaled"], &[]),
        node("MaxPool", &["scaled"], &["max"], &[ints("kernel_shape", &[1, 2]), ints("pads", &[0, 0, 0, 0])]),
        node("AveragePool", &["scaled"], &["avg"], &[ints("kernel_shape", &[1, 2])]),
        node("Concat", &["avg", "max"], &["both"], &[int("axis", 1)]),
        node("Identity", &["both"], &["same"], &[]),
        node("Flatten", &["same"], &["row"], &[int("axis", 1)]),
        node("Gemm", &["row", "d1.w", "d1.b"], &["d1"], &[int("transB", 1)]),
        node("Relu", &["d1"], &["d1.r"], &[]),
        node("MatMul", &["d1.r", "d2.w"], &["d2"], &[]),
        node("Add", &["d2.b", "d2"], &["logits"], &[]),
        node("Softmax", &["logits"], &["y"], &[int("axis", 1)]),
    ];
    let constants = vec![
        i64s("pads", &[0, 0, 0, 0, 0, 0, 1, 1]),
        values("stem.w", &[6, 3, 3, 3]),
        values("stem.b", &[6]),
        positive("n6.g", 6),
        values("n6.b", &[6]),
        values("n6.m", &[6]),
        positive("n6.v", 6),
        values("c1.w", &[6, 6, 3, 3]),
        number("zero", 0.0),
        number("six", 6.0),
        values("c2.w", &[6, 6, 3, 3]),
        values("up.w", &[8, 6, 1, 1]),
        values("dw.w", &[8, 1, 3, 3]),
        values("se1.w", &[2, 8, 1, 1]),
        values("se2.w", &[8, 2, 1, 1]),
        values("d1.w", &[5, 32]),
        values("d1.b", &[5]),
        values("d2.w", &[5, 4]),
        values("d2.b", &[4]),
    ];
    (nodes, constants)
}

/// A constant number.
pub fn number(name: &str, value: f32) -> TensorProto {
    let mut number = scalar(f32s(name, &[1]));
    number.raw_data = value.to_le_bytes().to_vec();
    number
}
