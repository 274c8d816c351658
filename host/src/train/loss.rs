//! Loss functions.

use crate::recipe::{LossKind, TrainRecipe};
use burn::tensor::{Tensor, TensorData, activation};

/// Sum of the losses of logits against targets, both `(n, classes)` and each target's sum 1, as the recipe has it:
///
/// | | |
/// |---|---|
/// | `cross-entropy` | `-sum_c t_c log p_c` |
/// | `focal` | `-sum_c t_c (1 - p_c)^gamma log p_c` (<https://arxiv.org/abs/1708.02002>, equation 4, for soft targets) |
///
/// where `p` is the softmax of the logits, and the recipe's `smoothing` of each target is spread evenly over all
/// classes.
pub fn loss(logits: &Tensor<2>, targets: &[f32], recipe: &TrainRecipe) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let (floor, rest) = ((recipe.smoothing / classes as f64) as f32, (1.0 - recipe.smoothing) as f32);
    let target: Vec<f32> = targets.iter().map(|target| floor + rest * target).collect();
    let target = TensorData::new(target, [n, classes]);
    let target: Tensor<2> = Tensor::from_data(target, &logits.device().without_autodiff());
    let log_p = activation::log_softmax(logits.clone(), 1);
    let terms = match recipe.loss {
        LossKind::CrossEntropy => log_p * target,
        LossKind::Focal => {
            // A power below 1 has no slope at 0.
            let missing = (log_p.clone().exp().neg() + 1.0).clamp_min(f32::EPSILON);
            missing.powf_scalar(recipe.focal_gamma as f32) * log_p * target
        }
    };
    terms.sum().neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::to_vec;
    use burn::tensor::Device;

    const LOGITS: [[f64; 3]; 2] = [[1.0, 2.0, 0.5], [0.0; 3]];
    const TARGETS: [[f64; 3]; 2] = [[0.0, 1.0, 0.0], [0.75, 0.0, 0.25]];

    fn logits(device: &Device) -> Tensor<2> {
        Tensor::from_data(
            TensorData::new(LOGITS.concat().iter().map(|&x| x as f32).collect::<Vec<_>>(), [2, 3]),
            device,
        )
    }

    fn found(recipe: &TrainRecipe) -> f64 {
        let targets: Vec<f32> = TARGETS.concat().iter().map(|&t| t as f32).collect();
        loss(&logits(&Device::flex()), &targets, recipe).into_scalar::<f32>().into()
    }

    /// The sum over images and classes of `target * weight(p) * -log p`.
    fn expected(smoothing: f64, weight: impl Fn(f64) -> f64) -> f64 {
        let row = |(logits, targets): (&[f64; 3], &[f64; 3])| {
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            let term = |(x, t): (&f64, &f64)| {
                let p = x.exp() / sum;
                ((1.0 - smoothing) * t + smoothing / 3.0) * weight(p) * -p.ln()
            };
            logits.iter().zip(targets).map(term).sum::<f64>()
        };
        LOGITS.iter().zip(&TARGETS).map(row).sum()
    }

    #[test]
    fn by_hand() {
        let recipe = TrainRecipe { smoothing: 0.1, ..TrainRecipe::default() };
        assert!((found(&recipe) - expected(0.1, |_| 1.0)).abs() < 1e-5);
        for gamma in [0.0, 0.5, 2.0] {
            let recipe = TrainRecipe { loss: LossKind::Focal, focal_gamma: gamma, ..recipe.clone() };
            let expected = expected(0.1, |p: f64| (1.0 - p).powf(gamma));
            assert!((found(&recipe) - expected).abs() < 1e-5, "gamma {gamma}");
        }
    }

    #[test]
    fn the_focal_loss_has_finite_slopes_where_the_network_is_sure() {
        let device = Device::flex().autodiff();
        let sure = TensorData::new(vec![90.0f32, -90.0], [1, 2]);
        let sure: Tensor<2> = Tensor::<2>::from_data(sure, &device).require_grad();
        let recipe = TrainRecipe { loss: LossKind::Focal, focal_gamma: 0.5, ..TrainRecipe::default() };
        let slopes = sure.grad(&loss(&sure, &[1.0, 0.0], &recipe).backward()).expect("it was asked for");
        assert!(to_vec(slopes).iter().all(|slope| slope.is_finite()));
    }
}
