//! Early ends of trials: asynchronous successive halving, and Hyperband, which is several of it side by side.
//!
//! A trial trains by its whole recipe, learning-rate schedule included, and is compared at *rungs*: after `min-epochs` epochs, `factor`
//! times as many, and so on. It goes on as long as it is among the best of one in `factor` trials that reached that rung before it or with
//! it (the stopping variant of ASHA, Li et al., 2020, <https://arxiv.org/abs/1810.05934>). Nobody waits for others.
//!
//! Early accuracies may mislead, most of all at high learning rates. So Hyperband (Li et al., 2018,
//! <https://arxiv.org/abs/1603.06560>) puts trials into *brackets*: the first rung of each lies `factor` times as late as that of the one before, and
//! the last has none. Trials are compared within their bracket. One that would begin with `n = ceil((s + 1) / (r + 1) * factor^r)` trials, where `r`
//! counts its rungs and `s` those of the first bracket, gets trials in that proportion.

use super::study::{Halving, HalvingMethod};
use super::trials::{Rung, Trial};

/// How many brackets there are for trainings of `epochs` epochs.
fn brackets(halving: &Halving, epochs: u32) -> u32 {
    match halving.method {
        HalvingMethod::SuccessiveHalving => 1,
        HalvingMethod::Hyperband => {
            let first =
                |bracket: u32| halving.factor.checked_pow(bracket).and_then(|by| by.checked_mul(halving.min_epochs));
            (0..).take_while(|&bracket| first(bracket).is_some_and(|first| first <= epochs)).count() as u32
        }
    }
}

/// After how many epochs trials of `bracket` are compared, ascending, before the last of `epochs`.
pub fn rungs(halving: &Halving, bracket: u32, epochs: u32) -> Vec<u32> {
    let first = halving.factor.checked_pow(bracket).and_then(|by| by.checked_mul(halving.min_epochs));
    std::iter::successors(first, |rung| rung.checked_mul(halving.factor)).take_while(|rung| *rung < epochs).collect()
}

/// The bracket of the trial that begins after `before` others, in trainings of `epochs` epochs: that which lacks most of its share.
pub fn bracket(halving: &Halving, epochs: u32, before: usize) -> u32 {
    let count = brackets(halving, epochs);
    let most = f64::from(count - 1);
    let size = |bracket: u32| {
        let rungs = most - f64::from(bracket);
        ((most + 1.0) / (rungs + 1.0) * f64::from(halving.factor).powf(rungs)).ceil()
    };
    let sizes: Vec<f64> = (0..count).map(size).collect();
    let all: f64 = sizes.iter().sum();
    let mut given = vec![0.0; sizes.len()];
    let mut chosen = 0;
    for number in 0..=before {
        let lacks = |bracket: usize| (number + 1) as f64 * sizes[bracket] / all - given[bracket];
        // Of equals the first.
        chosen = (0..sizes.len()).rev().max_by(|&a, &b| lacks(a).total_cmp(&lacks(b))).unwrap_or_default();
        given[chosen] += 1.0;
    }
    chosen as u32
}

/// Whether `trial`, with this accuracy after `epoch` epochs, goes on, among all `trials` of its study.
pub fn goes_on(halving: &Halving, trials: &[Trial], trial: &Trial, epoch: u32, accuracy: f64) -> bool {
    let reached = |other: &Trial| {
        let rung: Option<&Rung> = other.rungs.iter().find(|rung| rung.epoch == epoch);
        rung.filter(|_| other.bracket == trial.bracket && other.number != trial.number).map(|rung| rung.accuracy)
    };
    let others: Vec<f64> = trials.iter().filter_map(reached).collect();
    let go_on = ((others.len() + 1) / halving.factor as usize).max(1);
    others.iter().filter(|other| **other > accuracy).count() < go_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::trials::State;
    use crate::sweep::trials::tests::trial;

    const HYPERBAND: Halving = Halving { method: HalvingMethod::Hyperband, factor: 3, min_epochs: 1 };
    const ONE: Halving = Halving { method: HalvingMethod::SuccessiveHalving, ..HYPERBAND };

    #[test]
    fn rungs_lie_as_the_papers_have_them() {
        assert_eq!(rungs(&ONE, 0, 81), [1, 3, 9, 27]);
        assert_eq!((brackets(&ONE, 81), brackets(&HYPERBAND, 81)), (1, 5));
        // Table 1 of Hyperband's paper: in the last bracket every configuration gets all.
        assert_eq!((1..5).map(|bracket| rungs(&HYPERBAND, bracket, 81).len()).collect::<Vec<_>>(), [3, 2, 1, 0]);
        let late = Halving { min_epochs: 4, ..ONE };
        assert_eq!(rungs(&late, 0, 20), [4, 12]);
        assert_eq!(brackets(&Halving { min_epochs: u32::MAX / 2, ..HYPERBAND }, u32::MAX), 1);
    }

    #[test]
    fn brackets_get_trials_in_the_proportion_of_hyperband() {
        let counts = |trials: usize| {
            let mut counts = [0; 5];
            (0..trials).for_each(|before| counts[bracket(&HYPERBAND, 81, before) as usize] += 1);
            counts
        };
        // n of the paper's table, but for the ceilings: 81, 34, 15, 8, 5.
        assert_eq!(counts(143), [81, 34, 15, 8, 5]);
        // A short study tries several.
        assert!(counts(12).iter().filter(|count| **count > 0).count() >= 3, "{:?}", counts(12));
        assert!((0..20).all(|before| bracket(&ONE, 81, before) == 0));
    }

    #[test]
    fn one_in_three_goes_on() {
        let reached = |number: u32, accuracy: f64, bracket: u32| {
            let rungs = vec![Rung { epoch: 3, accuracy, goes_on: true }];
            Trial { rungs, bracket, ..trial(number, &[], State::Open) }
        };
        let mut trials: Vec<Trial> = (0..5).map(|i| reached(i, 0.1 * f64::from(i), 0)).collect();
        let new = trial(9, &[], State::Open);
        let judge = |trials: &[Trial], accuracy: f64| goes_on(&ONE, trials, &new, 3, accuracy);
        assert!(judge(&[], 0.0), "the first of all");
        assert!(!judge(&trials[..2], 0.05) && judge(&trials[..2], 0.1), "of three the best, or one that is as good");
        assert!(!judge(&trials, 0.25) && judge(&trials, 0.35), "of six the second best");
        // Others than those of the same rung and bracket do not count.
        trials.iter_mut().for_each(|trial| trial.bracket = 1);
        assert!(judge(&trials, 0.0));
        assert!(goes_on(&ONE, &[reached(0, 0.9, 0)], &new, 9, 0.0));
    }
}
