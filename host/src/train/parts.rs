//! Which layers of a network are its head, and which group each of the others belongs to.
//!
//! The layers of a group have the same name up to the first dot, as `block2.conv1` and `block2.pool`.

use crate::net::{LayerKind, Network};
use crate::recipe::{Freeze, Normalise};
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Op;
use std::collections::BTreeMap;

/// The groups of a network's backbone, from the image up.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups<'a> {
    network: &'a Network,
    /// Name of each group, and the first layer after it.
    ends: Vec<(&'a str, usize)>,
}

impl<'a> Groups<'a> {
    /// Those of `network`. A layer that starts no group with parameters belongs to the one before it.
    pub fn of(network: &'a Network) -> Self {
        let head = network.layers.iter().position(|layer| {
            let first = first_part(&layer.name);
            first == "head" || matches!(layer.kind, LayerKind::Op { op: Op::Flatten, .. })
        });
        let mut ends: Vec<(&str, usize)> = Vec::new();
        for (i, layer) in network.layers[..head.unwrap_or(0)].iter().enumerate() {
            let name = first_part(&layer.name);
            match ends.last_mut() {
                Some((last, end)) if *last == name || !has_parameters(network, name) => *end = i + 1,
                _ => ends.push((name, i + 1)),
            }
        }
        Self { network, ends }
    }

    /// How many layers, from the first, `freeze` means.
    ///
    /// # Errors
    /// The network has no such part; says which groups there are.
    pub fn frozen_layers(&self, freeze: Freeze) -> Result<usize> {
        let count = match freeze {
            Freeze::None => return Ok(0),
            Freeze::All => self.ends.len(),
            Freeze::Stem => self.ends.iter().take_while(|(name, _)| !name.starts_with("block")).count(),
            Freeze::First(count) => count as usize,
        };
        let names: Vec<&str> = self.ends.iter().map(|(name, _)| *name).collect();
        if self.ends.is_empty() {
            bail!("the network has no backbone that could be frozen: all of it is its head");
        }
        ensure!(count > 0, "the network has no stem; its groups are {}: freeze a number of them", names.join(", "));
        let (_, end) = self.ends.get(count - 1).with_context(|| {
            format!("{count} groups cannot be frozen, the network has {}: {}", names.len(), names.join(", "))
        })?;
        Ok(*end)
    }

    /// What each layer's learning rate is multiplied by: 1 in the head, and `decay` once more for each group below.
    pub fn rates(&self, decay: f64) -> BTreeMap<&'a str, f64> {
        let group = |i: usize| self.ends.iter().take_while(|(_, end)| *end <= i).count();
        let rate = |i: usize| decay.powi((self.ends.len() - group(i)) as i32);
        self.network.layers.iter().enumerate().map(|(i, layer)| (layer.name.as_str(), rate(i))).collect()
    }
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn has_parameters(network: &Network, group: &str) -> bool {
    network.layers.iter().any(|layer| first_part(&layer.name) == group && layer.kind.has_parameters())
}

