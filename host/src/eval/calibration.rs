//! How far a classifier's confidence can be trusted, and what it buys to pass over what it is not sure of.

use serde::Serialize;

use super::{Scores, argmax};

/// Bins of equal width, as many as Guo et al. (*On Calibration of Modern Neural Networks*, 2017) take.
const BINS: usize = 15;
/// Confidences below which answers are left out.
const THRESHOLDS: [f64; 9] = [0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// Steps of int8 scores by which the best class must lead the second, likewise.
const LEADS: [i16; 8] = [0, 1, 2, 4, 8, 16, 32, 64];

/// What a classifier says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The class with the highest score, the first of equals.
    pub class: usize,
    /// Its probability, by the softmax of the scores as logits.
    pub confidence: f64,
    /// Its lead over the second class, in steps of int8 scores; 0 for float ones.
    pub lead: i16,
}

/// What confidence is worth. A ratio without images is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// Images.
    pub images: usize,
    /// Expected calibration error: the mean distance between confidence and accuracy in a bin, each image counting the same.
    pub ece: f64,
    /// Mean confidence.
    pub confidence: Option<f64>,
    /// The images by their confidence.
    pub bins: Vec<Bin>,
    /// What is left above a confidence, and how much of it is right.
    pub thresholds: Vec<Kept>,
    /// The same for leads in steps of int8 scores, which a board counts in; empty for float scores.
    pub leads: Vec<Kept>,
}

/// The images whose confidence is above `from` and at most `to`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Images.
    pub images: usize,
    /// Their mean confidence.
    pub confidence: Option<f64>,
    /// Part of them that is classified correctly.
    pub accuracy: Option<f64>,
}

/// The images whose answer reaches a threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The threshold.
    pub threshold: f64,
    /// Part of all images that is left.
    pub coverage: Option<f64>,
    /// Part of those that is classified correctly.
    pub accuracy: Option<f64>,
}

impl Scores {
    /// What they say of each image, of `classes`; int8 scores stand for multiples of `scale`.
    pub fn answers(&self, classes: usize, scale: f32) -> Vec<Answer> {
        match self {
            Self::Float(scores) => scores.chunks_exact(classes).map(|row| answer(row, f64::from, 0)).collect(),
            Self::Int8(scores) => {
                let of_row = |row: &[i8]| answer(row, |x| f64::from(scale) * f64::from(x), lead(row));
                scores.chunks_exact(classes).map(of_row).collect()
            }
        }
    }
}

fn answer<T: Copy + PartialOrd>(row: &[T], logit: impl Fn(T) -> f64, lead: i16) -> Answer {
    let class = argmax(row);
    let confidence = softmax(row.iter().map(|&score| logit(score))).nth(class).unwrap_or_default();
    Answer { class, confidence, lead }
}

/// How far the best score is above the second.
fn lead(row: &[i8]) -> i16 {
    let best = argmax(row);
    let others = row.iter().enumerate().filter(|(class, _)| *class != best).map(|(_, &score)| score);
    others.max().map_or(i16::from(i8::MAX), |second| i16::from(row[best]) - i16::from(second))
}

/// The probabilities that logits stand for.
pub fn softmax(logits: impl Iterator<Item = f64> + Clone) -> impl Iterator<Item = f64> {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let odds = logits.map(move |logit| (logit - largest).exp());
    let sum: f64 = odds.clone().sum();
    odds.map(move |odds| odds / sum)
}

impl Calibration {
    /// That of `answers` about images of the classes `labels`.
    pub fn new(answers: &[Answer], labels: &[u16]) -> Self {
        let is_right = |(answer, &label): (&Answer, &u16)| answer.class == usize::from(label);
        let all: Vec<(Answer, bool)> = answers.iter().zip(labels).map(|pair| (*pair.0, is_right(pair))).collect();
        let bins: Vec<Bin> = (0..BINS).map(|i| bin(i, &all)).collect();
        let far = |bin: &Bin| Some(bin.images as f64 * (bin.confidence? - bin.accuracy?).abs());
        let kept = |threshold: f64, of: fn(&Answer) -> f64| {
            let left: Vec<bool> = all.iter().filter(|(a, _)| of(a) >= threshold).map(|(_, right)| *right).collect();
            let right = left.iter().filter(|right| **right).count();
            Kept { threshold, coverage: ratio(left.len(), all.len()), accuracy: ratio(right, left.len()) }
        };
        let has_leads = all.iter().any(|(answer, _)| answer.lead > 0);
        let leads = LEADS.iter().filter(|_| has_leads);
        Self {
            images: all.len(),
            ece: bins.iter().filter_map(far).sum::<f64>() / all.len().max(1) as f64,
            confidence: mean(all.iter().map(|(answer, _)| answer.confidence)),
            bins,
            thresholds: THRESHOLDS.into_iter().map(|threshold| kept(threshold, |answer| answer.confidence)).collect(),
            leads: leads.map(|&lead| kept(lead.into(), |answer| answer.lead.into())).collect(),
        }
    }
}

