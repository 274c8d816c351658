//! Batch normalisation while training.

use super::{Kernel, Map, dot, sum};

/// A normalised map: `y = gamma (x - mean) / sqrt(var + epsilon) + beta` per channel, with the batch's own mean and
/// (biased) variance (<https://arxiv.org/abs/1502.03167>).
#[derive(Debug)]
pub struct Normalised {
    x: Map,
    /// Of each channel, as are the others.
    mean: Vec<f32>,
    /// `1 / sqrt(var + epsilon)`.
    inverse: Vec<f32>,
    gamma: Vec<f32>,
}

/// The batch's statistics, per channel.
#[derive(Debug)]
pub struct Statistics {
    /// Means.
    pub mean: Vec<f32>,
    /// Biased variances.
    pub variance: Vec<f32>,
}

impl Kernel {
    /// Normalises `x` by its own statistics, which are also returned; `names` are those of factor and offset, where
    /// they are fitted.
    pub fn batch_norm(
        x: Map,
        gamma: Vec<f32>,
        beta: &[f32],
        epsilon: f64,
        names: Option<[String; 2]>,
    ) -> (Self, Map, Statistics) {
        let channels = x.dims[1];
        let count = (x.dims[0] * x.plane()) as f64;
        let mean: Vec<f32> = (0..channels).map(|c| (total(&x, c, |v| v) / count) as f32).collect();
        let squares = |c: usize| total(&x, c, |v| (v - mean[c]) * (v - mean[c])) / count;
        let variance: Vec<f32> = (0..channels).map(|c| squares(c) as f32).collect();
        let inverse: Vec<f32> = variance.iter().map(|&v| (1.0 / (f64::from(v) + epsilon).sqrt()) as f32).collect();
        let mut y = Vec::with_capacity(x.values.len());
        for (i, plane) in x.values.chunks_exact(x.plane()).enumerate() {
            let c = i % channels;
            let factor = gamma[c] * inverse[c];
            let offset = beta[c] - mean[c] * factor;
            y.extend(plane.iter().map(|v| v * factor + offset));
        }
        let map = Map::new(x.dims, y);
        let statistics = Statistics { mean: mean.clone(), variance };
        (Self::BatchNorm { normalised: Normalised { x, mean, inverse, gamma }, names }, map, statistics)
    }
}

/// Sum of `term` of all values of channel `c`.
fn total(x: &Map, c: usize, term: impl Fn(f32) -> f32) -> f64 {
    planes(x, c).map(|plane| f64::from(sum(&x.values[plane], &term))).sum()
}

/// Where channel `c` lies in each image.
fn planes(x: &Map, c: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (images, channels, plane) = (x.dims[0], x.dims[1], x.plane());
    (0..images).map(move |n| (n * channels + c) * plane..(n * channels + c + 1) * plane)
}

impl Normalised {
    /// Makes the gradient of the input of the output's; returns those of factor and offset.
    pub(super) fn backward(&self, dy: &mut [f32]) -> [Vec<f32>; 2] {
        let mut gradients = [Vec::new(), Vec::new()];
        let count = (self.x.dims[0] * self.x.plane()) as f32;
        for c in 0..self.x.dims[1] {
            let (mean, inverse) = (self.mean[c], self.inverse[c]);
            let sums = planes(&self.x, c).map(|plane| {
                let (dy, x) = (&dy[plane.clone()], &self.x.values[plane]);
                let dbeta = sum(dy, |d| d);
                // sum(dy (x - mean)), without a pass over the differences.
                [f64::from(dot(dy, x)) - f64::from(mean) * f64::from(dbeta), dbeta.into()]
            });
            let [dgamma, dbeta] = sums.fold([0.0, 0.0], |a, b| [a[0] + b[0], a[1] + b[1]]);
            let (dgamma, dbeta) = ((dgamma * f64::from(inverse)) as f32, dbeta as f32);
            let factor = self.gamma[c] * inverse;
            // dx = factor (dy - dbeta / count - normalised dgamma / count), with what does not depend on dy put together.
            let slope = inverse * dgamma / count;
            let offset = dbeta / count - mean * slope;
            for plane in planes(&self.x, c) {
                let pairs = dy[plane.clone()].iter_mut().zip(&self.x.values[plane]);
                pairs.for_each(|(d, x)| *d = factor * (*d - offset - x * slope));
            }
            gradients[0].push(dgamma);
            gradients[1].push(dbeta);
        }
        gradients
    }
}
