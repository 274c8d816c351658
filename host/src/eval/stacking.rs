//! Stacked generalization (Wolpert 1992): a multinomial logistic regression on what the members of an ensemble say.
//!
//! The features of an image are every member's log-probabilities, one member after the other. Weights have an L2 penalty, biases
//! none:
//!
//! ```text
//! mean over images of -log softmax(W x + b)[label]  +  l2 / 2 * |W|^2
//! ```
//!
//! The penalty is the one of `PENALTIES` with the smallest loss in cross-validation, every image being predicted by a regression
//! that did not see it.

use super::{argmax, lbfgs};
use anyhow::{Result, ensure};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, aview1};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Penalties that are tried, strongest first: each search begins where the one before it ended.
const PENALTIES: [f64; 6] = [1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5];
/// Parts of the images for cross-validation.
pub const FOLDS: usize = 5;
/// Images below which nothing is fitted.
pub const FEWEST: usize = 4 * FOLDS;
/// Log-probabilities are not taken for lower: that a member rules a class out says no more the more it does.
const LOWEST: f64 = -16.0;

/// A fitted regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// The penalty on squared weights.
    pub l2: f64,
    /// Of each class.
    pub bias: Vec<f64>,
    /// For each class, one weight for each member and class.
    pub weights: Vec<Vec<f64>>,
}

/// A regression, and what it is worth on images that it was not fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Fitted to all images.
    pub stack: Stack,
    /// Log-probabilities, `(n, classes)`, of each image by a regression that was fitted without it.
    pub out_of_fold: Vec<f64>,
}

impl Stack {
    /// Makes sure that it is one for so many `members` and `classes`.
    ///
    /// # Errors
    /// It has other sizes, or a number is not finite.
    pub fn check(&self, members: usize, classes: usize) -> Result<()> {
        let sized = self.bias.len() == classes
            && self.weights.len() == classes
            && self.weights.iter().all(|row| row.len() == members * classes);
        ensure!(
            sized,
            "the weights of its linear meta-learner are not those of {members} members and {classes} classes"
        );
        let finite = self.weights.iter().flatten().chain(&self.bias).all(|x| x.is_finite());
        ensure!(finite, "a weight of its linear meta-learner is not a finite number");
        Ok(())
    }

    /// Log-probabilities `(classes)` of an image by its `members`' ones.
    pub fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        let features: Vec<f64> = members.iter().flat_map(|member| member.iter().map(|&x| feature(x))).collect();
        let score = |(row, bias): (&Vec<f64>, &f64)| bias + row.iter().zip(&features).map(|(w, x)| w * x).sum::<f64>();
        let mut logits: Vec<f64> = self.weights.iter().zip(&self.bias).map(score).collect();
        log_softmax(&mut logits);
        logits
    }
}

/// What the regression sees of a log-probability.
fn feature(log_probability: f64) -> f64 {
    log_probability.max(LOWEST)
}

/// Fits a regression to the log-probabilities of each of the `members`, `(n, classes)`, and the images' `labels`, `(n)`.
///
/// # Errors
/// There are fewer than [`FEWEST`] images.
pub fn fit(members: &[Vec<f64>], labels: &[u16], classes: usize) -> Result<Fitted> {
    let n = labels.len();
    ensure!(n >= FEWEST, "{n} validation images are too few for a meta-learner: it needs {FEWEST} at least");
    let rows = |i: usize| members.iter().flat_map(move |member| &member[i * classes..][..classes]).map(|&x| feature(x));
    let features: Vec<f64> = (0..n).flat_map(rows).collect();
    let all = Problem { features, labels: labels.to_vec(), classes };
    let folds: Vec<Vec<(usize, Vec<Vec<f64>>)>> =
        (0..FOLDS).into_par_iter().map(|fold| all.predictions_without(fold)).collect();
    // (penalty, image): who predicts it has not seen it.
    let mut predicted = vec![vec![Vec::new(); n]; PENALTIES.len()];
    for (image, rows) in folds.into_iter().flatten() {
        rows.into_iter().zip(&mut predicted).for_each(|(row, of_penalty)| of_penalty[image] = row);
    }
    let loss = |rows: &[Vec<f64>]| rows.iter().zip(labels).map(|(row, &label)| -row[usize::from(label)]).sum::<f64>();
    let losses: Vec<f64> = predicted.iter().map(|rows| -loss(rows)).collect();
    // Of equal ones the strongest.
    let best = argmax(&losses);
    let parameters = all.path(best + 1).pop().expect("one penalty at least is tried");
    let width = members.len() * classes;
    let (weights, bias) = parameters.split_at(classes * width);
    let stack = Stack {
        l2: PENALTIES[best],
        bias: bias.to_vec(),
        weights: weights.chunks_exact(width).map(<[f64]>::to_vec).collect(),
    };
    Ok(Fitted { stack, out_of_fold: predicted.swap_remove(best).concat() })
}

