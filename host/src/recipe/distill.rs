//! `[distill]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Knowledge distillation: the network that is trained, the student, also learns what a teacher says of each image (Hinton et al.
/// 2015, <https://arxiv.org/abs/1503.02531>). With a teacher, or with stored soft labels, the loss is
///
/// ```text
/// label-weight * L(student, labels)  +  teacher-weight * T^2 * KL(softmax(t / T) || softmax(s / T))
/// ```
///
/// with the temperature `T`, the logits `t` of the teacher and `s` of the student, and the loss `L` of `[train]`. What the teacher says is
/// computed once, for some views of each training image that are taken in turn, one an epoch. Where images are mixed, so are the
/// teacher's probabilities, by the same shares as the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DistillRecipe {
    /// The teacher: a run folder, a model folder, the folder of an ensemble, or one file of a model. A relative path that leads nowhere
    /// from where the command is called is looked for beside the recipe.
    pub teacher: Option<PathBuf>,
    /// SHA-256 in hex of the file that computes its scores, which training writes down.
    pub teacher_sha256: String,
    /// A file of soft labels that was stored before, instead of those in the cache; without `teacher`, whoever made them.
    pub soft_labels: Option<PathBuf>,
    /// SHA-256 in hex of the soft labels, which training writes down.
    pub soft_labels_sha256: String,
    /// Temperature that both sides' logits are divided by, in `[0.1, 100]`.
    pub temperature: f64,
    /// Weight of the loss by the labels, in `[0, 100]`.
    pub label_weight: f64,
    /// Weight of the loss by the teacher, in `[0, 100]`.
    pub teacher_weight: f64,
    /// Whether the logits of each image are standardised first, on both sides: their mean is subtracted, and what is left is divided by
    /// their standard deviation (the student's with a floor of 0.05), so that the student need not match the teacher's range (Sun et al. 2024,
    /// <https://arxiv.org/abs/2403.01427>, whose experiments have a temperature of 2 and a `teacher-weight` of 9).
    pub standardise: bool,
    /// Variations of each training image that are drawn once, and then taken in turn, one an epoch; at least 1.
    pub views: u32,
    /// Seed of those variations. It is not that of `[train]`, so that runs with other seeds share one teacher's soft labels.
    pub seed: u64,
}

impl Default for DistillRecipe {
    fn default() -> Self {
        Self {
            teacher: None,
            teacher_sha256: String::new(),
            soft_labels: None,
            soft_labels_sha256: String::new(),
            temperature: 4.0,
            label_weight: 0.1,
            teacher_weight: 0.9,
            standardise: false,
            views: 4,
            seed: 0,
        }
    }
}

impl DistillRecipe {
    /// Whether there is a teacher, or what one said.
    pub fn is_on(&self) -> bool {
        self.teacher.is_some() || self.soft_labels.is_some()
    }

    pub(super) fn validate(&self) -> Result<()> {
        let temperature = self.temperature;
        ensure!((0.1..=100.0).contains(&temperature), "distill.temperature = {temperature} is not in [0.1, 100]");
        for (key, weight) in [("label-weight", self.label_weight), ("teacher-weight", self.teacher_weight)] {
            ensure!((0.0..=100.0).contains(&weight), "distill.{key} = {weight} is not in [0, 100]");
        }
        ensure!(
            self.label_weight + self.teacher_weight > 0.0,
            "distill.label-weight and distill.teacher-weight are both 0, and nothing is left to learn from: give one of them"
        );
        ensure!(self.views > 0, "distill.views must be at least 1");
        Ok(())
    }
}
