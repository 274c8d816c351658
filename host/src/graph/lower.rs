//! From the network that was trained to the graph that is run.

use super::{Activation, Graph, Linear, Node, Origin, Params};
use crate::checkpoint::Checkpoint;
use crate::net::{Array, Layer, LayerKind, Network, Weights};
use crate::ops::{self, Channels, Trained};
use crate::recipe::Normalise;
use anyhow::{Context, Result, ensure};
use ocellus_shared::{Op, Shape};

/// Names that are not a layer's: tensors of the ONNX files, and the node that stands before all layers.
const RESERVED: [&str; 4] = ["image", "scores", "logits", NORMALISE];
/// Name of the channel scale that a normalisation of the pixels becomes.
const NORMALISE: &str = "normalise";

/// Makes a float graph of `network` with the weights of `checkpoint`, layer by layer.
///
/// Batch normalisations and activations become channel scales of their own, and dropout disappears;
/// [`fold`](crate::fold::fold) then merges what can be merged.
///
/// # Errors
/// A layer that cannot be lowered, or whose arrays are missing or of another shape; the message names it.
pub fn lower(network: &Network, checkpoint: &Checkpoint) -> Result<Graph> {
    let Checkpoint { recipe, weights, classes: labels, dataset_hash, .. } = checkpoint;
    let origin = Origin { dataset: dataset_hash.clone(), weights: checkpoint.weights_hash() };
    let graph = Graph {
        input: network.input,
        zero_pixel: 0,
        crop: recipe.data.crop,
        labels: labels.clone(),
        origin,
        nodes: Vec::new(),
    };
    let mut lowering = Lowering { weights, graph, values: vec![0], origins: vec![network.input] };
    lowering.normalise(&network.normalise);
    for layer in &network.layers {
        lowering.layer(layer).with_context(|| format!("layer `{}`", layer.name))?;
    }
    let result = lowering.values.last().copied().unwrap_or_default();
    let graph = lowering.graph;
    ensure!(result > 0 && result == graph.nodes.len(), "the network's last layer computes nothing");
    for v in 1..result {
        let is_read = graph.nodes.iter().any(|n| n.inputs.contains(&v));
        ensure!(is_read, "layer `{}`: nothing reads its result", graph.value_name(v));
    }
    let output = graph.shape(result);
    ensure!(
        output == Shape::vector(labels.len() as u16) && !labels.is_empty(),
        "layer `{}` gives {output} values, but there are {} classes",
        graph.nodes[result - 1].name,
        labels.len()
    );
    Ok(graph)
}

struct Lowering<'a> {
    weights: &'a Weights,
    graph: Graph,
    /// The graph's value for each of the network's.
    values: Vec<usize>,
    /// For each of the graph's values the shape it had before it was flattened: the network's arrays count the
    /// channels of a flattened map in `(c, h, w)` order, the graph's in `(h, w, c)` order.
    origins: Vec<Shape>,
}

