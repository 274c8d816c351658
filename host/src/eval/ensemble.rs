//! Several models of the same classes as one: their probabilities are averaged, weighted, or read by a linear meta-learner.

use super::stacking::{self, Stack};
use super::view::View;
use super::{Evaluator, Scores};
use crate::data::{Split, names};
use anyhow::{Context, Result, bail, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Probabilities are not taken for smaller, so that their logarithms are finite.
const SMALLEST: f64 = 1e-30;
/// Rounds of expectation-maximization at most.
const MOST_ROUNDS: usize = 10_000;
/// Weights are found where none changes by more.
const SETTLED: f64 = 1e-12;

/// How members are joined.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The mean of their probabilities.
    Mean,
    /// A mean with these weights, which are not negative and sum to 1.
    Weighted(Vec<f64>),
    /// A linear meta-learner on their log-probabilities.
    Stack(Stack),
}

/// One of the models.
pub struct Member {
    /// As reports name it.
    pub name: String,
    /// What computes its scores.
    pub evaluator: Evaluator,
    /// How it takes its images.
    pub view: View,
}

/// Models of the same classes, in the same order, as one.
pub struct Ensemble {
    members: Vec<Member>,
    classes: Vec<String>,
    rule: Rule,
    /// The different views of the members.
    views: Vec<View>,
}

impl Ensemble {
    /// The ensemble of `members`.
    ///
    /// # Errors
    /// There are fewer than two; one of them has other classes than the first, or in another order; or the rule is for other members.
    pub fn new(members: Vec<Member>, rule: Rule) -> Result<Self> {
        ensure!(members.len() > 1, "an ensemble has two members at least");
        let (_, classes) = members[0].evaluator.signature()?;
        for member in &members[1..] {
            let (_, others) = member.evaluator.signature()?;
            check_classes((&members[0].name, &classes), (&member.name, &others))?;
        }
        rule.check(members.len(), classes.len())?;
        let mut views: Vec<View> = Vec::new();
        for member in &members {
            if !views.contains(&member.view) {
                views.push(member.view);
            }
        }
        Ok(Self { members, classes, rule, views })
    }

    /// Its models.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Their classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How they are joined.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The same members, joined by another rule.
    ///
    /// # Errors
    /// The rule is for other members.
    pub fn with_rule(self, rule: Rule) -> Result<Self> {
        rule.check(self.members.len(), self.classes.len())?;
        Ok(Self { rule, ..self })
    }

    /// The different ways in which its members take images.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Log-probabilities of each member, `(n, classes)`, for the same images in each of the [views](Self::views). `done` is called
    /// once per image, from any thread.
    ///
    /// # Errors
    /// There are other numbers of images, or a member fails; names it.
    pub fn log_probabilities(&self, images: &[Split], done: &(dyn Fn() + Sync)) -> Result<Vec<Vec<f64>>> {
        ensure!(
            images.len() == self.views.len() && images.iter().all(|split| split.len() == images[0].len()),
            "the members of the ensemble take images in {} ways, and there are {}",
            self.views.len(),
            images.len()
        );
        let (calls, members) = (AtomicUsize::new(0), self.members.len());
        let tick = || {
            if calls.fetch_add(1, Ordering::Relaxed) % members == members - 1 {
                done();
            }
        };
        let of = |member: &Member| {
            let view = self.views.iter().position(|view| *view == member.view).expect("each view is in the list");
            let scores = member.evaluator.scores(&images[view], &tick).with_context(|| member.name.clone())?;
            Ok(scores.log_probabilities(self.classes.len(), member.evaluator.score_scale()?))
        };
        self.members.iter().map(of).collect()
    }

    /// Log-probabilities of the whole, as scores.
    ///
    /// # Errors
    /// As for [`Ensemble::log_probabilities`].
    pub fn scores(&self, images: &[Split], done: &(dyn Fn() + Sync)) -> Result<Scores> {
        let members = self.log_probabilities(images, done)?;
        Ok(Scores::Float(self.rule.combine_all(&members, self.classes.len()).iter().map(|&x| x as f32).collect()))
    }
}

