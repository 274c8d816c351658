//! How much each key matters: functional ANOVA by a random forest (Hutter, Hoos and Leyton-Brown, ICML 2014), as the crate `optimizer` has
//! it.

use super::space::Dimension;
use super::study::Plan;
use super::trials::Trial;
use optimizer::distribution::{Distribution, FloatDistribution};
use optimizer::param::ParamValue;
use optimizer::parameter::ParamId;
use optimizer::sampler::CompletedTrial;
use optimizer::storage::MemoryStorage;
use optimizer::{Direction, Study};
use serde::Serialize;
use std::collections::HashMap;

/// Finished trials below which nothing is said.
pub const FEWEST: usize = 8;

/// Parts of the variance of the accuracy that keys explain. Together they are 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Importance {
    /// What each key explains alone, the most important first.
    pub keys: Vec<(String, f64)>,
    /// What two keys explain together, beyond that.
    pub pairs: Vec<(String, String, f64)>,
}

/// What matters among the finished `trials` of `plan`; nothing where they are too few, or all alike.
pub fn importance(plan: &Plan, trials: &[Trial]) -> Option<Importance> {
    let keys = plan.space.keys();
    let ids: Vec<ParamId> = keys.iter().map(|_| ParamId::new()).collect();
    // The forest splits at thresholds: all kinds of keys are numbers to it.
    let any = Distribution::Float(FloatDistribution { low: f64::MIN, high: f64::MAX, log_scale: false, step: None });
    let row = |trial: &Trial| {
        let (accuracy, point) = (trial.accuracy()?, plan.space.point(&trial.set).ok()?);
        let params = ids.iter().zip(&point).map(|(id, at)| (*id, ParamValue::Float(*at))).collect();
        let distributions = ids.iter().map(|id| (*id, any.clone())).collect();
        let labels: HashMap<_, _> = ids.iter().zip(keys).map(|(id, key)| (*id, key.name.clone())).collect();
        Some(CompletedTrial::new(trial.number.into(), params, distributions, labels, accuracy))
    };
    let rows: Vec<_> = trials.iter().filter(|trial| trial.is_finished()).filter_map(row).collect();
    let varies = rows.iter().any(|row| row.value != rows[0].value);
    let moves = keys.iter().any(|key| !matches!(key.range.dimension(), Dimension::Choice(1) | Dimension::Grid(1)));
    if rows.len() < FEWEST || !varies || !moves {
        return None;
    }
    let study =
        Study::<f64>::builder().direction(Direction::Maximize).storage(MemoryStorage::with_trials(rows)).build();
    let found = study.fanova().ok()?;
    let pairs = found.interactions.into_iter().map(|((one, other), part)| (one, other, part)).collect();
    Some(Importance { keys: found.main_effects, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::sweep::sampler::propose;
    use crate::sweep::trials::tests::{finished, trial};

    #[test]
    fn the_key_that_decides_is_the_most_important() {
        let text = "trials = 60\nsampler = 'random'\n[search]\n'train.lr' = { from = 0.01, to = 1.0, log = true }\n\
                    'train.opt' = ['sgd', 'adam']\n'augment.mixup' = { from = 0.0, to = 1.0 }";
        let plan = Plan::new(toml::from_str(text).unwrap(), Recipe::default()).unwrap();
        let mut trials: Vec<Trial> = Vec::new();
        for number in 0..60 {
            let point = propose(&plan, &trials).unwrap().unwrap();
            // train.opt decides, train.lr a little, augment.mixup not at all.
            let accuracy = 0.5 + 0.3 * point[2] + 0.02 * point[1];
            trials.push(Trial { set: plan.space.texts(&point), ..trial(number, &[], finished(accuracy)) });
        }
        let found = importance(&plan, &trials).unwrap();
        assert_eq!((found.keys[0].0.as_str(), found.keys[1].0.as_str()), ("train.opt", "train.lr"));
        assert!(found.keys[0].1 > 0.6 && found.keys[2].1 < 0.1, "{found:?}");
        assert_eq!(importance(&plan, &trials), Some(found), "it is the same every time");
        assert_eq!(importance(&plan, &trials[..FEWEST - 1]), None);
        trials.iter_mut().for_each(|trial| trial.state = finished(0.5));
        assert_eq!(importance(&plan, &trials), None);
    }
}
