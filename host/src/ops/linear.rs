//! What operators with weights and a bias have in common: convolutions, dense layers and channel scales.

use super::interval::{Bounds, Input, Interval, taps};
use super::node::{Integers, Linear, Node, Params, QuantNode, Value};
use super::out_channel;
use anyhow::{Result, ensure};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use ocellus_shared::{Op, Shape, Window};

/// Weights reach from -127 to 127.
const WEIGHT_LIMIT: f64 = 127.0;
/// The largest bias; beside it a sum of 33,000 products still fits an int32.
const BIAS_LIMIT: f64 = (1u32 << 30) as f64;
/// Below this multiplier no accumulator moves the result.
const SMALLEST_MULTIPLIER: f64 = 1.0 / (1u64 << 33) as f64;
/// Steps of the accumulator per step of the result in a channel without weights, which is only its bias.
const DEAD_STEPS: f64 = 256.0;

/// The node's weights and bias.
pub(super) fn linear(node: &Node) -> &Linear {
    match &node.params {
        Params::Linear(linear) => linear,
        _ => unreachable!("{} without its parameters", node.op.name()),
    }
}

/// `rows * weights^T + bias`: `rows` is `(count, k)`, the weights are `(channels, k)`, the result `(count, channels)`.
pub(super) fn product(rows: &[f32], count: usize, linear: &Linear) -> Vec<f32> {
    let (k, channels) = (rows.len() / count, linear.bias.len());
    let view = |shape, values| ArrayView2::from_shape(shape, values).expect("as many values as the shape has");
    let mut out: Vec<f32> = linear.bias.iter().copied().cycle().take(count * channels).collect();
    let mut sums = ArrayViewMut2::from_shape((count, channels), &mut out).expect("as many values as the shape has");
    general_mat_mul(1.0, &view((count, k), rows), &view((channels, k), &linear.weights).t(), 1.0, &mut sums);
    out
}

/// The taps of `window` that lie inside the input, for every output pixel: calls `tap(output pixel, tap, input pixel)`.
pub(super) fn for_each_tap(shape: Shape, window: Window, output: Shape, mut tap: impl FnMut(usize, usize, usize)) {
    let [h, w, oh, ow] = [shape.h, shape.w, output.h, output.w].map(usize::from);
    let [kh, kw] = window.kernel.map(usize::from);
    let [sh, sw] = window.stride.map(usize::from);
    let [top, left, ..] = window.pad.map(usize::from);
    for (oy, ky) in (0..oh).flat_map(|oy| (0..kh).map(move |ky| (oy, ky))) {
        let y = oy * sh + ky;
        if y < top || y - top >= h {
            continue;
        }
        for (ox, kx) in (0..ow).flat_map(|ox| (0..kw).map(move |kx| (ox, kx))) {
            let x = ox * sw + kx;
            if x >= left && x - left < w {
                tap(oy * ow + ox, ky * kw + kx, (y - top) * w + x - left);
            }
        }
    }
}

/// Whether filters under `window` can do what the channel scale before them does: padding stands for 0, which an offset
/// moves.
pub(super) fn absorbs(window: Window, scale: &Linear) -> bool {
    !window.is_padded() || scale.bias.iter().all(|&b| b == 0.0)
}

