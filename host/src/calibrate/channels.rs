//! What calibration sees of each channel: for the corrections that need more than a range per value.

use crate::data::Split;
use crate::graph::{Graph, run};
use crate::recipe::QuantRecipe;
use rayon::prelude::*;

/// What calibration saw of the channels of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    /// The largest magnitude of each channel.
    pub largest: Vec<f32>,
    /// The mean of each channel.
    pub mean: Vec<f64>,
}

/// Runs `graph` over the calibration images of `split`, which [`ranges`](super::ranges) has found fit for it; the
/// channels of every value, the image's first.
pub fn channels(graph: &Graph, split: &Split, recipe: &QuantRecipe) -> Vec<Channels> {
    let images = split.spread(recipe.images);
    let of_image = |&i: &usize| -> Vec<Channels> {
        let values = run::values(graph, &run::input(graph, split.image(i)));
        values.iter().enumerate().map(|(v, values)| of_value(values, graph.shape(v).c.into())).collect()
    };
    // In the images' order: sums of floating-point numbers depend on theirs.
    let all: Vec<Vec<Channels>> = images.par_iter().map(of_image).collect();
    let count = all.len() as f64;
    let mut total = all.into_iter().reduce(merge).unwrap_or_default();
    total.iter_mut().flat_map(|value| &mut value.mean).for_each(|mean| *mean /= count);
    total
}

fn of_value(values: &[f32], channels: usize) -> Channels {
    let mut found = Channels { largest: vec![0.0; channels], mean: vec![0.0; channels] };
    for pixel in values.chunks_exact(channels) {
        for ((largest, mean), x) in found.largest.iter_mut().zip(&mut found.mean).zip(pixel) {
            *largest = largest.max(x.abs());
            *mean += f64::from(*x);
        }
    }
    let pixels = (values.len() / channels) as f64;
    found.mean.iter_mut().for_each(|mean| *mean /= pixels);
    found
}

fn merge(mut a: Vec<Channels>, b: Vec<Channels>) -> Vec<Channels> {
    for (a, b) in a.iter_mut().zip(b) {
        a.largest.iter_mut().zip(b.largest).for_each(|(a, b)| *a = a.max(b));
        a.mean.iter_mut().zip(b.mean).for_each(|(a, b)| *a += b);
    }
    a
}
