//! What others call the layers of a network.
//!
//! | ours | timm | torchvision |
//! |---|---|---|
//! | `stem`, `stem.bn` | `conv_stem`, `bn1` | `features.0.0`, `features.0.1` |
//! | `blockN.*` | `blocks.S.I.*` | `features.S.I.block.J.*` |
//! | `top`, `top.bn` | `conv_head`, `bn2` | `features.L.0`, `features.L.1` |
//! | `head` | `classifier` | `classifier.1` |
//!
//! `N` counts blocks through all stages, `S` stages, `I` blocks of a stage, `J` the layers of a block and `L` is behind
//! the last stage. Within a block timm numbers normalisations and calls the convolutions by what they do
//! (`timm/models/_efficientnet_blocks.py`), torchvision numbers pairs of both
//! (`torchvision/models/efficientnet.py`). The residual networks for CIFAR are in neither: they have our names only.

use crate::net::efficientnet::{Block, BlockKind, blocks};
use crate::net::{Parameter, Weights, head};
use crate::recipe::Model;
use std::collections::BTreeMap;

/// Somebody's names for the layers of a network.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// Whose they are.
    pub name: &'static str,
    /// Their name of each of our layers; a layer that is not here has our own.
    layers: BTreeMap<String, String>,
}

impl Scheme {
    /// The scheme that the most `tensors` follow; nothing if hardly any follows one.
    pub fn of(model: Model, tensors: &Weights, parameters: &[Parameter]) -> Option<Self> {
        let hits = |scheme: &Self| parameters.iter().filter(|p| tensors.contains_key(&scheme.foreign(&p.name))).count();
        let best = Self::known(model).into_iter().max_by_key(&hits)?;
        (hits(&best) * 2 > parameters.len()).then_some(best)
    }

    /// Every scheme that names the layers of `model`.
    pub fn known(model: Model) -> Vec<Self> {
        let own = Self { name: "ocellus", layers: BTreeMap::new() };
        if !model.is_efficientnet() {
            return vec![own];
        }
        let blocks = blocks(model);
        vec![Self::timm(&blocks), Self::torchvision(&blocks), own]
    }

    /// Their name of our parameter or layer `name`.
    pub fn foreign(&self, name: &str) -> String {
        if let Some(layer) = self.layers.get(name) {
            return layer.clone();
        }
        let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
        match self.layers.get(layer) {
            Some(layer) => format!("{layer}.{part}"),
            None => name.to_owned(),
        }
    }

    fn timm(blocks: &[Block]) -> Self {
        let mut layers = Layers::default();
        layers.pair("stem", "conv_stem", "bn1");
        for (i, block) in blocks.iter().enumerate() {
            let ours = format!("block{}", i + 1);
            let theirs = format!("blocks.{}.{}", block.stage, block.index);
            let convolutions: &[_] = match block.kind {
                BlockKind::Conv => &[("expand", "conv")],
                BlockKind::Fused => &[("expand", "conv_exp"), ("project", "conv_pwl")],
                BlockKind::Separable => &[("depthwise", "conv_dw"), ("project", "conv_pw")],
                BlockKind::Inverted => &[("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")],
            };
            for (n, (our, their)) in convolutions.iter().enumerate() {
                let [their, bn] = [(*their).to_owned(), format!("bn{}", n + 1)].map(|name| format!("{theirs}.{name}"));
                layers.pair(&format!("{ours}.{our}"), &their, &bn);
            }
            layers.one(&format!("{ours}.se.reduce"), &format!("{theirs}.se.conv_reduce"));
            layers.one(&format!("{ours}.se.expand"), &format!("{theirs}.se.conv_expand"));
        }
        layers.pair("top", "conv_head", "bn2");
        layers.one(head::CLASSIFIER, "classifier");
        Self { name: "timm", layers: layers.0 }
    }