impl Lowering<'_> {
    /// Puts what happens to the pixels first before all layers, as a channel scale.
    fn normalise(&mut self, by: &Normalise) {
        if *by == Normalise::NONE {
            return;
        }
        let output = self.graph.input;
        let (weights, bias) = by.affine().into_iter().unzip();
        self.graph.nodes.push(Node {
            name: NORMALISE.to_owned(),
            op: Op::ChannelScale,
            inputs: vec![0],
            output,
            params: Params::Linear(Linear { weights, bias }),
            activation: Activation::None,
        });
        self.origins.push(output);
        self.values[0] = 1;
    }

    fn layer(&mut self, layer: &Layer) -> Result<()> {
        ensure!(!RESERVED.contains(&layer.name.as_str()), "the name is reserved: rename the layer");
        let unique = self.graph.nodes.iter().all(|n| n.name != layer.name);
        ensure!(unique, "another layer has the same name: rename one of them");
        let known = layer.inputs.iter().all(|&v| v < self.values.len());
        ensure!(known && !layer.inputs.is_empty(), "reads a value that does not exist yet");
        let inputs: Vec<usize> = layer.inputs.iter().map(|&v| self.values[v]).collect();
        let value = match layer.kind {
            LayerKind::Dropout { .. } => inputs[0],
            LayerKind::Op { op, bias } => self.operator(layer, op, bias, inputs)?,
            LayerKind::Function(function) => self.push(layer, Op::Lut, inputs, Params::Function(function))?,
            LayerKind::BatchNorm { epsilon, .. } => self.batch_norm(layer, epsilon, inputs)?,
            LayerKind::Relu => self.activation(layer, Activation::Relu, inputs)?,
            LayerKind::Relu6 => self.activation(layer, Activation::Relu6, inputs)?,
        };
        self.values.push(value);
        Ok(())
    }

    fn operator(&mut self, layer: &Layer, op: Op, has_bias: bool, inputs: Vec<usize>) -> Result<usize> {
        let array = |part: &str, shape: &[usize]| self.array(layer, part, shape);
        let (input, origin) = (self.graph.shape(inputs[0]), self.origins[inputs[0]]);
        let params = ops::of(op).lower(&Trained { array: &array, input, origin, has_bias })?;
        self.push(layer, op, inputs, params)
    }

    /// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` as `x * scale + offset`, worked out in f64.
    fn batch_norm(&mut self, layer: &Layer, epsilon: f64, inputs: Vec<usize>) -> Result<usize> {
        let x = Trained {
            array: &|part, shape| self.array(layer, part, shape),
            input: self.graph.shape(inputs[0]),
            origin: self.origins[inputs[0]],
            has_bias: true,
        };
        let channels = [usize::from(x.input.c)];
        let gamma = self.array(layer, "weight", &channels)?;
        let beta = self.array(layer, "bias", &channels)?;
        let mean = self.array(layer, "running_mean", &channels)?;
        let variance = self.array(layer, "running_var", &channels)?;
        ensure!(variance.iter().all(|&v| v >= 0.0), "a running variance is negative or not a number");
        let (weights, bias) = (x.channel_order())
            .into_iter()
            .map(|i| {
                let scale = f64::from(gamma[i]) / (f64::from(variance[i]) + epsilon).sqrt();
                (scale as f32, (f64::from(beta[i]) - f64::from(mean[i]) * scale) as f32)
            })
            .unzip();
        self.push(layer, Op::ChannelScale, inputs, Params::Linear(Linear { weights, bias }))
    }

    fn activation(&mut self, layer: &Layer, activation: Activation, inputs: Vec<usize>) -> Result<usize> {
        let identity = Linear::identity(self.graph.shape(inputs[0]).c);
        let value = self.push(layer, Op::ChannelScale, inputs, Params::Linear(identity))?;
        self.graph.nodes[value - 1].activation = activation;
        Ok(value)
    }

    /// Appends a node; the number of its value.
    fn push(&mut self, layer: &Layer, op: Op, inputs: Vec<usize>, params: Params) -> Result<usize> {
        let shapes: Vec<Shape> = inputs.iter().map(|&v| self.graph.shape(v)).collect();
        let output = op.out_shape(&shapes).with_context(|| format!("its input is {}", shapes[0]))?;
        let origin = self.origin(op, &inputs, output)?;
        self.origins.push(origin);
        let name = layer.name.clone();
        self.graph.nodes.push(Node { name, op, inputs, output, params, activation: Activation::None });
        Ok(self.graph.nodes.len())
    }

    /// The shape that the result had before it was flattened.
    fn origin(&self, op: Op, inputs: &[usize], output: Shape) -> Result<Shape> {
        let is_reordered = |&v: &usize| self.origins[v] != self.graph.shape(v) && self.origins[v].pixels() > 1;
        let is_reordered = inputs.iter().any(is_reordered);
        Ok(match Channels::of(op) {
            Channels::Flattened => self.origins[inputs[0]],
            Channels::Joined | Channels::Mixed => {
                ensure!(!is_reordered, "{} of flattened maps is not supported", op.name());
                output
            }
            Channels::OneToOne if is_reordered => {
                let origin = self.origins[inputs[0]];
                ensure!(inputs.iter().all(|&v| self.origins[v] == origin), "its inputs were not flattened alike");
                origin
            }
            Channels::Filters | Channels::OneToOne => output,
        })
    }

    /// The layer's array `part`, which must have this shape and finite values.
    fn array(&self, layer: &Layer, part: &str, shape: &[usize]) -> Result<&[f32]> {
        let name = format!("{}.{part}", layer.name);
        let Array { shape: found, values } = self
            .weights
            .get(&name)
            .with_context(|| format!("the checkpoint has no `{name}`: it is of another network"))?;
        ensure!(found == shape, "`{name}` has the shape {found:?}, expected {shape:?}: it is of another network");
        ensure!(values.len() == shape.iter().product::<usize>(), "`{name}` is incomplete");
        ensure!(values.iter().all(|v| v.is_finite()), "`{name}` holds a value that is not finite: training diverged");
        Ok(values)
    }
}
