//! Max pooling.

use super::conv::for_burn;
use super::mean::pairs;
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use crate::net::simd::vectorized;
use crate::net::sliding::output_size;
use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use ocellus_shared::Window;

/// The largest value under each window; padding never wins. Of equals the first one does, and before all what is not a
/// number.
pub struct MaxPool {
    /// What slides over the map.
    pub window: Window,
}

vectorized! {
    /// The largest value of each output, and the place of its pixel among those of the input.
    fn choose(x: &[f32], dims: [usize; 4], window: &Window, y: &mut [f32], winners: &mut [u32]) {
        let c = dims[3];
        let mut last = usize::MAX;
        pairs(dims, window, |from, to| {
            let place = (from / c) as u32;
            let (x, y, winners) = (&x[from..from + c], &mut y[to..to + c], &mut winners[to..to + c]);
            // Windows come one after the other.
            if to != last {
                y.copy_from_slice(x);
                winners.fill(place);
                last = to;
            } else {
                for ((x, y), winner) in x.iter().zip(y).zip(winners) {
                    let wins = (*x > *y) | x.is_nan();
                    *y = if wins { *x } else { *y };
                    *winner = if wins { place } else { *winner };
                }
            }
        });
    }

    /// Adds each output's gradient to that of its input.
    fn hand_back(dy: &[f32], dims: [usize; 4], window: &Window, winners: &[u32], dx: &mut [f32]) {
        let c = dims[3];
        pairs(dims, window, |to, from| {
            let place = (to / c) as u32;
            let (dy, winners) = (&dy[from..from + c], &winners[from..from + c]);
            for ((dx, dy), winner) in dx[to..to + c].iter_mut().zip(dy).zip(winners) {
                *dx += if *winner == place { *dy } else { 0.0 };
            }
        });
    }
}

impl Compute for MaxPool {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let (x, window) = (only(inputs), self.window);
        let dims @ [n, h, w, c] = x.dims;
        let [oh, ow] = output_size([h, w], &window);
        let (image, output) = (h * w * c, oh * ow * c);
        let (mut y, mut winners) = (Buffer::zeros(n * output), vec![0; n * output]);
        for (i, y) in y.chunks_exact_mut(output).enumerate() {
            choose(&x.values[i * image..][..image], dims, &window, y, &mut winners[i * output..][..output]);
        }
        let back: Back = Box::new(move |dy, _, _| {
            let mut dx = Buffer::zeros(n * image);
            for (i, dx) in dx.chunks_exact_mut(image).enumerate() {
                let own = i * output..(i + 1) * output;
                hand_back(&dy.values[own.clone()], dims, &window, &winners[own], dx);
            }
            vec![Some(Map::new(dims, dx))]
        });
        (Map::new([n, oh, ow, c], y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let (kernel, stride, padding) = for_burn(&self.window);
        max_pool2d(only(inputs), MaxPoolOptions { stride, padding, ..MaxPoolOptions::new(kernel) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::Op;

    #[test]
    fn agrees_with_burn() {
        let strided = Window { kernel: [3, 3], stride: [2, 2], pad: [1, 0, 1, 1] };
        for window in [Window::valid(2, 2), Window::same(3), strided] {
            assert_agrees(LayerKind::Op { op: Op::MaxPool { window }, bias: false }, &[[2, 7, 6, 20]]);
        }
    }

    #[test]
    fn equals_and_what_is_not_a_number() {
        let x = [1.0, 1.0, 5.0, 2.0, f32::NAN, 5.0];
        let (mut y, mut winners) = ([0.0; 2], [0; 2]);
        choose(&x, [1, 2, 3, 1], &Window { kernel: [2, 2], stride: [1, 1], pad: [0; 4] }, &mut y, &mut winners);
        assert!(y[0].is_nan() && y[1].is_nan() && winners == [4, 4]);
        choose(&x[..3], [1, 1, 3, 1], &Window { kernel: [1, 2], stride: [1, 1], pad: [0; 4] }, &mut y, &mut winners);
        assert_eq!((y, winners), ([1.0, 5.0], [0, 2]));
    }
}
