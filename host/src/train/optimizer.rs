//! The update rules.

use crate::net::module::Arrays;
use crate::net::{Parameter, Role};
use crate::recipe::{OptimizerKind, TrainRecipe};
use burn::tensor::Tensor;

/// Adam's decay rates and the constant that keeps it from dividing by zero (<https://arxiv.org/abs/1412.6980>).
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// An update rule with what it remembers of each parameter.
#[derive(Clone, Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    momentum: f64,
    weight_decay: f64,
    /// SGD's velocity, or Adam's mean gradient.
    pub first: Arrays,
    /// Adam's mean squared gradient.
    pub second: Arrays,
}

impl Optimizer {
    /// The recipe's rule, with nothing to remember yet.
    pub fn new(recipe: &TrainRecipe) -> Self {
        Self {
            kind: recipe.opt,
            momentum: recipe.momentum,
            weight_decay: recipe.weight_decay,
            first: Arrays::new(),
            second: Arrays::new(),
        }
    }

    /// The parameter's value after step `step` (from 1) of the run, at learning rate `lr`.
    pub fn update(
        &mut self,
        parameter: &Parameter,
        value: Tensor<1>,
        gradient: Tensor<1>,
        lr: f64,
        step: u64,
    ) -> Tensor<1> {
        let decay = if parameter.role == Role::Weight { self.weight_decay } else { 0.0 };
        match self.kind {
            OptimizerKind::Sgd => self.sgd(&parameter.name, value, gradient, lr, decay),
            OptimizerKind::Adam => self.adam(&parameter.name, value, gradient, lr, decay, step),
        }
    }

    /// Nesterov momentum in PyTorch's form: `v = m v + g; w -= lr (g + m v)`, with the decay inside `g`.
    fn sgd(&mut self, name: &str, value: Tensor<1>, gradient: Tensor<1>, lr: f64, decay: f64) -> Tensor<1> {
        let gradient = if decay > 0.0 { gradient + value.clone() * decay } else { gradient };
        let velocity = match self.first.remove(name) {
            Some(velocity) => velocity * self.momentum + gradient.clone(),
            None => gradient.clone(),
        };
        self.first.insert(name.to_owned(), velocity.clone());
        value - (gradient + velocity * self.momentum) * lr
    }

    /// Adam with decoupled decay (<https://arxiv.org/abs/1711.05101>).
    fn adam(&mut self, name: &str, value: Tensor<1>, gradient: Tensor<1>, lr: f64, decay: f64, step: u64) -> Tensor<1> {
        let follow = |old: Option<Tensor<1>>, beta: f64, new: Tensor<1>| match old {
            Some(old) => old * beta + new * (1.0 - beta),
            None => new * (1.0 - beta),
        };
        let mean = follow(self.first.remove(name), BETA1, gradient.clone());
        let square = follow(self.second.remove(name), BETA2, gradient.clone() * gradient);
        self.first.insert(name.to_owned(), mean.clone());
        self.second.insert(name.to_owned(), square.clone());
        let unbiased = |sum: Tensor<1>, beta: f64| sum / (1.0 - beta.powf(step as f64));
        let direction = unbiased(mean, BETA1) / (unbiased(square, BETA2).sqrt() + EPSILON);
        value.clone() - (direction + value * decay) * lr
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::to_vec;
    use burn::tensor::{Device, TensorData};

    /// Values after two steps with the gradients 1 and -2, from 0.5, at the learning rate 0.1.
    fn two_steps(recipe: &TrainRecipe, role: Role) -> f32 {
        let parameter = Parameter { name: "x".into(), shape: vec![1], role };
        let tensor = |x: f32| Tensor::from_data(TensorData::new(vec![x], [1]), &Device::flex());
        let mut optimizer = Optimizer::new(recipe);
        let first = optimizer.update(&parameter, tensor(0.5), tensor(1.0), 0.1, 1);
        to_vec(optimizer.update(&parameter, first, tensor(-2.0), 0.1, 2))[0]
    }

    fn assert_close(found: f32, expected: f64) {
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found}, expected {expected}");
    }

    #[test]
    fn sgd_by_hand() {
        let recipe = TrainRecipe { momentum: 0.9, weight_decay: 0.0, ..TrainRecipe::default() };
        // v = 1, x = 0.5 - 0.1 (1 + 0.9); then v = 0.9 - 2 = -1.1, x = 0.31 - 0.1 (-2 - 0.99).
        assert_close(two_steps(&recipe, Role::Weight), 0.609);
        let recipe = TrainRecipe { weight_decay: 0.1, ..recipe };
        // g = 1.05, x = 0.5 - 0.1 (1.05 + 0.945) = 0.3005; g = -1.96995, v = -1.02495.
        assert_close(two_steps(&recipe, Role::Weight), 0.3005 + 0.1 * (1.96995 + 0.9 * 1.02495));
        assert_close(two_steps(&recipe, Role::Shift), 0.609);
    }

    #[test]
    fn adam_by_hand() {
        let recipe = TrainRecipe { opt: OptimizerKind::Adam, weight_decay: 0.0, ..TrainRecipe::default() };
        // The first step goes 0.1 against the gradient's sign, whatever its size.
        let mean: f64 = (0.9 * 0.1 - 2.0 * 0.1) / (1.0 - 0.81);
        let square: f64 = (0.999 * 0.001 + 4.0 * 0.001) / (1.0 - 0.999f64.powi(2));
        let expected = 0.4 - 0.1 * mean / square.sqrt();
        assert_close(two_steps(&recipe, Role::Weight), expected);
        assert_close(two_steps(&recipe, Role::Scale), expected);
        let recipe = TrainRecipe { weight_decay: 0.5, ..recipe };
        // Decoupled: 0.5 loses 0.1 * 0.5 * 0.5 first, then 0.375 loses 0.1 * 0.5 * 0.375.
        assert_close(two_steps(&recipe, Role::Weight), expected - 0.025 - 0.1 * 0.5 * 0.375);
    }
}