/// The first `count` layers of `network`, which drop nothing, and the others, whose image is the result of the first.
///
/// # Errors
/// One of the others also reads something else; names it.
pub fn split(network: &Network, count: usize) -> Result<[Network; 2]> {
    let input = network.shapes()?[count];
    let (mut below, mut above) = (network.layers[..count].to_vec(), network.layers[count..].to_vec());
    for layer in &mut below {
        if let LayerKind::Dropout { probability, .. } = &mut layer.kind {
            *probability = 0.0;
        }
    }
    for layer in &mut above {
        for value in &mut layer.inputs {
            *value = value.checked_sub(count).with_context(|| {
                format!("layer {} reads a value from within the frozen layers; freeze another number", layer.name)
            })?;
        }
    }
    let below = Network { input: network.input, normalise: network.normalise, layers: below };
    Ok([below, Network { input, normalise: Normalise::NONE, layers: above }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::build;
    use crate::recipe::{Model, Recipe};
    use ocellus_shared::Shape;

    fn network(model: Model) -> Network {
        let mut recipe = Recipe { model, ..Recipe::default() };
        recipe.net.blocks = vec![vec![4, 4], vec![5]];
        recipe.net.block_dropout = vec![0.1, 0.2];
        build(&recipe, Shape::new(8, 8, 3), 3).unwrap()
    }

    #[test]
    fn groups_of_the_plain_network() {
        let network = network(Model::Cnn);
        let groups = Groups::of(&network);
        let last = |freeze| network.layers[groups.frozen_layers(freeze).unwrap() - 1].name.as_str();
        assert_eq!(groups.frozen_layers(Freeze::None).unwrap(), 0);
        assert_eq!((last(Freeze::First(1)), last(Freeze::First(2))), ("block1.drop", "block2.drop"));
        assert_eq!(last(Freeze::All), "block2.drop");
        let message = |freeze| groups.frozen_layers(freeze).unwrap_err().to_string();
        assert!(message(Freeze::Stem).contains("no stem") && message(Freeze::Stem).contains("block1, block2"));
        assert!(message(Freeze::First(3)).contains("the network has 2: block1, block2"));
        let rates = groups.rates(0.5);
        assert_eq!((rates["head"], rates["dense1"], rates["flatten"]), (1.0, 1.0, 1.0));
        assert_eq!((rates["block2.conv1.bn"], rates["block1.conv2"]), (0.5, 0.25));
    }

    /// A stem, a block, something on top, a pooling that has no parameters, and a head of two layers.
    #[test]
    fn groups_by_their_names() {
        let dense = LayerKind::Op { op: Op::Dense { out_channels: 2 }, bias: true };
        let pool = LayerKind::Op { op: Op::GlobalAvgPool, bias: false };
        let norm = LayerKind::BatchNorm { epsilon: 1e-5, momentum: 0.1 };
        let layers = [
            ("stem.bn", norm),
            ("stem.relu", LayerKind::Relu),
            ("block1.bn", norm),
            ("top.bn", norm),
            ("pool", pool),
            ("head.dense1", dense),
            ("head", dense),
        ];
        let layer = |(i, (name, kind)): (usize, (&str, LayerKind))| crate::net::Layer {
            name: name.into(),
            kind,
            inputs: vec![i],
        };
        let layers = layers.into_iter().enumerate().map(layer).collect();
        let network = Network { input: Shape::new(2, 2, 3), normalise: Normalise::NONE, layers };
        let groups = Groups::of(&network);
        let count = |freeze| groups.frozen_layers(freeze).unwrap();
        assert_eq!([Freeze::Stem, Freeze::First(1), Freeze::First(2), Freeze::All].map(count), [2, 2, 3, 5]);
        assert_eq!((groups.rates(0.5)["stem.bn"], groups.rates(0.5)["head.dense1"]), (0.125, 1.0));
    }

    #[test]
    fn a_head_alone_has_nothing_to_freeze() {
        let network = network(Model::Linear);
        let error = Groups::of(&network).frozen_layers(Freeze::All).unwrap_err();
        assert!(error.to_string().contains("no backbone"), "{error}");
    }

    #[test]
    fn both_parts_are_whole_networks() {
        let network = network(Model::Cnn);
        let count = Groups::of(&network).frozen_layers(Freeze::First(1)).unwrap();
        let [below, above] = split(&network, count).unwrap();
        let shapes = network.shapes().unwrap();
        assert_eq!(below.shapes().unwrap(), shapes[..=count]);
        assert_eq!(above.shapes().unwrap(), shapes[count..]);
        let names = |n: &Network| n.parameters().unwrap().into_iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!([names(&below), names(&above)].concat(), names(&network));
        assert!(below.layers.iter().any(|l| matches!(l.kind, LayerKind::Dropout { probability: 0.0, .. })));
        let mut crossed = network.clone();
        crossed.layers[count].inputs = vec![0];
        assert!(split(&crossed, count).unwrap_err().to_string().contains("block2.conv1"));
    }
}
