//! The operators that an ONNX file may have, and what of their work and their results' size does not follow from their inputs' shapes
//! alone.

use tract_onnx::pb::NodeProto;

/// Those that images are classified with, of what tract has. Left out are graphs within graphs (`If`, `Scan`, recurrent ones), results
/// whose size the values decide (`NonZero`, `Compress`), random numbers, and what is for sound, text and trees.
const KNOWN: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Attention",
    "AveragePool",
    "BatchNormalization",
    "BiasGelu",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "FastGelu",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GridSample",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "MultiHeadAttention",
    "Neg",
    "Not",
    "OneHot",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "QuickGelu",
    "RMSNormalization",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Resize",
    "RotaryEmbedding",
    "Round",
    "Rsqrt",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Shrink",
    "Sigmoid",
    "Sign",
    "SimplifiedLayerNormalization",
    "Sin",
    "Sinh",
    "Size",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// Whether a file may have the operator.
pub fn is_known(op_type: &str) -> bool {
    KNOWN.contains(&op_type)
}

/// The inputs whose values, not only shapes, decide the result's size.
pub fn sizes(op_type: &str) -> &'static [usize] {
    match op_type {
        "ConstantOfShape" => &[0],
        "Range" => &[0, 1, 2],
        "Expand" | "Tile" | "OneHot" | "Reshape" | "TopK" | "Unsqueeze" | "Squeeze" | "Split" | "Trilu" | "CumSum" => {
            &[1]
        }
        "Pad" => &[1, 3],
        "Resize" => &[1, 2, 3],
        "Slice" => &[3, 4],
        _ if op_type.starts_with("Reduce") => &[1],
        _ => &[],
    }
}

/// Kernel size along every axis of what slides over a feature map.
pub fn kernel(node: &NodeProto, inputs: &[Vec<u64>]) -> Option<Vec<u64>> {
    let weights = match node.op_type.as_str() {
        "Conv" | "ConvInteger" | "ConvTranspose" => 1,
        "QLinearConv" => 3,
        "MaxPool" | "AveragePool" => {
            let shape = node.attribute.iter().find(|attribute| attribute.name == "kernel_shape")?;
            return Some(shape.ints.iter().map(|&size| size.unsigned_abs()).collect());
        }
        "LRN" => {
            let size = node.attribute.iter().find(|attribute| attribute.name == "size")?;
            return Some(vec![size.i.unsigned_abs()]);
        }
        _ => return None,
    };
    Some(inputs.get(weights)?.iter().skip(2).copied().collect())
}

/// About how many multiplications a node takes; at least one for each value that it reads or makes.
pub fn work(node: &NodeProto, inputs: &[Vec<u64>], outputs: &[Vec<u64>]) -> u64 {
    let shape = |k: usize| inputs.get(k).map_or(&[][..], Vec::as_slice);
    let (input, output) = (volume(shape(0)), outputs.first().map_or(1, |shape| volume(shape)));
    let per_filter = |k: usize| volume(shape(k).get(1..).unwrap_or_default());
    let own = match node.op_type.as_str() {
        "Conv" | "ConvInteger" => output.saturating_mul(per_filter(1)),
        "QLinearConv" => output.saturating_mul(per_filter(3)),
        "ConvTranspose" => input.saturating_mul(per_filter(1)),
        "MaxPool" | "AveragePool" | "LRN" => {
            output.saturating_mul(kernel(node, inputs).map_or(1, |kernel| volume(&kernel)))
        }
        // One of the two longest axes of the first is the one that is summed over.
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => output.saturating_mul(shape(0).last().copied().unwrap_or(1)),
        "Gemm" => output.saturating_mul(shape(0).iter().copied().max().unwrap_or(1)),
        "Attention" | "MultiHeadAttention" => input.saturating_mul(shape(1).iter().copied().max().unwrap_or(1)),
        "Einsum" => einsum(node, inputs),
        _ => 0,
    };
    let touched = inputs.iter().chain(outputs).fold(0, |sum: u64, shape| sum.saturating_add(volume(shape)));
    own.max(touched)
}

/// The product of all indices of an equation.
fn einsum(node: &NodeProto, inputs: &[Vec<u64>]) -> u64 {
    let Some(equation) = node.attribute.iter().find(|attribute| attribute.name == "equation") else { return 0 };
    let text: String = String::from_utf8_lossy(&equation.s).chars().filter(|c| !c.is_whitespace()).collect();
    let terms = text.split("->").next().unwrap_or_default().split(',');
    let mut sizes = std::collections::BTreeMap::new();
    let mut others = 1;
    for (term, shape) in terms.zip(inputs) {
        let letters: Vec<char> = term.chars().filter(|c| *c != '.').collect();
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let rest = shape.len().saturating_sub(letters.len());
        let front = before.chars().zip(shape.iter());
        let back = after.chars().zip(shape.iter().skip(before.chars().count() + rest));
        for (letter, &size) in front.chain(back) {
            let known = sizes.entry(letter).or_insert(1);
            *known = size.max(*known);
        }
        others =
            volume(shape.get(before.chars().count()..).unwrap_or_default().get(..rest).unwrap_or_default()).max(others);
    }
    sizes.values().fold(others, |product, &size| product.saturating_mul(size))
}

/// Elements of a value.
pub fn volume(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product, &dim| product.saturating_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::AttributeProto;

    fn node(op_type: &str, attribute: AttributeProto) -> NodeProto {
        NodeProto { op_type: op_type.into(), attribute: vec![attribute], ..NodeProto::default() }
    }

    #[test]
    fn work_is_what_the_formula_says() {
        let none = AttributeProto::default;
        let conv = [vec![1, 3, 8, 8], vec![16, 3, 3, 3]];
        assert_eq!(work(&node("Conv", none()), &conv, &[vec![1, 16, 6, 6]]), 16 * 36 * 27);
        assert_eq!(kernel(&node("Conv", none()), &conv), Some(vec![3, 3]));
        let matrices = [vec![2, 5, 7], vec![2, 7, 3]];
        assert_eq!(work(&node("MatMul", none()), &matrices, &[vec![2, 5, 3]]), 2 * 5 * 7 * 3);
        let equation =
            |text: &str| AttributeProto { name: "equation".into(), s: text.into(), ..AttributeProto::default() };
        assert_eq!(work(&node("Einsum", equation("bij, bjk -> bik")), &matrices, &[vec![2, 5, 3]]), 2 * 5 * 7 * 3);
        assert_eq!(work(&node("Einsum", equation("...ij,...jk->...ik")), &matrices, &[vec![2, 5, 3]]), 2 * 5 * 7 * 3);
        let pool = AttributeProto { name: "kernel_shape".into(), ints: vec![3, 2], ..AttributeProto::default() };
        assert_eq!(work(&node("MaxPool", pool), &[vec![1, 4, 3, 3]], &[vec![1, 4, 1, 2]]), 4 * 2 * 6);
        assert_eq!(work(&node("Add", none()), &[vec![5], vec![1]], &[vec![5]]), 11);
        assert_eq!(volume(&[u64::MAX, 3]), u64::MAX);
    }

    #[test]
    fn the_list_is_in_order_and_tract_has_all_of_it() {
        assert!(KNOWN.is_sorted());
        let tract = tract_onnx::onnx();
        let missing: Vec<_> = KNOWN.iter().filter(|name| !tract.op_register.0.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