impl Rule {
    /// As manifests and reports name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Weighted(_) => "weighted",
            Self::Stack(_) => "stack",
        }
    }

    fn check(&self, members: usize, classes: usize) -> Result<()> {
        match self {
            Self::Mean => Ok(()),
            Self::Weighted(weights) => {
                ensure!(weights.len() == members, "{} weights are not those of {members} members", weights.len());
                let sum: f64 = weights.iter().sum();
                let is_mean = weights.iter().all(|&w| w >= 0.0) && (sum - 1.0).abs() < 1e-6;
                ensure!(
                    is_mean,
                    "the weights {weights:?} are not those of a mean: none may be negative, and their sum is 1"
                );
                Ok(())
            }
            Self::Stack(stack) => stack.check(members, classes),
        }
    }

    /// Log-probabilities `(n, classes)` of the whole by those of each member.
    pub fn combine_all(&self, members: &[Vec<f64>], classes: usize) -> Vec<f64> {
        let images = members.first().map_or(0, |member| member.len() / classes);
        let of = |i: usize| {
            let rows: Vec<&[f64]> = members.iter().map(|member| &member[i * classes..][..classes]).collect();
            self.combine(&rows)
        };
        (0..images).flat_map(of).collect()
    }

    /// Log-probabilities `(classes)` of one image by those of each member.
    fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        let mean = |weight: &dyn Fn(usize) -> f64| {
            let of = |class: usize| {
                let p: f64 = members.iter().enumerate().map(|(m, row)| weight(m) * row[class].exp()).sum();
                p.max(SMALLEST).ln()
            };
            (0..members[0].len()).map(of).collect()
        };
        match self {
            Self::Mean => mean(&|_| 1.0 / members.len() as f64),
            Self::Weighted(weights) => mean(&|m| weights[m]),
            Self::Stack(stack) => stack.combine(members),
        }
    }
}

/// Refuses classes that are not the first model's, in its order: scores are joined by position.
///
/// # Errors
/// They are others, or in another order; says which.
pub fn check_classes(first: (&str, &[String]), other: (&str, &[String])) -> Result<()> {
    if names::are_same(first.1, other.1) {
        return Ok(());
    }
    let difference = super::class_difference(first, other);
    let (one, two) = (first.0, other.0);
    ensure!(
        difference.is_empty(),
        "{one} and {two} have different classes: {difference}. Give models of the same classes"
    );
    let at =
        first.1.iter().zip(other.1).position(|(a, b)| names::composed(a) != names::composed(b)).unwrap_or_default();
    bail!(
        "{one} and {two} have the same classes in another order (class {at} is {:?} and {:?}), and scores are joined by \
         position: train both with the same class folders",
        first.1[at],
        other.1[at]
    )
}

/// Weights of a mean, fitted to the members' log-probabilities `(n, classes)`, and what they are worth on images that they were
/// not fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedWeights {
    /// Fitted to all images.
    pub weights: Vec<f64>,
    /// Log-probabilities `(n, classes)` of each image by weights that were fitted without it.
    pub out_of_fold: Vec<f64>,
}

/// The weights with the largest likelihood of the `labels`, `(n)`: those of a mixture, by expectation-maximization from equal ones on,
/// which never goes down and has no other maximum.
///
/// # Errors
/// There are too few images.
pub fn fit_weights(members: &[Vec<f64>], labels: &[u16], classes: usize) -> Result<FittedWeights> {
    let n = labels.len();
    ensure!(n >= stacking::FEWEST, "{n} validation images are too few to fit weights: {} are needed", stacking::FEWEST);
    let likelihood = |i: usize| {
        let at = i * classes + usize::from(labels[i]);
        members.iter().map(|member| member[at].exp().max(SMALLEST)).collect::<Vec<f64>>()
    };
    let all: Vec<Vec<f64>> = (0..n).map(likelihood).collect();
    let mut out_of_fold = vec![0.0; n * classes];
    for fold in 0..stacking::FOLDS {
        let rest: Vec<&Vec<f64>> = (0..n).filter(|i| i % stacking::FOLDS != fold).map(|i| &all[i]).collect();
        let rule = Rule::Weighted(mixture(&rest));
        for i in (fold..n).step_by(stacking::FOLDS) {
            let rows: Vec<&[f64]> = members.iter().map(|member| &member[i * classes..][..classes]).collect();
            out_of_fold[i * classes..][..classes].copy_from_slice(&rule.combine(&rows));
        }
    }
    Ok(FittedWeights { weights: mixture(&all.iter().collect::<Vec<_>>()), out_of_fold })
}