/// What a regression is fitted to. Parameters are the weights, `(classes, width)`, and then the biases.
struct Problem {
    /// `(n, width)`.
    features: Vec<f64>,
    labels: Vec<u16>,
    classes: usize,
}

impl Problem {
    fn width(&self) -> usize {
        self.features.len() / self.labels.len()
    }

    /// The images whose number is (or, for the others, is not) `fold` modulo [`FOLDS`]: of images that are sorted by class, each
    /// fold has its part of every class.
    fn part(&self, fold: usize, inside: bool) -> (Vec<usize>, Self) {
        let chosen: Vec<usize> = (0..self.labels.len()).filter(|i| (i % FOLDS == fold) == inside).collect();
        let width = self.width();
        let features = chosen.iter().flat_map(|&i| &self.features[i * width..][..width]).copied().collect();
        let labels = chosen.iter().map(|&i| self.labels[i]).collect();
        (chosen, Self { features, labels, classes: self.classes })
    }

    /// For each image of `fold`, its number, and its log-probabilities by regressions on the other images with each penalty.
    fn predictions_without(&self, fold: usize) -> Vec<(usize, Vec<Vec<f64>>)> {
        let (held_out, inside) = self.part(fold, true);
        let (_, outside) = self.part(fold, false);
        let fitted = outside.path(PENALTIES.len());
        let predictions: Vec<Array2<f64>> =
            fitted.iter().map(|parameters| inside.log_probabilities(parameters)).collect();
        let of = |i: usize| predictions.iter().map(|rows| rows.row(i).to_vec()).collect();
        held_out.into_iter().enumerate().map(|(i, image)| (image, of(i))).collect()
    }

    /// The parameters for each of the first `count` penalties.
    fn path(&self, count: usize) -> Vec<Vec<f64>> {
        let mut at = vec![0.0; self.classes * (self.width() + 1)];
        let search = |&l2: &f64| {
            at = lbfgs::minimise(std::mem::take(&mut at), |parameters| self.objective(parameters, l2));
            at.clone()
        };
        PENALTIES[..count].iter().map(search).collect()
    }

    fn matrices<'a>(&'a self, parameters: &'a [f64]) -> [ArrayView2<'a, f64>; 2] {
        let (n, width) = (self.labels.len(), self.width());
        let view = |shape, values| ArrayView2::from_shape(shape, values).expect("as many values as the shape has");
        [view((n, width), &self.features), view((self.classes, width), &parameters[..self.classes * width])]
    }

    fn log_probabilities(&self, parameters: &[f64]) -> Array2<f64> {
        let [features, weights] = self.matrices(parameters);
        let mut rows = Array2::zeros((self.labels.len(), self.classes));
        rows += &aview1(&parameters[weights.len()..]);
        general_mat_mul(1.0, &features, &weights.t(), 1.0, &mut rows);
        rows.axis_iter_mut(Axis(0)).for_each(|mut row| log_softmax(row.as_slice_mut().expect("rows are contiguous")));
        rows
    }

    /// The loss with its penalty, and its slopes.
    fn objective(&self, parameters: &[f64], l2: f64) -> (f64, Vec<f64>) {
        let [features, weights] = self.matrices(parameters);
        let (n, count) = (self.labels.len() as f64, weights.len());
        let mut rows = self.log_probabilities(parameters);
        let mut loss = 0.0;
        for (mut row, &label) in rows.axis_iter_mut(Axis(0)).zip(&self.labels) {
            let label = usize::from(label);
            loss -= row[label];
            row.mapv_inplace(f64::exp);
            row[label] -= 1.0;
        }
        let mut slopes = Array2::zeros(weights.raw_dim());
        general_mat_mul(1.0 / n, &rows.t(), &features, 0.0, &mut slopes);
        slopes.scaled_add(l2, &weights);
        let squares: f64 = parameters[..count].iter().map(|w| w * w).sum();
        let biases = rows.sum_axis(Axis(0)) / n;
        (loss / n + l2 / 2.0 * squares, slopes.into_iter().chain(biases).collect())
    }
}

