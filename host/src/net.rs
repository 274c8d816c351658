//! Network architectures, before any library sees them.
//!
//! A [`Network`] is the list of layers that a family (one file in `net/`) writes down for a recipe. The trainer builds
//! its module from it, and [`graph::lower`](crate::graph) walks the same list: the trained weights are looked up by
//! the layers' names, so that nothing about a family is told twice.

pub mod cnn;
pub mod conv;
pub mod linear;
pub mod module;
pub mod tape;

use crate::recipe::{Model, Normalise, Recipe};
use anyhow::{Context, Result, ensure};
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
    },
}

impl LayerKind {
    /// Window and output channels, if it is a convolution over all channels.
    fn convolution(&self) -> Option<(Window, u16)> {
        match *self {
            Self::Op { op: Op::Conv { window, out_channels }, .. } => Some((window, out_channels)),
            _ => None,
        }
    }

    fn has_bias(&self) -> bool {
        matches!(self, Self::Op { bias: true, .. })
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
        Model::Cnn => cnn::build(&recipe.net, input, classes),
        Model::Linear => linear::build(input, classes),
    }?;
    Ok(Network { normalise: recipe.normalise(), ..network })
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

/// What a parameter is to its layer: how it starts, and whether and how it is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Filters of a convolution or dense layer: the only ones that decay.
    Weight,
    /// A normalisation's factor; starts at 1.
    Scale,
    /// A bias; starts at 0.
    Shift,
    /// A normalisation's running mean: measured, not fitted; starts at 0.
    Mean,
    /// A normalisation's running variance: measured, not fitted; starts at 1.
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

/// Collects a network's layers one after the other.
#[derive(Debug)]
pub(crate) struct Builder {
    network: Network,
    /// Shape of the last value.
    shape: Shape,
}

impl Builder {
    pub(crate) fn new(input: Shape) -> Self {
        Self { network: Network { input, normalise: Normalise::NONE, layers: Vec::new() }, shape: input }
    }

    /// Adds an operator without parameters on the last value.
    pub(crate) fn op(&mut self, name: &str, op: Op) -> Result<()> {
        self.filter(name, op, false)
    }

    /// Adds a convolution.
    pub(crate) fn filter(&mut self, name: &str, op: Op, bias: bool) -> Result<()> {
        self.push(name, LayerKind::Op { op, bias });
        let layer = self.network.layers.last().expect("just pushed");
        self.shape = layer.out_shape(&[self.shape])?;
        Ok(())
    }

    /// Adds a dense layer with a bias.
    pub(crate) fn dense(&mut self, name: &str, out_channels: u16) -> Result<()> {
        self.filter(name, Op::Dense { out_channels }, true)
    }

    /// Adds a batch normalisation with the epsilon and momentum that PyTorch has by default.
    pub(crate) fn batch_norm(&mut self, name: &str) {
        self.push(name, LayerKind::BatchNorm { epsilon: 1e-5, momentum: 0.1 });
    }

    pub(crate) fn relu(&mut self, name: &str) {
        self.push(name, LayerKind::Relu);
    }

    /// Adds a dropout, or nothing at a rate of 0.
    pub(crate) fn dropout(&mut self, name: &str, probability: f64) {
        if probability > 0.0 {
            self.push(name, LayerKind::Dropout { probability });
        }
    }

    pub(crate) fn finish(self) -> Network {
        self.network
    }

    fn push(&mut self, name: &str, kind: LayerKind) {
        let last = self.network.layers.len();
        self.network.layers.push(Layer { name: name.into(), kind, inputs: vec![last] });
    }
}
