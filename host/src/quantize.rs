//! The fork: the quantized graph, from which both the ONNX file and the plan are written.

mod bias;
mod layers;
mod scales;

pub use bias::correct_bias;
pub use layers::differ;

use crate::calibrate::Ranges;
use crate::graph::{Graph, Node, Origin, out_channel};
use anyhow::{Context, Result, ensure};
use ocellus_shared::op::ParamCounts;
use ocellus_shared::plan::Crop;
use ocellus_shared::quant::QuantParams;
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

/// An int8 feature map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// Its shape.
    pub shape: Shape,
    /// What its integers stand for.
    pub params: QuantParams,
}

/// One operator of a [`QuantGraph`].
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
        layers::node(node, &inputs, values[i + 1]).with_context(|| format!("layer `{}`", node.name))
    };
    let nodes = graph.nodes.iter().enumerate().map(node).collect::<Result<_>>()?;
    let quantized =
        QuantGraph { crop: graph.crop, labels: graph.labels.clone(), origin: graph.origin.clone(), values, nodes };
    quantized.check()?;
    Ok(quantized)
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
        let counts = counts(*op, shapes[0], output);
        let found = ParamCounts { weights: weights.len(), biases: biases.len(), multipliers: multipliers.len() };
        ensure!(found == counts, "has {found:?}, needs {counts:?}");
        ensure!(*op == Op::Lut || !weights.contains(&i8::MIN), "a weight is -128");
        ensure!(multipliers.iter().all(|m| m.is_normal() && *m > 0.0), "a multiplier is not a normal, positive number");
        ensure!(
            multipliers.len() < 2 || multipliers.iter().any(|m| *m != multipliers[0]),
            "all multipliers are equal, which would make tract round differently"
        );
        for (largest, multiplier) in self.largest_accumulators(i).into_iter().zip(multipliers) {
            ensure!(largest < 1 << 31, "an accumulator can reach {largest}, beyond int32");
            ensure!(
                largest as f64 * f64::from(*multiplier) < MAX_PRODUCT,
                "its result can leave the calibrated range more than a million times: calibrate with more images"
            );
        }
        Ok(())
    }

    /// The largest magnitude that each output channel's accumulator can have, for any input.
    fn largest_accumulators(&self, i: usize) -> Vec<i64> {
        let QuantNode { op, inputs, weights, biases, multipliers, .. } = &self.nodes[i];
        let reach = |v: usize| 128 + i64::from(self.values[v].params.zero).abs();
        let input = self.values[inputs[0]];
        match op {
            Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale => {
                let mut largest: Vec<i64> = biases.iter().map(|&b| i64::from(b).abs()).collect();
                for (k, w) in weights.iter().enumerate() {
                    let channel = out_channel(*op, k, weights.len(), biases.len());
                    largest[channel] += i64::from(*w).abs() * reach(inputs[0]);
                }
                largest
            }
            Op::AvgPool { window } => vec![window.taps() as i64 * reach(inputs[0]); multipliers.len()],
            Op::GlobalAvgPool => vec![input.shape.pixels() as i64 * reach(inputs[0])],
            Op::Add => vec![(0..2).map(|k| i64::from(biases[k]).abs() * reach(inputs[k])).sum()],
            Op::Mul => vec![reach(inputs[0]) * reach(inputs[1])],
            Op::MaxPool { .. } | Op::Lut | Op::Flatten | Op::Concat => Vec::new(),
        }
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

/// How many parameters a [`QuantNode`] has: rows are not filled up, and offsets that follow from a zero point are
/// left to the packer.
fn counts(op: Op, input: Shape, output: Shape) -> ParamCounts {
    let packed = op.param_counts(input, output);
    let channels = usize::from(output.c);
    match op {
        Op::Conv { window, .. } => ParamCounts { weights: channels * window.taps() * usize::from(input.c), ..packed },
        Op::Dense { .. } => ParamCounts { weights: channels * input.len(), ..packed },
        Op::AvgPool { .. } | Op::GlobalAvgPool => ParamCounts { biases: 0, ..packed },
        Op::Add => ParamCounts { biases: 2, ..packed },
        _ => packed,
    }
}
