//! The fork: the quantized graph, from which both the ONNX file and the plan are written.

mod bias;
mod scales;

pub use crate::ops::{QuantNode, Value};
pub use bias::correct_bias;

use crate::calibrate::Ranges;
use crate::graph::{Graph, Node, Origin};
use crate::ops::{self, Integers};
use anyhow::{Context, Result, ensure};
use ocellus_shared::op::ParamCounts;
use ocellus_shared::plan::Crop;
use ocellus_shared::{Op, Shape};
use sha2::{Digest, Sha256};

/// The largest product of accumulator and multiplier. Beyond, judges that round to int32 before they clamp would
/// overflow; no useful layer comes near.
const MAX_PRODUCT: f64 = (1u32 << 30) as f64;

/// A graph of integers.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantGraph {
    /// How a camera's frame is cut to the input's aspect ratio.
    pub crop: Crop,
    /// Class names, one per score.
    pub labels: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The values: the image, then each node's result; the last one is the scores.
    pub values: Vec<Value>,
    /// The operators in the order they run.
    pub nodes: Vec<QuantNode>,
}

/// Quantizes `graph`, which should be [centred](crate::fold::centre): weights per output channel, values per tensor as `ranges` says.
///
/// # Errors
/// A layer that int8 cannot represent; the message names it.
pub fn quantize(graph: &Graph, ranges: &Ranges) -> Result<QuantGraph> {
    let params = scales::params(graph, ranges)?;
    let values: Vec<Value> =
        params.into_iter().enumerate().map(|(v, params)| Value { shape: graph.shape(v), params }).collect();
    let node = |(i, node): (usize, &Node)| {
        let inputs: Vec<Value> = node.inputs.iter().map(|&v| values[v]).collect();
        quantized(node, &inputs, values[i + 1]).with_context(|| format!("layer `{}`", node.name))
    };
    let nodes = graph.nodes.iter().enumerate().map(node).collect::<Result<_>>()?;
    let quantized =
        QuantGraph { crop: graph.crop, labels: graph.labels.clone(), origin: graph.origin.clone(), values, nodes };
    quantized.check()?;
    Ok(quantized)
}

/// Quantizes `node` for inputs and a result that are stored like this.
fn quantized(node: &Node, inputs: &[Value], output: Value) -> Result<QuantNode> {
    let Integers { weights, biases, mut multipliers } = ops::of(node.op).quantize(node, inputs, output)?;
    break_multiplier_ties(&mut multipliers);
    Ok(QuantNode { name: node.name.clone(), op: node.op, inputs: node.inputs.clone(), weights, biases, multipliers })
}

/// Moves the first of several equal multipliers by the smallest step: tract requantizes a layer whose multipliers are
/// all equal in another way, with other results on ties.
pub fn break_multiplier_ties(multipliers: &mut [f32]) {
    if multipliers.len() > 1 && multipliers.iter().all(|m| *m == multipliers[0]) {
        multipliers[0] = multipliers[0].next_up();
    }
}

impl QuantGraph {
    /// The name of value `v`: its node's, or `image`.
    pub fn value_name(&self, v: usize) -> &str {
        if v == 0 { "image" } else { &self.nodes[v - 1].name }
    }

    /// The scores.
    pub fn scores(&self) -> Value {
        self.values[self.nodes.len()]
    }

    /// Checks everything that makes all engines compute the same: see the shared contract in [`ocellus_shared::quant`].
    ///
    /// # Errors
    /// The first node that breaks a rule, by name.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.nodes.is_empty() && self.values.len() == self.nodes.len() + 1, "the graph has no layers");
        ensure!(
            self.labels.len() == self.scores().shape.len(),
            "{} classes for {} scores",
            self.labels.len(),
            self.scores().shape.len()
        );
        for label in &self.labels {
            ensure!(!label.contains(['\n', '\r']), "the class name {label:?} holds a line break: rename the class");
        }
        (0..self.nodes.len())
            .try_for_each(|i| self.check_node(i).with_context(|| format!("layer `{}`", self.nodes[i].name)))
    }

    fn check_node(&self, i: usize) -> Result<()> {
        let QuantNode { op, inputs, weights, biases, multipliers, .. } = &self.nodes[i];
        ensure!(inputs.iter().all(|&v| v <= i), "reads a value that does not exist yet");
        let shapes: Vec<Shape> = inputs.iter().map(|&v| self.values[v].shape).collect();
        let output = self.values[i + 1].shape;
        ensure!(op.out_shape(&shapes)? == output, "its result has another shape than {output}");
        let counts = ops::of(*op).counts(op.param_counts(shapes[0], output), shapes[0], output);
        let found = ParamCounts { weights: weights.len(), biases: biases.len(), multipliers: multipliers.len() };
        ensure!(found == counts, "has {found:?}, needs {counts:?}");
        ensure!(*op == Op::Lut || !weights.contains(&i8::MIN), "a weight is -128");
        ensure!(multipliers.iter().all(|m| m.is_normal() && *m > 0.0), "a multiplier is not a normal, positive number");
        ensure!(
            multipliers.len() < 2 || multipliers.iter().any(|m| *m != multipliers[0]),
            "all multipliers are equal, which would make tract round differently"
        );
        let largest = ops::of(*op).largest_sums(&self.nodes[i], &self.input_values(i));
        for (largest, multiplier) in largest.into_iter().zip(multipliers) {
            ensure!(largest < 1 << 31, "an accumulator can reach {largest}, beyond int32");
            ensure!(
                largest as f64 * f64::from(*multiplier) < MAX_PRODUCT,
                "its result can leave the calibrated range more than a million times: calibrate with more images"
            );
        }
        Ok(())
    }

    /// What node `i` reads.
    pub fn input_values(&self, i: usize) -> Vec<Value> {
        self.nodes[i].inputs.iter().map(|&v| self.values[v]).collect()
    }

    /// First 8 bytes of the SHA-256 of everything that decides what the graph computes and what its scores mean.
    pub fn digest(&self) -> [u8; 8] {
        let mut hash = Sha256::new();
        let mut feed = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        feed(&[self.crop as u8]);
        self.labels.iter().for_each(|label| feed(label.as_bytes()));
        for Value { shape, params } in &self.values {
            feed(format!("{shape} {:08x} {}", params.scale.to_bits(), params.zero).as_bytes());
        }
        for node in &self.nodes {
            feed(format!("{:?} {:?}", node.op, node.inputs).as_bytes());
            feed(bytemuck::cast_slice(&node.weights));
            feed(&node.biases.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>());
            feed(&node.multipliers.iter().flat_map(|m| m.to_le_bytes()).collect::<Vec<u8>>());
        }
        let digest = hash.finalize();
        std::array::from_fn(|i| digest[i])
    }
}
