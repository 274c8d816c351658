//! Network architectures, before any library sees them.
//!
//! A [`Network`] is the list of layers that a family (one file in `net/`) writes down for a recipe. The trainer builds
//! its module from it, and [`graph::lower`](crate::graph) walks the same list: the trained weights are looked up by
//! the layers' names, so that nothing about a family is told twice.

use ocellus_shared::{Op, Shape};

/// A directed acyclic graph of layers in the order they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Shape of the input image, `(h, w, 3)`.
    pub input: Shape,
    /// The layers. Value 0 is the input image and value `i + 1` the output of `layers[i]`; the last one is the logits.
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
    /// Sets values to zero with this probability while training; nothing otherwise.
    Dropout {
        /// The probability, in `[0, 1)`.
        probability: f64,
    },
}
