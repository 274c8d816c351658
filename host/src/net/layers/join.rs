//! Layers of several inputs.

use crate::net::layer::{Back, Compute, Own, Training};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use burn::tensor::Tensor;

/// The sum of two maps.
pub struct Add;

/// A map times one factor for each channel of each image, `(n, 1, 1, c)`.
pub struct Mul;

/// Maps behind each other, by channels.
pub struct Concat;

fn two<T>(inputs: Vec<T>) -> [T; 2] {
    inputs.try_into().ok().expect("Network::shapes checked the number of inputs")
}

impl Compute for Add {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let [a, b] = two(inputs);
        (a.plus(b), Box::new(|dy, _, _| vec![Some(dy.clone()), Some(dy)]))
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let [a, b] = two(inputs);
        a + b
    }
}

/// Multiplies each channel of each image of `x` with its factor.
fn scale(x: Map, factors: &Map) -> Map {
    let dims @ [_, h, w, c] = x.dims;
    let mut values = x.into_buffer();
    for (image, factors) in values.chunks_exact_mut(h * w * c).zip(factors.values.chunks_exact(c)) {
        let pixels = image.chunks_exact_mut(c);
        pixels.for_each(|pixel| pixel.iter_mut().zip(factors).for_each(|(v, factor)| *v *= factor));
    }
    Map::new(dims, values)
}

impl Compute for Mul {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, training: Option<&mut Training>) -> (Map, Back) {
        let [x, factors] = two(inputs);
        let kept = training.is_some().then(|| x.clone());
        let y = scale(x, &factors);
        let back: Back = Box::new(move |dy, _, _| {
            let x = kept.expect("only what is trained goes back");
            let [n, h, w, c] = x.dims;
            let mut sums = Buffer::zeros(n * c);
            let images = dy.values.chunks_exact(h * w * c).zip(x.values.chunks_exact(h * w * c));
            for ((dy, x), sums) in images.zip(sums.chunks_exact_mut(c)) {
                for (dy, x) in dy.chunks_exact(c).zip(x.chunks_exact(c)) {
                    sums.iter_mut().zip(dy.iter().zip(x)).for_each(|(sum, (dy, x))| *sum += dy * x);
                }
            }
            vec![Some(scale(dy, &factors)), Some(Map::new(factors.dims, sums))]
        });
        (y, back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let [x, factors] = two(inputs);
        x * factors
    }
}

impl Compute for Concat {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let [n, h, w, _] = inputs[0].dims;
        let channels: Vec<usize> = inputs.iter().map(|x| x.dims[3]).collect();
        let c: usize = channels.iter().sum();
        let mut y = Buffer::any(n * h * w * c);
        let mut first = 0;
        for x in &inputs {
            let own = x.dims[3];
            let pixels = y.chunks_exact_mut(c).zip(x.values.chunks_exact(own));
            pixels.for_each(|(y, x)| y[first..first + own].copy_from_slice(x));
            first += own;
        }
        let back: Back = Box::new(move |dy, _, _| {
            let mut first = 0;
            let part = |own: usize| {
                let mut dx = Buffer::any(n * h * w * own);
                let pixels = dx.chunks_exact_mut(own).zip(dy.values.chunks_exact(c));
                pixels.for_each(|(dx, dy)| dx.copy_from_slice(&dy[first..first + own]));
                first += own;
                Some(Map::new([n, h, w, own], dx))
            };
            channels.into_iter().map(part).collect()
        });
        (Map::new([n, h, w, c], y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        Tensor::cat(inputs, 1)
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::Op;

    #[test]
    fn agree_with_burn() {
        let map = [2, 3, 5, 20];
        let cases: [(Op, &[[usize; 4]]); 3] =
            [(Op::Add, &[map; 2]), (Op::Mul, &[map, [2, 1, 1, 20]]), (Op::Concat, &[map, [2, 3, 5, 1], [2, 3, 5, 17]])];
        for (op, inputs) in cases {
            assert_agrees(LayerKind::Op { op, bias: false }, inputs);
        }
    }
}
