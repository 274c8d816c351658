//! Nodes, one after the other.

use super::constants::{Constants, attribute, bytes, float, int};
use crate::net::sequential::Chain;
use crate::net::{Array, Weights};
use crate::recipe::{ActivationKind, Filter, IMAGE, LayerNames, LayerOp, LayerSpec, Pool};
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Shape;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// What a value of the file is here.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The layer that makes it; nothing for the image.
    layer: Option<usize>,
    shape: Shape,
    /// Zeros around it: above, to the left, below and to the right.
    pad: [u8; 4],
    /// Whether it is a matrix of one row: `(1, values)`.
    is_row: bool,
}

/// A network as far as it was read.
pub struct Reader<'g> {
    constants: Constants<'g>,
    /// How often each value is read.
    readers: HashMap<&'g str, usize>,
    /// A multiplication that reads each value.
    products: HashMap<&'g str, &'g NodeProto>,
    /// What multiplications make whose factor is the gate before them.
    gated: HashMap<&'g str, Known>,
    known: HashMap<&'g str, Known>,
    layers: Vec<LayerSpec>,
    names: Vec<String>,
    naming: LayerNames,
    chain: Chain,
    weights: Vec<Vec<(&'static str, Array)>>,
}

impl<'g> Reader<'g> {
    /// Nothing but the image of `graph`.
    ///
    /// # Errors
    /// It takes something else.
    pub fn new(graph: &'g GraphProto, input: Shape) -> Result<Self> {
        let constants = Constants::of(graph);
        let images: Vec<_> = graph.input.iter().filter(|input| !constants.has(&input.name)).collect();
        let [image] = images[..] else { bail!("it has {} inputs, a classifier takes one image", images.len()) };
        let mut readers = HashMap::new();
        let outputs = graph.output.iter().map(|output| output.name.as_str());
        for name in graph.node.iter().flat_map(|node| &node.input).map(String::as_str).chain(outputs) {
            *readers.entry(name).or_default() += 1;
        }
        let muls = graph.node.iter().filter(|node| node.op_type == "Mul");
        let products = muls.flat_map(|node| node.input.iter().map(move |input| (input.as_str(), node))).collect();
        let known = Known { layer: None, shape: input, pad: [0; 4], is_row: false };
        Ok(Self {
            constants,
            readers,
            products,
            gated: HashMap::new(),
            known: HashMap::from([(image.name.as_str(), known)]),
            layers: Vec::new(),
            names: Vec::new(),
            naming: LayerNames::default(),
            chain: Chain::new(input),
            weights: Vec::new(),
        })
    }

    /// The layers, the last of which makes `output`, and their weights by name.
    pub fn finish(self, output: &str) -> Result<(Vec<LayerSpec>, Weights)> {
        let known = self.known.get(output).with_context(|| format!("nothing makes its output `{output}`"))?;
        let is_last = known.layer.is_some_and(|layer| layer + 1 == self.layers.len());
        ensure!(is_last, "its output `{output}` is not what its last layer makes");
        let arrays = self.names.into_iter().zip(self.weights);
        let weights =
            arrays.flat_map(|(name, own)| own.into_iter().map(move |(part, array)| (format!("{name}.{part}"), array)));
        Ok((self.layers, weights.collect()))
    }

