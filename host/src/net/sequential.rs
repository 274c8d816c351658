//! A network that the recipe writes down layer by layer, as PyTorch's `nn.Sequential` does.

use super::head::CLASSIFIER;
use super::{Builder, Function, LayerKind, Network, PYTORCH_EPSILON};
use crate::recipe::{ActivationKind, Filter, LayerSpec};
use anyhow::Result;
use ocellus_shared::{Op, Shape, Window};

/// Writes down `layers` and the classifier for images of `input` size and `classes` classes. Layers are called by their kind and
/// number: `conv1`, `batch-norm1`, `conv2`.
///
/// # Errors
/// A layer does not fit the one before it; names it.
pub fn build(layers: &[LayerSpec], input: Shape, classes: u16) -> Result<Network> {
    let mut net = Builder::new(input);
    for (layer, name) in layers.iter().zip(names(layers)) {
        add(&mut net, layer, &name)?;
    }
    flatten(&mut net, CLASSIFIER)?;
    net.dense(CLASSIFIER, classes)?;
    Ok(net.finish())
}

/// The penalty of the weights `name`; see [`LayerSpec::Dense`].
pub(super) fn l2(layers: &[LayerSpec], name: &str) -> f64 {
    let penalty = layers.iter().zip(names(layers)).find_map(|(layer, layer_name)| match layer {
        LayerSpec::Dense { l2, .. } if name.strip_suffix(".weight") == Some(&layer_name) => Some(*l2),
        _ => None,
    });
    penalty.unwrap_or(0.0)
}

fn names(layers: &[LayerSpec]) -> Vec<String> {
    let kinds: Vec<String> = layers.iter().map(|layer| layer.to_string().split(' ').take(1).collect()).collect();
    let number = |at: usize| kinds[..=at].iter().filter(|kind| **kind == kinds[at]).count();
    kinds.iter().enumerate().map(|(at, kind)| format!("{kind}{}", number(at))).collect()
}

fn add(net: &mut Builder, layer: &LayerSpec, name: &str) -> Result<()> {
    match *layer {
        LayerSpec::Conv { out_channels, filter } => {
            net.filter(name, Op::Conv { window: window(filter), out_channels }, filter.bias)
        }
        LayerSpec::Depthwise { filter } => net.filter(name, Op::Depthwise { window: window(filter) }, filter.bias),
        LayerSpec::Dense { out_channels, .. } => {
            flatten(net, name)?;
            net.dense(name, out_channels)
        }
        LayerSpec::BatchNorm => {
            net.batch_norm(name, PYTORCH_EPSILON);
            Ok(())
        }
        LayerSpec::Activation(activation) => {
            net.unary(name, kind(activation));
            Ok(())
        }
        LayerSpec::MaxPool { size, stride } => net.op(name, Op::MaxPool { window: Window::valid(size, stride) }),
        LayerSpec::AvgPool { size, stride } => net.op(name, Op::AvgPool { window: Window::valid(size, stride) }),
        LayerSpec::GlobalAvgPool => net.op(name, Op::GlobalAvgPool),
        LayerSpec::Flatten => net.op(name, Op::Flatten),
        LayerSpec::Dropout { rate } => {
            net.dropout(name, rate);
            Ok(())
        }
    }
}

/// Makes a vector of a map, for the dense layer `name`.
fn flatten(net: &mut Builder, name: &str) -> Result<()> {
    match net.shape().pixels() {
        1 => Ok(()),
        _ => net.op(&format!("{name}.flatten"), Op::Flatten),
    }
}

fn window(filter: Filter) -> Window {
    Window { kernel: [filter.kernel; 2], stride: [filter.stride; 2], pad: [filter.padding; 4] }
}

fn kind(activation: ActivationKind) -> LayerKind {
    match activation {
        ActivationKind::Relu => LayerKind::Relu,
        ActivationKind::Relu6 => LayerKind::Relu6,
        ActivationKind::Sigmoid => LayerKind::Function(Function::Sigmoid),
        ActivationKind::Silu => LayerKind::Function(Function::Silu),
        ActivationKind::HardSigmoid => LayerKind::Function(Function::HardSigmoid),
        ActivationKind::HardSwish => LayerKind::Function(Function::HardSwish),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    /// The parameters of each layer and their number, by hand.
    #[test]
    fn parameters_are_those_of_the_words() {
        let recipe = Recipe::parse(
            r#"model = "sequential"
            [net]
            layers = ["conv 4 padding=0", "batch-norm", "relu", "max-pool 2", "depthwise bias=false", "dropout 0.1",
                "dropout 0", "dense 5 l2=0.01", "relu", "dense 6"]"#,
        )
        .unwrap();
        let network = crate::net::build(&recipe, Shape::new(8, 8, 3), 2).unwrap();
        let names: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
        let expected = [
            "conv1",
            "batch-norm1",
            "relu1",
            "max-pool1",
            "depthwise1",
            "dropout1",
            "dense1.flatten",
            "dense1",
            "relu2",
            "dense2",
            "head",
        ];
        assert_eq!(names, expected);
        let count: usize = network.parameters().unwrap().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(count, (27 * 4 + 4) + 4 * 4 + 9 * 4 + (3 * 3 * 4 * 5 + 5) + (5 * 6 + 6) + (6 * 2 + 2));
        let penalties =
            ["dense1.weight", "dense1.bias", "dense2.weight", "head.weight"].map(|name| l2(&recipe.net.layers, name));
        assert_eq!(penalties, [0.01, 0.0, 0.0, 0.0]);
    }

    /// As many parameters as the others' network of this design has.
    #[test]
    fn the_recipe_for_cifar_100_has_the_parameters_of_its_design() {
        let recipe = Recipe::parse(include_str!("../../../models/cnn-cifar100/recipe.toml")).unwrap();
        let parameters = crate::net::build(&recipe, Shape::new(32, 32, 3), 100).unwrap().parameters().unwrap();
        let count = |trained: bool| -> usize {
            let counted = parameters.iter().filter(|p| !trained || p.role.is_trained());
            counted.map(|p| p.shape.iter().product::<usize>()).sum()
        };
        assert_eq!([count(false), count(true)], [1_777_636, 1_775_716]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let layers: Vec<LayerSpec> = ["max-pool 2", "max-pool 3"].map(|layer| layer.parse().unwrap()).to_vec();
        let error = build(&layers, Shape::new(5, 5, 3), 2).unwrap_err();
        assert_eq!(error.to_string(), "layer max-pool2 (max_pool) cannot take an input of 2x2x3");
    }
}
