//! Chooses the next point: a function of the study and of what its journal says, and of nothing else.
//!
//! The algorithms are those of the crate `optimizer`; its own studies, which live in one process, and its journal are not used. Each
//! proposal builds a sampler anew, with a seed of its own that follows from the study's, the trial's number and the key, and shows it the
//! trials so far. So any worker proposes what any other one would, and the same journal always leads to the same point.
//!
//! | sampler | trials are shown as |
//! |---|---|
//! | `tpe`, one objective | one value each, key by key, since it tells keys by their ranges; see `badness` |
//! | `tpe`, several | values and constraints, key by key; the front is what is good |
//! | `nsga2` | the best so far by fronts and crowding distances, one population, from which it makes one child |

use super::space::{Dimension, Point, Space};
use super::study::{Objective, Plan, SamplerKind};
use super::trials::{State, Trial};
use crate::random::{Purpose, stream};
use anyhow::{Context, Result};
use optimizer::distribution::{CategoricalDistribution, Distribution, FloatDistribution, IntDistribution};
use optimizer::multi_objective::{MultiObjectiveSampler, MultiObjectiveTrial};
use optimizer::param::ParamValue;
use optimizer::parameter::ParamId;
use optimizer::pareto::{crowding_distance, non_dominated_sort};
use optimizer::sampler::motpe::MotpeSampler;
use optimizer::sampler::nsga2::Nsga2Sampler;
use optimizer::sampler::tpe::TpeSampler;
use optimizer::sampler::{CompletedTrial, RandomSampler, Sampler};
use optimizer::{Direction, TrialState};
use rand::Rng;
use std::collections::{HashMap, HashSet};

/// How often a point is drawn anew that was tried before: by the sampler, then at random.
const ATTEMPTS: [u64; 2] = [16, 48];
/// Points of a space that are gone through one by one when drawing finds no new one.
const COUNTABLE: u64 = 100_000;
/// Trials with an accuracy from which on TPE learns, and rejected points from which on it learns what fits, where less are trained.
const STARTUP: usize = 6;
const MANY_REJECTED: usize = 40;
/// Fewest trials that TPE takes for good: one alone would be tried again and again.
const FEWEST_GOOD: usize = 3;
/// Trials of a population of NSGA-II.
const POPULATION: usize = 12;

/// The next point of `plan` after `trials`; nothing where all were tried.
///
/// # Errors
/// The trials are not of this study.
pub fn propose(plan: &Plan, trials: &[Trial]) -> Result<Option<Point>> {
    let space = &plan.space;
    if plan.study.sampler == SamplerKind::Grid {
        return Ok(space.numbered(trials.len() as u64));
    }
    let tried: HashSet<&[String]> = trials.iter().map(|trial| trial.set.as_slice()).collect();
    if space.size().is_some_and(|size| tried.len() as u64 >= size) {
        return Ok(None);
    }
    let history = History::new(plan, trials)?;
    let is_new = |point: &Point| !tried.contains(space.texts(point).as_slice());
    let mut draws = (0..ATTEMPTS[0] + ATTEMPTS[1]).map(|attempt| {
        let seeds = Seeds { seed: plan.study.seed, number: trials.len() as u64, attempt };
        if attempt < ATTEMPTS[0] { history.draw(plan.study.sampler, seeds) } else { history.random(seeds) }
    });
    if let Some(point) = draws.find(is_new) {
        return Ok(Some(point));
    }
    let all = space.size().filter(|size| *size <= COUNTABLE).unwrap_or_default();
    let mut left = (0..all).filter_map(|number| space.numbered(number)).filter(is_new);
    Ok(left
        .next()
        .or_else(|| Some(history.random(Seeds { seed: plan.study.seed, number: trials.len() as u64, attempt: 0 }))))
}

/// Where the random numbers of a proposal come from.
#[derive(Clone, Copy)]
struct Seeds {
    seed: u64,
    number: u64,
    attempt: u64,
}

impl Seeds {
    /// A seed for the key with this number.
    fn of(self, key: usize) -> u64 {
        // Below 2^56, and no two alike: there are fewer attempts than 2^8 and keys than 2^16.
        stream(self.seed, Purpose::Search, (self.number << 24) | (self.attempt << 16) | key as u64).next_u64()
    }
}

/// What samplers are shown.
struct History<'a> {
    space: &'a Space,
    objectives: &'a [Objective],
    points: Vec<Point>,
    trials: &'a [Trial],
    distributions: Vec<Distribution>,
    ids: Vec<ParamId>,
}

