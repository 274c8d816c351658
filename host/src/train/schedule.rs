//! The learning rate over a run.

use crate::recipe::TrainRecipe;
use std::f64::consts::PI;

/// Learning rate of step `step` (from 0) of the whole run: a straight line up to the recipe's over the warm-up, then
/// half a cosine that would reach 0 one step after the last (<https://arxiv.org/abs/1608.03983>, without restarts).
pub fn learning_rate(recipe: &TrainRecipe, step: u64, steps_per_epoch: usize) -> f64 {
    let steps = |epochs: f64| epochs * steps_per_epoch as f64;
    let (warmup, all) = (steps(recipe.warmup_epochs), steps(recipe.epochs.into()));
    let step = step as f64;
    if step < warmup {
        return recipe.lr * (step + 1.0) / (warmup + 1.0);
    }
    recipe.lr * 0.5 * (1.0 + (PI * (step - warmup) / (all - warmup)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_then_falls_to_zero() {
        let recipe = TrainRecipe { epochs: 10, lr: 0.1, warmup_epochs: 2.0, ..TrainRecipe::default() };
        let rate = |step| learning_rate(&recipe, step, 100);
        assert!((rate(0) - 0.1 / 201.0).abs() < 1e-12);
        assert!((rate(99) - 0.1 * 100.0 / 201.0).abs() < 1e-12);
        assert_eq!(rate(200), 0.1);
        assert!((rate(600) - 0.05).abs() < 1e-12, "half way down");
        assert!(rate(999) > 0.0 && rate(999) < 1e-6);
        assert!((200..999).all(|step| rate(step) > rate(step + 1)));
    }

    #[test]
    fn warm_up_may_be_none_or_all() {
        let recipe = TrainRecipe { epochs: 1, lr: 0.1, warmup_epochs: 0.0, ..TrainRecipe::default() };
        assert_eq!(learning_rate(&recipe, 0, 4), 0.1);
        let recipe = TrainRecipe { warmup_epochs: 1.0, ..recipe };
        assert!((learning_rate(&recipe, 3, 4) - 0.1 * 4.0 / 5.0).abs() < 1e-12);
    }
}
