//! Batch normalisation (<https://arxiv.org/abs/1502.03167>): `y = gamma (x - mean) / sqrt(var + epsilon) + beta` per channel,
//! while training with the batch's own mean and (biased) variance, afterwards with running ones. A ReLU behind it is done
//! in the same pass.

use super::relu::clip;
use crate::net::layer::{Back, Compute, Own, Training, from_vec, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use crate::net::simd::vectorized;
use burn::tensor::module::{batch_norm, batch_norm_train};
use burn::tensor::{Tensor, activation};

/// Values of neighbouring pixels that are worked on as if they were one pixel's, so that loops are long enough.
const WIDE: usize = 256;
/// Values that are read twice while they are in the nearest cache.
const TOGETHER: usize = 1 << 12;

/// A batch normalisation.
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Weight of a batch's statistics in the running ones.
    pub momentum: f64,
    /// The ceiling of a ReLU that follows; infinite for a plain one.
    pub clip: Option<f32>,
}

/// Mean and biased variance of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Values of a channel that they were measured on.
    pub count: f64,
    /// Means.
    pub mean: Vec<f64>,
    /// Variances.
    pub variance: Vec<f64>,
}

impl Moments {
    /// Of `channels` channels and no values.
    pub fn none(channels: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; channels], variance: vec![0.0; channels] }
    }

    /// Of the values of `x`.
    pub fn of(x: &Map) -> Self {
        let channels = x.dims[3];
        let wide = Wide::new(channels);
        let mut moments = Self::none(channels);
        let (mut sums, mut means, mut squares) = (wide.zeros(), wide.zeros(), wide.zeros());
        for part in x.values.chunks((TOGETHER / wide.len).max(1) * wide.len) {
            let count = part.len() / channels;
            sums.fill(0.0);
            add(part, &mut sums);
            let sums = wide.folded(&sums);
            means.iter_mut().zip(sums.iter().cycle()).for_each(|(mean, sum)| *mean = (sum / count as f64) as f32);
            squares.fill(0.0);
            add_squares(part, &means, &mut squares);
            let variance = wide.folded(&squares).into_iter().map(|sum| sum / count as f64).collect();
            let mean = means[..channels].iter().copied().map(f64::from).collect();
            moments.join(&Self { count: count as f64, mean, variance });
        }
        moments
    }

    /// Adds those of other values.
    pub fn join(&mut self, other: &Self) {
        let count = self.count + other.count;
        let part = other.count / count;
        let own = self.mean.iter_mut().zip(&mut self.variance);
        for ((mean, variance), (other_mean, other_variance)) in own.zip(other.mean.iter().zip(&other.variance)) {
            let apart = other_mean - *mean;
            *mean += apart * part;
            *variance += (other_variance - *variance) * part + apart * apart * part * (1.0 - part);
        }
        self.count = count;
    }
}

/// Channels as often as it takes to fill long loops.
#[derive(Clone, Copy)]
struct Wide {
    channels: usize,
    len: usize,
}

impl Wide {
    fn new(channels: usize) -> Self {
        Self { channels, len: channels * (WIDE / channels).max(1) }
    }

    fn zeros(self) -> Vec<f32> {
        vec![0.0; self.len]
    }

    /// One value for each channel as often as it takes.
    fn repeated(self, values: &[f32]) -> Vec<f32> {
        values.iter().copied().cycle().take(self.len).collect()
    }

    /// The sum for each channel.
    fn folded(self, sums: &[f32]) -> Vec<f64> {
        let mut folded = vec![0.0; self.channels];
        for sums in sums.chunks_exact(self.channels) {
            folded.iter_mut().zip(sums).for_each(|(to, sum)| *to += f64::from(*sum));
        }
        folded
    }
}

