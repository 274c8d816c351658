//! Bias correction: rounding a channel's weights shifts its mean, and its bias can take the shift back.
//!
//! The shift is `sum (w - w_int8) * E[x]`, after Nagel et al. (<https://arxiv.org/abs/1906.04721>), with the means of the
//! inputs as calibration saw them; padding is left out of account.

use super::QuantGraph;
use crate::calibrate::Channels;
use crate::graph::{Graph, Params, out_channel};
use crate::ops::is_filter;

/// Corrects the biases of all convolutions and dense layers of `quant`, which was quantized from `graph`; `seen` are the
/// channels of the graph's values.
pub fn correct_bias(quant: &mut QuantGraph, graph: &Graph, seen: &[Channels]) {
    for (i, node) in graph.nodes.iter().enumerate() {
        let Params::Linear(linear) = &node.params else { continue };
        if !is_filter(node.op) {
            continue;
        }
        let means = &seen[node.inputs[0]].mean;
        let [x, y] = [node.inputs[0], i + 1].map(|v| f64::from(quant.values[v].params.scale));
        let own = &mut quant.nodes[i];
        // One step of each channel's accumulator.
        let steps: Vec<f64> = own.multipliers.iter().map(|m| f64::from(*m) * y).collect();
        let mut shifts = vec![0.0; own.biases.len()];
        for (k, (w, q)) in linear.weights.iter().zip(&own.weights).enumerate() {
            let channel = out_channel(node.op, k, linear.weights.len(), shifts.len());
            let lost = f64::from(*w) - f64::from(*q) * steps[channel] / x;
            shifts[channel] += lost * means[k % means.len()];
        }
        for ((bias, shift), step) in own.biases.iter_mut().zip(shifts).zip(steps) {
            *bias = bias.saturating_add((shift / step).round_ties_even() as i32);
        }
    }
}
