//! The learning rate over a run.

use crate::checkpoint::EpochRecord;
use crate::recipe::{Recipe, ScheduleKind, TrainRecipe};
use std::f64::consts::PI;

/// What the validation loss must fall below, as a part of the lowest before, to count as lower: PyTorch's threshold.
const PLATEAU: f64 = 1.0 - 1e-4;

/// Learning rate of step `step` (from 0) of the whole run, whose finished epochs are `history`: that of the schedule, and
/// a straight line up to it over the epochs after the network has thawed.
pub fn learning_rate(recipe: &Recipe, step: u64, steps_per_epoch: usize, history: &[EpochRecord]) -> f64 {
    let rate = scheduled(&recipe.train, step, steps_per_epoch, history);
    let transfer = &recipe.transfer;
    let thawed = u64::from(transfer.unfreeze_at.saturating_sub(1)) * steps_per_epoch as u64;
    let warmup = transfer.unfreeze_warmup_epochs * steps_per_epoch as f64;
    match step.checked_sub(thawed) {
        Some(since) if thawed > 0 && (since as f64) < warmup => rate * (since as f64 + 1.0) / (warmup + 1.0),
        _ => rate,
    }
}

/// The schedule's: a straight line up to the recipe's over the warm-up, then
///
/// | | |
/// |---|---|
/// | `constant` | the recipe's |
/// | `step` | times `step-gamma` for every `step-epochs` epochs of the run |
/// | `exponential` | times `gamma` for every epoch of the run |
/// | `cosine` | half a cosine that would reach 0 one step after the last, or after the last before each of the `restarts`, which begins another (<https://arxiv.org/abs/1608.03983>) |
/// | `plateau` | times `plateau-factor` for every plateau so far |
fn scheduled(recipe: &TrainRecipe, step: u64, steps_per_epoch: usize, history: &[EpochRecord]) -> f64 {
    let steps = |epochs: f64| epochs * steps_per_epoch as f64;
    let (warmup, all) = (steps(recipe.warmup_epochs), steps(recipe.epochs.into()));
    let epoch = step / steps_per_epoch as u64;
    let step = step as f64;
    if step < warmup {
        return recipe.lr * (step + 1.0) / (warmup + 1.0);
    }
    recipe.lr
        * match recipe.sched {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Step => recipe.step_gamma.powf((epoch / u64::from(recipe.step_epochs)) as f64),
            ScheduleKind::Exponential => recipe.gamma.powf(epoch as f64),
            ScheduleKind::Cosine => {
                let restarts = recipe.restarts.iter().map(|&epoch| steps(epoch.into()));
                let begin = restarts.clone().rfind(|&at| at <= step).unwrap_or(warmup);
                let end = restarts.clone().find(|&at| at > step).unwrap_or(all);
                0.5 * (1.0 + (PI * (step - begin) / (end - begin)).cos())
            }
            ScheduleKind::Plateau => recipe.plateau_factor.powi(plateaus(recipe.plateau_patience, history)),
        }
}

/// What the rates of dropouts that fade over `epochs` epochs are multiplied by in step `step` (from 0) of the run.
pub fn fade(epochs: u32, step: u64, steps_per_epoch: usize) -> f64 {
    let end = f64::from(epochs) * steps_per_epoch as f64;
    if epochs == 0 { 1.0 } else { (1.0 - step as f64 / end).max(0.0) }
}