vectorized! {
    fn add(values: &[f32], sums: &mut [f32]) {
        for values in values.chunks(sums.len()) {
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
        }
    }

    fn add_squares(values: &[f32], means: &[f32], sums: &mut [f32]) {
        for values in values.chunks(sums.len()) {
            for ((sum, mean), v) in sums.iter_mut().zip(means).zip(values) {
                *sum += (v - mean) * (v - mean);
            }
        }
    }

    /// `y = x * factor + offset`, brought into `[0, ceiling]` where there is one.
    fn scale(x: &[f32], factors: &[f32], offsets: &[f32], ceiling: Option<f32>, y: &mut [f32]) {
        let wide = factors.len();
        match ceiling {
            None => {
                for (y, x) in y.chunks_mut(wide).zip(x.chunks(wide)) {
                    let line = factors.iter().zip(offsets);
                    y.iter_mut().zip(x).zip(line).for_each(|((y, x), (factor, offset))| *y = x * factor + offset);
                }
            }
            Some(ceiling) => {
                for (y, x) in y.chunks_mut(wide).zip(x.chunks(wide)) {
                    for ((y, x), (factor, offset)) in y.iter_mut().zip(x).zip(factors.iter().zip(offsets)) {
                        *y = clip(x * factor + offset, ceiling);
                    }
                }
            }
        }
    }

    /// The same in place.
    fn scale_in_place(x: &mut [f32], factors: &[f32], offsets: &[f32]) {
        for x in x.chunks_mut(factors.len()) {
            x.iter_mut().zip(factors.iter().zip(offsets)).for_each(|(x, (factor, offset))| *x = *x * factor + offset);
        }
    }

    /// Sets to zero the gradients of results that were clipped, and adds up the others: as they are, and times what is
    /// `mean` less than `x`.
    fn gather(
        dy: &mut [f32],
        x: &[f32],
        line: [&[f32]; 3],
        ceiling: Option<f32>,
        sums: [&mut [f32]; 2],
    ) {
        let [factors, offsets, means] = line;
        let [betas, gammas] = sums;
        let wide = factors.len();
        let (floor, ceiling) = (if ceiling.is_some() { 0.0 } else { f32::NEG_INFINITY }, ceiling.unwrap_or(f32::INFINITY));
        for (dy, x) in dy.chunks_mut(wide).zip(x.chunks(wide)) {
            let line = factors.iter().zip(offsets).zip(means);
            let sums = betas.iter_mut().zip(gammas.iter_mut());
            for (((d, x), ((factor, offset), mean)), (beta, gamma)) in dy.iter_mut().zip(x).zip(line).zip(sums) {
                let y = x * factor + offset;
                *d = if (y > floor) & (y < ceiling) { *d } else { 0.0 };
                *beta += *d;
                *gamma += *d * (x - mean);
            }
        }
    }

    /// `dx = factor * dy - offset - x * slope`.
    fn spread(dy: &mut [f32], x: &[f32], factors: &[f32], offsets: &[f32], slopes: &[f32]) {
        let wide = factors.len();
        for (dy, x) in dy.chunks_mut(wide).zip(x.chunks(wide)) {
            let line = factors.iter().zip(offsets).zip(slopes);
            for ((d, x), ((factor, offset), slope)) in dy.iter_mut().zip(x).zip(line) {
                *d = factor * *d - offset - x * slope;
            }
        }
    }
}

/// What a normalisation does to each channel.
struct Line {
    factors: Vec<f32>,
    offsets: Vec<f32>,
}

impl Line {
    fn new(gamma: &[f32], beta: &[f32], mean: &[f64], inverse: &[f64]) -> Self {
        let factors: Vec<f64> = gamma.iter().zip(inverse).map(|(gamma, inverse)| f64::from(*gamma) * inverse).collect();
        let offset = |((factor, beta), mean): ((&f64, &f32), &f64)| (f64::from(*beta) - mean * factor) as f32;
        Self {
            offsets: factors.iter().zip(beta).zip(mean).map(offset).collect(),
            factors: factors.iter().map(|factor| *factor as f32).collect(),
        }
    }
}

fn inverses(variance: &[f64], epsilon: f64) -> Vec<f64> {
    variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect()
}

/// Factors and offsets of a normalisation by running statistics.
pub fn running(own: Own<'_>, epsilon: f64) -> [Vec<f32>; 2] {
    let [gamma, beta] = ["weight", "bias"].map(|part| own.values(part));
    let wide = |part| own.values(part).into_iter().map(f64::from).collect::<Vec<_>>();
    let [mean, variance] = ["running_mean", "running_var"].map(wide);
    let line = Line::new(&gamma, &beta, &mean, &inverses(&variance, epsilon));
    [line.factors, line.offsets]
}

/// What the way back needs.
struct Normalised {
    x: Map,
    gamma: Vec<f32>,
    mean: Vec<f64>,
    inverse: Vec<f64>,
    line: Line,
    ceiling: Option<f32>,
}

impl Normalised {
    /// Gradients of factor, offset, and input.
    fn back(self, dy: Map) -> (Vec<f32>, Vec<f32>, Map) {
        let (dims, wide) = (dy.dims, Wide::new(self.x.dims[3]));
        let mut dx = dy.into_buffer();
        let mean: Vec<f32> = self.mean.iter().map(|mean| *mean as f32).collect();
        let [factors, offsets, means] = [&self.line.factors, &self.line.offsets, &mean].map(|v| wide.repeated(v));
        let (mut betas, mut gammas) = (vec![0.0; wide.channels], vec![0.0; wide.channels]);
        let (mut some_betas, mut some_gammas) = (wide.zeros(), wide.zeros());
        // Sums of many values get more digits.
        let together = (16 * TOGETHER / wide.len).max(1) * wide.len;
        for (dx, x) in dx.chunks_mut(together).zip(self.x.values.chunks(together)) {
            some_betas.fill(0.0);
            some_gammas.fill(0.0);
            gather(dx, x, [&factors, &offsets, &means], self.ceiling, [&mut some_betas, &mut some_gammas]);
            for (sums, some) in [(&mut betas, &some_betas), (&mut gammas, &some_gammas)] {
                sums.iter_mut().zip(wide.folded(some)).for_each(|(sum, more)| *sum += more);
            }
        }
        let count = (self.x.values.len() / wide.channels) as f64;
        // dx = factor (dy - dbeta / count - (x - mean) inverse dgamma / count), with what does not depend on dy put together.
        let (mut slopes, mut constants) = (Vec::new(), Vec::new());
        for (c, gamma) in gammas.iter_mut().enumerate() {
            *gamma *= self.inverse[c];
            let factor = f64::from(self.gamma[c]) * self.inverse[c];
            let slope = factor * self.inverse[c] * *gamma / count;
            slopes.push(slope as f32);
            constants.push((factor * betas[c] / count - self.mean[c] * slope) as f32);
        }
        spread(&mut dx, &self.x.values, &factors, &wide.repeated(&constants), &wide.repeated(&slopes));
        let short = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
        (short(gammas), short(betas), Map::new(dims, dx))
    }
}

