//! A network that the recipe writes down layer by layer, as PyTorch's `nn.Sequential` does, with branches where it names them.

use super::head::CLASSIFIER;
use super::{Builder, Function, LayerKind, Network};
use crate::recipe::{ActivationKind, Filter, IMAGE, LayerOp, LayerSpec, Pool, layer_names};
use anyhow::{Context, Result, ensure};
use ocellus_shared::{Op, Shape, Window};
use std::collections::{BTreeMap, HashMap};

/// Writes down `layers` and the classifier for images of `input` size and `classes` classes.
///
/// # Errors
/// A layer does not fit its input, two have one name, or one reads a layer that is not before it; names it.
pub fn build(layers: &[LayerSpec], input: Shape, classes: u16) -> Result<Network> {
    let mut chain = Chain::new(input);
    for (layer, name) in layers.iter().zip(layer_names(layers)) {
        chain.push(layer, &name)?;
    }
    chain.net.flatten_for(CLASSIFIER)?;
    chain.net.dense(CLASSIFIER, classes)?;
    Ok(chain.net.finish())
}

/// The penalties of weights by their names; see [`LayerOp::Dense`].
pub(super) fn penalties(layers: &[LayerSpec]) -> BTreeMap<String, f64> {
    let of_layer = |(layer, name): (&LayerSpec, String)| match layer.op {
        LayerOp::Dense { l2, .. } => Some((format!("{name}.weight"), l2)),
        _ => None,
    };
    layers.iter().zip(layer_names(layers)).filter_map(of_layer).collect()
}

/// A network as it is written down.
pub struct Chain {
    net: Builder,
    /// The value of each layer, by its name.
    values: HashMap<String, usize>,
}

impl Chain {
    /// Nothing but an image.
    pub fn new(input: Shape) -> Self {
        Self { net: Builder::new(input), values: HashMap::from([(IMAGE.to_owned(), 0)]) }
    }

    /// Shape of the last layer's output.
    pub fn shape(&self) -> Shape {
        self.net.shape()
    }

    /// Adds `layer`, called `name`.
    ///
    /// # Errors
    /// See [`build`].
    pub fn push(&mut self, layer: &LayerSpec, name: &str) -> Result<()> {
        let is_free = !self.values.contains_key(name) && !super::head::contains(name);
        ensure!(is_free, "net.layers: there are two layers {name:?}, or the network has one of that name itself");
        if let Some(from) = &layer.from {
            self.net.go_to(self.value(name, from)?);
        }
        self.add(&layer.op, name)?;
        self.values.insert(name.to_owned(), self.net.value());
        Ok(())
    }

    fn add(&mut self, op: &LayerOp, name: &str) -> Result<()> {
        let net = &mut self.net;
        match op {
            LayerOp::Conv { out_channels, filter } => {
                net.filter(name, Op::Conv { window: window(*filter), out_channels: *out_channels }, filter.bias)
            }
            LayerOp::Depthwise { filter } => net.filter(name, Op::Depthwise { window: window(*filter) }, filter.bias),
            LayerOp::Dense { out_channels, .. } => {
                net.flatten_for(name)?;
                net.dense(name, *out_channels)
            }
            LayerOp::BatchNorm { epsilon } => {
                net.batch_norm(name, *epsilon);
                Ok(())
            }
            LayerOp::Activation(activation) => {
                net.unary(name, kind(*activation));
                Ok(())
            }
            LayerOp::MaxPool(pool) => net.op(name, Op::MaxPool { window: pooled(*pool) }),
            LayerOp::AvgPool(pool) => net.op(name, Op::AvgPool { window: pooled(*pool) }),
            LayerOp::GlobalAvgPool => net.op(name, Op::GlobalAvgPool),
            LayerOp::Flatten => net.op(name, Op::Flatten),
            LayerOp::Dropout { rate } => {
                net.dropout(name, *rate);
                Ok(())
            }
            LayerOp::Add(other) => self.join(name, Op::Add, std::slice::from_ref(other)),
            LayerOp::Mul(other) => self.join(name, Op::Mul, std::slice::from_ref(other)),
            LayerOp::Concat(others) => self.join(name, Op::Concat, others),
        }
    }

    /// Adds an operator on the values of `others` and the last one.
    fn join(&mut self, name: &str, op: Op, others: &[String]) -> Result<()> {
        let mut inputs = others.iter().map(|other| self.value(name, other)).collect::<Result<Vec<_>>>()?;
        inputs.push(self.net.value());
        self.net.push(name, LayerKind::Op { op, bias: false }, inputs)
    }

    /// The value of the layer `from`, which the layer `name` reads.
    fn value(&self, name: &str, from: &str) -> Result<usize> {
        let value = self.values.get(from).copied();
        value.with_context(|| {
            format!("net.layers: the layer {name} reads {from:?}, and no layer before it is called so")
        })
    }
}

fn window(filter: Filter) -> Window {
    Window { kernel: filter.kernel, stride: filter.stride, pad: filter.padding }
}

fn pooled(pool: Pool) -> Window {
    Window { kernel: pool.size, stride: pool.stride, pad: pool.padding }
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
            "conv1.batch-norm",
            "conv1.relu",
            "conv1.max-pool",
            "depthwise1",
            "depthwise1.dropout",
            "dense1.flatten",
            "dense1",
            "dense1.relu",
            "dense2",
            "head",
        ];
        assert_eq!(names, expected);
        let count: usize = network.parameters().unwrap().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(count, (27 * 4 + 4) + 4 * 4 + 9 * 4 + (3 * 3 * 4 * 5 + 5) + (5 * 6 + 6) + (6 * 2 + 2));
        assert_eq!(crate::net::penalties(&recipe), [("dense1.weight".to_owned(), 0.01)].into());
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

    fn layers(lines: &[&str]) -> Vec<LayerSpec> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    /// A residual block, squeeze-excite, and two branches.
    #[test]
    fn branches_read_what_they_name() {
        let lines = [
            "conv 4",
            "conv 4",
            "add conv1",
            "x: relu",
            "global-avg-pool",
            "conv 4 kernel=1",
            "sigmoid",
            "mul x",
            "conv 2 kernel=1 from=x",
            "concat x conv2.mul",
        ];
        let lines = lines.map(|line| line.replace("conv2.mul", "conv3.mul"));
        let network = build(&layers(&lines.each_ref().map(String::as_str)), Shape::new(6, 6, 3), 2).unwrap();
        let inputs: Vec<&[usize]> = network.layers.iter().map(|layer| &layer.inputs[..]).collect();
        assert_eq!(inputs[..10], [&[0][..], &[1], &[1, 2], &[3], &[4], &[5], &[6], &[4, 7], &[4], &[4, 8, 9]]);
        assert_eq!(network.shapes().unwrap()[10], Shape::new(6, 6, 10));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refused = |lines: &[&str]| build(&layers(lines), Shape::new(5, 5, 3), 2).unwrap_err().to_string();
        let error = refused(&["max-pool 2", "max-pool 3"]);
        assert_eq!(error, "layer image.max-pool2 (max_pool) cannot take an input of 2x2x3");
        assert!(refused(&["conv 4", "add image"]).contains("layer conv1.add (add)"));
        assert!(refused(&["relu from=conv1", "conv 4"]).contains("reads \"conv1\", and no layer before it"));
        for twice in [["a: relu", "a: relu"], ["relu", "head: relu"], ["image: relu", "relu"]] {
            assert!(refused(&twice).contains("there are two layers"), "{twice:?}");
        }
    }
}
