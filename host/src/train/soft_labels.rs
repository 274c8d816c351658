//! What a teacher says of images, and the loss of a student that says something else.

use crate::features::Features;
use crate::recipe::DistillRecipe;
use anyhow::{Result, ensure};
use burn::tensor::{Tensor, TensorData, activation};
use sha2::{Digest, Sha256};

/// What keeps the teacher's standard deviation from being 0.
const TINY: f64 = 1e-7;
/// The same for the student, who learns: slopes grow with the inverse of the deviation, and where nothing of a network is active, all
/// of its logits are equal. Logits that differ by 0.5 lose half a percent to it.
const FLOOR: f64 = 0.05;

/// A teacher's logits for the training images.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftLabels {
    /// The logits, `(views, n, classes)`.
    logits: Features,
    views: usize,
    temperature: f64,
    standardise: bool,
}

impl SoftLabels {
    /// Those that `values`, logits `(views, n, classes)`, are for images of the classes `labels`.
    pub(super) fn new(values: Vec<f32>, labels: &[u16], views: usize, recipe: &DistillRecipe) -> Result<Self> {
        ensure!(values.iter().all(|logit| logit.is_finite()), "a logit of the teacher is not a finite number");
        let len = values.len() / (views * labels.len());
        let logits = Features { len, values, labels: labels.to_vec() };
        Ok(Self { logits, views, temperature: recipe.temperature, standardise: recipe.standardise })
    }

    /// SHA-256 of the logits in hex.
    pub fn sha256(&self) -> String {
        let sha = self.logits.values.iter().fold(Sha256::new(), |sha, logit| sha.chain_update(logit.to_le_bytes()));
        hex::encode(sha.finalize())
    }

    /// The teacher's probabilities `(classes)` of image `i` as `view` shows it, at the recipe's temperature.
    pub(super) fn of(&self, view: u32, i: usize) -> Vec<f32> {
        let row = self.logits.of(view as usize % self.views, i);
        softened(row, self.temperature, self.standardise).into_iter().map(|p| p as f32).collect()
    }

    /// Those of the images `chosen`, `(n, classes)`.
    pub(super) fn rows(&self, view: u32, chosen: &[usize]) -> Vec<f32> {
        chosen.iter().flat_map(|&i| self.of(view, i)).collect()
    }
}

/// Softmax of `logits` at `temperature`, of standardised ones where `standardise`.
fn softened(logits: &[f32], temperature: f64, standardise: bool) -> Vec<f64> {
    let n = logits.len() as f64;
    let mut values: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    if standardise {
        let mean = values.iter().sum::<f64>() / n;
        // As the authors' program has it: the sample's, with one degree of freedom less.
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let deviation = (variance + TINY * TINY).sqrt();
        values.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
    }
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter_mut().for_each(|x| *x = ((*x - largest) / temperature).exp());
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|x| x / sum).collect()
}

/// `T^2 * KL(p || softmax(s / T))`, summed over images, of a student's logits `s` against the teacher's probabilities `p` at the
/// temperature `T`, both `(n, classes)`. Where the recipe standardises, the student's logits of each image are standardised, too.
pub fn divergence(logits: &Tensor<2>, probabilities: &[f32], recipe: &DistillRecipe) -> Tensor<1> {
    let [n, classes] = logits.dims();
    let logits = if recipe.standardise { standardised(logits) } else { logits.clone() };
    let entropy: f64 = probabilities.iter().map(|&p| f64::from(p)).filter(|&p| p > 0.0).map(|p| p * p.ln()).sum();
    let p = TensorData::new(probabilities.to_vec(), [n, classes]);
    let p: Tensor<2> = Tensor::from_data(p, &logits.device().without_autodiff());
    let log_q = activation::log_softmax(logits / recipe.temperature, 1);
    ((log_q * p).sum().neg() + entropy) * recipe.temperature.powi(2)
}

