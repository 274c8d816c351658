//! What the host does with each operator, from the trained network to the files: a file for each, which implements
//! [`HostOperator`] for the operator's parameters. The stages of the pipeline, from [`graph`](crate::graph) on, ask it
//! through [`of`] and know no operator by name, unless they are about that one.

mod add;
mod concat;
mod conv;
mod cost;
mod dense;
mod depthwise;
mod flatten;
pub mod interval;
mod linear;
mod lut;
mod matmul;
mod mul;
mod node;
pub mod onnx;
mod pool;
mod scale;
mod winograd;

pub use cost::{Core, Kernel};
pub use flatten::READING;
pub use linear::some;
pub use node::{Activation, Integers, Linear, Node, Params, QuantNode, Value};

use anyhow::Result;
use interval::{Input, Interval};
use ocellus_shared::op::ParamCounts;
use ocellus_shared::plan::Step;
use ocellus_shared::{Op, Shape, with_operator};
use onnx::{FloatWriter, Int8Writer};

/// What the host does with an operator. What has an answer here is true of most.
pub trait HostOperator {
    /// What it computes with, from the arrays of the layer that was trained.
    ///
    /// # Errors
    /// One is missing, or the operator is not one that a layer becomes.
    fn lower(&self, _: &Trained) -> Result<Params> {
        Ok(Params::None)
    }

    /// Its result in f32 for inputs `(h, w, c)`, before the activation.
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32>;

    /// How the channels of its result come from those of its inputs.
    fn channels(&self) -> Channels {
        Channels::OneToOne
    }

    /// Whether a factor for each channel, and any offset, may as well come behind it as before it.
    fn moves_scale(&self, _factors: &[f32]) -> bool {
        false
    }

    /// Whether its weights can take the channel scale before it in.
    fn absorbs(&self, _scale: &Linear) -> bool {
        false
    }

    /// Its parameters as integers, for inputs and a result that are stored like this.
    ///
    /// # Errors
    /// int8 cannot represent it.
    fn quantize(&self, _node: &Node, _inputs: &[Value], _output: Value) -> Result<Integers> {
        Ok(Integers::default())
    }

    /// How many parameters a quantized node has, where a plan has `packed`: rows are not filled up, and offsets that follow
    /// from a zero point are left to [`HostOperator::pack`].
    fn counts(&self, packed: ParamCounts, _input: Shape, _output: Shape) -> ParamCounts {
        packed
    }

    /// The largest magnitude that the accumulator of each multiplier can have, for any input.
    fn largest_sums(&self, _node: &QuantNode, _inputs: &[Value]) -> Vec<i64> {
        Vec::new()
    }

    /// Bounds of each channel of its result.
    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval>;

    /// The node with the channels `kept` alone, in and out, where each is made of its own; see [`Channels::OneToOne`].
    fn narrowed(&self, node: &QuantNode, _kept: &[usize]) -> QuantNode {
        node.clone()
    }

    /// Writes the float node, less its activation, with the name `result` for what it gives.
    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str);

    /// Writes the nodes that compute the same integers.
    fn write_int8(&self, writer: &mut Int8Writer);

    /// Weights and biases in the plan's layout, the inputs' zero points worked into the biases.
    fn pack(&self, node: &QuantNode, _inputs: &[Value], _output: Value) -> (Vec<i8>, Vec<i32>) {
        (node.weights.clone(), node.biases.clone())
    }

    /// The lowest strips of its result that are worth their while, in rows.
    fn least_strip_rows(&self, _output: Shape) -> u16 {
        1
    }

    /// What each strip sets up, to compare operators by.
    fn strip_overhead(&self, _output: Shape) -> usize {
        1
    }

    /// Its kernels, each with costs of its own.
    fn kernels(&self) -> &'static [Kernel];

    /// The kernel of `step` on `core`, and how often its loops turn: as many numbers as the kernel has costs.
    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>);
}

/// The operator's own.
pub fn of(op: Op) -> Box<dyn HostOperator> {
    with_operator!(op, op => Box::new(op))
}

/// How the channels of an operator's result come from those of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Each from the same channel of every input, and weights, if there are some, have the channel innermost.
    OneToOne,
    /// Each from all of its one input, by a filter of its own, whose weights lie together and have the input's channel
    /// innermost.
    Filters,
    /// A map's, pixel after pixel.
    Flattened,
    /// Those of one input after those of the other.
    Joined,
    /// In another way: whatever it reads and gives keeps the channels that it has.
    Mixed,
}

impl Channels {
    /// How those of `op` do.
    pub fn of(op: Op) -> Self {
        with_operator!(op, op => op.channels())
    }
}

/// Output channel that weight `index` of `count` belongs to, in the layout of [`Linear::weights`].
pub fn out_channel(op: Op, index: usize, count: usize, channels: usize) -> usize {
    match Channels::of(op) {
        Channels::Filters => index / (count / channels),
        _ => index % channels,
    }
}

/// Whether `op` has trained filters: convolutions and dense layers.
pub fn is_filter(op: Op) -> bool {
    matches!(op, Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::Dense { .. })
}

/// A layer's arrays by their part and shape.
pub type Arrays<'a> = dyn Fn(&str, &[usize]) -> Result<&'a [f32]> + 'a;

/// A layer as it was trained.
pub struct Trained<'a> {
    /// Its array `part`, which has this shape.
    pub array: &'a Arrays<'a>,
    /// Shape of its input.
    pub input: Shape,
    /// The shape that its input had before it was flattened: the network's arrays count the channels of a flattened map in
    /// `(c, h, w)` order, a graph's in `(h, w, c)` order.
    pub origin: Shape,
    /// Whether it has a bias.
    pub has_bias: bool,
}

impl Trained<'_> {
    /// For each channel of its input the position in the network's arrays.
    pub fn channel_order(&self) -> Vec<usize> {
        if self.input == self.origin { (0..self.input.c.into()).collect() } else { flat_order(self.origin) }
    }

    /// Its bias, zeros if it has none.
    ///
    /// # Errors
    /// As [`Trained::array`].
    pub fn bias(&self, channels: usize) -> Result<Vec<f32>> {
        if self.has_bias { (self.array)("bias", &[channels]).map(<[f32]>::to_vec) } else { Ok(vec![0.0; channels]) }
    }
}

/// For each element of a map in `(h, w, c)` order its position in `(c, h, w)` order.
pub fn flat_order(map: Shape) -> Vec<usize> {
    let (pixels, c) = (map.pixels(), usize::from(map.c));
    (0..map.len()).map(|k| (k % c) * pixels + k / c).collect()
}
