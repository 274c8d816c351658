//! What turns a residual network's last map into logits.

use super::Builder;
use crate::recipe::{Head, NetRecipe, Recipe};
use anyhow::Result;
use ocellus_shared::Op;
use std::collections::BTreeMap;

/// Name of the classifier in every family. What belongs to the head beside it is called `head.*`.
pub const CLASSIFIER: &str = "head";
/// The layer that the penalty is for.
const PENALISED: &str = "head.dense2.weight";

/// Adds the mean of each channel and the recipe's head, with `dropout` before a linear one.
pub(super) fn build(net: &mut Builder, recipe: &NetRecipe, dropout: f64, classes: u16) -> Result<()> {
    net.op("pool", Op::GlobalAvgPool)?;
    match recipe.head {
        Head::Linear => net.dropout("head.drop", dropout),
        Head::Mlp => {
            let [first, second] = recipe.head_widths;
            net.dense("head.dense1", first)?;
            net.relu("head.dense1.relu");
            net.dropout("head.drop", recipe.head_dropout);
            net.dense("head.dense2", second)?;
            net.relu("head.dense2.relu");
        }
    }
    net.dense(CLASSIFIER, classes)
}

/// Whether the parameter or layer of this name belongs to the head.
pub fn contains(name: &str) -> bool {
    name == CLASSIFIER || name.strip_prefix(CLASSIFIER).is_some_and(|rest| rest.starts_with('.'))
}

/// The penalties of the head's parameters by their names; see [`super::penalties`].
pub(super) fn penalties(recipe: &Recipe) -> BTreeMap<String, f64> {
    let penalised = (recipe.net.head == Head::Mlp).then(|| (PENALISED.to_owned(), recipe.net.head_l2));
    penalised.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{LayerKind, build};
    use crate::recipe::Model;
    use ocellus_shared::Shape;

    #[test]
    fn the_mlp_has_the_recipes_widths() {
        let mut recipe = Recipe { model: Model::ResNet8, ..Recipe::default() };
        recipe.net.head = Head::Mlp;
        let network = build(&recipe, Shape::new(32, 32, 3), 10).unwrap();
        let from = network.layers.iter().position(|layer| layer.name == "pool").unwrap();
        let head: Vec<_> = network.layers[from + 1..].iter().map(|layer| (layer.name.as_str(), layer.kind)).collect();
        let dense = |out_channels| LayerKind::Op { op: Op::Dense { out_channels }, bias: true };
        assert_eq!(
            head,
            [
                ("head.dense1", dense(128)),
                ("head.dense1.relu", LayerKind::Relu),
                ("head.drop", LayerKind::Dropout { probability: 0.2, fades: false }),
                ("head.dense2", dense(256)),
                ("head.dense2.relu", LayerKind::Relu),
                ("head", dense(10)),
            ]
        );
        assert!(head.iter().all(|(name, _)| contains(name)) && !contains("header") && !contains("pool"));
        let penalties = penalties(&recipe);
        let parameters = network.parameters().unwrap();
        let penalised: Vec<_> = parameters.iter().filter(|p| penalties.contains_key(&p.name)).collect();
        assert_eq!(penalties.values().collect::<Vec<_>>(), [&1e-3]);
        assert_eq!(penalised.len(), 1);
        assert_eq!(penalised[0].shape, [256, 128]);
    }
}
