//! The training images in each epoch's order, varied and gathered into batches ahead of the trainer.

use super::soft_labels::SoftLabels;
use crate::augment::{self, Mix, mix};
use crate::data::Split;
use crate::random::{self, Purpose};
use crate::recipe::Recipe;
use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use ocellus_shared::Shape;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches that are made while the trainer works on an earlier one.
const AHEAD: usize = 2;

/// Some images and what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels in `[0, 1]`, `(n, 3, h, w)`.
    pub images: Vec<f32>,
    /// Class of each image; where several were mixed, that of the largest part.
    pub labels: Vec<u16>,
    /// How much of each class an image shows, `(n, classes)`; each row's sum is 1. Empty in a batch for evaluation.
    pub targets: Vec<f32>,
    /// What a teacher makes of each image, `(n, classes)`; each row's sum is 1. Empty without one.
    pub taught: Vec<f32>,
}

impl Batch {
    /// The batch in at most `count` parts of nearly equal size, none of them empty.
    pub fn split(&self, count: usize) -> Vec<Batch> {
        let n = self.labels.len();
        let size = n.div_ceil(count.clamp(1, n));
        let part = |from: usize| {
            let to = n.min(from + size);
            let rows = |values: &[f32]| values[from * (values.len() / n)..to * (values.len() / n)].to_vec();
            Batch {
                images: rows(&self.images),
                labels: self.labels[from..to].to_vec(),
                targets: rows(&self.targets),
                taught: rows(&self.taught),
            }
        };
        (0..n).step_by(size).map(part).collect()
    }

    /// Mixes each image with those after it, the last with the first, as `draw` says for each position. The batch is in
    /// random order already, so that any other image of the epoch may be the next.
    fn mix(&mut self, width: usize, draw: impl Fn(usize) -> Option<Mix>) {
        let n = self.labels.len();
        let [images, targets, taught] =
            [self.images.len(), self.targets.len(), self.taught.len()].map(|values| values / n);
        // An image is changed only after those before it have taken their parts; the first ones are kept for the last.
        let kept = n.min(mix::OTHERS);
        let (first, first_taught) = (self.images[..kept * images].to_vec(), self.taught[..kept * taught].to_vec());
        let labels = self.labels.clone();
        for i in 0..n {
            let Some(mix) = draw(i) else { continue };
            let others: [usize; mix::OTHERS] = std::array::from_fn(|k| (i + 1 + k) % n);
            let (before, after) = self.images.split_at_mut((i + 1) * images);
            let other = others.map(|at| rows_of(after, &first, i, at, images));
            let shares = mix.apply(&mut before[i * images..], other, width);
            let parts = || others.iter().zip(&shares[1..]).filter(|part| *part.1 > 0.0);
            let row = &mut self.targets[i * targets..][..targets];
            row.fill(0.0);
            row[usize::from(labels[i])] += shares[0];
            parts().for_each(|(&at, share)| row[usize::from(labels[at])] += share);
            let (before, after) = self.taught.split_at_mut((i + 1) * taught);
            let row = &mut before[i * taught..];
            row.iter_mut().for_each(|own| *own *= shares[0]);
            for (&at, share) in parts() {
                let other = rows_of(after, &first_taught, i, at, taught);
                row.iter_mut().zip(other).for_each(|(own, other)| *own += share * other);
            }
            let (largest, _) = parts().fold(
                (i, shares[0]),
                |largest, (&at, &share)| {
                    if share > largest.1 { (at, share) } else { largest }
                },
            );
            self.labels[i] = labels[largest];
        }
    }
}

/// The row `at` of a batch as it was before it was mixed, while the row `i` is: from those `after` it, or from the `first` ones.
fn rows_of<'a>(after: &'a [f32], first: &'a [f32], i: usize, at: usize, values: usize) -> &'a [f32] {
    if at > i { &after[(at - i - 1) * values..][..values] } else { &first[at * values..][..values] }
}

/// Steps of one epoch: whole batches only, but at least one.
pub fn steps_per_epoch(images: usize, batch_size: usize) -> usize {
    (images / batch_size).max(1)
}