/// Weights of the mixture in which images with these likelihoods, one per member, are likeliest.
fn mixture(images: &[&Vec<f64>]) -> Vec<f64> {
    let members = images.first().map_or(0, |image| image.len());
    let mut weights = vec![1.0 / members as f64; members];
    for _ in 0..MOST_ROUNDS {
        let mut next = vec![0.0; members];
        for image in images {
            let whole: f64 = weights.iter().zip(*image).map(|(w, p)| w * p).sum();
            next.iter_mut().zip(&weights).zip(*image).for_each(|((next, w), p)| *next += w * p / whole);
        }
        let sum: f64 = next.iter().sum();
        next.iter_mut().for_each(|w| *w /= sum);
        let change = next.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        weights = next;
        if change < SETTLED {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(probabilities: &[f64]) -> Vec<f64> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn probabilities(logs: &[f64]) -> Vec<f64> {
        logs.iter().map(|log| log.exp()).collect()
    }

    #[test]
    fn means_by_hand() {
        let members = [logs(&[0.5, 0.3, 0.2, 1.0, 0.0, 0.0]), logs(&[0.1, 0.8, 0.1, 0.4, 0.6, 0.0])];
        let close = |found: &[f64], expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(&probabilities(&Rule::Mean.combine_all(&members, 3)), &[0.3, 0.55, 0.15, 0.7, 0.3, 0.0]);
        let weighted = Rule::Weighted(vec![0.75, 0.25]).combine_all(&members, 3);
        close(&probabilities(&weighted), &[0.4, 0.425, 0.175, 0.85, 0.15, 0.0]);
        assert!(weighted.iter().all(|log| log.is_finite()));
    }

    #[test]
    fn rules_are_for_their_members() {
        Rule::Weighted(vec![0.5, 0.5]).check(2, 3).unwrap();
        for bad in [vec![0.5, 0.25], vec![1.5, -0.5], vec![f64::NAN, 1.0]] {
            assert!(Rule::Weighted(bad.clone()).check(2, 3).unwrap_err().to_string().contains("of a mean"), "{bad:?}");
        }
        assert!(Rule::Weighted(vec![1.0]).check(2, 3).unwrap_err().to_string().contains("1 weights"));
    }

    #[test]
    fn weights_are_the_likeliest_mixture() {
        // Two members of two classes: the first is right with 0.9 on three of four images, the second on the fourth. The likelihood of
        // w is (0.1 + 0.8 w)^3 (0.9 - 0.8 w), largest at w = 0.8125.
        let n = 40;
        let right = |i: usize, member: usize| (i % 4 == 3) == (member == 1);
        let rows =
            |member| (0..n).flat_map(|i| if right(i, member) { [0.9, 0.1] } else { [0.1, 0.9] }).collect::<Vec<_>>();
        let members = [logs(&rows(0)), logs(&rows(1))];
        let found = fit_weights(&members, &vec![0; n], 2).unwrap();
        assert!((found.weights[0] - 0.8125).abs() < 1e-6 && (found.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(found.out_of_fold.len(), 2 * n);
        assert!((found.out_of_fold[0].exp() - 0.75).abs() < 1e-6, "each fold has its part of both kinds");
        // One that is never right gets nothing.
        let useless = [members[0].clone(), logs(&[0.01, 0.99].repeat(n))];
        let weights = fit_weights(&useless, &vec![0; n], 2).unwrap().weights;
        assert!(weights[0] > 1.0 - 1e-6, "{weights:?}");
        assert!(fit_weights(&members, &[0; 19], 2).unwrap_err().to_string().contains("too few"));
    }

    #[test]
    fn classes_are_joined_by_position() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let check = |other: &str| check_classes(("a", &names("cat dog fox")), ("b", &names(other)));
        check("cat dog fox").unwrap();
        let order = check("cat fox dog").unwrap_err().to_string();
        assert!(order.contains("another order (class 1 is \"dog\" and \"fox\")"), "{order}");
        assert!(check("cat dog elk").unwrap_err().to_string().contains("only a has fox; only b has elk"));
        assert!(check("cat dog").unwrap_err().to_string().contains("only a has fox"));
    }
}
