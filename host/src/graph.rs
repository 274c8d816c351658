//! The float graph: what a trained network computes when nothing is trained any more.
//!
//! A [`Graph`] comes from [`lower()`], is simplified by [`fold`](crate::fold::fold), run in f32 by [`run`], and quantized
//! into a [`QuantGraph`](crate::quantize::QuantGraph). All feature maps are `(h, w, c)`, as on the board.

mod lower;
pub mod run;

pub use crate::ops::{Activation, Linear, Node, Params, out_channel};
pub use lower::lower;

use ocellus_shared::Shape;
use ocellus_shared::plan::Crop;

/// What a model was made of: SHA-256 in hex; empty where it is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Of the dataset it was trained on, as it was split: [`Dataset::hash`](crate::data::Dataset).
    pub dataset: String,
    /// Of the trained weights: [`Checkpoint::weights_hash`](crate::checkpoint::Checkpoint::weights_hash).
    pub weights: String,
}

/// A directed acyclic graph of operators in the order they run.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Shape of the input image.
    pub input: Shape,
    /// The pixel, of 0 to 255, that the image's 0 stands for: the image's values are `(pixel - zero_pixel) / 255`, and
    /// padding is painted with it. 0, unless the graph was [centred](crate::fold::centre).
    pub zero_pixel: u8,
    /// How a picture or a camera's frame of another shape becomes the image.
    pub crop: Crop,
    /// Class names, one per value of the last node.
    pub labels: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The operators. Value 0 is the image and value `i + 1` the output of `nodes[i]`; the last one is the logits.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Shape of value `v`.
    pub fn shape(&self, v: usize) -> Shape {
        if v == 0 { self.input } else { self.nodes[v - 1].output }
    }

    /// Shapes of node `i`'s inputs.
    pub fn input_shapes(&self, i: usize) -> Vec<Shape> {
        self.nodes[i].inputs.iter().map(|&v| self.shape(v)).collect()
    }

    /// The name of value `v`: its node's, or `image`.
    pub fn value_name(&self, v: usize) -> &str {
        if v == 0 { "image" } else { &self.nodes[v - 1].name }
    }

    /// The one node that reads value `v`, unless there are several or none, or `v` is the result.
    pub fn only_reader(&self, v: usize) -> Option<usize> {
        let mut readers = self.nodes.iter().enumerate().flat_map(|(i, n)| n.inputs.iter().map(move |&x| (i, x)));
        let (reader, _) = readers.find(|&(_, x)| x == v)?;
        readers.all(|(_, x)| x != v).then_some(reader)
    }

    /// Puts `node` before node `at`, which shifts the values from `at + 1` on; no node reads the new value yet.
    pub fn insert(&mut self, at: usize, node: Node) {
        for later in &mut self.nodes[at..] {
            for v in &mut later.inputs {
                *v += usize::from(*v > at);
            }
        }
        self.nodes.insert(at, node);
    }

    /// Takes node `at` out; whoever read its value reads its first input instead.
    pub fn bypass(&mut self, at: usize) {
        let removed = self.nodes.remove(at);
        for later in &mut self.nodes[at..] {
            for v in &mut later.inputs {
                if *v == at + 1 {
                    *v = removed.inputs[0];
                }
                *v -= usize::from(*v > at + 1);
            }
        }
    }
}
