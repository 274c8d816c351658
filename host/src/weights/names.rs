//! What others call the layers of a network.
//!
//! | ours | timm | torchvision | efficientnet_pytorch |
//! |---|---|---|---|
//! | `stem`, `stem.bn` | `conv_stem`, `bn1` | `features.0.0`, `features.0.1` | `_conv_stem`, `_bn0` |
//! | `blockN.*` | `blocks.S.I.*` | `features.S.I.block.J.*` | `_blocks.M.*` |
//! | `top`, `top.bn` | `conv_head`, `bn2` | `features.L.0`, `features.L.1` | `_conv_head`, `_bn1` |
//! | `head` | `classifier` | `classifier.1` | `_fc` |
//!
//! `N` counts blocks through all stages from 1, `M` from 0, `S` stages, `I` blocks of a stage, `J` the layers of a block and
//! `L` is behind the last stage. Within a block timm numbers normalisations and calls the convolutions by what they do
//! (`timm/models/_efficientnet_blocks.py`), torchvision numbers pairs of both (`torchvision/models/efficientnet.py`). Its
//! MobileNetV2 has its blocks in one row, with `conv` instead of `block`, and a number each for the last convolution of a block
//! and its normalisation (`torchvision/models/mobilenetv2.py`). efficientnet_pytorch is L. Melas-Kyriazi's package (`efficientnet_pytorch/model.py`), which has the first version only.
//! The residual networks for CIFAR are in none of them: they have our names only.

use crate::net::bottleneck::{Block, BlockKind};
use crate::net::{self, head};
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
    /// Every scheme that names the layers of `model`.
    pub fn known(model: Model) -> Vec<Self> {
        let own = Self { name: "ocellus", layers: BTreeMap::new() };
        let Some(blocks) = net::blocks(model) else { return vec![own] };
        let by_torchvision = if model.is_mobilenetv2() { Self::torchvision_mobilenet } else { Self::torchvision };
        let mut schemes = vec![Self::timm(&blocks), by_torchvision(&blocks)];
        if model.is_first_efficientnet() {
            schemes.push(Self::efficientnet_pytorch(&blocks));
        }
        schemes.push(own);
        schemes
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

    /// Whether a tensor of this name, which no parameter has, would be a layer of such a network: of a deeper one.
    pub fn is_layer(&self, name: &str) -> bool {
        let own = ["stem", "block", "top", "dense", head::CLASSIFIER];
        let of_name = kind(name);
        let mut layers = self.layers.values();
        if self.layers.is_empty() { own.contains(&of_name) } else { layers.any(|layer| kind(layer) == of_name) }
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
        layers.numbered("stem", "features.0");
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
                    layers.numbered(&format!("{ours}.{part}"), &format!("{theirs}.{n}"));
                }
            }
        }
        let behind = blocks.last().map_or(0, |block| block.stage + 2);
        layers.numbered("top", &format!("features.{behind}"));
        layers.one(head::CLASSIFIER, "classifier.1");
        Self { name: "torchvision", layers: layers.0 }
    }

    fn torchvision_mobilenet(blocks: &[Block]) -> Self {
        let mut layers = Layers::default();
        layers.numbered("stem", "features.0");
        for (i, block) in blocks.iter().enumerate() {
            let (ours, theirs) = (format!("block{}", i + 1), format!("features.{}.conv", i + 1));
            let before: &[_] =
                if block.kind == BlockKind::Inverted { &["expand", "depthwise"] } else { &["depthwise"] };
            for (n, part) in before.iter().enumerate() {
                layers.numbered(&format!("{ours}.{part}"), &format!("{theirs}.{n}"));
            }
            let [last, bn] = [before.len(), before.len() + 1].map(|n| format!("{theirs}.{n}"));
            layers.pair(&format!("{ours}.project"), &last, &bn);
        }
        layers.numbered("top", &format!("features.{}", blocks.len() + 1));
        layers.one(head::CLASSIFIER, "classifier.1");
        Self { name: "torchvision", layers: layers.0 }
    }

    fn efficientnet_pytorch(blocks: &[Block]) -> Self {
        let mut layers = Layers::default();
        layers.pair("stem", "_conv_stem", "_bn0");
        for (m, _) in blocks.iter().enumerate() {
            let (ours, theirs) = (format!("block{}", m + 1), format!("_blocks.{m}"));
            for (n, part) in ["expand", "depthwise", "project"].into_iter().enumerate() {
                layers.pair(&format!("{ours}.{part}"), &format!("{theirs}._{part}_conv"), &format!("{theirs}._bn{n}"));
            }
            layers.one(&format!("{ours}.se.reduce"), &format!("{theirs}._se_reduce"));
            layers.one(&format!("{ours}.se.expand"), &format!("{theirs}._se_expand"));
        }
        layers.pair("top", "_conv_head", "_bn1");
        layers.one(head::CLASSIFIER, "_fc");
        Self { name: "efficientnet_pytorch", layers: layers.0 }
    }
}