/// How often the validation loss has not fallen for more than `patience` epochs, as PyTorch's `ReduceLROnPlateau` counts.
/// It follows from the finished epochs, so that a resumed run needs no more than these.
fn plateaus(patience: u32, history: &[EpochRecord]) -> i32 {
    let (mut lowest, mut bad, mut count) = (f64::INFINITY, 0, 0);
    for record in history {
        if record.val_loss < lowest * PLATEAU {
            (lowest, bad) = (record.val_loss, 0);
        } else {
            bad += 1;
        }
        if bad > patience {
            (count, bad) = (count + 1, 0);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(train: TrainRecipe) -> Recipe {
        Recipe { train, ..Recipe::default() }
    }

    fn rates(train: TrainRecipe, epochs: &[u64]) -> Vec<f64> {
        let recipe = recipe(train);
        epochs.iter().map(|epoch| learning_rate(&recipe, epoch * 10 + 9, 10, &[])).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        let all = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(all, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn warms_up_then_falls_to_zero() {
        let recipe = recipe(TrainRecipe { epochs: 10, lr: 0.1, warmup_epochs: 2.0, ..TrainRecipe::default() });
        let rate = |step| learning_rate(&recipe, step, 100, &[]);
        assert!((rate(0) - 0.1 / 201.0).abs() < 1e-12);
        assert!((rate(99) - 0.1 * 100.0 / 201.0).abs() < 1e-12);
        assert_eq!(rate(200), 0.1);
        assert!((rate(600) - 0.05).abs() < 1e-12, "half way down");
        assert!(rate(999) > 0.0 && rate(999) < 1e-6);
        assert!((200..999).all(|step| rate(step) > rate(step + 1)));
    }

    #[test]
    fn warm_up_may_be_none_or_all() {
        let train = TrainRecipe { epochs: 1, lr: 0.1, warmup_epochs: 0.0, ..TrainRecipe::default() };
        assert_eq!(learning_rate(&recipe(train.clone()), 0, 4, &[]), 0.1);
        let train = TrainRecipe { warmup_epochs: 1.0, ..train };
        assert!((learning_rate(&recipe(train), 3, 4, &[]) - 0.1 * 4.0 / 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_restart_leaves_what_was_before_it_and_goes_down_again() {
        let once = TrainRecipe { epochs: 10, lr: 0.1, warmup_epochs: 2.0, ..TrainRecipe::default() };
        let thrice = TrainRecipe { epochs: 25, restarts: vec![10, 15], ..once.clone() };
        let rate = |recipe: &TrainRecipe, step| scheduled(recipe, step, 100, &[]);
        assert!((0..1000).all(|step| rate(&once, step) == rate(&thrice, step)));
        assert_eq!([1000, 1500].map(|step| rate(&thrice, step)), [0.1, 0.1]);
        close(&[1250, 2000].map(|step| rate(&thrice, step)), &[0.05, 0.05]);
        assert!([1499, 2499].iter().all(|&step| rate(&thrice, step) < 1e-5));
    }

    #[test]
    fn dropout_fades_on_a_line_or_stays() {
        assert_eq!([0, 50, 100, 150].map(|step| fade(10, step, 10)), [1.0, 0.5, 0.0, 0.0]);
        assert_eq!(fade(0, 150, 10), 1.0);
    }

    #[test]
    fn steps_and_powers_count_epochs() {
        let train = TrainRecipe { epochs: 20, lr: 0.8, warmup_epochs: 1.0, ..TrainRecipe::default() };
        let train = |sched| TrainRecipe { sched, step_epochs: 3, step_gamma: 0.5, gamma: 0.9, ..train.clone() };
        let warm = 0.8 * 10.0 / 11.0;
        close(&rates(train(ScheduleKind::Constant), &[0, 1, 19]), &[warm, 0.8, 0.8]);
        close(&rates(train(ScheduleKind::Step), &[0, 2, 3, 5, 6]), &[warm, 0.8, 0.4, 0.4, 0.2]);
        close(&rates(train(ScheduleKind::Exponential), &[0, 1, 2]), &[warm, 0.72, 0.648]);
    }

    #[test]
    fn a_plateau_lowers_the_rate_once_patience_is_at_its_end() {
        let record = |val_loss| EpochRecord {
            epoch: 1,
            train_loss: 0.0,
            train_acc: 0.0,
            val_loss,
            val_acc: 0.0,
            lr: 0.0,
            images_per_s: 0.0,
            seconds: 0.0,
        };
        // 0.99999 is not enough of an improvement on 1.
        let history = [2.0, 1.0, 1.0, 0.99999, 1.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6].map(record);
        let counts: Vec<i32> = (0..=history.len()).map(|n| plateaus(2, &history[..n])).collect();
        assert_eq!(counts, [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3]);
        let train = TrainRecipe {
            sched: ScheduleKind::Plateau,
            plateau_patience: 2,
            plateau_factor: 0.5,
            lr: 0.8,
            warmup_epochs: 0.0,
            ..TrainRecipe::default()
        };
        assert_eq!(learning_rate(&recipe(train), 120, 10, &history), 0.1);
    }

    #[test]
    fn a_thawed_network_warms_up_again() {
        let mut recipe = recipe(TrainRecipe {
            sched: ScheduleKind::Constant,
            lr: 0.1,
            warmup_epochs: 0.0,
            ..TrainRecipe::default()
        });
        recipe.transfer.unfreeze_at = 3;
        let rate = |recipe: &Recipe, step| learning_rate(recipe, step, 10, &[]);
        assert_eq!(rate(&recipe, 20), 0.1);
        recipe.transfer.unfreeze_warmup_epochs = 1.0;
        close(&[19, 20, 29, 30].map(|step| rate(&recipe, step)), &[0.1, 0.1 / 11.0, 0.1 * 10.0 / 11.0, 0.1]);
    }
}