/// Weights with a scale for each output channel, and biases in steps of the accumulator.
pub(super) fn quantize(node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
    let [x, y] = [inputs[0], output].map(|value| f64::from(value.params.scale));
    let linear = linear(node);
    let scales = weight_scales(node.op, linear, x, y)?;
    let bias = |(&b, s): (&f32, &f64)| (f64::from(b) / (x * s)).round_ties_even().clamp(-BIAS_LIMIT, BIAS_LIMIT) as i32;
    Ok(Integers {
        weights: quantize_weights(node.op, linear, &scales),
        biases: linear.bias.iter().zip(&scales).map(bias).collect(),
        multipliers: scales.iter().map(|s| (x * s / y) as f32).collect(),
    })
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

/// The bias of each channel, and its weights times the most that an input can be away from its zero point.
pub(super) fn largest_sums(node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
    let QuantNode { op, weights, biases, .. } = node;
    let mut largest: Vec<i64> = biases.iter().map(|&b| i64::from(b).abs()).collect();
    for (k, w) in weights.iter().enumerate() {
        largest[out_channel(*op, k, weights.len(), biases.len())] += i64::from(*w).abs() * inputs[0].reach();
    }
    largest
}

/// Bounds of each channel, whose sum without its bias `sum` gives.
pub(super) fn intervals(node: &QuantNode, output: Value, sum: impl Fn(usize) -> Bounds) -> Vec<Interval> {
    let one = |c: usize| (sum(c) + Bounds::of(node.biases[c])).requantized(node.multipliers[c], output);
    (0..node.biases.len()).map(one).collect()
}

/// Bounds of the results of filters that see all channels.
pub(super) fn filter_intervals(node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
    let (x, channels) = (&inputs[0], inputs[0].intervals.len());
    let taps = taps(node.op.window(), x.value.shape, output.shape);
    let product = |c: usize, k: usize| {
        let weight = i64::from(node.weights[c * taps.len() * channels + k]);
        taps[k / channels].padded(x.centred(k % channels).times(weight))
    };
    intervals(node, output, |c| (0..taps.len() * channels).map(|k| product(c, k)).sum())
}

/// The channels `kept` of a node with weights, a bias and a multiplier for each.
pub(super) fn narrowed(node: &QuantNode, kept: &[usize]) -> QuantNode {
    let taps = node.weights.chunks_exact(node.biases.len());
    QuantNode {
        weights: taps.flat_map(|tap| some(tap, kept)).collect(),
        biases: some(&node.biases, kept),
        multipliers: some(&node.multipliers, kept),
        ..node.clone()
    }
}

/// Some of `all`.
pub fn some<T: Copy>(all: &[T], which: &[usize]) -> Vec<T> {
    which.iter().map(|&c| all[c]).collect()
}

/// Weights one after the other, filter after filter, at the places that `index(filter, value)` gives in `len` bytes.
pub(super) fn packed(node: &QuantNode, len: usize, index: impl Fn(usize, usize) -> usize) -> Vec<i8> {
    let values = node.weights.len() / node.biases.len().max(1);
    let mut packed = vec![0; len];
    for (at, &weight) in node.weights.iter().enumerate() {
        packed[index(at / values, at % values)] = weight;
    }
    packed
}

/// The biases with the input's zero point worked in: `sum((x - zero) * w) = sum(x * w) - zero * sum(w)`.
///
/// Wrapping, because only the whole sum is known to fit an int32, and the engine's wraps back.
pub(super) fn packed_biases(node: &QuantNode, inputs: &[Value]) -> Vec<i32> {
    let mut biases = node.biases.clone();
    for (k, w) in node.weights.iter().enumerate() {
        let bias = &mut biases[out_channel(node.op, k, node.weights.len(), node.biases.len())];
        *bias = bias.wrapping_sub(i32::from(inputs[0].params.zero) * i32::from(*w));
    }
    biases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Activation;
    use ocellus_shared::quant::QuantParams;

    /// A pointwise convolution from two channels, stored at 1/255 on both sides.
    fn conv(weights: &[f32], bias: &[f32]) -> Result<Integers> {
        let out_channels = bias.len() as u16;
        let node = Node {
            name: "conv".into(),
            op: Op::Conv { window: Window::valid(1, 1), out_channels },
            inputs: vec![0],
            output: Shape::vector(out_channels),
            params: Params::Linear(Linear { weights: weights.to_vec(), bias: bias.to_vec() }),
            activation: Activation::None,
        };
        let value = |c| Value { shape: Shape::vector(c), params: QuantParams { scale: 1.0 / 255.0, zero: -128 } };
        quantize(&node, &[value(2)], value(out_channels))
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
}
