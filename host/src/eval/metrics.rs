//! How good a classifier is: the figures that every evaluation reports, whatever computed the scores.

use serde::Serialize;

/// How well predictions meet the labels of a set of images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Part of the images whose highest score is the label's, 0 to 1. Of equal scores the first class wins, as on
    /// the board.
    pub accuracy: f64,
    /// Part of the images whose label is among the five highest scores, 0 to 1.
    pub top5: f64,
    /// Number of images.
    pub images: usize,
    /// One entry per class, in label order.
    pub per_class: Vec<ClassMetrics>,
    /// `confusion[label][prediction]` counts images.
    pub confusion: Vec<Vec<usize>>,
}

/// How well one class is told from the others. A ratio without cases is 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// The class's name.
    pub label: String,
    /// Of the images predicted as this class, the part that is.
    pub precision: f64,
    /// Of the images of this class, the part predicted so.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of images of this class.
    pub support: usize,
}

impl Metrics {
    /// The figures for `scores`, `(n, classes)`, against `labels`, `(n)`.
    ///
    /// `classes` holds at least one name, and each label is below their number.
    pub fn new<T: Copy + PartialOrd>(classes: &[String], labels: &[u16], scores: &[T]) -> Self {
        let mut confusion = vec![vec![0; classes.len()]; classes.len()];
        let mut in_top5 = 0;
        for (&label, row) in labels.iter().zip(scores.chunks_exact(classes.len())) {
            let label = usize::from(label);
            confusion[label][argmax(row)] += 1;
            in_top5 += usize::from(rank(row, label) < 5);
        }
        let images = labels.len();
        let correct: usize = (0..classes.len()).map(|c| confusion[c][c]).sum();
        Self {
            accuracy: ratio(correct, images),
            top5: ratio(in_top5, images),
            images,
            per_class: classes.iter().enumerate().map(|(c, name)| class_metrics(&confusion, c, name)).collect(),
            confusion,
        }
    }
}

impl Metrics {
    /// Mean of the F1 of those classes that the images show, each counting the same; 0 without images.
    pub fn macro_f1(&self) -> f64 {
        let (sum, classes) = self.shown().fold((0.0, 0usize), |(sum, n), class| (sum + class.f1, n + 1));
        sum / classes.max(1) as f64
    }

    /// The class with the smallest F1 of those that the images show, the first of equals; nothing without images.
    pub fn worst_class(&self) -> Option<&ClassMetrics> {
        self.shown().min_by(|a, b| a.f1.total_cmp(&b.f1))
    }

    fn shown(&self) -> impl Iterator<Item = &ClassMetrics> {
        self.per_class.iter().filter(|class| class.support > 0)
    }

    /// The `count` most frequent mistakes, the first of equals first: class, what it was taken for, and how many images.
    pub fn confusions(&self, count: usize) -> Vec<(&str, &str, usize)> {
        let name = |class: usize| self.per_class[class].label.as_str();
        let cells = self.confusion.iter().enumerate().flat_map(|(label, row)| {
            row.iter().enumerate().map(move |(prediction, &images)| (label, prediction, images))
        });
        let mut mistakes: Vec<_> = cells.filter(|&(label, taken, images)| label != taken && images > 0).collect();
        mistakes.sort_by_key(|&(.., images)| std::cmp::Reverse(images));
        mistakes.into_iter().take(count).map(|(label, taken, images)| (name(label), name(taken), images)).collect()
    }
}

fn class_metrics(confusion: &[Vec<usize>], class: usize, name: &str) -> ClassMetrics {
    let hits = confusion[class][class];
    let predicted = confusion.iter().map(|row| row[class]).sum();
    let support = confusion[class].iter().sum();
    ClassMetrics {
        label: name.to_owned(),
        precision: ratio(hits, predicted),
        recall: ratio(hits, support),
        f1: ratio(2 * hits, predicted + support),
        support,
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Position of the highest value, the first of equals.
pub fn argmax<T: Copy + PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// How many values come before `row[index]` in descending order, the first of equals first.
fn rank<T: Copy + PartialOrd>(row: &[T], index: usize) -> usize {
    let value = row[index];
    row.iter().enumerate().filter(|&(i, &other)| other > value || (other == value && i < index)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(n: usize) -> Vec<String> {
        (0..n).map(|c| format!("class {c}")).collect()
    }

    #[test]
    fn figures_of_a_hand_made_confusion() {
        // Four images of three classes: two right, one 0 taken for 1, one 2 taken for 1; nothing is predicted as 2.
        let scores: [i8; 12] = [9, 1, 0, 1, 9, 0, 0, 9, 1, 0, 9, 1];
        let m = Metrics::new(&classes(3), &[0, 1, 0, 2], &scores);
        assert_eq!((m.accuracy, m.top5, m.images), (0.5, 1.0, 4));
        assert_eq!(m.confusion, [[1, 1, 0], [0, 1, 0], [0, 1, 0]]);
        let figures: Vec<_> = m.per_class.iter().map(|c| (c.precision, c.recall, c.f1, c.support)).collect();
        assert_eq!(figures, [(1.0, 0.5, 2.0 / 3.0, 2), (1.0 / 3.0, 1.0, 0.5, 1), (0.0, 0.0, 0.0, 1)]);
        assert!((m.macro_f1() - (2.0 / 3.0 + 0.5) / 3.0).abs() < 1e-12);
        assert_eq!(m.worst_class().unwrap().label, "class 2");
        assert_eq!(m.confusions(9), [("class 0", "class 1", 1), ("class 2", "class 1", 1)]);
        assert_eq!(m.confusions(1).len(), 1);
    }

    #[test]
    fn of_equal_scores_the_first_class_wins() {
        let m = Metrics::new(&classes(7), &[0, 5, 4], &[3i8; 21]);
        assert_eq!(m.accuracy, 1.0 / 3.0);
        assert_eq!(m.top5, 2.0 / 3.0, "class 5 is the sixth of seven equals");
    }

    #[test]
    fn no_images_are_no_accuracy_rather_than_a_division_by_zero() {
        let m = Metrics::new::<f32>(&classes(2), &[], &[]);
        assert_eq!((m.accuracy, m.top5, m.images), (0.0, 0.0, 0));
    }

    #[test]
    fn nan_never_wins_over_a_number_that_comes_first() {
        assert_eq!(argmax(&[0.0, f32::NAN, 1.0]), 2);
    }

    #[test]
    fn a_class_without_images_is_not_the_worst_one() {
        let m = Metrics::new(&classes(3), &[0, 0, 1], &[9i8, 1, 0, 1, 9, 0, 0, 9, 1]);
        assert_eq!(m.per_class[2].support, 0);
        assert_eq!(m.worst_class().map(|class| class.label.as_str()), Some("class 0"));
        assert!((m.macro_f1() - 2.0 / 3.0).abs() < 1e-12);
        let none = Metrics::new::<f32>(&classes(2), &[], &[]);
        assert!(none.macro_f1() == 0.0 && none.worst_class().is_none());
    }
}
