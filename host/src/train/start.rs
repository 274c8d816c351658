//! The weights that training starts from.

use crate::net::Weights;
use crate::net::module::Module;
use crate::recipe::Recipe;
use crate::view;
use crate::weights;
use anyhow::Result;

/// Random weights, or those of the recipe's pretrained file. A run that goes on has its own, so the file is not needed.
///
/// # Errors
/// The file cannot be read, or is of another network; see [`weights::load`].
pub(super) fn weights(recipe: &Recipe, module: &Module, resume: bool) -> Result<Weights> {
    let mut start = module.initial(recipe.train.seed);
    let Some(path) = recipe.net.pretrained.as_ref().filter(|_| !resume) else { return Ok(start) };
    let found = weights::load(path, recipe.model, module.parameters())?;
    let (count, all) = (found.weights.len(), module.parameters().len());
    view::note(&format!("{} has {count} of {all} arrays, by {}'s names", path.display(), found.scheme));
    found.notes.iter().for_each(|note| view::note(note));
    start.extend(found.weights);
    Ok(start)
}