/// Makes log-probabilities of logits.
fn log_softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    logits.iter_mut().for_each(|x| *x -= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};
    use rand::RngExt;

    /// Log-probabilities of a member that finds the label's class likelier by `skill` than chance would, for images of three classes.
    fn member(skill: f64, labels: &[u16], seed: u64) -> Vec<f64> {
        let row = |(i, &label): (usize, &u16)| {
            let mut random = stream(seed, Purpose::Noise, i as u64);
            let mut logits: Vec<f64> = (0..3).map(|_| random.random_range(-1.0..1.0)).collect();
            logits[usize::from(label)] += skill;
            log_softmax(&mut logits);
            logits
        };
        labels.iter().enumerate().flat_map(row).collect()
    }

    fn labels(n: u16) -> Vec<u16> {
        (0..n).map(|i| i * 7 % 3).collect()
    }

    fn loss(rows: &[f64], labels: &[u16]) -> f64 {
        let all = rows.chunks_exact(3).zip(labels).map(|(row, &label)| -row[usize::from(label)]);
        all.sum::<f64>() / labels.len() as f64
    }

    #[test]
    fn slopes_are_differences() {
        let labels = labels(20);
        let features: Vec<f64> = [member(0.5, &labels, 1), member(1.0, &labels, 2)].concat();
        let problem = Problem { features, labels, classes: 3 };
        let parameters: Vec<f64> = (0..21).map(|i| f64::from(i % 5) / 4.0 - 0.4).collect();
        let (_, slopes) = problem.objective(&parameters, 0.3);
        for (i, slope) in slopes.iter().enumerate() {
            let at = |h: f64| {
                let mut moved = parameters.clone();
                moved[i] += h;
                problem.objective(&moved, 0.3).0
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - difference).abs() < 1e-8, "{i}: {slope}, {difference}");
        }
    }

    #[test]
    fn a_stack_is_no_worse_than_its_best_member_even_on_images_it_has_not_seen() {
        let seen = labels(600);
        let members = [member(1.0, &seen, 1), member(0.8, &seen, 2), member(0.0, &seen, 3)];
        let Fitted { stack, out_of_fold } = fit(&members, &seen, 3).unwrap();
        stack.check(3, 3).unwrap();
        let best = loss(&members[0], &seen);
        assert!(loss(&out_of_fold, &seen) < best, "{} {best}", loss(&out_of_fold, &seen));
        let combine = |members: &[Vec<f64>], i: usize| {
            let rows: Vec<&[f64]> = members.iter().map(|member| &member[3 * i..][..3]).collect();
            stack.combine(&rows)
        };
        let fresh = member(1.0, &seen, 7);
        let all = [fresh.clone(), member(0.8, &seen, 8), member(0.0, &seen, 9)];
        let combined: Vec<f64> = (0..seen.len()).flat_map(|i| combine(&all, i)).collect();
        assert!(loss(&combined, &seen) < loss(&fresh, &seen));
        // The member that knows nothing is hardly heard.
        let heard =
            |from: usize| stack.weights.iter().flat_map(|row| &row[from..from + 3]).map(|w| w.abs()).sum::<f64>();
        assert!(heard(6) < heard(0) / 3.0, "{} {}", heard(6), heard(0));
        assert_eq!(fit(&members, &seen, 3).unwrap().stack, stack, "the same numbers again");
    }

    #[test]
    fn little_evidence_takes_a_strong_penalty() {
        let few = labels(FEWEST as u16);
        let noise = [member(0.0, &few, 5), member(0.0, &few, 6)];
        assert!(fit(&noise, &few, 3).unwrap().stack.l2 >= 0.1);
        let error = fit(&noise, &few[1..], 3).unwrap_err().to_string();
        assert!(error.contains("19 validation images are too few"), "{error}");
    }

    #[test]
    fn weights_of_other_sizes_are_refused() {
        let stack = Stack { l2: 0.1, bias: vec![0.0; 2], weights: vec![vec![0.5; 4]; 2] };
        stack.check(2, 2).unwrap();
        assert!(stack.check(1, 2).is_err() && stack.check(2, 3).is_err());
        let lost = Stack { bias: vec![0.0, f64::NAN], ..stack.clone() };
        assert!(lost.check(2, 2).unwrap_err().to_string().contains("finite"));
        // By hand: logits ln 0.5 + 0.5 ln 0.5, both; then ruled out classes are as likely as e^-16.
        let even = stack.combine(&[&[0.5f64.ln(); 2], &[0.5f64.ln(); 2]]);
        assert!(even.iter().all(|p| (p.exp() - 0.5).abs() < 1e-12));
        let sure = Stack { l2: 0.1, bias: vec![0.0; 2], weights: vec![vec![1.0, 0.0], vec![0.0, 1.0]] };
        assert_eq!(sure.combine(&[&[0.0, -1000.0]]), sure.combine(&[&[0.0, -16.0]]));
    }
}
