//! The training images in each epoch's order, varied and gathered into batches ahead of the trainer.

use crate::augment;
use crate::data::Split;
use crate::random::{self, Purpose};
use crate::recipe::Recipe;
use rand::seq::SliceRandom;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches that are made while the trainer works on an earlier one.
const AHEAD: usize = 2;

/// Some images and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels in `[0, 1]`, `(n, 3, h, w)`.
    pub images: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<u16>,
}

impl Batch {
    /// The batch in at most `count` parts of nearly equal size, none of them empty.
    pub fn split(&self, count: usize) -> Vec<Batch> {
        let n = self.labels.len();
        let (values, size) = (self.images.len() / n, n.div_ceil(count.clamp(1, n)));
        let part = |(images, labels): (&[f32], &[u16])| Batch { images: images.to_vec(), labels: labels.to_vec() };
        self.images.chunks(size * values).zip(self.labels.chunks(size)).map(part).collect()
    }
}

/// Steps of one epoch: whole batches only, but at least one.
pub fn steps_per_epoch(images: usize, batch_size: usize) -> usize {
    (images / batch_size).max(1)
}

/// Makes the batches `steps` of `epoch` on a thread of its own. They depend on the recipe, the split, the epoch and
/// the step alone.
pub fn prefetch<'scope>(
    scope: &'scope Scope<'scope, '_>,
    recipe: &'scope Recipe,
    split: &'scope Split,
    epoch: u32,
    steps: Range<usize>,
) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        let order = order(recipe.train.seed, split.len(), epoch);
        for step in steps {
            let from = step * recipe.train.batch_size;
            let chosen = &order[from..order.len().min(from + recipe.train.batch_size)];
            // A trainer that stopped does not want any more.
            if sender.send(varied(recipe, split, epoch, chosen)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The images `range` of a split as they are.
pub fn plain(split: &Split, range: Range<usize>) -> Batch {
    let chosen: Vec<usize> = range.collect();
    gather(split, &chosen, |_, image, out| augment::plain(image, split.width, out))
}

fn order(seed: u64, images: usize, epoch: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut random::stream(seed, Purpose::Shuffle, epoch.into()));
    order
}

fn varied(recipe: &Recipe, split: &Split, epoch: u32, chosen: &[usize]) -> Batch {
    gather(split, chosen, |i, image, out| {
        let draw = u64::from(epoch) * split.len() as u64 + i as u64;
        let mut random = random::stream(recipe.train.seed, Purpose::Augment, draw);
        augment::vary(image, split.width, &recipe.augment, &mut random, out);
    })
}

fn gather(split: &Split, chosen: &[usize], write: impl Fn(usize, &[u8], &mut [f32])) -> Batch {
    let values = split.height * split.width * 3;
    let mut images = vec![0.0; chosen.len() * values];
    for (&i, out) in chosen.iter().zip(images.chunks_exact_mut(values)) {
        write(i, split.image(i), out);
    }
    Batch { images, labels: chosen.iter().map(|&i| split.labels[i]).collect() }
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
        std::thread::scope(|scope| {
            let batches = prefetch(scope, recipe, split, epoch, steps);
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
}
