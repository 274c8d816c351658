//! Network architectures, before any library sees them.
//!
//! A [`Network`] is the list of layers that a family (one file in `net/`) writes down for a recipe. The trainer builds
//! its module from it, and [`graph::lower`](crate::graph) walks the same list: the trained weights are looked up by
//! the layers' names, so that nothing about a family is told twice.

pub mod bottleneck;
pub mod cnn;
pub mod efficientnet;
mod engine;
mod filters;
pub mod foreign;
pub mod head;
mod layer;
mod layers;
pub mod linear;
mod map;
mod memory;
pub mod mobilenet;
pub mod mobilenetv2;
pub mod module;
pub mod resnet;
pub mod sequential;
mod simd;
mod sliding;
pub mod statistics;
pub mod summary;
mod winograd;

use crate::recipe::{Model, Normalise, Padding, Recipe};
use anyhow::{Context, Result, ensure};
use bottleneck::{Block, Design};
use ocellus_shared::{Op, Shape, Window};
use std::collections::BTreeMap;

/// A directed acyclic graph of layers in the order they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Shape of the input image, `(h, w, 3)`.
    pub input: Shape,
    /// What happens to the image's pixels before any layer reads them.
    pub normalise: Normalise,
    /// The layers. Value 0 is the normalised image and value `i + 1` the output of `layers[i]`; the last one is the logits.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique name; its parameters are stored as `<name>.weight`, `<name>.bias`, and for a batch normalisation also
    /// `<name>.running_mean` and `<name>.running_var`.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// The values it reads.
    pub inputs: Vec<usize>,
}

/// What a layer computes while it is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerKind {
    /// An operator that also exists on the board, in f32.
    Op {
        /// The operator.
        op: Op,
        /// Whether it has a bias; a convolution before a batch normalisation has none.
        bias: bool,
    },
    /// Batch normalisation over channels.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
        /// Weight of a batch's statistics in the running ones.
        momentum: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Another function of every value.
    Function(Function),
    /// Sets values to zero with this probability while training; nothing otherwise.
    Dropout {
        /// The probability, in `[0, 1)`.
        probability: f64,
        /// Whether it becomes less in the course of training, where the recipe says so.
        fades: bool,
    },
}

impl LayerKind {
    /// Whether layers of this kind have parameters.
    pub fn has_parameters(&self) -> bool {
        match self {
            Self::Op { op, .. } => matches!(op, Op::Conv { .. } | Op::Depthwise { .. } | Op::Dense { .. }),
            Self::BatchNorm { .. } => true,
            _ => false,
        }
    }

    /// What it is called in the field, for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Op { op, .. } => op.name(),
            Self::BatchNorm { .. } => "batch_norm",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Function(function) => function.name(),
            Self::Dropout { .. } => "dropout",
        }
    }
}
/// A smooth activation function, which a board looks up in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(x)`, also called Swish.
    Silu,
    /// `min(max(x / 6 + 1 / 2, 0), 1)`.
    HardSigmoid,
    /// `x * hard_sigmoid(x)`.
    HardSwish,
}

impl Function {
    /// What it is called in the field, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::HardSigmoid => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
        }
    }

    /// Its value at `x`.
    pub fn eval(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Silu => x * Self::Sigmoid.eval(x),
            Self::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::HardSwish => x * Self::HardSigmoid.eval(x),
        }
    }
}

/// Writes down the network of `recipe` for images of `input` size.
///
/// # Errors
/// The recipe's layers do not fit the input (the message names the layer), or there are no classes or too many.
pub fn build(recipe: &Recipe, input: Shape, classes: usize) -> Result<Network> {
    ensure!(classes >= 2, "a classifier needs at least 2 classes, the dataset has {classes}");
    let classes = u16::try_from(classes).with_context(|| format!("{classes} classes are more than 65535"))?;
    let network = match recipe.model {
        Model::Cnn => cnn::build(&recipe.net, input, classes)?,
        Model::Sequential => sequential::build(&recipe.net.layers, input, classes)?,
        Model::Linear => linear::build(input, classes)?,
        _ => {
            let (mut net, dropout) = backbone(recipe, input)?;
            net.truncate(recipe.net.truncate).with_context(|| format!("in the network {}", recipe.model.name()))?;
            head::build(&mut net, &recipe.net, dropout, classes)?;
            net.finish()
        }
    };
    Ok(Network { normalise: recipe.normalise(), ..network })
}