/// Makes the batches of a training split, on threads of its own.
#[derive(Debug)]
pub struct Loader<'a> {
    recipe: &'a Recipe,
    split: &'a Split,
    classes: usize,
    pool: ThreadPool,
    soft_labels: Option<&'a SoftLabels>,
}

impl<'a> Loader<'a> {
    /// A loader of `split`, whose labels lie below `classes`, that uses up to `threads` threads.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(recipe: &'a Recipe, split: &'a Split, classes: usize, threads: usize) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build().context("cannot start a thread")?;
        Ok(Self { recipe, split, classes, pool, soft_labels: None })
    }

    /// The same, whose batches also have what a teacher says.
    pub fn taught_by(self, soft_labels: Option<&'a SoftLabels>) -> Self {
        Self { soft_labels, ..self }
    }

    /// Makes the batches `steps` of `epoch` ahead of the trainer. They depend on the recipe, the split, the epoch and
    /// the step alone.
    pub fn prefetch<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        epoch: u32,
        steps: Range<usize>,
    ) -> Receiver<Batch> {
        self.ahead(scope, move || {
            let recipe = &self.recipe.train;
            let order = order(recipe.seed, self.split.len(), epoch);
            steps.map(move |step| {
                let from = step * recipe.batch_size;
                let chosen = order[from..order.len().min(from + recipe.batch_size)].to_vec();
                (epoch, chosen)
            })
        })
    }

    /// Makes a batch of each of the images that are `wanted`, as in the epoch named with them, ahead of the trainer.
    pub fn ahead<'scope, I: Iterator<Item = (u32, Vec<usize>)>>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        wanted: impl FnOnce() -> I + Send + 'scope,
    ) -> Receiver<Batch> {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            for (epoch, chosen) in wanted() {
                // A trainer that stopped does not want any more.
                if sender.send(self.varied(self.recipe.view(epoch), epoch, &chosen)).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// The images `chosen` in the variation `view`, each mixed with the next ones as in `epoch`, if at all.
    pub fn varied(&self, view: u32, epoch: u32, chosen: &[usize]) -> Batch {
        let (recipe, split) = (&self.recipe.augment, self.split);
        let mut batch = self.alone(view, chosen);
        batch.targets = one_hot(&batch.labels, self.classes);
        batch.taught = self.soft_labels.map(|labels| labels.rows(view, chosen)).unwrap_or_default();
        batch.mix(split.width, |position| {
            let mut random = self.random(self.recipe.train.seed, Purpose::Mix, epoch, chosen[position]);
            Mix::draw(recipe, split.height, split.width, &mut random)
        });
        batch
    }

    /// The images `chosen` in the variation `view`, none of them mixed, without targets.
    pub fn alone(&self, view: u32, chosen: &[usize]) -> Batch {
        let (recipe, split, seed) = (&self.recipe.augment, self.split, self.recipe.augment_seed());
        self.pool.install(|| {
            gather(split, chosen, |i, image, out| {
                let mut random = self.random(seed, Purpose::Augment, view, i);
                augment::vary(image, split.width, recipe, &mut random, out);
            })
        })
    }

    /// The random numbers of image `i` in an epoch, or in a view.
    fn random(&self, seed: u64, purpose: Purpose, epoch: u32, i: usize) -> ChaCha8Rng {
        random::stream(seed, purpose, u64::from(epoch) * self.split.len() as u64 + i as u64)
    }
}

/// The images `range` of a split as they are, without targets.
pub fn plain(split: &Split, range: Range<usize>) -> Batch {
    let chosen: Vec<usize> = range.collect();
    gather(split, &chosen, |_, image, out| augment::plain(image, split.width, out))
}

/// The images of `batch`, each of the shape `input`, as a tensor `(n, c, h, w)` on `device`.
pub fn upload(batch: &Batch, input: Shape, device: &Device) -> Tensor<4> {
    let shape = [batch.labels.len(), input.c.into(), input.h.into(), input.w.into()];
    Tensor::from_data(TensorData::new(batch.images.clone(), shape), device)
}

pub(super) fn order(seed: u64, images: usize, epoch: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut random::stream(seed, Purpose::Shuffle, epoch.into()));
    order
}