    fn torchvision(blocks: &[Block]) -> Self {
        let mut layers = Layers::default();
        let numbered = |layers: &mut Layers, ours: &str, theirs: &str| {
            layers.pair(ours, &format!("{theirs}.0"), &format!("{theirs}.1"));
        };
        numbered(&mut layers, "stem", "features.0");
        for (i, block) in blocks.iter().enumerate() {
            let ours = format!("block{}", i + 1);
            let theirs = format!("features.{}.{}.block", block.stage + 1, block.index);
            let mut parts: Vec<&str> = match block.kind {
                BlockKind::Conv => vec!["expand"],
                BlockKind::Fused => vec!["expand", "project"],
                BlockKind::Separable => vec!["depthwise", "project"],
                BlockKind::Inverted => vec!["expand", "depthwise", "project"],
            };
            if block.squeezed.is_some() {
                parts.insert(parts.len() - 1, "se");
            }
            for (n, part) in parts.into_iter().enumerate() {
                if part == "se" {
                    layers.one(&format!("{ours}.se.reduce"), &format!("{theirs}.{n}.fc1"));
                    layers.one(&format!("{ours}.se.expand"), &format!("{theirs}.{n}.fc2"));
                } else {
                    numbered(&mut layers, &format!("{ours}.{part}"), &format!("{theirs}.{n}"));
                }
            }
        }
        let behind = blocks.last().map_or(0, |block| block.stage + 2);
        numbered(&mut layers, "top", &format!("features.{behind}"));
        layers.one(head::CLASSIFIER, "classifier.1");
        Self { name: "torchvision", layers: layers.0 }
    }
}

/// A [`Scheme`]'s table on its way.
#[derive(Default)]
struct Layers(BTreeMap<String, String>);

impl Layers {
    fn one(&mut self, ours: &str, theirs: &str) {
        self.0.insert(ours.to_owned(), theirs.to_owned());
    }

    /// A convolution and its normalisation.
    fn pair(&mut self, ours: &str, convolution: &str, normalisation: &str) {
        self.one(ours, convolution);
        self.one(&format!("{ours}.bn"), normalisation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_their_foreign_names() {
        let [timm, torchvision, own] = Scheme::known(Model::EfficientNetB0).try_into().unwrap();
        // Our name, and what timm and torchvision call it in a B0.
        let cases = [
            ("stem.weight", "conv_stem.weight", "features.0.0.weight"),
            ("stem.bn.running_mean", "bn1.running_mean", "features.0.1.running_mean"),
            ("block1.depthwise.weight", "blocks.0.0.conv_dw.weight", "features.1.0.block.0.0.weight"),
            ("block1.se.reduce.bias", "blocks.0.0.se.conv_reduce.bias", "features.1.0.block.1.fc1.bias"),
            ("block1.project.bn.weight", "blocks.0.0.bn2.weight", "features.1.0.block.2.1.weight"),
            ("block3.expand.weight", "blocks.1.1.conv_pw.weight", "features.2.1.block.0.0.weight"),
            ("block3.se.expand.weight", "blocks.1.1.se.conv_expand.weight", "features.2.1.block.2.fc2.weight"),
            ("block16.project.bn.bias", "blocks.6.0.bn3.bias", "features.7.0.block.3.1.bias"),
            ("top.weight", "conv_head.weight", "features.8.0.weight"),
            ("head.bias", "classifier.bias", "classifier.1.bias"),
        ];
        for (ours, by_timm, by_torchvision) in cases {
            assert_eq!((timm.foreign(ours).as_str(), torchvision.foreign(ours).as_str()), (by_timm, by_torchvision));
            assert_eq!(own.foreign(ours), ours);
        }
    }

    #[test]
    fn fused_blocks_have_their_foreign_names() {
        let [timm, torchvision, _] = Scheme::known(Model::EfficientNetV2S).try_into().unwrap();
        let cases = [
            ("block2.expand.weight", "blocks.0.1.conv.weight", "features.1.1.block.0.0.weight"),
            ("block3.expand.bn.bias", "blocks.1.0.bn1.bias", "features.2.0.block.0.1.bias"),
            ("block3.project.weight", "blocks.1.0.conv_pwl.weight", "features.2.0.block.1.0.weight"),
            ("top.bn.weight", "bn2.weight", "features.7.1.weight"),
        ];
        for (ours, by_timm, by_torchvision) in cases {
            assert_eq!((timm.foreign(ours).as_str(), torchvision.foreign(ours).as_str()), (by_timm, by_torchvision));
        }
    }
}