/// What stands below the head of a network that has it on the mean of each channel, and the rate of the dropout before a
/// linear head.
fn backbone(recipe: &Recipe, input: Shape) -> Result<(Builder, f64)> {
    match (design(recipe.model), recipe.model) {
        (Some(design), _) => {
            Ok((design.backbone(recipe.padding(), recipe.bn_epsilon(), input)?, recipe.net.head_dropout))
        }
        (None, Model::MobileNetV1W025) => Ok((mobilenet::backbone(input)?, 0.0)),
        (None, model) => Ok((resnet::backbone(model, recipe.net.width, input)?, 0.0)),
    }
}

/// What `model` is made of, where that is inverted bottlenecks.
fn design(model: Model) -> Option<Design> {
    let of_second_mobilenet = || model.is_mobilenetv2().then(|| mobilenetv2::design(model));
    model.is_efficientnet().then(|| efficientnet::design(model)).or_else(of_second_mobilenet)
}

/// The blocks of the whole network `model` in the order they run, where they are inverted bottlenecks.
pub fn blocks(model: Model) -> Option<Vec<Block>> {
    design(model).map(|design| design.blocks())
}

/// The L2 penalties in the network of `recipe`, by the name of the parameter, of those that have one: its gradient grows by twice its
/// penalty times its value.
pub fn penalties(recipe: &Recipe) -> BTreeMap<String, f64> {
    let mut penalties = match recipe.model {
        Model::Sequential => sequential::penalties(&recipe.net.layers),
        _ => head::penalties(recipe),
    };
    penalties.retain(|_, penalty| *penalty != 0.0);
    penalties
}

/// Names of the parameters that the whole network of `recipe` has, and its truncated one has not.
///
/// # Errors
/// As [`build`].
pub fn cut_off(recipe: &Recipe, input: Shape, classes: usize) -> Result<Vec<String>> {
    if recipe.net.truncate == 0 {
        return Ok(Vec::new());
    }
    let mut whole = recipe.clone();
    whole.net.truncate = 0;
    let names = |recipe| -> Result<Vec<String>> {
        Ok(build(recipe, input, classes)?.parameters()?.into_iter().map(|parameter| parameter.name).collect())
    };
    let kept = names(recipe)?;
    Ok(names(&whole)?.into_iter().filter(|name| !kept.contains(name)).collect())
}

impl Network {
    /// Shape of every value: the input image, then each layer's output.
    ///
    /// # Errors
    /// A layer does not take its inputs, or reads a value that does not precede it; names the layer.
    pub fn shapes(&self) -> Result<Vec<Shape>> {
        let mut shapes = vec![self.input];
        for layer in &self.layers {
            let inputs: Option<Vec<Shape>> = layer.inputs.iter().map(|&v| shapes.get(v).copied()).collect();
            let inputs = inputs.with_context(|| format!("layer {} reads a value that comes after it", layer.name))?;
            shapes.push(layer.out_shape(&inputs)?);
        }
        Ok(shapes)
    }

    /// Every parameter in the layers' order.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let shapes = self.shapes()?;
        Ok(self.layers.iter().flat_map(|layer| layer.parameters(shapes[layer.inputs[0]])).collect())
    }
}

impl Layer {
    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match self.kind {
            LayerKind::Op { op, .. } => op.out_shape(inputs).with_context(|| {
                format!("layer {} ({}) cannot take an input of {}", self.name, op.name(), list(inputs))
            }),
            _ => inputs.first().copied().with_context(|| format!("layer {} has no input", self.name)),
        }
    }

    /// The layer's parameters for this input.
    fn parameters(&self, input: Shape) -> Vec<Parameter> {
        let c = usize::from(input.c);
        let parameter =
            |part: &str, shape: Vec<usize>, role| Parameter { name: format!("{}.{part}", self.name), shape, role };
        match self.kind {
            LayerKind::Op { op, bias } => {
                let (weight, outputs) = match op {
                    Op::Conv { window, out_channels } => (
                        vec![out_channels.into(), c, window.kernel[0].into(), window.kernel[1].into()],
                        out_channels.into(),
                    ),
                    Op::Depthwise { window } => (vec![c, 1, window.kernel[0].into(), window.kernel[1].into()], c),
                    Op::Dense { out_channels } => (vec![out_channels.into(), input.len()], usize::from(out_channels)),
                    _ => return Vec::new(),
                };
                let bias = bias.then(|| parameter("bias", vec![outputs], Role::Shift));
                std::iter::once(parameter("weight", weight, Role::Weight)).chain(bias).collect()
            }
            LayerKind::BatchNorm { .. } => vec![
                parameter("weight", vec![c], Role::Scale),
                parameter("bias", vec![c], Role::Shift),
                parameter("running_mean", vec![c], Role::Mean),
                parameter("running_var", vec![c], Role::Variance),
            ],
            LayerKind::Relu | LayerKind::Relu6 | LayerKind::Function(_) | LayerKind::Dropout { .. } => Vec::new(),
        }
    }
}

