//! Batches of features that a frozen backbone made of the images, in the order in which the images would come.

use super::batches::{self, Batch};
use super::soft_labels::SoftLabels;
use crate::features::Features;
use crate::recipe::Recipe;
use std::ops::Range;

/// The batches `steps` of `epoch` out of `features`, in the order in which the images themselves would come, with what a teacher says
/// if there is one.
pub(super) fn shuffled<'a>(
    recipe: &'a Recipe,
    features: &'a Features,
    soft_labels: Option<&'a SoftLabels>,
    classes: usize,
    epoch: u32,
    steps: Range<usize>,
) -> impl Iterator<Item = Batch> + 'a {
    let n = features.labels.len();
    let views = features.values.len() / (n * features.len);
    let (order, view) = (batches::order(recipe.train.seed, n, epoch), epoch as usize % views);
    let size = recipe.train.batch_size;
    steps.map(move |step| {
        let chosen = &order[step * size..n.min((step + 1) * size)];
        let batch = gather(features, chosen, view);
        let taught = soft_labels.map(|labels| labels.rows(view as u32, chosen)).unwrap_or_default();
        Batch { targets: batches::one_hot(&batch.labels, classes), taught, ..batch }
    })
}

/// The features of the images `range` as the first view shows them, without targets.
pub(super) fn unvaried(features: &Features, range: Range<usize>) -> Batch {
    gather(features, &range.collect::<Vec<_>>(), 0)
}

/// The features of the images `chosen` in one view, without targets.
fn gather(features: &Features, chosen: &[usize], view: usize) -> Batch {
    let labels: Vec<u16> = chosen.iter().map(|&i| features.labels[i]).collect();
    let images = chosen.iter().flat_map(|&i| features.of(view, i)).copied().collect();
    Batch { images, labels, targets: Vec::new(), taught: Vec::new() }
}
