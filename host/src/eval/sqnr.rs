//! What int8 costs, layer by layer: the signal-to-quantization-noise ratio against the float graph.

use super::engine::EngineModel;
use super::{argmax, int8_pixels};
use crate::data::Split;
use crate::graph::{Graph, run};
use crate::quantize::QuantGraph;
use anyhow::{Result, ensure};
use ocellus_shared::Shape;
use rayon::prelude::*;
use serde::Serialize;

/// The cost of int8, as [`measure`] found it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Images that it was measured on.
    pub images: usize,
    /// Images of which float and int8 name the same class.
    pub same_class: usize,
    /// One entry per layer, in the order they run.
    pub layers: Vec<LayerNoise>,
}

/// What one layer's result loses in int8. A ratio is `10 log10(sum x^2 / sum (x - y)^2)` over all values of all images,
/// where `x` is the float graph's value and `y` the one that the integers stand for; nothing where they are equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerNoise {
    /// Name of the layer.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// Shape of its result, `(h, w, c)`.
    pub shape: String,
    /// In dB, with this layer alone in int8, on the float graph's values as int8 stores them.
    pub own_db: Option<f64>,
    /// In dB, with everything before it in int8 too.
    pub accumulated_db: Option<f64>,
}

/// Sums over values.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    signal: f64,
    own: f64,
    accumulated: f64,
}

/// Runs `images` through `graph` in f32, and through the engine with `plan`, which is `quant`'s, of the same graph.
///
/// # Errors
/// There are no images, they are of another size than the model's, or the plan is of another graph.
pub fn measure(graph: &Graph, quant: &QuantGraph, plan: &[u8], images: &Split) -> Result<Report> {
    let engine = EngineModel::new(plan)?;
    ensure!(engine.plan().digest() == quant.digest(), "the plan is of another model");
    ensure!(!images.is_empty(), "there are no images to measure with");
    let size = Shape::new(images.height as u16, images.width as u16, 3);
    ensure!(size == graph.input, "the images are {size}, the model takes {}", graph.input);
    let one = |i| image(graph, quant, &engine, images.image(i));
    let results = (0..images.len()).into_par_iter().map(one).collect::<Result<Vec<_>>>()?;
    let mut totals = vec![Sums::default(); graph.nodes.len()];
    for (sums, _) in &results {
        for (total, sums) in totals.iter_mut().zip(sums) {
            total.signal += sums.signal;
            total.own += sums.own;
            total.accumulated += sums.accumulated;
        }
    }
    let layer = |(node, sums): (&crate::graph::Node, &Sums)| LayerNoise {
        name: node.name.clone(),
        op: node.op.name(),
        shape: node.output.to_string(),
        own_db: decibels(sums.signal, sums.own),
        accumulated_db: decibels(sums.signal, sums.accumulated),
    };
    Ok(Report {
        images: images.len(),
        same_class: results.iter().filter(|(_, same)| *same).count(),
        layers: graph.nodes.iter().zip(&totals).map(layer).collect(),
    })
}

/// One image: the sums of each layer, and whether both sides name the same class.
fn image(graph: &Graph, quant: &QuantGraph, engine: &EngineModel, pixels: &[u8]) -> Result<(Vec<Sums>, bool)> {
    let exact = run::values(graph, &run::input(graph, pixels));
    let stored: Vec<Vec<i8>> = exact
        .iter()
        .zip(&quant.values)
        .map(|(values, value)| values.iter().map(|&x| value.params.quantize(x)).collect())
        .collect();
    let inputs: Vec<&[usize]> = quant.nodes.iter().map(|node| node.inputs.as_slice()).collect();
    let own = engine.run_apart(&stored, &inputs)?;
    let accumulated = engine.trace(&int8_pixels(pixels))?;
    let sums = (0..graph.nodes.len()).map(|i| {
        let params = quant.values[i + 1].params;
        let noise = |found: &[i8]| {
            let squares = exact[i + 1].iter().zip(found).map(|(&x, &q)| f64::from(x - params.dequantize(q)).powi(2));
            squares.sum::<f64>()
        };
        let signal = exact[i + 1].iter().map(|&x| f64::from(x).powi(2)).sum();
        Sums { signal, own: noise(&own[i]), accumulated: noise(&accumulated[i]) }
    });
    let last = graph.nodes.len();
    Ok((sums.collect(), argmax(&exact[last]) == argmax(&accumulated[last - 1])))
}

fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_in_decibels() {
        assert_eq!(decibels(100.0, 1.0), Some(20.0));
        assert_eq!(decibels(1.0, 0.0), None);
    }
}