/// Rows with mean 0 and standard deviation 1, or less where it is near [`FLOOR`].
fn standardised(logits: &Tensor<2>) -> Tensor<2> {
    let classes = logits.dims()[1] as f64;
    let centred = logits.clone() - logits.clone().mean_dim(1);
    let variance = (centred.clone() * centred.clone()).sum_dim(1) / (classes - 1.0).max(1.0);
    centred / (variance + FLOOR * FLOOR).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::to_vec;
    use burn::tensor::Device;

    fn recipe(temperature: f64, standardise: bool) -> DistillRecipe {
        DistillRecipe { temperature, standardise, ..DistillRecipe::default() }
    }

    fn student(device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(vec![1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0], [2, 3]), device)
    }

    const TEACHER: [[f32; 3]; 2] = [[3.0, 1.0, -2.0], [0.5, 0.25, 0.0]];

    fn softmax(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x.exp() / sum).collect()
    }

    /// By the definition: the loss, and its slopes `T * (q - p)` where nothing is standardised.
    fn by_hand(temperature: f64) -> (f64, Vec<f64>) {
        let (mut loss, mut slopes) = (0.0, Vec::new());
        let students = [[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]];
        for (s, t) in students.iter().zip(&TEACHER) {
            let q = softmax(&s.map(|x: f64| x / temperature));
            let p = softmax(&t.map(|x| f64::from(x) / temperature));
            loss += temperature * temperature * p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            slopes.extend(p.iter().zip(&q).map(|(p, q)| temperature * (q - p)));
        }
        (loss, slopes)
    }

    #[test]
    fn value_and_slopes_by_hand() {
        for temperature in [1.0, 4.0] {
            let recipe = recipe(temperature, false);
            let teacher: Vec<f32> =
                TEACHER.iter().flat_map(|row| softened(row, temperature, false)).map(|p| p as f32).collect();
            let logits = student(&Device::flex().autodiff()).require_grad();
            let loss = divergence(&logits, &teacher, &recipe);
            let slopes = to_vec(logits.grad(&loss.backward()).unwrap());
            let (expected, expected_slopes) = by_hand(temperature);
            assert!((f64::from(loss.into_scalar::<f32>()) - expected).abs() < 1e-4, "{expected}");
            assert!(slopes.iter().zip(&expected_slopes).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{slopes:?}");
        }
    }

    #[test]
    fn a_student_that_says_the_same_has_no_loss() {
        for standardise in [false, true] {
            let recipe = recipe(2.0, standardise);
            let rows = [1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0];
            let p: Vec<f32> =
                rows.chunks(3).flat_map(|row| softened(row, 2.0, standardise)).map(|p| p as f32).collect();
            let loss: f32 = divergence(&student(&Device::flex()), &p, &recipe).into_scalar();
            assert!(loss.abs() < 1e-5, "{loss}");
        }
    }

    #[test]
    fn standardised_logits_do_not_know_shift_and_scale() {
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        for row in &TEACHER {
            let p = softened(row, 2.0, true);
            assert!(close(&p, &softened(&row.map(|x| 7.0 * x - 3.0), 2.0, true)));
            assert!(!close(&p, &softened(row, 2.0, false)));
        }
        // By hand: 3, 1, -2 have the mean 2/3 and the sample's standard deviation sqrt(19/3).
        let deviation = (19f64 / 3.0).sqrt();
        let z = [3.0, 1.0, -2.0].map(|x| (x - 2.0 / 3.0) / deviation / 2.0);
        assert!(close(&softened(&TEACHER[0], 2.0, true), &softmax(&z)));
        // The student's, too, up to the floor, and there are no slopes along shift and scale.
        let device = Device::flex().autodiff();
        let recipe = recipe(2.0, true);
        let p: Vec<f32> = TEACHER.iter().flat_map(|row| softened(row, 2.0, true)).map(|p| p as f32).collect();
        let logits = student(&device).require_grad();
        let loss = divergence(&logits, &p, &recipe);
        let slopes = to_vec(logits.grad(&loss.backward()).unwrap());
        let moved: f32 = divergence(&(student(&device) * 5.0 + 2.0), &p, &recipe).into_scalar();
        assert!((loss.into_scalar::<f32>() - moved).abs() < 1e-2);
        for (row, student) in slopes.chunks(3).zip([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]]) {
            let along: f32 = row.iter().zip(student).map(|(slope, s)| slope * s).sum();
            assert!(row.iter().sum::<f32>().abs() < 1e-5 && along.abs() < 1e-2 && row[0].abs() > 1e-2, "{row:?}");
        }
        // Equal logits have moderate slopes.
        let flat = Tensor::<2>::from_data(TensorData::new(vec![1.0f32; 6], [2, 3]), &device).require_grad();
        let slopes = to_vec(flat.grad(&divergence(&flat, &p, &recipe).backward()).unwrap());
        assert!(slopes.iter().all(|slope| slope.abs() < 100.0), "{slopes:?}");
    }

    #[test]
    fn views_are_taken_in_turn() {
        let values: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32).collect();
        let labels = SoftLabels::new(values, &[0, 1, 0], 2, &recipe(1.0, false)).unwrap();
        assert!(labels.of(0, 1) == labels.of(2, 1) && labels.of(0, 1) != labels.of(1, 1));
        assert_eq!(labels.rows(1, &[2, 0]), [labels.of(1, 2), labels.of(1, 0)].concat());
        assert_ne!(labels.sha256(), SoftLabels::new(vec![0.0; 12], &[0; 3], 2, &recipe(1.0, false)).unwrap().sha256());
        assert!(SoftLabels::new(vec![f32::NAN; 2], &[0], 1, &recipe(1.0, false)).is_err());
    }
}