fn list(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" and ")
}

/// A named array of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `<layer>.weight` and so on.
    pub name: String,
    /// PyTorch's layout: convolution `(out, in, kh, kw)`, depthwise `(c, 1, kh, kw)`, dense `(out, in)` with its input
    /// in `(c, h, w)` order, everything else `(c)`.
    pub shape: Vec<usize>,
    /// What it is to its layer.
    pub role: Role,
}

/// What a parameter is to its layer: how it starts, and whether and how it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Filters of a convolution or dense layer: the only ones that decay.
    Weight,
    /// A normalisation's factor; starts at 1.
    Scale,
    /// A bias; starts at 0.
    Shift,
    /// A normalisation's running mean: measured, not trained; starts at 0.
    Mean,
    /// A normalisation's running variance: measured, not trained; starts at 1.
    Variance,
}

impl Role {
    /// Whether the optimizer fits it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }
}

/// A named array of a trained network.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its axes, outermost first; see [`Parameter::shape`].
    pub shape: Vec<usize>,
    /// Its values, the last axis innermost.
    pub values: Vec<f32>,
}

/// The arrays of a trained network by [`Parameter::name`].
pub type Weights = BTreeMap<String, Array>;

/// Collects a network's layers, each on the last value unless told otherwise.
#[derive(Debug)]
pub(crate) struct Builder {
    network: Network,
    /// Shape of every value.
    shapes: Vec<Shape>,
    /// The value that the next layer reads.
    at: usize,
}

impl Builder {
    pub(crate) fn new(input: Shape) -> Self {
        Self { network: Network { input, normalise: Normalise::NONE, layers: Vec::new() }, shapes: vec![input], at: 0 }
    }

    /// The value that the next layer reads.
    pub(crate) fn value(&self) -> usize {
        self.at
    }

    /// Its shape.
    pub(crate) fn shape(&self) -> Shape {
        self.shapes[self.at]
    }

    /// Lets the next layer read `value`.
    pub(crate) fn go_to(&mut self, value: usize) {
        self.at = value;
    }

    /// Adds an operator without parameters.
    pub(crate) fn op(&mut self, name: &str, op: Op) -> Result<()> {
        self.filter(name, op, false)
    }

    /// Adds an operator without parameters on `first` and the last value.
    pub(crate) fn join(&mut self, name: &str, op: Op, first: usize) -> Result<()> {
        self.push(name, LayerKind::Op { op, bias: false }, vec![first, self.at])
    }

    /// Adds a convolution.
    pub(crate) fn filter(&mut self, name: &str, op: Op, bias: bool) -> Result<()> {
        self.push(name, LayerKind::Op { op, bias }, vec![self.at])
    }

    /// Adds a dense layer with a bias.
    pub(crate) fn dense(&mut self, name: &str, out_channels: u16) -> Result<()> {
        self.filter(name, Op::Dense { out_channels }, true)
    }

    /// Makes a vector of a map, for the dense layer `name`.
    pub(crate) fn flatten_for(&mut self, name: &str) -> Result<()> {
        if self.shape().pixels() > 1 { self.op(&format!("{name}.flatten"), Op::Flatten) } else { Ok(()) }
    }

    /// Adds a batch normalisation with the momentum that PyTorch has by default.
    pub(crate) fn batch_norm(&mut self, name: &str, epsilon: f64) {
        self.unary(name, LayerKind::BatchNorm { epsilon, momentum: 0.1 });
    }

    pub(crate) fn relu(&mut self, name: &str) {
        self.unary(name, LayerKind::Relu);
    }

    /// Adds a layer that takes one value of any shape and keeps its shape.
    pub(crate) fn unary(&mut self, name: &str, kind: LayerKind) {
        self.push(name, kind, vec![self.at]).expect("such a layer takes any shape");
    }

    /// Adds a dropout, or nothing at a rate of 0.
    pub(crate) fn dropout(&mut self, name: &str, probability: f64) {
        self.drop_out(name, probability, false);
    }

    /// The same of one that fades.
    pub(crate) fn fading_dropout(&mut self, name: &str, probability: f64) {
        self.drop_out(name, probability, true);
    }

    fn drop_out(&mut self, name: &str, probability: f64, fades: bool) {
        if probability > 0.0 {
            self.unary(name, LayerKind::Dropout { probability, fades });
        }
    }

