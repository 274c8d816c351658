//! Rectified linear units.

use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::simd::vectorized;
use burn::tensor::{Tensor, activation};

/// `min(max(x, 0), ceiling)`.
pub struct Relu {
    /// Infinite for a plain one.
    pub ceiling: f32,
}

/// `value` brought into `[0, ceiling]`. One that is not a number must stay so: the trainer looks for it.
#[inline(always)]
pub fn clip(value: f32, ceiling: f32) -> f32 {
    let value = if value < 0.0 { 0.0 } else { value };
    if value > ceiling { ceiling } else { value }
}

vectorized! {
    fn clip_all(values: &mut [f32], ceiling: f32) {
        values.iter_mut().for_each(|v| *v = clip(*v, ceiling));
    }

    /// Sets to zero the gradients of results `y` that were clipped.
    fn pass(dy: &mut [f32], y: &[f32], ceiling: f32) {
        dy.iter_mut().zip(y).for_each(|(d, &y)| *d = if (y > 0.0) & (y < ceiling) { *d } else { 0.0 });
    }
}

impl Compute for Relu {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let (x, ceiling) = (only(inputs), self.ceiling);
        let dims = x.dims;
        let mut y = x.into_buffer();
        clip_all(&mut y, ceiling);
        let y = Map::new(dims, y);
        let result = y.clone();
        let back: Back = Box::new(move |dy, _, _| {
            let mut dx = dy.into_buffer();
            pass(&mut dx, &y.values, ceiling);
            vec![Some(Map::new(dims, dx))]
        });
        (result, back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let x = only(inputs);
        if self.ceiling.is_finite() { x.clamp(0.0, self.ceiling) } else { activation::relu(x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LayerKind;
    use crate::net::layers::testing::{assert_agrees, assert_computes};

    #[test]
    fn agrees_with_burn() {
        assert_agrees(LayerKind::Relu, &[[2, 3, 5, 7]]);
        assert_agrees(LayerKind::Relu6, &[[2, 3, 5, 7]]);
        assert_computes(&Relu { ceiling: 0.5 }, LayerKind::Relu6, &[[2, 3, 5, 7]]);
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        assert!(clip(f32::NAN, 6.0).is_nan());
        assert_eq!([-1.0, 2.0, 7.0].map(|v| clip(v, 6.0)), [0.0, 2.0, 6.0]);
    }
}