impl Compute for BatchNorm {
    fn forward(&self, inputs: Vec<Map>, own: Own<'_>, training: Option<&mut Training>) -> (Map, Back) {
        let (x, ceiling) = (only(inputs), self.clip);
        let (dims, wide) = (x.dims, Wide::new(x.dims[3]));
        let Some(training) = training else {
            let [factors, offsets] = running(own, self.epsilon).map(|values| wide.repeated(&values));
            let mut y = x.into_buffer();
            scale_in_place(&mut y, &factors, &offsets);
            if let Some(ceiling) = ceiling {
                y.iter_mut().for_each(|y| *y = clip(*y, ceiling));
            }
            return (Map::new(dims, y), Box::new(|_, _, _| unreachable!("only what is trained goes back")));
        };
        let Moments { mean, variance, .. } = Moments::of(&x);
        let device = own.tensor("running_mean").device();
        let [measured_mean, measured_variance] = [&mean, &variance]
            .map(|values| from_vec(values.iter().map(|value| *value as f32).collect(), [wide.channels], &device));
        own.follow(measured_mean, measured_variance, self.momentum, training);
        let [gamma, beta] = ["weight", "bias"].map(|part| own.values(part));
        let inverse = inverses(&variance, self.epsilon);
        let line = Line::new(&gamma, &beta, &mean, &inverse);
        let mut y = Buffer::any(x.values.len());
        scale(&x.values, &wide.repeated(&line.factors), &wide.repeated(&line.offsets), ceiling, &mut y);
        let names = ["weight", "bias"].map(|part| own.name(part));
        let normalised = Normalised { x, gamma, mean, inverse, line, ceiling };
        let back: Back = Box::new(move |dy, _, gradients| {
            let (dgamma, dbeta, dx) = normalised.back(dy);
            let [gamma, beta] = names;
            gradients.add(gamma, dgamma);
            gradients.add(beta, dbeta);
            vec![Some(dx)]
        });
        (Map::new(dims, y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, own: Own<'_>, training: Option<&mut Training>) -> Tensor<4> {
        let x = only(inputs);
        let [gamma, beta] = ["weight", "bias"].map(|part| own.tensor(part));
        let y = match training {
            Some(training) => {
                let batch = batch_norm_train(x, gamma, beta, self.epsilon);
                own.follow(batch.mean.inner(), batch.variance.inner(), self.momentum, training);
                batch.output
            }
            None => {
                let [mean, variance] = ["running_mean", "running_var"].map(|part| own.tensor(part));
                batch_norm(x, gamma, beta, mean, variance, self.epsilon)
            }
        };
        match self.clip {
            None => y,
            Some(ceiling) if ceiling.is_finite() => y.clamp(0.0, ceiling),
            Some(_) => activation::relu(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LayerKind;
    use crate::net::layers::testing::{assert_agrees, assert_computes};

    #[test]
    fn agrees_with_burn() {
        // One channel, few, more than are worked on together; more pixels than are.
        for input in [[3, 4, 5, 1], [2, 3, 3, 24], [4, 2, 3, 300], [5, 20, 20, 40]] {
            assert_agrees(LayerKind::BatchNorm { epsilon: 1e-3, momentum: 0.1 }, &[input]);
            for ceiling in [0.5, f32::INFINITY] {
                let fused = BatchNorm { epsilon: 1e-3, momentum: 0.1, clip: Some(ceiling) };
                assert_computes(&fused, LayerKind::BatchNorm { epsilon: 1e-3, momentum: 0.1 }, &[input]);
            }
        }
    }

    #[test]
    fn moments_are_exact_far_from_zero() {
        let values: Vec<f32> = (0..9000).map(|i| if i % 2 == 0 { 1000.0 } else { -3.0 } + (i / 2 % 5) as f32).collect();
        let moments = Moments::of(&Map::new([1, 1, 4500, 2], Buffer::from(&values[..])));
        assert_eq!(moments.count, 4500.0);
        for (found, expected) in moments.mean.iter().zip([1002.0, -1.0]) {
            assert!((found - expected).abs() < 1e-4, "{moments:?}");
        }
        assert!(moments.variance.iter().all(|variance| (variance - 2.0).abs() < 1e-5), "{moments:?}");
    }
}
