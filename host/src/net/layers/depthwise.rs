//! Depthwise convolution: one filter per channel.

use super::conv::{Then, channel_sums, convolve, is_mixed};
use super::relu::clip;
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use crate::net::simd::vectorized;
use crate::net::sliding::{Padded, Sweep, output_size};
use burn::tensor::Tensor;
use ocellus_shared::Window;

/// Channels that are worked on together.
const CHANNELS: usize = 32;

/// A depthwise convolution.
pub struct Depthwise {
    /// What slides over each channel.
    pub window: Window,
    /// Whether it has a bias.
    pub bias: bool,
    /// What is computed with it after training.
    pub then: Then,
}

/// What follows from the sizes of a map and a window.
#[derive(Clone, Debug)]
struct Sizes {
    output: [usize; 4],
    sweep: Sweep,
    padded: Padded,
    /// Where each tap of a window lies behind its beginning.
    taps: Vec<usize>,
}

impl Sizes {
    fn new([n, h, w, c]: [usize; 4], window: &Window) -> Self {
        let [oh, ow] = output_size([h, w], window);
        let pad = window.pad.map(usize::from);
        let padded = Padded {
            size: [h, w],
            origin: [pad[0] as isize, pad[1] as isize],
            padded: [h + pad[0] + pad[2], w + pad[1] + pad[3]],
            channels: c,
        };
        let [kernel, stride] = [window.kernel, window.stride].map(|pair| pair.map(usize::from));
        let targets = (0..oh * ow).map(|i| i * c).collect();
        let taps = (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| ky * padded.pitch() + kx * c)).collect();
        Self { output: [n, oh, ow, c], sweep: Sweep::new(padded, kernel, stride, [oh, ow], targets), padded, taps }
    }

    /// Values of an image of the result.
    fn image(&self) -> usize {
        self.output[1..].iter().product()
    }

    fn channels(&self) -> usize {
        self.output[3]
    }

    /// Filters `(c, taps)` with the channels innermost.
    fn by_taps(&self, weight: &[f32]) -> Vec<f32> {
        let (taps, c) = (self.taps.len(), self.channels());
        (0..taps * c).map(|i| weight[i % c * taps + i / c]).collect()
    }

    /// The opposite of [`Sizes::by_taps`].
    fn by_channels(&self, gradient: &[f32]) -> Vec<f32> {
        let (taps, c) = (self.taps.len(), self.channels());
        (0..taps * c).map(|i| gradient[i % taps * c + i / taps]).collect()
    }
}

/// Adds to `sums` the products of the values at each tap with its weights.
#[inline(always)]
fn add_products(sums: &mut [f32], x: &[f32], taps: &[usize], weights: &[f32], channels: usize) {
    for (tap, weights) in taps.iter().zip(weights.chunks(channels)) {
        let x = &x[*tap..][..sums.len()];
        let weights = &weights[..sums.len()];
        sums.iter_mut().zip(x.iter().zip(weights)).for_each(|(sum, (x, weight))| *sum += x * weight);
    }
}

vectorized! {
    /// The result for one padded image.
    fn convolve_image(x: &[f32], sizes: &Sizes, weights: &[f32], then: (Option<&[f32]>, Option<f32>), y: &mut [f32]) {
        let (bias, ceiling) = then;
        let c = sizes.channels();
        for first in (0..c).step_by(CHANNELS) {
            let count = CHANNELS.min(c - first);
            for (start, y) in sizes.sweep.starts.iter().zip(y.chunks_exact_mut(c)) {
                let (y, mut sums) = (&mut y[first..first + count], [0.0; CHANNELS]);
                if let Some(bias) = bias {
                    sums[..count].copy_from_slice(&bias[first..first + count]);
                }
                if count == CHANNELS {
                    add_products(&mut sums, &x[start + first..], &sizes.taps, &weights[first..], c);
                } else {
                    add_products(&mut sums[..count], &x[start + first..], &sizes.taps, &weights[first..], c);
                }
                if let Some(ceiling) = ceiling {
                    sums.iter_mut().for_each(|sum| *sum = clip(*sum, ceiling));
                }
                y.copy_from_slice(&sums[..count]);
            }
        }
    }

    /// Adds to the gradients of the weights and of one padded image.
    fn go_back(x: &[f32], sizes: &Sizes, weights: &[f32], dy: &[f32], dw: &mut [f32], dx: &mut [f32]) {
        let c = sizes.channels();
        for first in (0..c).step_by(CHANNELS) {
            let count = CHANNELS.min(c - first);
            for (start, dy) in sizes.sweep.starts.iter().zip(dy.chunks_exact(c)) {
                let dy = &dy[first..first + count];
                for ((tap, dw), weights) in sizes.taps.iter().zip(dw.chunks_exact_mut(c)).zip(weights.chunks_exact(c)) {
                    let at = start + tap + first;
                    let (x, dx) = (&x[at..][..count], &mut dx[at..][..count]);
                    let (dw, weights) = (&mut dw[first..first + count], &weights[first..first + count]);
                    dw.iter_mut().zip(x.iter().zip(dy)).for_each(|(dw, (x, dy))| *dw += x * dy);
                    dx.iter_mut().zip(weights.iter().zip(dy)).for_each(|(dx, (weight, dy))| *dx += weight * dy);
                }
            }
        }
    }
}