impl<'a> History<'a> {
    fn new(plan: &'a Plan, trials: &'a [Trial]) -> Result<Self> {
        let point = |trial: &Trial| {
            plan.space
                .point(&trial.set)
                .with_context(|| format!("trial {} of the journal is of another study", trial.number))
        };
        let distribution = |dimension: Dimension| match dimension {
            Dimension::Choice(n_choices) => Distribution::Categorical(CategoricalDistribution { n_choices }),
            Dimension::Grid(count) => {
                Distribution::Int(IntDistribution { low: 0, high: count - 1, log_scale: false, step: None })
            }
            Dimension::Real(low, high) => {
                Distribution::Float(FloatDistribution { low, high, log_scale: false, step: None })
            }
        };
        Ok(Self {
            space: &plan.space,
            objectives: &plan.study.objectives,
            points: trials.iter().map(point).collect::<Result<_>>()?,
            trials,
            distributions: plan.space.keys().iter().map(|key| distribution(key.range.dimension())).collect(),
            ids: plan.space.keys().iter().map(|_| ParamId::new()).collect(),
        })
    }

    fn draw(&self, sampler: SamplerKind, seeds: Seeds) -> Point {
        match sampler {
            SamplerKind::Grid | SamplerKind::Random => self.random(seeds),
            SamplerKind::Tpe if self.objectives.len() == 1 => self.tpe(seeds),
            SamplerKind::Tpe => self.multi_objective_tpe(seeds),
            SamplerKind::Nsga2 => self.nsga2(seeds),
        }
    }

    /// A coordinate for each key by `sample`, which is given its number.
    fn each(&self, sample: impl Fn(usize) -> ParamValue) -> Point {
        (0..self.space.keys().len()).map(|key| coordinate(sample(key))).collect()
    }

    fn random(&self, seeds: Seeds) -> Point {
        self.each(|key| RandomSampler::with_seed(seeds.of(key)).sample(&self.distributions[key], seeds.number, &[]))
    }

    fn tpe(&self, seeds: Seeds) -> Point {
        let Some(gamma) = gamma(self.trials) else { return self.random(seeds) };
        let badness = badness(self.trials);
        self.each(|key| {
            let trial = |((point, badness), id): ((&Point, &f64), u64)| {
                let (params, distributions) = self.one(key, point);
                CompletedTrial::new(id, params, distributions, HashMap::new(), *badness)
            };
            let history: Vec<_> = self.points.iter().zip(&badness).zip(0..).map(trial).collect();
            let builder = TpeSampler::builder().n_startup_trials(0).gamma(gamma).seed(seeds.of(key));
            match builder.build() {
                Ok(sampler) => sampler.sample(&self.distributions[key], seeds.number, &history),
                Err(_) => unreachable!("no setting is out of its range"),
            }
        })
    }

    fn multi_objective_tpe(&self, seeds: Seeds) -> Point {
        let told = self.told();
        self.each(|key| {
            let sampler = MotpeSampler::builder().n_startup_trials(2 * STARTUP).seed(seeds.of(key)).build();
            let trial = |(id, told): (u64, &Told)| told.trial(id, self.one(key, &self.points[told.number]));
            let history: Vec<_> = (0..).zip(&told).map(trial).collect();
            sampler.sample(&self.distributions[key], seeds.number, &history, &self.directions())
        })
    }

    fn nsga2(&self, seeds: Seeds) -> Point {
        let population = self.population();
        if population.len() < POPULATION {
            return self.random(seeds);
        }
        let sampler = Nsga2Sampler::builder().population_size(POPULATION).seed(seeds.of(0)).build();
        let draw = |id: u64, history: &[MultiObjectiveTrial]| {
            let sample = |key: usize| sampler.sample(&self.distributions[key], id, history, &self.directions());
            (0..self.distributions.len()).map(sample).collect::<Vec<_>>()
        };
        // Its first trial tells it the keys, and as many as a population its first, random generation: what follows comes from
        // the trials that it is then shown as that generation.
        for id in 0..=POPULATION as u64 {
            draw(id, &[]);
        }
        let parent = |(id, told): (u64, &Told)| {
            let all = |key: usize| self.one(key, &self.points[told.number]);
            let (mut params, mut distributions) = (HashMap::new(), HashMap::new());
            for (param, distribution) in (0..self.distributions.len()).map(all) {
                params.extend(param);
                distributions.extend(distribution);
            }
            told.trial(id, (params, distributions))
        };
        let parents: Vec<_> = (1..).zip(&population).map(parent).collect();
        draw(1 + POPULATION as u64, &parents).into_iter().map(coordinate).collect()
    }

