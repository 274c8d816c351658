//! Smooth activation functions.

use crate::net::Function;
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::simd::vectorized;
use burn::tensor::{Tensor, activation};

impl Compute for Function {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, training: Option<&mut Training>) -> (Map, Back) {
        let (x, function) = (only(inputs), *self);
        let dims = x.dims;
        let kept = training.is_some().then(|| x.clone());
        let mut y = x.into_buffer();
        apply(&mut y, function);
        let back: Back = Box::new(move |dy, _, _| {
            let x = kept.expect("only what is trained goes back");
            let mut dx = dy.into_buffer();
            multiply_by_slopes(&mut dx, &x.values, function);
            vec![Some(Map::new(dims, dx))]
        });
        (Map::new(dims, y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        by_burn(*self, only(inputs))
    }
}

fn by_burn(function: Function, x: Tensor<4>) -> Tensor<4> {
    match function {
        Function::Sigmoid => activation::sigmoid(x),
        Function::Silu => x.clone() * activation::sigmoid(x),
        Function::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Function::HardSwish => x.clone() * by_burn(Function::HardSigmoid, x),
    }
}

vectorized! {
    fn apply(values: &mut [f32], function: Function) {
        let values = values.iter_mut();
        match function {
            Function::Sigmoid => values.for_each(|v| *v = sigmoid(*v)),
            Function::Silu => values.for_each(|v| *v *= sigmoid(*v)),
            Function::HardSigmoid => values.for_each(|v| *v = (*v / 6.0 + 0.5).clamp(0.0, 1.0)),
            Function::HardSwish => values.for_each(|v| *v *= (*v / 6.0 + 0.5).clamp(0.0, 1.0)),
        }
    }

    /// Multiplies gradients with the function's slopes at `x`.
    fn multiply_by_slopes(dy: &mut [f32], x: &[f32], function: Function) {
        let pairs = dy.iter_mut().zip(x);
        match function {
            Function::Sigmoid => pairs.for_each(|(d, &x)| {
                let y = sigmoid(x);
                *d *= y * (1.0 - y);
            }),
            Function::Silu => pairs.for_each(|(d, &x)| {
                let gate = sigmoid(x);
                *d *= gate + x * gate * (1.0 - gate);
            }),
            Function::HardSigmoid => pairs.for_each(|(d, &x)| *d *= if x.abs() < 3.0 { 1.0 / 6.0 } else { 0.0 }),
            Function::HardSwish => pairs.for_each(|(d, &x)| {
                let inside = if x >= 3.0 { 1.0 } else { x / 3.0 + 0.5 };
                *d *= if x <= -3.0 { 0.0 } else { inside };
            }),
        }
    }
}

/// `1 / (1 + exp(-x))`, to a few units in the last place.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The exponential function of `x` brought into [-87, 87], without branches or calls, so that a compiler can work on
/// several values at once: `2^n * e^r` with `|r| <= ln(2) / 2` and Cephes' polynomial for `e^r` (`expf.c`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Added and taken away again, it rounds to a whole number, which is in the lowest bits in between.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln(2) in two parts, the first of few bits, so that its product is exact.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * r + coefficient;
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (polynomial * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;

    #[test]
    fn exponential_is_exact_to_a_few_units() {
        for i in -87_000..=87_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is {error} off");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn agrees_with_burn() {
        for function in [Function::Sigmoid, Function::Silu, Function::HardSigmoid, Function::HardSwish] {
            assert_agrees(LayerKind::Function(function), &[[2, 3, 5, 7]]);
        }
    }

    #[test]
    fn functions_have_their_values_and_slopes() {
        for function in [Function::Sigmoid, Function::Silu, Function::HardSigmoid, Function::HardSwish] {
            let inputs: Vec<f32> = (-40..=40).map(|i| i as f32 / 5.0 + 0.05).collect();
            let (mut values, mut slopes) = (inputs.clone(), vec![1.0; inputs.len()]);
            apply(&mut values, function);
            multiply_by_slopes(&mut slopes, &inputs, function);
            for ((&x, y), slope) in inputs.iter().zip(values).zip(slopes) {
                assert!((y - function.eval(x)).abs() < 1e-6, "{function:?}({x}) = {y}");
                let difference = (function.eval(x + 0.01) - function.eval(x - 0.01)) / 0.02;
                assert!((slope - difference).abs() < 1e-3, "{function:?}'({x}) = {slope}, not {difference}");
            }
        }
    }
}
