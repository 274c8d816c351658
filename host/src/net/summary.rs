//! What a network costs, before anything of it is trained.

use super::{LayerKind, Network, Role};
use anyhow::Result;
use ocellus_shared::Shape;

/// What one layer costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// Its name.
    pub name: String,
    /// What it computes, in the field's words.
    pub kind: &'static str,
    /// Shape of its result.
    pub output: Shape,
    /// Values that training fits.
    pub parameters: usize,
    /// Multiply-accumulates of one image; those of normalisations disappear into their neighbours and do not count.
    pub macs: u64,
}

/// What a network costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Every layer in the order they run.
    pub layers: Vec<LayerSummary>,
    /// Values that training fits: filters, biases, and factors and offsets of normalisations.
    pub parameters: usize,
    /// Those of them that are filters.
    pub weights: usize,
    /// Multiply-accumulates of one image.
    pub macs: u64,
}

/// Adds up what `network` costs.
///
/// # Errors
/// As [`Network::shapes`].
pub fn summarise(network: &Network) -> Result<Summary> {
    let shapes = network.shapes()?;
    let mut weights = 0;
    let mut layers = Vec::new();
    for (i, layer) in network.layers.iter().enumerate() {
        let (input, output) = (shapes[layer.inputs[0]], shapes[i + 1]);
        let macs = match layer.kind {
            LayerKind::Op { op, .. } => op.macs(input, output),
            _ => 0,
        };
        let trainable: Vec<_> = layer.parameters(input).into_iter().filter(|p| p.role.is_trained()).collect();
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        weights += trainable.iter().filter(|p| p.role == Role::Weight).map(|p| count(&p.shape)).sum::<usize>();
        let parameters = trainable.iter().map(|p| count(&p.shape)).sum();
        layers.push(LayerSummary { name: layer.name.clone(), kind: layer.kind.name(), output, parameters, macs });
    }
    let parameters = layers.iter().map(|layer| layer.parameters).sum();
    let macs = layers.iter().map(|layer| layer.macs).sum();
    Ok(Summary { layers, parameters, weights, macs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::build;
    use crate::recipe::{Model, Recipe};

    fn summary(model: Model, classes: usize) -> Summary {
        let side = model.img_size();
        let recipe = Recipe { model, ..Recipe::default() };
        summarise(&build(&recipe, Shape::new(side, side, 3), classes).unwrap()).unwrap()
    }

    #[test]
    fn resnets_have_their_published_sizes() {
        let tiny = summary(Model::ResNet8, 10);
        // Keras counts 78,666 parameters, of which 480 are running statistics.
        assert_eq!((tiny.weights, tiny.parameters, tiny.macs), (77_360, 78_186, 12_501_632));
        let sizes = [Model::ResNet8W40, Model::ResNet20, Model::ResNet56].map(|model| summary(model, 10));
        assert_eq!(sizes.each_ref().map(|s| s.weights), [479_480, 270_896, 851_504]);
        // The paper's table 6 says 0.27 M and 0.85 M with shortcuts without parameters.
        assert_eq!(sizes.each_ref().map(|s| s.parameters / 10_000), [48, 27, 85]);
    }

    #[test]
    fn the_mobilenet_has_its_published_size() {
        let vww = summary(Model::MobileNetV1W025, 2);
        assert_eq!((vww.weights, vww.macs), (208_112, 7_489_664));
    }

    #[test]
    fn networks_for_photos_have_their_published_sizes() {
        // Millions of parameters with 1000 classes as timm counts them, and thousands of millions of MACs.
        let cases = [
            (Model::MobileNetV2W035, 1.68, 0.059),
            (Model::MobileNetV2W050, 1.97, 0.097),
            (Model::MobileNetV2W075, 2.64, 0.209),
            (Model::MobileNetV2W100, 3.50, 0.301),
            (Model::EfficientNetLite0, 4.65, 0.40),
            (Model::EfficientNetLite1, 5.42, 0.631),
            (Model::EfficientNetLite2, 6.09, 0.899),
            (Model::EfficientNetLite3, 8.20, 1.44),
            (Model::EfficientNetLite4, 13.01, 2.64),
            (Model::EfficientNetB0, 5.29, 0.39),
            (Model::EfficientNetB2, 9.11, 1.00),
            (Model::EfficientNetB4, 19.34, 4.4),
            (Model::EfficientNetV2B1, 8.14, 1.2),
            (Model::EfficientNetV2S, 21.46, 8.4),
        ];
        for (model, parameters, macs) in cases {
            let found = summary(model, 1000);
            let millions = found.parameters as f64 / 1e6;
            assert!((millions - parameters).abs() < 0.006, "{}: {} parameters", model.name(), found.parameters);
            let ratio = found.macs as f64 / 1e9 / macs;
            assert!((0.95..1.05).contains(&ratio), "{}: {} MACs", model.name(), found.macs);
        }
    }
}
