//! Asking a teacher about the training images: once for a few views of each, then it is read from the disk.

use super::Interrupted;
use super::batches::{Batch, Loader};
use super::soft_labels::SoftLabels;
use super::workers::Workers;
use crate::data::{self, Dataset, Split};
use crate::features::{self, Key, Teacher, cached};
use crate::recipe::Recipe;
use crate::view;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images that a teacher is asked about together.
const BATCH: usize = 64;

/// What soft labels are computed from.
pub(super) struct Distillation<'a> {
    pub recipe: &'a Recipe,
    pub dataset: &'a Dataset,
    pub workers: &'a Workers,
    /// Set by whoever does not want to wait for them.
    pub stop: &'a AtomicBool,
}

impl Distillation<'_> {
    /// What `teacher` says: from the recipe's file where it names one, else from the cache in `folder`, or computed and kept there.
    ///
    /// # Errors
    /// The file was made by another teacher, or of other images or views; the teacher fails; or there is neither.
    pub(super) fn soft_labels(&self, teacher: Option<&dyn Teacher>, folder: Option<&Path>) -> Result<SoftLabels> {
        let Self { recipe, dataset, .. } = self;
        let (split, classes) = (&dataset.train, dataset.classes.len());
        let augment = recipe.augment.without_mixing();
        // Images that stay as they are have one view, whatever the seed.
        let (views, seed) =
            if augment.leaves_images() { (1, 0) } else { (recipe.distill.views as usize, recipe.distill.seed) };
        let count = views.saturating_mul(split.len() * classes);
        let what = || format!("{classes} soft labels of {} images in {views} views", split.len());
        data::ensure_memory(count.saturating_mul(2 * size_of::<f32>()), what, "set distill.views to less")?;
        let augment = if augment.leaves_images() { String::new() } else { toml::to_string(&augment)? };
        let mut key = Key::default()
            .add("kind", b"soft-labels")
            .add("version", env!("CARGO_PKG_VERSION").as_bytes())
            .add("dataset", dataset.hash.as_bytes())
            .add("augmentation", augment.as_bytes())
            .add("seed", seed.to_string().as_bytes())
            .add("number of views", views.to_string().as_bytes());
        // Who has only the file may still know whose it is.
        let known = Some(recipe.distill.teacher_sha256.clone()).filter(|sha256| !sha256.is_empty());
        if let Some(digest) = teacher.map(|teacher| hex::encode(teacher.digest())).or(known) {
            key = key.add("teacher", digest.as_bytes());
        }
        let values = match (&recipe.distill.soft_labels, teacher) {
            (Some(file), _) => features::stored(file, &key, count).context("the soft labels do not suit this run")?,
            (None, Some(teacher)) => {
                if let Some(folder) = folder {
                    view::note(&format!("soft labels are kept in {}", key.file(folder).display()));
                }
                cached(folder, &key, count, || self.compute(teacher, views))?
            }
            (None, None) => bail!("distill.teacher was not opened"),
        };
        ensure!(values.len() == count, "the teacher gave {} values, not {count}", values.len());
        SoftLabels::new(values, &split.labels, views, &recipe.distill)
    }

    fn compute(&self, teacher: &dyn Teacher, views: usize) -> Result<Vec<f32>> {
        let split = &self.dataset.train;
        let loader = Loader::new(self.recipe, split, self.dataset.classes.len(), 1)?;
        let bar = view::bar((views * split.len()) as u64, "soft labels");
        let parts: Vec<(u32, Vec<usize>)> = (0..views as u32)
            .flat_map(|view| {
                let batch = |start: usize| (start..split.len().min(start + BATCH)).collect();
                (0..split.len()).step_by(BATCH).map(move |start| (view, batch(start)))
            })
            .collect();
        let rows = self.workers.map(&parts, |_, (view, chosen)| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            let logits = teacher.logits(&pixels(&loader.alone(*view, chosen), split));
            bar.inc(chosen.len() as u64);
            logits
        });
        bar.finish_and_clear();
        Ok(rows.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }
}

/// The images of `batch`, which are of the size of those in `split`, rounded to 8 bits as a camera would deliver them.
fn pixels(batch: &Batch, split: &Split) -> Split {
    let plane = split.height * split.width;
    let image = |image: &[f32]| {
        let byte = |at: usize| (image[at % 3 * plane + at / 3] * 255.0).round() as u8;
        (0..3 * plane).map(byte).collect::<Vec<u8>>()
    };
    Split {
        images: batch.images.chunks_exact(3 * plane).flat_map(image).collect(),
        labels: batch.labels.clone(),
        ..*split
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batches::plain;

    #[test]
    fn images_reach_a_teacher_as_bytes() {
        let split = Split { images: (0..24).map(|i| i * 10).collect(), labels: vec![0, 1], height: 2, width: 2 };
        assert_eq!(pixels(&plain(&split, 0..2), &split), split);
    }
}