    /// Leaves out everything behind the first `count` blocks; nothing with a count of 0.
    fn truncate(&mut self, count: u32) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let group =
            |layer: &Layer| layer.name.split('.').next().and_then(|name| name.strip_prefix("block")?.parse().ok());
        let layers = &mut self.network.layers;
        let last = layers.iter().rposition(|layer| group(layer) == Some(count)).with_context(|| {
            let blocks: u32 = layers.iter().filter_map(group).max().unwrap_or(0);
            format!("net.truncate = {count} keeps more blocks than the {blocks} that it has; 0 keeps the whole network")
        })?;
        layers.truncate(last + 1);
        self.at = layers.len();
        self.shapes.truncate(self.at + 1);
        Ok(())
    }

    pub(crate) fn finish(self) -> Network {
        self.network
    }

    fn push(&mut self, name: &str, kind: LayerKind, inputs: Vec<usize>) -> Result<()> {
        let shapes: Vec<Shape> = inputs.iter().map(|&value| self.shapes[value]).collect();
        let layer = Layer { name: name.into(), kind, inputs };
        self.shapes.push(layer.out_shape(&shapes)?);
        self.network.layers.push(layer);
        self.at = self.network.layers.len();
        Ok(())
    }
}

/// What PyTorch's batch normalisation adds to the variance.
pub(crate) const PYTORCH_EPSILON: f64 = 1e-5;
/// What TensorFlow's does.
pub(crate) const TENSORFLOW_EPSILON: f64 = 1e-3;

/// A square window on a map of `input` size, padded as `padding` says.
pub(crate) fn window(padding: Padding, kernel: u8, stride: u8, input: Shape) -> Window {
    let total = |size: u16| {
        let (size, kernel, stride) = (u32::from(size), u32::from(kernel), u32::from(stride));
        let reach = (size.div_ceil(stride).max(1) - 1) * stride + kernel;
        // Less than the kernel, so less than 256.
        reach.saturating_sub(size) as u8
    };
    let pad = match padding {
        Padding::Symmetric => [kernel / 2; 4],
        Padding::Same => {
            let [v, h] = [input.h, input.w].map(total);
            [v / 2, h / 2, v - v / 2, h - h / 2]
        }
    };
    Window { kernel: [kernel; 2], stride: [stride; 2], pad }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of a layer's block.
    fn block_of(layer: &Layer) -> Option<u32> {
        layer.name.split('.').next()?.strip_prefix("block")?.parse().ok()
    }

    #[test]
    fn a_truncated_network_is_the_first_blocks_of_the_whole_one_under_a_head() {
        let input = Shape::new(64, 64, 3);
        for model in Model::ALL.into_iter().filter(|model| model.has_pooled_head()) {
            let mut recipe = Recipe { model, ..Recipe::default() };
            let whole = build(&recipe, input, 5).unwrap();
            let blocks = whole.layers.iter().filter_map(block_of).max().unwrap();
            assert_eq!(cut_off(&recipe, input, 5).unwrap(), [""; 0]);
            for count in [1, blocks / 2, blocks] {
                recipe.net.truncate = count;
                let cut = build(&recipe, input, 5).unwrap();
                let below = cut.layers.iter().position(|layer| layer.name == "pool").unwrap();
                assert_eq!(cut.layers[..below], whole.layers[..below], "{}", model.name());
                assert_eq!(
                    (block_of(&cut.layers[below - 1]), block_of(&whole.layers[below])),
                    (Some(count), (count < blocks).then_some(count + 1))
                );
                assert_eq!(cut.layers.last().unwrap().name, head::CLASSIFIER);
                let names =
                    |network: &Network| network.parameters().unwrap().into_iter().map(|p| p.name).collect::<Vec<_>>();
                let (mut both, mut all) = ([names(&cut), cut_off(&recipe, input, 5).unwrap()].concat(), names(&whole));
                both.sort();
                all.sort();
                assert_eq!(both, all);
            }
            recipe.net.truncate = blocks + 1;
            let message = format!("{:#}", build(&recipe, input, 5).unwrap_err());
            assert!(message.contains(model.name()) && message.contains(&format!("the {blocks} that")), "{message}");
        }
    }

    #[test]
    fn same_padding_is_tensorflows() {
        // (kernel, stride, size) and the padding before and after that TensorFlow's documentation gives.
        let cases = [
            ((3, 1, 7), (1, 1)),
            ((3, 2, 224), (0, 1)),
            ((3, 2, 7), (1, 1)),
            ((5, 2, 28), (1, 2)),
            ((5, 1, 1), (2, 2)),
            ((1, 2, 32), (0, 0)),
        ];
        for ((kernel, stride, size), (before, after)) in cases {
            let [top, left, bottom, right] = window(Padding::Same, kernel, stride, Shape::new(size, size, 3)).pad;
            assert_eq!(([top, left], [bottom, right]), ([before; 2], [after; 2]), "{kernel} {stride} {size}");
        }
    }
}
