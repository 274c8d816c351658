//! A head of its own for features that another program's backbone computes.

use super::{Builder, Network};
use crate::recipe::TransferRecipe;
use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;

/// Writes down the head of `recipe` on `len` features: a hidden layer if it has one, then the classifier.
///
/// # Errors
/// There are no classes or too many, or more features than a vector can hold.
pub fn build(recipe: &TransferRecipe, len: usize, classes: usize) -> Result<Network> {
    ensure!(classes >= 2, "a classifier needs at least 2 classes, the dataset has {classes}");
    let classes = u16::try_from(classes).with_context(|| format!("{classes} classes are more than 65535"))?;
    let values = u16::try_from(len).ok().filter(|&len| len > 0);
    let values =
        values.with_context(|| format!("a head takes between 1 and 65535 features, the backbone has {len}"))?;
    let mut net = Builder::new(Shape::vector(values));
    if recipe.hidden > 0 {
        net.dense("head.dense1", recipe.hidden)?;
        net.relu("head.dense1.relu");
    }
    net.dropout("head.drop", recipe.dropout);
    net.dense("head", classes)?;
    Ok(net.finish())
}
