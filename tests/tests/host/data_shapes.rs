//! The built-in dataset is as hard as it claims to be: what a linear classifier can do with it.

use ocellus::data::{Split, load};
use ocellus::recipe::DataRecipe;
use rayon::prelude::*;

const CLASSES: usize = 10;
const EPOCHS: usize = 12;
const BATCH: usize = 64;

/// Softmax regression on pixels: one row of weights and one bias per class.
struct Linear {
    weights: Vec<Vec<f32>>, // (class, pixel)
    biases: Vec<f32>,
}

impl Linear {
    fn fit(split: &Split, pixels: usize) -> Self {
        let mut model = Self { weights: vec![vec![0.0; pixels]; CLASSES], biases: vec![0.0; CLASSES] };
        for epoch in 0..EPOCHS {
            // Classes take turns in the data; a stride that is coprime to its length shuffles it well enough.
            let rate = 2e-3 * (1.0 - epoch as f32 / EPOCHS as f32);
            let order: Vec<usize> = (0..split.len()).map(|i| (i * 4643 + epoch * 101) % split.len()).collect();
            order.chunks_exact(BATCH).for_each(|batch| model.step(split, batch, rate));
        }
        model
    }

    fn scores(&self, image: &[u8]) -> Vec<f32> {
        let pixels: Vec<f32> = image.iter().map(|&pixel| centred(pixel)).collect();
        let dot = |row: &Vec<f32>| row.iter().zip(&pixels).map(|(w, x)| w * x).sum::<f32>();
        self.weights.iter().zip(&self.biases).map(|(row, bias)| dot(row) + bias).collect()
    }

    fn step(&mut self, split: &Split, batch: &[usize], rate: f32) {
        // Derivative of the cross-entropy by the scores: softmax minus one-hot.
        let errors: Vec<Vec<f32>> = batch
            .par_iter()
            .map(|&i| {
                let scores = self.scores(split.image(i));
                let most = scores.iter().copied().fold(f32::MIN, f32::max);
                let exps: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f32 = exps.iter().sum();
                let hot = usize::from(split.labels[i]);
                exps.iter().enumerate().map(|(class, e)| e / sum - if class == hot { 1.0 } else { 0.0 }).collect()
            })
            .collect();
        self.weights.par_iter_mut().zip(&mut self.biases).enumerate().for_each(|(class, (row, bias))| {
            for (&i, errors) in batch.iter().zip(&errors) {
                let step = rate * errors[class];
                *bias -= step;
                row.iter_mut().zip(split.image(i)).for_each(|(w, &pixel)| *w -= step * centred(pixel));
            }
        });
    }

    fn accuracy(&self, split: &Split) -> f64 {
        let right = |&i: &usize| {
            let scores = self.scores(split.image(i));
            let best = (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            best == Some(usize::from(split.labels[i]))
        };
        (0..split.len()).into_par_iter().filter(right).count() as f64 / split.len() as f64
    }
}

fn centred(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

#[test]
fn a_linear_classifier_stays_under_60_percent() {
    let dataset = load(&DataRecipe::default(), &|_, _| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (9000, 1000, 2000));
    let model = Linear::fit(&dataset.train, 32 * 32 * 3);
    let (train, test) = (model.accuracy(&dataset.train), model.accuracy(&dataset.test));
    println!("linear classifier: {train:.3} on its training images, {test:.3} on the test images");
    assert!(train > 0.2, "the classifier learnt nothing ({train}), so that this test says nothing");
    assert!(test < 0.6, "a linear classifier reaches {test}");
}
