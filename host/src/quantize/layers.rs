//! One operator's parameters as integers.

use super::{QuantNode, Value};
use crate::graph::{Linear, Node, Params, out_channel};
use anyhow::{Result, ensure};
use ocellus_shared::Op;

/// Weights reach from -127 to 127.
const WEIGHT_LIMIT: f64 = 127.0;
/// The largest bias; beside it a sum of 33,000 products still fits an int32.
const BIAS_LIMIT: f64 = (1u32 << 30) as f64;
/// Below this multiplier no accumulator moves the result.
const SMALLEST_MULTIPLIER: f64 = 1.0 / (1u64 << 33) as f64;
/// Steps of the accumulator per step of the result in a channel without weights, which is only its bias.
const DEAD_STEPS: f64 = 256.0;
/// The factor of the coarser input of an addition: 15 bits.
const ADD_FACTOR: f64 = 32767.0;

/// Quantizes `node` for inputs and a result that are stored like this.
pub(super) fn node(node: &Node, inputs: &[Value], output: Value) -> Result<QuantNode> {
    let [x, y] = [inputs[0], output].map(|value| f64::from(value.params.scale));
    let channels = usize::from(output.shape.c);
    let (mut weights, mut biases, mut multipliers) = (Vec::new(), Vec::new(), Vec::new());
    match (node.op, &node.params) {
        (op, Params::Linear(linear)) => {
            let scales = weight_scales(op, linear, x, y)?;
            let bias = |(&b, s): (&f32, &f64)| (f64::from(b) / (x * s)).round_ties_even();
            weights = quantize_weights(op, linear, &scales);
            biases =
                linear.bias.iter().zip(&scales).map(bias).map(|b| b.clamp(-BIAS_LIMIT, BIAS_LIMIT) as i32).collect();
            multipliers = scales.iter().map(|s| (x * s / y) as f32).collect();
        }
        (Op::Lut, Params::Function(function)) => {
            let exact = |q| node.activation.apply(function.eval(inputs[0].params.dequantize(q)));
            weights = (i8::MIN..=i8::MAX).map(|q| output.params.quantize(exact(q))).collect();
        }
        (Op::AvgPool { window }, _) => multipliers = vec![(x / y / window.taps() as f64) as f32; channels],
        (Op::GlobalAvgPool, _) => multipliers = vec![(x / y / inputs[0].shape.pixels() as f64) as f32],
        (Op::Add, _) => {
            let unit = add_unit(x, inputs[1].params.scale.into());
            biases = inputs.iter().map(|v| (f64::from(v.params.scale) / unit).round_ties_even() as i32).collect();
            multipliers = vec![(unit / y) as f32];
        }
        (Op::Mul, _) => multipliers = vec![(x * f64::from(inputs[1].params.scale) / y) as f32],
        _ => {}
    }
    differ(&mut multipliers);
    let (name, inputs) = (node.name.clone(), node.inputs.clone());
    Ok(QuantNode { name, op: node.op, inputs, weights, biases, multipliers })
}

/// The scale of each output channel's weights: the largest becomes 127, unless that would make the bias or the
/// multiplier impossible.
fn weight_scales(op: Op, linear: &Linear, x: f64, y: f64) -> Result<Vec<f64>> {
    let Linear { weights, bias } = linear;
    let all_finite = weights.iter().chain(bias).all(|w| w.is_finite());
    ensure!(all_finite, "a weight is not finite: the training diverged");
    let mut largest = vec![0f64; bias.len()];
    for (k, w) in weights.iter().enumerate() {
        let channel = &mut largest[out_channel(op, k, weights.len(), bias.len())];
        *channel = channel.max(f64::from(w.abs()));
    }
    let scale = |(&largest, &bias): (&f64, &f32)| {
        if largest == 0.0 {
            return y / x / DEAD_STEPS;
        }
        let for_bias = f64::from(bias.abs()) / (x * BIAS_LIMIT);
        (largest / WEIGHT_LIMIT).max(for_bias).max(SMALLEST_MULTIPLIER * y / x)
    };
    Ok(largest.iter().zip(bias).map(scale).collect())
}

fn quantize_weights(op: Op, linear: &Linear, scales: &[f64]) -> Vec<i8> {
    let count = linear.weights.len();
    let one = |(k, &w): (usize, &f32)| {
        let scale = scales[out_channel(op, k, count, scales.len())];
        (f64::from(w) / scale).round_ties_even().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) as i8
    };
    linear.weights.iter().enumerate().map(one).collect()
}