    /// The trials that NSGA-II keeps: the best by fronts, of the last front those that lie farthest from others.
    fn population(&self) -> Vec<Told> {
        let (fit, mut unfit): (Vec<Told>, Vec<Told>) = self.told().into_iter().partition(|told| told.violation == 0.0);
        unfit.sort_by(|a, b| a.violation.total_cmp(&b.violation));
        let values: Vec<Vec<f64>> = fit.iter().map(|told| told.values.clone()).collect();
        let mut kept = Vec::new();
        for front in non_dominated_sort(&values, &self.directions()) {
            let of_front: Vec<Vec<f64>> = front.iter().map(|&i| values[i].clone()).collect();
            let distances = crowding_distance(&of_front, &self.directions());
            let mut order: Vec<usize> = (0..front.len()).collect();
            order.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]).then(front[a].cmp(&front[b])));
            kept.extend(order.into_iter().map(|i| fit[front[i]].clone()));
        }
        kept.extend(unfit);
        kept.truncate(POPULATION);
        kept
    }

    /// The trials whose end says something.
    fn told(&self) -> Vec<Told> {
        let told = |(number, trial): (usize, &Trial)| {
            let (values, violation) = match &trial.state {
                State::Open => return None,
                State::Rejected { violation, .. } => (None, *violation),
                State::Failed { .. } => (None, FAILED),
                State::Stopped { .. } | State::Finished { .. } => (Some(trial.values(self.objectives)?), 0.0),
            };
            let values = values.unwrap_or_else(|| vec![0.0; self.objectives.len()]);
            Some(Told { number, values, violation })
        };
        self.trials.iter().enumerate().filter_map(told).collect()
    }

    /// One coordinate of `point`, as the crate has it.
    fn one(&self, key: usize, point: &Point) -> (HashMap<ParamId, ParamValue>, HashMap<ParamId, Distribution>) {
        let value = match self.distributions[key] {
            Distribution::Categorical(_) => ParamValue::Categorical(point[key] as usize),
            Distribution::Int(_) => ParamValue::Int(point[key] as i64),
            Distribution::Float(_) => ParamValue::Float(point[key]),
        };
        let (id, distribution) = (self.ids[key], self.distributions[key].clone());
        (HashMap::from([(id, value)]), HashMap::from([(id, distribution)]))
    }

    fn directions(&self) -> Vec<Direction> {
        let direction = |objective: &Objective| match objective {
            Objective::Accuracy => Direction::Maximize,
            _ => Direction::Minimize,
        };
        self.objectives.iter().map(direction).collect()
    }
}

/// A trial that has ended.
#[derive(Clone, Debug)]
struct Told {
    number: usize,
    values: Vec<f64>,
    /// Above 0 where it did not fit or has no result.
    violation: f64,
}

impl Told {
    fn trial(
        &self,
        id: u64,
        (params, distributions): (HashMap<ParamId, ParamValue>, HashMap<ParamId, Distribution>),
    ) -> MultiObjectiveTrial {
        MultiObjectiveTrial {
            id,
            params,
            distributions,
            param_labels: HashMap::new(),
            values: self.values.clone(),
            state: TrialState::Complete,
            user_attrs: HashMap::new(),
            constraints: vec![self.violation],
        }
    }
}

/// The part of all trials that TPE takes for good: the best quarter of those with an accuracy, however many were rejected, beside which every
/// trained one would look good. Nothing as long as there is too little to learn from.
fn gamma(trials: &[Trial]) -> Option<f64> {
    let known = trials.iter().filter(|trial| trial.accuracy().is_some()).count();
    let rejected = trials.iter().filter(|trial| trial.is_rejected()).count();
    let good = match known {
        STARTUP.. => known.div_ceil(4).max(FEWEST_GOOD),
        _ if rejected >= MANY_REJECTED => trials.len().div_ceil(4),
        _ => return None,
    };
    // Of which so many are the ceiling.
    Some((good as f64 - 0.5) / trials.len() as f64)
}

/// What a trial without a result violates, in the unit of [`Excess::violation`](super::budget::Excess): as if it needed three times as
/// much as there is.
const FAILED: f64 = 1.1;