fn bin(number: usize, all: &[(Answer, bool)]) -> Bin {
    // Confidences of exactly 1 are in the last one.
    let of = |confidence: f64| ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
    let inside: Vec<&(Answer, bool)> = all.iter().filter(|(answer, _)| of(answer.confidence) == number).collect();
    let right = inside.iter().filter(|(_, right)| *right).count();
    Bin {
        from: number as f64 / BINS as f64,
        to: (number + 1) as f64 / BINS as f64,
        images: inside.len(),
        confidence: mean(inside.iter().map(|(answer, _)| answer.confidence)),
        accuracy: ratio(right, inside.len()),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_scores_is_a_confident_answer() {
        let int8 = Scores::Int8(vec![10, 30, 20, -5, -5, -5]).answers(3, 0.1);
        let expected = 1f64.exp() / (1f64.exp() + 1.0 + (-1f64).exp());
        assert_eq!((int8[0].class, int8[0].lead, int8[1].class, int8[1].lead), (1, 10, 0, 0));
        assert!((int8[0].confidence - expected).abs() < 1e-7 && (int8[1].confidence - 1.0 / 3.0).abs() < 1e-12);
        let float = Scores::Float(vec![1.0, 3.0, 2.0]).answers(3, 0.1);
        assert!((float[0].confidence - expected).abs() < 1e-12 && float[0].lead == 0);
        let huge = Scores::Float(vec![1000.0, -1000.0]).answers(2, 1.0);
        assert_eq!(huge[0].confidence, 1.0);
    }

    fn answers(of: &[(f64, usize)]) -> Vec<Answer> {
        of.iter().map(|&(confidence, class)| Answer { class, confidence, lead: (100.0 * confidence) as i16 }).collect()
    }

    #[test]
    fn the_error_is_the_mean_distance_from_the_diagonal() {
        // Four images at 0.75, of which two are right; two at 1, both right.
        let answers = answers(&[(0.75, 0), (0.75, 0), (0.75, 1), (0.75, 1), (1.0, 0), (1.0, 0)]);
        let found = Calibration::new(&answers, &[0; 6]);
        assert!((found.ece - 4.0 * 0.25 / 6.0).abs() < 1e-12, "{}", found.ece);
        let full: Vec<(usize, Option<f64>)> =
            found.bins.iter().filter(|bin| bin.images > 0).map(|bin| (bin.images, bin.accuracy)).collect();
        assert_eq!(full, [(4, Some(0.5)), (2, Some(1.0))]);
        let at = |threshold: f64| found.thresholds.iter().find(|kept| kept.threshold == threshold).unwrap();
        assert_eq!((at(0.0).coverage, at(0.0).accuracy), (Some(1.0), Some(4.0 / 6.0)));
        assert_eq!((at(0.8).coverage, at(0.8).accuracy), (Some(2.0 / 6.0), Some(1.0)));
        let lead = found.leads.iter().find(|kept| kept.threshold == 64.0).unwrap();
        assert_eq!(lead.coverage, Some(1.0));
    }

    #[test]
    fn nothing_and_what_is_no_number_divide_by_nothing() {
        let none = Calibration::new(&[], &[]);
        assert_eq!((none.ece, none.confidence, none.thresholds[0].accuracy), (0.0, None, None));
        assert!(none.leads.is_empty());
        let lost = Calibration::new(&Scores::Float(vec![f32::NAN, 1.0]).answers(2, 1.0), &[0]);
        assert_eq!(lost.images, 1);
    }
}
