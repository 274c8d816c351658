//! Dropout (<https://jmlr.org/papers/v15/srivastava14a.html>).

use crate::net::layer::{Back, Compute, Own, Training, from_vec, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use burn::tensor::Tensor;
use rand::Rng;
use std::rc::Rc;

/// Sets values to zero while training.
pub struct Dropout {
    /// Of each value.
    pub probability: f64,
    /// Whether it becomes less in the course of training.
    pub fades: bool,
}

impl Dropout {
    /// Factors that set each of `len` values to zero with the probability, to the next 1/65536, and scale the others so
    /// that the mean stays.
    fn factors(&self, len: usize, training: &mut Training) -> Vec<f32> {
        let probability = if self.fades { self.probability * training.fade } else { self.probability };
        let mut bytes = vec![0; 2 * len];
        training.random.fill_bytes(&mut bytes);
        let threshold = (probability * 65536.0) as u16;
        let kept = 1.0 / (1.0 - f32::from(threshold) / 65536.0);
        let factor = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < threshold { 0.0 } else { kept };
        bytes.chunks_exact(2).map(factor).collect()
    }
}

fn multiply(x: Map, factors: &[f32]) -> Map {
    let dims = x.dims;
    let mut values: Buffer = x.into_buffer();
    values.iter_mut().zip(factors).for_each(|(v, f)| *v *= f);
    Map { dims, values: Rc::new(values) }
}

impl Compute for Dropout {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, training: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let Some(training) = training else { return (x, Box::new(|dy, _, _| vec![Some(dy)])) };
        let [n, h, w, c] = x.dims;
        // Drawn in the order that burn draws them in.
        let factors = Map::from_planes(&self.factors(x.values.len(), training), [n, c, h, w]);
        let y = multiply(x, &factors.values);
        (y, Box::new(move |dy, _, _| vec![Some(multiply(dy, &factors.values))]))
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, training: Option<&mut Training>) -> Tensor<4> {
        let x = only(inputs);
        let Some(training) = training else { return x };
        let dims = x.dims();
        let factors = self.factors(dims.iter().product(), training);
        let device = x.device().without_autodiff();
        x * from_vec(factors, dims, &device)
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;

    #[test]
    fn agrees_with_burn() {
        for input in [[2, 3, 5, 20], [2, 1, 1, 7], [3, 4, 2, 1]] {
            assert_agrees(LayerKind::Dropout { probability: 0.3, fades: false }, &[input]);
        }
    }
}