/// Gradients of the weights, `(taps, c)`, and of the input.
fn backward(sizes: &Sizes, x: &Map, weights: &[f32], dy: &[f32]) -> (Vec<f32>, Buffer) {
    let mut dw = vec![0f64; weights.len()];
    let mut dx = Buffer::any(x.values.len());
    let (mut own, mut gradient) = (vec![0.0; weights.len()], sizes.padded.memory());
    // What no window sees has no gradient.
    let image = sizes.sweep.image;
    sizes.sweep.images(&x.values, |i, x, _| {
        own.fill(0.0);
        gradient.fill(0.0);
        go_back(x, sizes, weights, &dy[i * sizes.image()..][..sizes.image()], &mut own, &mut gradient);
        dw.iter_mut().zip(&own).for_each(|(sum, own)| *sum += f64::from(*own));
        sizes.padded.copy_back(&gradient, &mut dx[i * image..][..image]);
    });
    (dw.into_iter().map(|sum| sum as f32).collect(), dx)
}

impl Compute for Depthwise {
    fn forward(&self, inputs: Vec<Map>, own: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let sizes = Sizes::new(x.dims, &self.window);
        let (weights, bias) = self.then.fold(own, self.bias);
        let (weights, ceiling) = (sizes.by_taps(&weights), self.then.ceiling);
        let mut y = Buffer::any(sizes.output.iter().product());
        sizes.sweep.images(&x.values, |i, x, _| {
            convolve_image(
                x,
                &sizes,
                &weights,
                (bias.as_deref(), ceiling),
                &mut y[i * sizes.image()..][..sizes.image()],
            );
        });
        let (output, names) = (sizes.output, (own.name("weight"), self.bias.then(|| own.name("bias"))));
        let back: Back = Box::new(move |dy, _, gradients| {
            let (dw, dx) = backward(&sizes, &x, &weights, &dy.values);
            let (weight, bias) = names;
            gradients.add(weight, sizes.by_channels(&dw));
            if let Some(bias) = bias {
                gradients.add(bias, channel_sums(&dy.values, sizes.channels()));
            }
            vec![Some(Map::new(x.dims, dx))]
        });
        (Map::new(output, y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, own: Own<'_>, training: Option<&mut Training>) -> Tensor<4> {
        let x = only(inputs);
        let (channels, bias) = (x.dims()[1], self.bias.then(|| own.tensor("bias")));
        convolve(x, (own.tensor("weight"), bias), channels, &self.window, channels, is_mixed(training))
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::{Op, Window};

    #[test]
    fn agrees_with_burn() {
        let cases = [
            (Window::same(3), [2, 6, 5, 3]),
            (Window::same(5), [2, 9, 9, 2]),
            (Window::same(3), [3, 7, 6, 70]),
            // What EfficientNet pads at stride 2.
            (Window { kernel: [3, 3], stride: [2, 2], pad: [0, 0, 1, 1] }, [2, 8, 8, 3]),
            (Window { kernel: [5, 5], stride: [2, 2], pad: [1, 1, 2, 2] }, [1, 12, 14, 4]),
            (Window { kernel: [5, 3], stride: [2, 1], pad: [2, 1, 2, 1] }, [2, 9, 7, 3]),
            (Window { kernel: [3, 7], stride: [1, 3], pad: [1, 3, 1, 3] }, [1, 5, 11, 2]),
            // The last column is under no window.
            (Window::valid(2, 2), [1, 4, 5, 1]),
            (Window::valid(1, 3), [1, 5, 6, 2]),
            // Some taps never meet the image.
            (Window { kernel: [5, 5], stride: [1, 1], pad: [2, 2, 2, 2] }, [1, 1, 1, 2]),
        ];
        for (window, input) in cases {
            for bias in [false, true] {
                assert_agrees(LayerKind::Op { op: Op::Depthwise { window }, bias }, &[input]);
            }
        }
    }
}