/// What both scales of an addition are integer multiples of, nearly: exactly where they are equal.
fn add_unit(a: f64, b: f64) -> f64 {
    if a == b { a } else { a.max(b) / ADD_FACTOR }
}

/// Moves the first of several equal multipliers by the smallest step: tract requantizes a layer whose multipliers are
/// all equal in another way, with other results on ties.
pub fn differ(multipliers: &mut [f32]) {
    if multipliers.len() > 1 && multipliers.iter().all(|m| *m == multipliers[0]) {
        multipliers[0] = multipliers[0].next_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Activation;
    use ocellus_shared::quant::QuantParams;
    use ocellus_shared::{Shape, Window};

    fn value(shape: Shape, scale: f32) -> Value {
        Value { shape, params: QuantParams { scale, zero: -128 } }
    }

    /// A pointwise convolution from two channels, stored at 1/255 on both sides.
    fn conv(weights: &[f32], bias: &[f32]) -> Result<QuantNode> {
        let out_channels = bias.len() as u16;
        let linear = Linear { weights: weights.to_vec(), bias: bias.to_vec() };
        let float = Node {
            name: "conv".into(),
            op: Op::Conv { window: Window::valid(1, 1), out_channels },
            inputs: vec![0],
            output: Shape::vector(out_channels),
            params: Params::Linear(linear),
            activation: Activation::None,
        };
        node(&float, &[value(Shape::vector(2), 1.0 / 255.0)], value(Shape::vector(out_channels), 1.0 / 255.0))
    }

    #[test]
    fn each_channel_has_a_scale_of_its_own() {
        let node = conv(&[1.27, 0.01, 0.0127, -0.0127], &[0.5, 0.0]).unwrap();
        assert_eq!(node.weights, [127, 1, 127, -127]);
        assert_eq!(node.multipliers, [0.01, 0.0001]);
        assert_eq!(node.biases, [12750, 0]); // 0.5 / (0.01 / 255)
    }

    #[test]
    fn a_channel_without_weights_is_its_bias() {
        let node = conv(&[0.0, 0.0, 1.0, 1.0], &[0.5, 0.0]).unwrap();
        assert_eq!((node.weights[0], node.biases[0]), (0, 32640));
        assert_eq!(ocellus_shared::quant::requantize(node.biases[0], node.multipliers[0], -128), 0);
    }

    #[test]
    fn a_bias_far_beyond_the_weights_does_not_overflow() {
        let node = conv(&[1e-9, 1e-9, 1.0, 1.0], &[0.5, 1e30]).unwrap();
        assert!(node.biases.iter().all(|b| f64::from(b.abs()) <= BIAS_LIMIT));
        let first = f64::from(node.biases[0]) * f64::from(node.multipliers[0]);
        assert!((first - 127.5).abs() < 0.01, "the small channel is still 0.5: {first}");
    }

    #[test]
    fn weights_that_are_not_finite_are_refused() {
        assert!(conv(&[f32::NAN, 1.0], &[0.0]).unwrap_err().to_string().contains("not finite"));
        assert!(conv(&[1.0, 1.0], &[f32::INFINITY]).is_err());
    }

    #[test]
    fn equal_multipliers_are_told_apart() {
        let node = conv(&[1.0; 6], &[0.0; 3]).unwrap();
        assert_eq!(node.multipliers[1], node.multipliers[2]);
        assert_eq!(node.multipliers[0], node.multipliers[1].next_up());
    }

    #[test]
    fn addition_keeps_equal_scales_exact_and_the_ratio_of_others() {
        for (scales, factors) in [([0.5, 0.5], [1, 1]), ([0.5, 0.25], [32767, 16384]), ([1e-9, 1.0], [0, 32767])] {
            let shape = Shape::vector(3);
            let params = (Params::None, Activation::None);
            let add = Node {
                name: "add".into(),
                op: Op::Add,
                inputs: vec![0, 1],
                output: shape,
                params: params.0,
                activation: params.1,
            };
            let node = node(&add, &scales.map(|s| value(shape, s)), value(shape, 1.0)).unwrap();
            assert_eq!(node.biases, factors);
        }
    }
}