    /// Reads one more.
    ///
    /// # Errors
    /// It is not supported.
    pub fn read(&mut self, node: &'g NodeProto) -> Result<()> {
        if node.output.first().is_some_and(|output| self.constants.has(output)) {
            return Ok(());
        }
        match node.op_type.as_str() {
            "Conv" => self.conv(node),
            "Pad" => self.pad(node),
            "BatchNormalization" => self.batch_norm(node),
            "Relu" => self.unary(node, LayerOp::Activation(ActivationKind::Relu)),
            "Clip" => self.clip(node),
            "Sigmoid" => self.gate(node, [ActivationKind::Sigmoid, ActivationKind::Silu]),
            "HardSigmoid" => {
                let (alpha, beta) = (float(node, "alpha", 0.2), float(node, "beta", 0.5));
                let is_ours = (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5;
                ensure!(is_ours, "it has a slope of {alpha} and an offset of {beta}; supported are 1/6 and 0.5");
                self.gate(node, [ActivationKind::HardSigmoid, ActivationKind::HardSwish])
            }
            "HardSwish" => self.unary(node, LayerOp::Activation(ActivationKind::HardSwish)),
            "MaxPool" => self.pool(node, LayerOp::MaxPool),
            "AveragePool" => self.pool(node, LayerOp::AvgPool),
            "GlobalAveragePool" => self.unary(node, LayerOp::GlobalAvgPool),
            "ReduceMean" => self.mean(node),
            "Add" => self.add(node),
            "Mul" => self.mul(node),
            "Concat" => self.concat(node),
            "Gemm" | "MatMul" => self.dense(node),
            "Flatten" | "Reshape" | "Squeeze" => self.flatten(node),
            "Softmax" => {
                let softmax = self.map(node, 0)?;
                ensure!(softmax.is_row, "it is supported behind the classifier alone");
                self.same(node, softmax)
            }
            "Dropout" | "Identity" => {
                let known = self.any(node, 0)?;
                self.same(node, known)
            }
            "Shape" | "Ceil" | "Cast" | "Gather" | "Unsqueeze" => bail!(
                "it computes with shapes, which are no part of a network here: export the network for images of one size, by \
                 `torch.onnx.export(..., dynamo=True)`"
            ),
            _ => bail!(
                "its operator cannot be trained here; as `train --backbone`, the network can be a frozen feature extractor on this machine"
            ),
        }
    }

    /// What input `at` is.
    fn any(&self, node: &NodeProto, at: usize) -> Result<Known> {
        let name =
            node.input.get(at).filter(|name| !name.is_empty()).with_context(|| format!("it has no input {at}"))?;
        let known = self.known.get(name.as_str()).copied();
        known.with_context(|| match self.constants.has(name) {
            true => format!("its input `{name}` is a constant, which is not supported here"),
            false => format!("nothing here makes its input `{name}`"),
        })
    }

    /// What input `at` is, which has no padding that somebody has still to do.
    fn map(&self, node: &NodeProto, at: usize) -> Result<Known> {
        let known = self.any(node, at)?;
        ensure!(known.pad == [0; 4], "its input is padded; only a convolution may read what a Pad makes");
        Ok(known)
    }

    /// The first output is `known`.
    fn same(&mut self, node: &'g NodeProto, known: Known) -> Result<()> {
        let output = node.output.first().context("it has no output")?;
        self.known.insert(output, known);
        Ok(())
    }

    /// Name of the layer that makes `known`.
    fn name(&self, known: Known) -> String {
        known.layer.map_or_else(|| IMAGE.to_owned(), |layer| self.names[layer].clone())
    }

    /// Adds a layer on `input`, whose output is the node's.
    fn push(
        &mut self,
        node: &'g NodeProto,
        op: LayerOp,
        input: Known,
        weights: Vec<(&'static str, Array)>,
    ) -> Result<()> {
        let is_next = match input.layer {
            None => self.layers.is_empty(),
            Some(layer) => layer + 1 == self.layers.len(),
        };
        let is_row = input.is_row || matches!(op, LayerOp::Dense { .. });
        let from = (!is_next).then(|| self.name(input));
        let layer = LayerSpec { name: None, op, from };
        let name = self.naming.of(&layer);
        self.chain.push(&layer, &name)?;
        self.layers.push(layer);
        self.names.push(name);
        self.weights.push(weights);
        let shape = self.chain.shape();
        self.same(node, Known { layer: Some(self.layers.len() - 1), shape, pad: [0; 4], is_row })
    }

    fn unary(&mut self, node: &'g NodeProto, op: LayerOp) -> Result<()> {
        let input = self.map(node, 0)?;
        self.push(node, op, input, Vec::new())
    }

    /// The function `alone`, or `whole` where nothing but a multiplication by its input reads it.
    fn gate(&mut self, node: &'g NodeProto, [alone, whole]: [ActivationKind; 2]) -> Result<()> {
        let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else {
            bail!("it has no input or no output")
        };
        let is_read_once = self.readers.get(output.as_str()) == Some(&1);
        let product =
            self.products.get(output.as_str()).filter(|product| is_read_once && product.input.contains(input));
        let Some(made) = product.and_then(|product| product.output.first()) else {
            return self.unary(node, LayerOp::Activation(alone));
        };
        self.unary(node, LayerOp::Activation(whole))?;
        self.gated.insert(made, self.known[output.as_str()]);
        Ok(())
    }

    fn conv(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.any(node, 0)?;
        let (shape, values) = self.constants.f32s(input_name(node, 1)?)?;
        let [out, of, h, w] = shape[..] else { bail!("its filters have {} axes, not 4", shape.len()) };
        let kernel = [h, w].map(u8::try_from);
        let [Ok(h), Ok(w)] = kernel else { bail!("its kernel of {h}x{w} is too large") };
        ensure!(bytes(node, "dilations", [1; 2])? == [1; 2], "it is dilated, which is not supported");
        let group = int(node, "group", 1);
        let channels = usize::from(input.shape.c);
        let is_depthwise = channels > 1 && group == channels as i64 && out == channels && of == 1;
        ensure!(
            is_depthwise || (group == 1 && of == channels),
            "it is a grouped convolution of {channels} channels in {group} groups: supported are one group, and as many as channels \
             with one filter each"
        );
        let stride = bytes(node, "strides", [1; 2])?;
        let own = padding(node, input.shape, [h, w], stride)?;
        let sides: Vec<Option<u8>> = own.iter().zip(input.pad).map(|(a, b)| a.checked_add(b)).collect();
        let [Some(top), Some(left), Some(bottom), Some(right)] = sides[..] else { bail!("its padding is too large") };
        let bias = node.input.get(2).filter(|name| !name.is_empty());
        let filter = Filter { kernel: [h, w], stride, padding: [top, left, bottom, right], bias: bias.is_some() };
        let mut weights = vec![("weight", Array { shape, values })];
        if let Some(bias) = bias {
            weights.push(("bias", self.vector(bias, out)?));
        }
        let out_channels = u16::try_from(out).context("it has too many filters")?;
        let op = if is_depthwise { LayerOp::Depthwise { filter } } else { LayerOp::Conv { out_channels, filter } };
        self.push(node, op, Known { pad: [0; 4], ..input }, weights)
    }

    fn pad(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.map(node, 0)?;
        let pads = match attribute(node, "pads") {
            Some(attribute) => attribute.ints.clone(),
            None => self.constants.i64s(input_name(node, 1)?)?,
        };
        let value = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => self.constants.f32s(name)?.1,
            None => vec![float(node, "value", 0.0)],
        };
        let mode = attribute(node, "mode").map_or(&b"constant"[..], |attribute| &attribute.s);
        let [0, 0, top, left, 0, 0, bottom, right] = pads[..] else {
            bail!("its pads {pads:?} are not those of height and width")
        };
        ensure!(mode == b"constant" && value.iter().all(|v| *v == 0.0), "it does not pad with zeros");
        let sides: Option<Vec<u8>> = [top, left, bottom, right].iter().map(|&side| side.try_into().ok()).collect();
        let pad = sides.and_then(|sides| sides.try_into().ok());
        let pad = pad.with_context(|| format!("its pads {pads:?} are not from 0 to 255"))?;
        self.same(node, Known { pad, ..input })
    }

    fn batch_norm(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.map(node, 0)?;
        ensure!(int(node, "training_mode", 0) == 0, "it is in training mode: export the network in evaluation mode");
        let parts = ["weight", "bias", "running_mean", "running_var"];
        let arrays = parts
            .iter()
            .enumerate()
            .map(|(at, &part)| Ok((part, self.vector(input_name(node, at + 1)?, input.shape.c.into())?)));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        // As it is written, not as an f32 lies.
        let epsilon = float(node, "epsilon", 1e-5).to_string().parse().unwrap_or(1e-5);
        self.push(node, LayerOp::BatchNorm { epsilon }, input, arrays)
    }

    fn clip(&mut self, node: &'g NodeProto) -> Result<()> {
        let bound = |at: usize, name: &str, default: f32| match node.input.get(at).filter(|name| !name.is_empty()) {
            Some(name) => self.constants.f32s(name).map(|(_, values)| values.first().copied().unwrap_or(default)),
            None => Ok(float(node, name, default)),
        };
        let bounds = [bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?];
        match bounds {
            [0.0, 6.0] => self.unary(node, LayerOp::Activation(ActivationKind::Relu6)),
            [0.0, f32::MAX] => self.unary(node, LayerOp::Activation(ActivationKind::Relu)),
            [low, high] => bail!("it clips to {low} and {high}; supported are 0 and 6"),
        }
    }

    fn pool(&mut self, node: &'g NodeProto, op: fn(Pool) -> LayerOp) -> Result<()> {
        let input = self.map(node, 0)?;
        ensure!(bytes(node, "dilations", [1; 2])? == [1; 2], "it is dilated, which is not supported");
        let size = bytes(node, "kernel_shape", [0; 2])?;
        let stride = bytes(node, "strides", [1; 2])?;
        let padding = padding(node, input.shape, size, stride)?;
        let is_mean = node.op_type == "AveragePool";
        ensure!(!is_mean || padding == [0; 4], "it is padded, which is not supported of average pooling");
        let left_over = |axis: usize, side: u16| {
            let all = u32::from(side) + u32::from(padding[axis]) + u32::from(padding[axis + 2]);
            all.checked_sub(size[axis].into()).is_some_and(|rest| rest % u32::from(stride[axis]) != 0)
        };
        let rounds_up = int(node, "ceil_mode", 0) == 1 && (left_over(0, input.shape.h) || left_over(1, input.shape.w));
        ensure!(!rounds_up, "it rounds the size of its output up (ceil_mode), which is not supported");
        self.push(node, op(Pool { size, stride, padding }), input, Vec::new())
    }

    fn mean(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.map(node, 0)?;
        let mut axes = match attribute(node, "axes") {
            Some(attribute) => attribute.ints.clone(),
            None => self.constants.i64s(input_name(node, 1)?)?,
        };
        axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
        axes.sort_unstable();
        ensure!(axes == [2, 3], "it is the mean over the axes {axes:?}; supported are height and width, [2, 3]");
        let is_row = int(node, "keepdims", 1) == 0;
        self.push(node, LayerOp::GlobalAvgPool, Known { is_row, ..input }, Vec::new())
    }

    fn add(&mut self, node: &'g NodeProto) -> Result<()> {
        if let Some(at) = (0..2).find(|&at| node.input.get(at).is_some_and(|name| self.constants.has(name))) {
            return self.bias(node, at);
        }
        let (a, b) = (self.map(node, 0)?, self.map(node, 1)?);
        ensure!(a.shape == b.shape, "it adds {} and {}: only maps of one shape are supported", a.shape, b.shape);
        let (other, last) = if a.layer > b.layer { (b, a) } else { (a, b) };
        self.push(node, LayerOp::Add(self.name(other)), last, Vec::new())
    }

    /// Adds the constant that is input `at` to the bias of the dense layer that makes the other one.
    fn bias(&mut self, node: &'g NodeProto, at: usize) -> Result<()> {
        let input = self.map(node, 1 - at)?;
        let dense = input.layer.filter(|&layer| matches!(self.layers[layer].op, LayerOp::Dense { .. }));
        let layer = dense.context("it adds a constant; that is supported behind a dense layer alone")?;
        ensure!(
            self.readers.get(node.input[1 - at].as_str()) == Some(&1),
            "the dense layer before it is read by others as well"
        );
        let added = self.vector(&node.input[at], input.shape.len())?;
        for (_, bias) in self.weights[layer].iter_mut().filter(|(part, _)| *part == "bias") {
            bias.values.iter_mut().zip(&added.values).for_each(|(bias, added)| *bias += added);
        }
        self.same(node, input)
    }

    fn mul(&mut self, node: &'g NodeProto) -> Result<()> {
        if let Some(&known) = node.output.first().and_then(|output| self.gated.get(output.as_str())) {
            return self.same(node, known);
        }
        let (a, b) = (self.map(node, 0)?, self.map(node, 1)?);
        let (map, factors) = if a.shape.pixels() >= b.shape.pixels() { (a, b) } else { (b, a) };
        ensure!(
            factors.shape == Shape::vector(map.shape.c),
            "it multiplies {} by {}: supported is one factor for each channel",
            map.shape,
            factors.shape
        );
        self.push(node, LayerOp::Mul(self.name(map)), factors, Vec::new())
    }

    fn concat(&mut self, node: &'g NodeProto) -> Result<()> {
        let inputs = (0..node.input.len()).map(|at| self.map(node, at)).collect::<Result<Vec<_>>>()?;
        let (Some((&last, others)), 1 | -3) = (inputs.split_last(), int(node, "axis", 0)) else {
            bail!("it joins the axis {}; supported are the channels, 1", int(node, "axis", 0))
        };
        if others.is_empty() {
            return self.same(node, last);
        }
        let names = others.iter().map(|&other| self.name(other)).collect();
        self.push(node, LayerOp::Concat(names), last, Vec::new())
    }

    fn dense(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.map(node, 0)?;
        ensure!(input.is_row, "its input is a map: a Flatten is missing");
        let (shape, values) = self.constants.f32s(input_name(node, 1)?)?;
        let [rows, columns] = shape[..] else { bail!("its weights have {} axes, not 2", shape.len()) };
        let is_gemm = node.op_type == "Gemm";
        let plain = int(node, "transA", 0) == 0 && float(node, "alpha", 1.0) == 1.0 && float(node, "beta", 1.0) == 1.0;
        ensure!(!is_gemm || plain, "it has transA, alpha or beta, which are not supported");
        let (out, values) = match is_gemm && int(node, "transB", 0) == 1 {
            true => (rows, values),
            false => (columns, (0..values.len()).map(|k| values[k % rows * columns + k / rows]).collect()),
        };
        let inputs = input.shape.len();
        ensure!(
            out * inputs == rows * columns,
            "its weights {rows}x{columns} do not fit the {inputs} values that it reads"
        );
        let bias = match node.input.get(2).filter(|name| is_gemm && !name.is_empty()) {
            Some(name) => self.vector(name, out)?,
            None => Array { shape: vec![out], values: vec![0.0; out] },
        };
        let out_channels = u16::try_from(out).context("it has too many outputs")?;
        let weights = vec![("weight", Array { shape: vec![out, inputs], values }), ("bias", bias)];
        self.push(node, LayerOp::Dense { out_channels, l2: 0.0 }, input, weights)
    }

    /// A row of all values of a map, channel by channel: as a dense layer reads it.
    fn flatten(&mut self, node: &'g NodeProto) -> Result<()> {
        let input = self.map(node, 0)?;
        let is_row = match node.op_type.as_str() {
            "Flatten" => int(node, "axis", 1) == 1,
            "Squeeze" => input.shape.pixels() == 1,
            _ => {
                let dims = self.constants.i64s(input_name(node, 1)?)?;
                let len = input.shape.len() as i64;
                matches!(dims[..], [-1..=1, n] if n == len || n == -1)
            }
        };
        ensure!(is_row, "it makes another shape than one row of all values, which is not supported");
        self.same(node, Known { is_row, ..input })
    }

    /// The constant `name` of `len` values.
    fn vector(&self, name: &str, len: usize) -> Result<Array> {
        let (_, values) = self.constants.f32s(name)?;
        ensure!(values.len() == len, "its constant `{name}` has {} values, not {len}", values.len());
        Ok(Array { shape: vec![len], values })
    }
}

fn input_name(node: &NodeProto, at: usize) -> Result<&str> {
    let name = node.input.get(at).filter(|name| !name.is_empty());
    name.map(String::as_str).with_context(|| format!("it has no input {at}"))
}

/// What the node pads on each side: above, to the left, below and to the right.
fn padding(node: &NodeProto, input: Shape, kernel: [u8; 2], stride: [u8; 2]) -> Result<[u8; 4]> {
    ensure!(kernel.iter().chain(&stride).all(|&side| side > 0), "its window or its step is 0");
    let auto = attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |attribute| &attribute.s);
    let total = |axis: usize, side: u16| {
        let (side, kernel, stride) = (u32::from(side), u32::from(kernel[axis]), u32::from(stride[axis]));
        // Less than the kernel, so less than 256.
        ((side.div_ceil(stride).max(1) - 1) * stride + kernel).saturating_sub(side) as u8
    };
    let totals = [total(0, input.h), total(1, input.w)];
    Ok(match auto {
        b"NOTSET" | b"" => bytes(node, "pads", [0; 4])?,
        b"VALID" => [0; 4],
        b"SAME_UPPER" => [totals[0] / 2, totals[1] / 2, totals[0].div_ceil(2), totals[1].div_ceil(2)],
        b"SAME_LOWER" => [totals[0].div_ceil(2), totals[1].div_ceil(2), totals[0] / 2, totals[1] / 2],
        _ => bail!("its auto_pad is not known"),
    })
}