/// How bad each trial is, for a sampler that knows one objective: any fit one is better than any that has no result, and that than one that
/// does not fit, by how far. One that another worker trains is taken for as bad as the worst so far, so that nobody goes to the same place
/// (*constant liar*, Ginsbourger et al., 2010).
fn badness(trials: &[Trial]) -> Vec<f64> {
    let known = |trial: &Trial| trial.accuracy().map(|accuracy| 1.0 - accuracy);
    let worst = trials.iter().filter_map(known).fold(0.0, f64::max);
    let of = |trial: &Trial| match &trial.state {
        State::Open => worst,
        State::Failed { .. } => 2.0,
        State::Rejected { violation, .. } => 3.0 + violation,
        State::Stopped { accuracy, .. } | State::Finished { accuracy, .. } => 1.0 - accuracy,
    };
    trials.iter().map(of).collect()
}

fn coordinate(value: ParamValue) -> f64 {
    match value {
        ParamValue::Float(value) => value,
        ParamValue::Int(value) => value as f64,
        ParamValue::Categorical(value) => value as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::sweep::journal::Cost;
    use crate::sweep::trials::tests::{finished, trial};

    fn plan(head: &str, search: &str) -> Plan {
        Plan::new(toml::from_str(&format!("trials = 999\n{head}\n[search]\n{search}")).unwrap(), Recipe::default())
            .unwrap()
    }

    /// Two real keys with the same range, one of choices, one of steps.
    const SEARCH: &str = "'augment.mixup' = { from = 0.0, to = 1.0 }\n'augment.cutmix' = { from = 0.0, to = 1.0 }\n\
                          'train.opt' = ['sgd', 'adam']\n'net.dense' = { from = 0, to = 256, step = 8 }";

    /// Goes through a study whose trials end as `judge` says of their coordinates, in the order of the names of [`SEARCH`]'s keys.
    fn run(plan: &Plan, trials: usize, judge: impl Fn(&[f64]) -> (State, Option<Cost>)) -> Vec<Trial> {
        let mut done = Vec::new();
        for number in 0..trials {
            let Some(point) = propose(plan, &done).unwrap() else { break };
            let (state, cost) = judge(&point);
            let set = plan.space.texts(&point);
            done.push(Trial { cost, set, ..trial(number as u32, &[], state) });
        }
        done
    }

    /// How far a point is from the middle of the good ones, in `[0, 1]`.
    fn distance(point: &[f64]) -> f64 {
        let parts = [point[0] - 0.9, point[1] - 0.1, 0.5 * (1.0 - point[3]), (point[2] - 8.0) / 32.0];
        (parts.iter().map(|x| x * x).sum::<f64>() / 3.0).sqrt()
    }

    fn accuracies(trials: &[Trial]) -> Vec<f64> {
        trials.iter().filter_map(Trial::accuracy).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_same_study_is_proposed_twice_and_another_seed_is_another() {
        for sampler in ["random", "tpe", "nsga2"] {
            for objectives in ["['accuracy']", "['accuracy', 'flash']"] {
                let head = |seed: u32| format!("sampler = '{sampler}'\nseed = {seed}\nobjectives = {objectives}");
                let judge = |point: &[f64]| {
                    let cost = Cost { flash_bytes: 100 + point[2] as u64, ram_bytes: 1, macs: 1, instructions: 1 };
                    (finished(1.0 - distance(point)), Some(cost))
                };
                let of = |seed| run(&plan(&head(seed), SEARCH), 30, judge);
                let first = of(1);
                assert_eq!((first.len(), &first), (30, &of(1)), "{sampler}");
                assert!(first.iter().zip(&of(2)).all(|(a, b)| a.set != b.set), "{sampler}");
            }
        }
    }

    #[test]
    fn samplers_that_learn_find_better_points_than_chance() {
        let judge = |point: &[f64]| (finished(1.0 - distance(point)), None);
        let late = |sampler: &str| {
            let of = |seed: u32| {
                let trials = run(&plan(&format!("sampler = '{sampler}'\nseed = {seed}"), SEARCH), 60, judge);
                mean(&accuracies(&trials)[40..])
            };
            mean(&(0..5).map(of).collect::<Vec<_>>())
        };
        let (random, tpe, nsga2) = (late("random"), late("tpe"), late("nsga2"));
        assert!(tpe > random + 0.1 && nsga2 > random + 0.1, "random {random}, tpe {tpe}, nsga2 {nsga2}");
    }

    #[test]
    fn what_does_not_fit_is_learned_from() {
        // Three quarters of the space do not fit, and the best lies at the edge.
        let judge = |point: &[f64]| {
            let excess = point[0] + point[1] - 0.7;
            let why = String::new();
            (if excess > 0.0 { State::Rejected { why, violation: excess } } else { finished(point[0]) }, None)
        };
        let rejected = |sampler: &str| {
            let of = |seed: u32| {
                let trials = run(&plan(&format!("sampler = '{sampler}'\nseed = {seed}"), SEARCH), 60, judge);
                trials[30..].iter().filter(|trial| trial.is_rejected()).count()
            };
            (0..5).map(of).sum::<usize>()
        };
        let (random, tpe, nsga2) = (rejected("random"), rejected("tpe"), rejected("nsga2"));
        assert!(2 * tpe < random && 2 * nsga2 < random, "rejected: random {random}, tpe {tpe}, nsga2 {nsga2}");
    }

    #[test]
    fn beside_many_that_do_not_fit_bad_trials_are_still_bad() {
        let judge = |point: &[f64]| {
            let why = String::new();
            let rejected = State::Rejected { why, violation: 1.0 + point[2] };
            (if point[2] > 8.0 { rejected } else { finished(1.0 - (point[0] - 0.2).abs()) }, None)
        };
        let late = |sampler: &str| {
            let of = |seed: u32| {
                let trials = run(&plan(&format!("sampler = '{sampler}'\nseed = {seed}"), SEARCH), 80, judge);
                mean(&accuracies(&trials[50..]))
            };
            mean(&(0..5).map(of).collect::<Vec<_>>())
        };
        let (random, tpe) = (late("random"), late("tpe"));
        assert!(tpe > random + 0.08, "random {random}, tpe {tpe}");
    }

    #[test]
    fn a_quarter_of_what_was_trained_is_good() {
        let trials = |known: usize, rejected: usize| {
            let one = |state: &State| trial(0, &[], state.clone());
            let state = State::Rejected { why: String::new(), violation: 1.0 };
            let known = std::iter::repeat_with(|| one(&finished(0.5))).take(known);
            known.chain(std::iter::repeat_with(|| one(&state)).take(rejected)).collect::<Vec<_>>()
        };
        for (known, rejected, good) in
            [(5, 39, None), (5, 40, Some(12)), (6, 0, Some(3)), (6, 99, Some(3)), (20, 80, Some(5))]
        {
            let all = trials(known, rejected);
            let found = gamma(&all).map(|gamma| (gamma * all.len() as f64).ceil() as usize);
            assert_eq!(found, good, "{known} and {rejected}");
        }
    }

    #[test]
    fn several_objectives_lead_to_a_front() {
        let judge = |point: &[f64]| {
            // The more flash, the better; and a third key that spoils both.
            let (dense, spoilt) = (point[2] / 32.0, point[0]);
            let flash_bytes = (1000.0 * (dense + spoilt)) as u64;
            let cost = Cost { flash_bytes, ram_bytes: 1, macs: 1, instructions: 1 };
            (finished((dense * (1.0 - spoilt)).clamp(0.0, 1.0)), Some(cost))
        };
        for sampler in ["tpe", "nsga2"] {
            let head = format!("sampler = '{sampler}'\nobjectives = ['accuracy', 'flash']");
            let trials = run(&plan(&head, SEARCH), 80, judge);
            let spoilt = |trials: &[Trial]| {
                let space = plan(&head, SEARCH).space;
                mean(&trials.iter().map(|trial| space.point(&trial.set).unwrap()[0]).collect::<Vec<_>>())
            };
            assert!(spoilt(&trials[50..]) < 0.3, "{sampler}: {}", spoilt(&trials[50..]));
        }
    }

    #[test]
    fn small_spaces_are_gone_through_without_doubles_and_end() {
        for sampler in ["grid", "random", "tpe", "nsga2"] {
            let plan = plan(
                &format!("sampler = '{sampler}'"),
                "model = ['cnn', 'linear']\n'train.epochs' = { from = 1, to = 9 }",
            );
            let trials = run(&plan, 99, |point| (finished(0.1 * point[1]), None));
            let different: HashSet<&[String]> = trials.iter().map(|trial| trial.set.as_slice()).collect();
            assert_eq!((trials.len(), different.len()), (18, 18), "{sampler}");
        }
    }

    #[test]
    fn running_and_failed_trials_rank_between_bad_ones_and_those_that_do_not_fit() {
        let states = [
            finished(0.9),
            State::Open,
            finished(0.2),
            State::Failed { why: String::new() },
            State::Rejected { why: String::new(), violation: 0.5 },
            State::Stopped { epoch: 1, accuracy: 0.5 },
        ];
        let trials = states.map(|state| trial(0, &[], state));
        let found = badness(&trials);
        let expected = [0.1, 0.8, 0.8, 2.0, 3.5, 0.5];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }
}
