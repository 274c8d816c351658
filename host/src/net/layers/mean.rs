//! Average pooling.

use super::conv::for_burn;
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use crate::net::simd::vectorized;
use crate::net::sliding::output_size;
use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use ocellus_shared::Window;

/// The mean of each channel.
pub struct GlobalAvgPool;

/// The mean under each window; padding counts as zeros.
pub struct AvgPool {
    /// What slides over the map.
    pub window: Window,
}

vectorized! {
    fn add_to(values: &[f32], sums: &mut [f32]) {
        for pixel in values.chunks_exact(sums.len()) {
            sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
        }
    }
}

impl Compute for GlobalAvgPool {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let dims @ [n, h, w, c] = x.dims;
        let part = 1.0 / (h * w) as f32;
        let mut means = Buffer::zeros(n * c);
        for (image, means) in x.values.chunks_exact(h * w * c).zip(means.chunks_exact_mut(c)) {
            add_to(image, means);
            means.iter_mut().for_each(|mean| *mean *= part);
        }
        let back: Back = Box::new(move |dy, _, _| {
            let mut dx = Buffer::any(n * h * w * c);
            for (image, dy) in dx.chunks_exact_mut(h * w * c).zip(dy.values.chunks_exact(c)) {
                let pixels = image.chunks_exact_mut(c);
                pixels.for_each(|dx| dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * part));
            }
            vec![Some(Map::new(dims, dx))]
        });
        (Map::new([n, 1, 1, c], means), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        only(inputs).mean_dim(3).mean_dim(2)
    }
}

/// Calls `visit` with the places of every input that lies under a window, and of that window's output.
#[inline(always)]
pub(super) fn pairs([_, h, w, c]: [usize; 4], window: &Window, mut visit: impl FnMut(usize, usize)) {
    let [oh, ow] = output_size([h, w], window);
    let [kernel, stride] = [window.kernel, window.stride].map(|pair| pair.map(usize::from));
    let [top, left, ..] = window.pad.map(usize::from);
    let under = |o: usize, i: usize, pad: usize, size: usize| {
        let first = o * stride[i];
        first.saturating_sub(pad).min(size)..(first + kernel[i]).saturating_sub(pad).min(size)
    };
    for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
        for y in under(oy, 0, top, h) {
            for x in under(ox, 1, left, w) {
                visit((y * w + x) * c, (oy * ow + ox) * c);
            }
        }
    }
}

impl Compute for AvgPool {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let (x, window) = (only(inputs), self.window);
        let dims @ [n, h, w, c] = x.dims;
        let [oh, ow] = output_size([h, w], &window);
        let part = 1.0 / window.taps() as f32;
        let mut y = Buffer::zeros(n * oh * ow * c);
        for (x, y) in x.values.chunks_exact(h * w * c).zip(y.chunks_exact_mut(oh * ow * c)) {
            pairs(dims, &window, |from, to| {
                y[to..to + c].iter_mut().zip(&x[from..from + c]).for_each(|(y, x)| *y += x * part);
            });
        }
        let back: Back = Box::new(move |dy, _, _| {
            let mut dx = Buffer::zeros(n * h * w * c);
            for (dx, dy) in dx.chunks_exact_mut(h * w * c).zip(dy.values.chunks_exact(oh * ow * c)) {
                pairs(dims, &window, |to, from| {
                    dx[to..to + c].iter_mut().zip(&dy[from..from + c]).for_each(|(dx, dy)| *dx += dy * part);
                });
            }
            vec![Some(Map::new(dims, dx))]
        });
        (Map::new([n, oh, ow, c], y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let (kernel, stride, padding) = for_burn(&self.window);
        avg_pool2d(only(inputs), AvgPoolOptions { stride, padding, ..AvgPoolOptions::new(kernel) })
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::{Op, Window};

    #[test]
    fn agrees_with_burn() {
        assert_agrees(LayerKind::Op { op: Op::GlobalAvgPool, bias: false }, &[[2, 5, 3, 20]]);
        let strided = Window { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 1, 1] };
        for window in [Window::valid(2, 2), Window::same(3), strided] {
            assert_agrees(LayerKind::Op { op: Op::AvgPool { window }, bias: false }, &[[2, 7, 6, 3]]);
        }
    }
}
