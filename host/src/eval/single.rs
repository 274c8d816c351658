//! One picture: how it reaches a model, and what is said of its scores. The command line and the web page say the same.

use ocellus_shared::plan::{Crop, Plan};
use ocellus_shared::scores::{self, Ranked};
use serde_json::{Value, json};

use super::probabilities;
use crate::data::picture::Picture;
use crate::recipe::{DataRecipe, Enlarge};

/// Classes that are named for each picture.
pub const NAMED: usize = 3;

/// What is said instead of a label that is not sure enough.
pub const UNSURE: &str = "unsure";

/// A square that smaller pictures are enlarged to, smoothly, before a model sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enlarged {
    /// Its side in pixels: the model's.
    pub side: u16,
    /// Which part of the picture fills it.
    pub crop: Crop,
}

impl Enlarged {
    /// What the images went through that the model in `plan` was trained on, by the recipe; nothing where they were only
    /// resized as on a board.
    pub fn of(recipe: &DataRecipe, plan: &Plan) -> Option<Self> {
        let smooth = recipe.enlarge == Some(Enlarge::Smooth);
        smooth.then(|| Self { side: plan.input().shape.h, crop: plan.crop() })
    }
}

/// `picture`, enlarged where it is smaller than that.
pub fn enlarged(picture: Picture, to: Option<Enlarged>) -> Picture {
    match to {
        Some(Enlarged { side, crop }) if picture.is_smaller_than(side) => picture.enlarged(side, crop),
        _ => picture,
    }
}

/// The best `count` classes, best first.
pub fn best(scores: &[i8], count: usize) -> Vec<Ranked> {
    let mut room = vec![Ranked::default(); count];
    scores::top_k(scores, &mut room).to_vec()
}

/// Whether the best class's probability is below the threshold `reject`, if there is one.
pub fn is_rejected(plan: &Plan, scores: &[i8], reject: Option<f64>) -> bool {
    let best = usize::from(scores::best(scores).class);
    reject.is_some_and(|threshold| probabilities(plan, scores).get(best).is_none_or(|&part| part < threshold))
}

/// What `run --json` says of a picture's int8 `scores`, `(classes)`. Below the threshold `reject` the label is [`UNSURE`]; nothing
/// else changes.
pub fn result(picture: &str, plan: &Plan, scores: &[i8], reject: Option<f64>) -> Value {
    let is_rejected = is_rejected(plan, scores, reject);
    let label = plan.label(scores::best(scores).class.into()).unwrap_or_default();
    let mut result = json!({
        "picture": picture,
        "label": if is_rejected { UNSURE } else { label },
        "scores": scores,
        "top": top(plan, scores, NAMED),
        "margin": scores::margin(scores, plan.output_params()),
    });
    if reject.is_some() {
        result["rejected"] = json!(is_rejected);
    }
    result
}

/// The best `count` classes with their scores and probabilities, best first.
pub fn top(plan: &Plan, scores: &[i8], count: usize) -> Vec<Value> {
    let probabilities = probabilities(plan, scores);
    let one = |r: &Ranked| {
        let label = plan.label(r.class.into()).unwrap_or_default();
        json!({ "label": label, "score": r.score, "probability": probabilities[usize::from(r.class)] })
    };
    best(scores, count).iter().map(one).collect()
}
