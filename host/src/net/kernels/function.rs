//! Smooth activation functions with their slopes.

use super::{Kernel, Map};
use crate::net::Function;
use std::sync::Arc;

impl Kernel {
    /// Applies `function` to every value. Its slope is worked out on the way, so that going back is one product.
    pub fn function(x: Map, function: Function) -> (Self, Map) {
        let mut values = Arc::unwrap_or_clone(x.values);
        let mut slopes = vec![0.0; values.len()];
        let pairs = values.iter_mut().zip(&mut slopes);
        match function {
            Function::Sigmoid => pairs.for_each(|(v, slope)| {
                *v = sigmoid(*v);
                *slope = *v * (1.0 - *v);
            }),
            Function::Silu => pairs.for_each(|(v, slope)| {
                let gate = sigmoid(*v);
                *slope = gate + *v * gate * (1.0 - gate);
                *v *= gate;
            }),
            Function::HardSigmoid => pairs.for_each(|(v, slope)| {
                *slope = if v.abs() < 3.0 { 1.0 / 6.0 } else { 0.0 };
                *v = function.eval(*v);
            }),
            Function::HardSwish => pairs.for_each(|(v, slope)| {
                let x = *v;
                *slope = if x <= -3.0 {
                    0.0
                } else if x >= 3.0 {
                    1.0
                } else {
                    x / 3.0 + 0.5
                };
                *v = function.eval(x);
            }),
        }
        (Self::Function { slopes }, Map::new(x.dims, values))
    }
}

/// `1 / (1 + exp(-x))`, to a few units in the last place.
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The exponential function of `x` brought into [-87, 87], without branches or calls, so that a compiler can work on
/// several values at once: `2^n * e^r` with `|r| <= ln(2) / 2` and Cephes' polynomial for `e^r` (`expf.c`).
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
    fn functions_have_their_values_and_slopes() {
        for function in [Function::Sigmoid, Function::Silu, Function::HardSigmoid, Function::HardSwish] {
            let inputs: Vec<f32> = (-40..=40).map(|i| i as f32 / 5.0 + 0.05).collect();
            let map = Map::new([1, 1, 1, inputs.len()], inputs.clone());
            let (kernel, y) = Kernel::function(map, function);
            let found = kernel.backward(vec![1.0; inputs.len()], &[true]);
            let slopes = found.inputs[0].as_ref().unwrap();
            for ((&x, &y), &slope) in inputs.iter().zip(y.values.iter()).zip(slopes) {
                assert!((y - function.eval(x)).abs() < 1e-6, "{function:?}({x}) = {y}");
                let difference = (function.eval(x + 0.01) - function.eval(x - 0.01)) / 0.02;
                assert!((slope - difference).abs() < 1e-3, "{function:?}'({x}) = {slope}, not {difference}");
            }
        }
    }
}
