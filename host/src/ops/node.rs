//! An operator with what it computes with, in f32 and in integers.

use crate::net::Function;
use ocellus_shared::quant::QuantParams;
use ocellus_shared::{Op, Shape};

/// One operator of a [`Graph`](crate::graph::Graph).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of the layer it comes from; unique.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The values it reads.
    pub inputs: Vec<usize>,
    /// Shape of its result.
    pub output: Shape,
    /// What it computes with.
    pub params: Params,
    /// Applied to its result.
    pub activation: Activation,
}

/// What an operator computes with.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    /// Nothing but its inputs.
    None,
    /// Weights and biases: convolutions, dense layers and channel scales.
    Linear(Linear),
    /// The function of an [`Op::Lut`].
    Function(Function),
    /// What the sums of an [`Op::MatMul`] are multiplied by, such as `1 / sqrt(depth)`; 1 where there is nothing.
    Factor(f32),
}

/// Weights and biases of a linear operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// In the layout of [`Op::param_counts`], but without filling between rows.
    pub weights: Vec<f32>,
    /// One per output channel.
    pub bias: Vec<f32>,
}

impl Linear {
    /// The parameters of a channel scale that changes nothing.
    pub fn identity(channels: u16) -> Self {
        Self { weights: vec![1.0; channels.into()], bias: vec![0.0; channels.into()] }
    }

    /// Whether a channel scale with these parameters changes nothing.
    pub fn is_identity(&self) -> bool {
        self.weights.iter().all(|&w| w == 1.0) && self.bias.iter().all(|&b| b == 0.0)
    }
}

/// What is applied to an operator's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The value that it makes of `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::None => x,
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }

    /// The one that does what `self` and then `next` do.
    pub fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::None, other) | (other, Self::None) => other,
            (Self::Relu, Self::Relu) => Self::Relu,
            _ => Self::Relu6,
        }
    }
}

/// An int8 feature map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// Its shape.
    pub shape: Shape,
    /// What its integers stand for.
    pub params: QuantParams,
}

impl Value {
    /// Size of one step in its real unit.
    pub fn scale(&self) -> f64 {
        self.params.scale.into()
    }

    /// The most that one of its integers can be away from the zero point.
    pub fn reach(&self) -> i64 {
        128 + i64::from(self.params.zero).abs()
    }
}

/// One operator of a [`QuantGraph`](crate::quantize::QuantGraph).
#[derive(Clone, Debug, PartialEq)]
pub struct QuantNode {
    /// Name of the layer; unique.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The values it reads.
    pub inputs: Vec<usize>,
    /// int8 parameters in the layout of [`Op::param_counts`], but without filling between rows. Within `[-127, 127]`,
    /// except a table's.
    pub weights: Vec<i8>,
    /// Convolutions, dense layers and channel scales: what is added to each channel's `sum((x - zero) * weight)`.
    /// Additions: the factors of both inputs. Nothing elsewhere.
    pub biases: Vec<i32>,
    /// Multipliers, as many as [`Op::param_counts`] says.
    pub multipliers: Vec<f32>,
}

/// The parameters of a [`QuantNode`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Integers {
    /// See [`QuantNode::weights`].
    pub weights: Vec<i8>,
    /// See [`QuantNode::biases`].
    pub biases: Vec<i32>,
    /// See [`QuantNode::multipliers`].
    pub multipliers: Vec<f32>,
}

impl Integers {
    /// Nothing but one multiplier, which all channels share.
    pub fn multiplier(multiplier: f64) -> Self {
        Self { multipliers: vec![multiplier as f32], ..Self::default() }
    }
}