pub(super) fn one_hot(labels: &[u16], classes: usize) -> Vec<f32> {
    let mut targets = vec![0.0; labels.len() * classes];
    targets.chunks_exact_mut(classes).zip(labels).for_each(|(row, &label)| row[usize::from(label)] = 1.0);
    targets
}

/// Images written side by side by `write`, on the threads of the pool that it is called from.
fn gather(split: &Split, chosen: &[usize], write: impl Fn(usize, &[u8], &mut [f32]) + Sync) -> Batch {
    let values = split.height * split.width * 3;
    let mut images = vec![0.0; chosen.len() * values];
    images.par_chunks_exact_mut(values).zip(chosen).for_each(|(out, &i)| write(i, split.image(i), out));
    Batch { images, labels: chosen.iter().map(|&i| split.labels[i]).collect(), targets: Vec::new(), taught: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one pixel that is the image's number.
    fn split(images: u8) -> Split {
        Split {
            images: (0..images).flat_map(|i| [i; 3]).collect(),
            labels: vec![0; images.into()],
            height: 1,
            width: 1,
        }
    }

    fn numbers(recipe: &Recipe, split: &Split, epoch: u32, steps: Range<usize>) -> Vec<Vec<u8>> {
        let loader = Loader::new(recipe, split, 1, 2).unwrap();
        std::thread::scope(|scope| {
            let batches = loader.prefetch(scope, epoch, steps);
            batches.iter().map(|batch| batch.images.chunks(3).map(|p| (p[0] * 255.0).round() as u8).collect()).collect()
        })
    }

    fn recipe(batch_size: usize) -> Recipe {
        let mut recipe = Recipe::default();
        recipe.train.batch_size = batch_size;
        recipe.augment.cutout = 0;
        recipe
    }

    #[test]
    fn an_epoch_sees_every_image_at_most_once_in_whole_batches() {
        let (recipe, split) = (recipe(4), split(11));
        assert_eq!(steps_per_epoch(11, 4), 2);
        let batches = numbers(&recipe, &split, 0, 0..2);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        let mut seen = batches.concat();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert_ne!(batches, numbers(&recipe, &split, 1, 0..2), "another epoch has another order");
        assert_eq!(batches[1..], numbers(&recipe, &split, 0, 1..2), "a resumed epoch goes on");
    }

    #[test]
    fn a_small_split_is_one_batch() {
        assert_eq!(steps_per_epoch(3, 128), 1);
        assert_eq!(numbers(&recipe(128), &split(3), 0, 0..1)[0].len(), 3);
    }

    #[test]
    fn shards_are_nearly_equal_and_never_empty() {
        let batch = plain(&split(7), 0..7);
        for (count, sizes) in [(1, vec![7]), (2, vec![4, 3]), (3, vec![3, 3, 1]), (9, vec![1; 7])] {
            let shards = batch.split(count);
            assert_eq!(shards.iter().map(|shard| shard.labels.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(shards.into_iter().flat_map(|shard| shard.images).collect::<Vec<_>>(), batch.images);
        }
    }

    #[test]
    fn flip_shift_and_cutout_draw_what_they_always_drew() {
        // Written by the program before any other transformation was added: committed recipes train the same weights.
        let (height, width) = (9, 7);
        let split = Split {
            images: (0..40 * height * width * 3).map(|i| (i * 37 % 251) as u8).collect(),
            labels: (0..40).map(|i| i % 5).collect(),
            height,
            width,
        };
        let mut recipe = Recipe::default();
        recipe.train.batch_size = 8;
        recipe.train.seed = 3;
        recipe.augment.cutout = 3;
        let loader = Loader::new(&recipe, &split, 5, 3).unwrap();
        let digests = std::thread::scope(|scope| {
            let batches = loader.prefetch(scope, 2, 1..5);
            let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.images).flat_map(f32::to_le_bytes).collect();
            hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes))
        });
        assert_eq!(digests, "6c2d42e12e7813e844cdac638333adb52e3827229003aaf98cd35457affbccd2");
    }

    #[test]
    fn shards_keep_their_targets() {
        let targets: Vec<f32> = (0..10).map(|x| x as f32).collect();
        let taught = targets.iter().map(|x| 10.0 * x).collect();
        let batch = Batch { images: vec![0.0; 15], labels: vec![0; 5], targets, taught };
        let shards: Vec<[Vec<f32>; 2]> =
            batch.split(2).into_iter().map(|shard| [shard.targets, shard.taught]).collect();
        let expected = [vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![6.0, 7.0, 8.0, 9.0]];
        assert_eq!(shards, expected.map(|row| [row.clone(), row.iter().map(|x| 10.0 * x).collect()]));
    }

    #[test]
    fn a_mixed_image_shows_its_neighbour_as_it_was() {
        // Three images of one pixel; the second is not mixed.
        let mut batch = Batch {
            images: vec![0.0, 0.0, 0.0, 0.4, 0.4, 0.4, 1.0, 1.0, 1.0],
            labels: vec![0, 1, 2],
            targets: one_hot(&[0, 1, 2], 3),
            taught: vec![0.5, 0.5, 0.0, 0.25, 0.0, 0.75, 0.0, 0.0, 1.0],
        };
        batch.mix(1, |i| (i != 1).then_some(Mix::Up { keep: 0.25 }));
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(&batch.images, &[0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.25, 0.25, 0.25]), "{:?}", batch.images);
        assert_eq!(batch.labels, [1, 1, 0]);
        assert_eq!(batch.targets, [0.25, 0.75, 0.0, 0.0, 1.0, 0.0, 0.75, 0.0, 0.25]);
        // What a teacher says of them is mixed as they are, and also with what it said before anything was.
        assert_eq!(batch.taught, [0.3125, 0.125, 0.5625, 0.25, 0.0, 0.75, 0.375, 0.375, 0.25]);
    }

    #[test]
    fn patches_come_from_the_next_three_as_they_were() {
        // Images of two by two pixels, each of its own value and class: the point where patches meet is drawn.
        for n in [1, 2, 3, 6] {
            let labels: Vec<u16> = (0..n).collect();
            let mut batch = Batch {
                images: labels.iter().flat_map(|&label| [f32::from(label); 12]).collect(),
                targets: one_hot(&labels, n.into()),
                taught: one_hot(&labels, n.into()),
                labels,
            };
            let recipe = crate::recipe::AugmentRecipe { ricap: 2.0, ..crate::recipe::AugmentRecipe::none() };
            batch.mix(2, |i| Mix::draw(&recipe, 2, 2, &mut random::stream(5, Purpose::Mix, i as u64)));
            for (i, image) in batch.images.chunks(12).enumerate() {
                let row = &batch.targets[i * usize::from(n)..][..n.into()];
                for label in 0..n {
                    let pixels = image[..4].iter().filter(|&&value| value == f32::from(label)).count();
                    assert_eq!(row[usize::from(label)], pixels as f32 / 4.0, "class {label} of image {i} of {n}");
                }
                assert!(row.iter().all(|&share| share <= row[usize::from(batch.labels[i])] || n < 4));
            }
            assert_eq!(batch.targets, batch.taught);
        }
    }

    #[test]
    fn mixed_batches_are_the_same_on_any_number_of_threads() {
        let mut split = split(40);
        split.labels = (0..40).map(|i| i % 3).collect();
        let mut recipe = recipe(8);
        (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.mixup_probability) = (0.8, 1.0, 0.7);
        recipe.augment.brightness = 0.3;
        let chosen: Vec<usize> = (3..19).collect();
        let made = |threads, epoch| Loader::new(&recipe, &split, 3, threads).unwrap().varied(epoch, epoch, &chosen);
        let batch = made(1, 4);
        assert_eq!(batch, made(5, 4));
        assert_ne!(batch, made(1, 5));
        let rows: Vec<&[f32]> = batch.targets.chunks(3).collect();
        assert!(rows.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        assert!(rows.iter().any(|row| row.iter().all(|&x| x < 0.9)), "something is mixed");
        assert!(rows.iter().zip(&batch.labels).all(|(row, &label)| row[usize::from(label)] >= 0.5));
    }
}
