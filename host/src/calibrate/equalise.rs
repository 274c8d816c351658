//! Cross-layer equalisation: channels that one scale per tensor would starve of int8 steps are made larger, and the
//! layer that reads them divides by as much. The float function stays the same.
//!
//! After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
//! (<https://arxiv.org/abs/1906.04721>), with one difference: weights have a scale per output channel here, so what is
//! equalised are the ranges of the values, as calibration saw them, against the reader's weights.

use super::Channels;
use crate::graph::{Activation, Graph, Linear, Params, out_channel};
use crate::ops::{self, is_filter};
use ocellus_shared::Op;

/// A channel becomes at most this much larger or smaller than the others.
const MOST: f32 = 256.0;
/// Where [`Activation::Relu6`] clips.
const SIX: f32 = 6.0;

/// Equalises every pair of layers of `graph` that allows it; `seen` is scaled with the values.
///
/// A pair is a linear operator without activation or with a ReLU, and the linear operator that alone reads its result,
/// perhaps through pools. Before a ReLU6, a channel is scaled only if calibration never saw it clipped and as far as it
/// would not be: there the function stays the same for what calibration saw.
pub fn equalise(graph: &mut Graph, seen: &mut [Channels]) {
    for maker in 0..graph.nodes.len() {
        let Some((reader, between)) = reader(graph, maker) else { continue };
        let factors = factors(graph, maker, reader, &seen[maker + 1].largest);
        scale_outputs(graph, maker, &factors);
        scale_inputs(graph, reader, &factors);
        for v in std::iter::once(maker + 1).chain(between) {
            for (c, factor) in factors.iter().enumerate() {
                seen[v].largest[c] *= factor;
                seen[v].mean[c] *= f64::from(*factor);
            }
        }
    }
}

/// The linear operator that alone reads what node `maker` computes, and the values between them.
fn reader(graph: &Graph, maker: usize) -> Option<(usize, Vec<usize>)> {
    if !is_filter(graph.nodes[maker].op) && graph.nodes[maker].op != Op::ChannelScale {
        return None;
    }
    let (mut value, mut between) = (maker + 1, Vec::new());
    loop {
        let reader = graph.only_reader(value)?;
        let node = &graph.nodes[reader];
        match node.op {
            op if is_filter(op) => return Some((reader, between)),
            op if ops::of(op).moves_scale(&[]) && node.activation == Activation::None => {
                value = reader + 1;
                between.push(value);
            }
            _ => return None,
        }
    }
}

/// What each channel between the two is multiplied by; `largest` are its magnitudes.
fn factors(graph: &Graph, maker: usize, reader: usize, largest: &[f32]) -> Vec<f32> {
    let most = largest.iter().fold(0f32, |most, x| most.max(*x));
    let weights = reach(linear(graph, reader), largest.len());
    let is_depthwise = matches!(graph.nodes[reader].op, Op::Depthwise { .. });
    // A depthwise filter has a weight scale of its own for every channel, which takes any factor without loss; where
    // channels share one, the loss is divided between values and weights.
    let wanted = |(&x, &w): (&f32, &f32)| match is_depthwise {
        _ if x == 0.0 || w == 0.0 => None,
        true => Some(most / x),
        false => Some((w / x).sqrt()),
    };
    let wanted: Vec<Option<f32>> = largest.iter().zip(&weights).map(wanted).collect();
    // The largest channel keeps its size: only the ratios matter.
    let after = largest.iter().zip(&wanted).map(|(x, f)| x * f.unwrap_or(0.0)).fold(0f32, f32::max);
    let unit = if after > 0.0 { most / after } else { 1.0 };
    let one = |(&x, wanted): (&f32, Option<f32>)| {
        let factor = wanted.map_or(1.0, |f| (f * unit).clamp(1.0 / MOST, MOST));
        match graph.nodes[maker].activation {
            Activation::Relu6 if x >= SIX => 1.0,
            Activation::Relu6 if x > 0.0 => factor.min(SIX / x),
            Activation::Relu6 => 1.0,
            Activation::None | Activation::Relu => factor,
        }
    };
    largest.iter().zip(wanted).map(one).collect()
}

/// The largest magnitude of the weights on each input channel.
fn reach(linear: &Linear, channels: usize) -> Vec<f32> {
    let mut reach = vec![0f32; channels];
    for (k, w) in linear.weights.iter().enumerate() {
        // Input channels are innermost in every layout.
        let most = &mut reach[k % channels];
        *most = most.max(w.abs());
    }
    reach
}

fn scale_outputs(graph: &mut Graph, node: usize, factors: &[f32]) {
    let op = graph.nodes[node].op;
    let Linear { weights, bias } = linear_mut(graph, node);
    let (count, channels) = (weights.len(), bias.len());
    for (k, w) in weights.iter_mut().enumerate() {
        *w *= factors[out_channel(op, k, count, channels)];
    }
    bias.iter_mut().zip(factors).for_each(|(b, factor)| *b *= factor);
}

fn scale_inputs(graph: &mut Graph, node: usize, factors: &[f32]) {
    for (k, w) in linear_mut(graph, node).weights.iter_mut().enumerate() {
        *w /= factors[k % factors.len()];
    }
}

fn linear(graph: &Graph, node: usize) -> &Linear {
    match &graph.nodes[node].params {
        Params::Linear(linear) => linear,
        _ => unreachable!("{} is not linear", graph.nodes[node].name),
    }
}

fn linear_mut(graph: &mut Graph, node: usize) -> &mut Linear {
    let node = &mut graph.nodes[node];
    match &mut node.params {
        Params::Linear(linear) => linear,
        _ => unreachable!("{} is not linear", node.name),
    }
}