/// What a name begins with, without its number.
fn kind(name: &str) -> &str {
    let first = name.split('.').next().unwrap_or(name);
    first.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// A [`Scheme`]'s table on its way.
#[derive(Default)]
struct Layers(BTreeMap<String, String>);

impl Layers {
    fn one(&mut self, ours: &str, theirs: &str) {
        self.0.insert(ours.to_owned(), theirs.to_owned());
    }

    /// A convolution and its normalisation, which are the two parts of `theirs`.
    fn numbered(&mut self, ours: &str, theirs: &str) {
        self.pair(ours, &format!("{theirs}.0"), &format!("{theirs}.1"));
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
        let [timm, torchvision, efficientnet_pytorch, own] = Scheme::known(Model::EfficientNetB0).try_into().unwrap();
        // Our name, and what the three call it in a B0.
        let cases = [
            ("stem.weight", "conv_stem.weight", "features.0.0.weight", "_conv_stem.weight"),
            ("stem.bn.running_mean", "bn1.running_mean", "features.0.1.running_mean", "_bn0.running_mean"),
            (
                "block1.depthwise.weight",
                "blocks.0.0.conv_dw.weight",
                "features.1.0.block.0.0.weight",
                "_blocks.0._depthwise_conv.weight",
            ),
            (
                "block1.se.reduce.bias",
                "blocks.0.0.se.conv_reduce.bias",
                "features.1.0.block.1.fc1.bias",
                "_blocks.0._se_reduce.bias",
            ),
            (
                "block1.project.bn.weight",
                "blocks.0.0.bn2.weight",
                "features.1.0.block.2.1.weight",
                "_blocks.0._bn2.weight",
            ),
            (
                "block3.expand.weight",
                "blocks.1.1.conv_pw.weight",
                "features.2.1.block.0.0.weight",
                "_blocks.2._expand_conv.weight",
            ),
            (
                "block3.se.expand.weight",
                "blocks.1.1.se.conv_expand.weight",
                "features.2.1.block.2.fc2.weight",
                "_blocks.2._se_expand.weight",
            ),
            ("block16.project.bn.bias", "blocks.6.0.bn3.bias", "features.7.0.block.3.1.bias", "_blocks.15._bn2.bias"),
            ("top.weight", "conv_head.weight", "features.8.0.weight", "_conv_head.weight"),
            ("head.bias", "classifier.bias", "classifier.1.bias", "_fc.bias"),
        ];
        for (ours, by_timm, by_torchvision, by_efficientnet_pytorch) in cases {
            assert_eq!((timm.foreign(ours).as_str(), torchvision.foreign(ours).as_str()), (by_timm, by_torchvision));
            assert_eq!(
                (efficientnet_pytorch.foreign(ours).as_str(), own.foreign(ours).as_str()),
                (by_efficientnet_pytorch, ours)
            );
        }
    }

    #[test]
    fn layers_of_deeper_networks_are_told_from_what_is_no_layer() {
        for scheme in Scheme::known(Model::EfficientNetB0).into_iter().chain(Scheme::known(Model::ResNet20)) {
            let [deeper, other] = match scheme.name {
                "timm" => ["blocks.9.0.conv_pw.weight", "aux.weight"],
                "torchvision" => ["features.12.0.weight", "aux.0.weight"],
                "efficientnet_pytorch" => ["_blocks.40._bn0.bias", "_swish.weight"],
                _ => ["block40.conv1.weight", "arcface.weight"],
            };
            assert!(scheme.is_layer(deeper) && !scheme.is_layer(other), "{}", scheme.name);
        }
    }

    #[test]
    fn the_second_mobilenet_has_its_foreign_names() {
        let [timm, torchvision, _] = Scheme::known(Model::MobileNetV2W050).try_into().unwrap();
        let cases = [
            ("stem.bn.bias", "bn1.bias", "features.0.1.bias"),
            ("block1.depthwise.weight", "blocks.0.0.conv_dw.weight", "features.1.conv.0.0.weight"),
            ("block1.project.weight", "blocks.0.0.conv_pw.weight", "features.1.conv.1.weight"),
            ("block1.project.bn.bias", "blocks.0.0.bn2.bias", "features.1.conv.2.bias"),
            ("block2.expand.bn.weight", "blocks.1.0.bn1.weight", "features.2.conv.0.1.weight"),
            ("block5.depthwise.weight", "blocks.2.1.conv_dw.weight", "features.5.conv.1.0.weight"),
            ("block17.project.weight", "blocks.6.0.conv_pwl.weight", "features.17.conv.2.weight"),
            ("block17.project.bn.running_var", "blocks.6.0.bn3.running_var", "features.17.conv.3.running_var"),
            ("top.weight", "conv_head.weight", "features.18.0.weight"),
            ("head.bias", "classifier.bias", "classifier.1.bias"),
        ];
        for (ours, by_timm, by_torchvision) in cases {
            assert_eq!((timm.foreign(ours).as_str(), torchvision.foreign(ours).as_str()), (by_timm, by_torchvision));
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
