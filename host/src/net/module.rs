//! Runs any [`Network`] on burn's tensors, forwards and for training.
//!
//! Feature maps are `(n, c, h, w)`, vectors `(n, c, 1, 1)`. Parameters are kept flat, so that the optimizer, the
//! moving average and the checkpoint treat all of them alike; a layer gives them their shape when it runs.

use super::tape::Tape;
use super::{Array, Function, Layer, LayerKind, Network, Parameter, Role, Weights};
use crate::random::{self, Purpose};
use crate::recipe::Normalise;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation};
use ocellus_shared::{Op, Shape, Window};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A network's parameters on a device, flat, by [`Parameter::name`].
pub type Arrays = BTreeMap<String, Tensor<1>>;

/// A network and its parameters' shapes, ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    network: Network,
    parameters: Vec<Parameter>,
    /// How many layers read each value.
    readers: Vec<usize>,
}

/// What a training step needs besides the parameters, and what it measures.
#[derive(Debug)]
pub struct Training {
    /// Decides what dropout drops.
    pub random: ChaCha8Rng,
    /// Running statistics after this step, by parameter name.
    pub statistics: Arrays,
    /// Where convolutions are recorded that our own code computes, as it should on a CPU; nothing for burn's.
    pub tape: Option<Tape>,
}

impl Module {
    /// Prepares `network`.
    ///
    /// # Errors
    /// Its layers do not fit together, or one of them has no trainable form; names the layer.
    pub fn new(network: Network) -> Result<Self> {
        let parameters = network.parameters()?;
        let mut readers = vec![0; network.layers.len() + 1];
        for layer in &network.layers {
            layer.inputs.iter().for_each(|&value| readers[value] += 1);
            if let LayerKind::Op { op: op @ (Op::Lut | Op::ChannelScale), .. } = layer.kind {
                bail!("layer {} ({}) exists only after training", layer.name, op.name());
            }
        }
        Ok(Self { network, parameters, readers })
    }

    /// Shape of the images, `(h, w, 3)`.
    pub fn input(&self) -> Shape {
        self.network.input
    }

    /// Every parameter, in the layers' order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// First weights: He's uniform initialisation, `U(-b, b)` with `b = sqrt(6 / fan_in)`
    /// (<https://arxiv.org/abs/1502.01852>), and the identity for normalisations.
    pub fn initial(&self, seed: u64) -> Weights {
        let values = |index: usize, parameter: &Parameter| {
            let len = parameter.shape.iter().product();
            match parameter.role {
                Role::Weight => {
                    let fan_in: usize = parameter.shape[1..].iter().product();
                    let bound = (6.0 / fan_in as f32).sqrt();
                    let mut random = random::stream(seed, Purpose::Weights, index as u64);
                    (0..len).map(|_| random.random_range(-bound..bound)).collect()
                }
                Role::Scale | Role::Variance => vec![1.0; len],
                Role::Shift | Role::Mean => vec![0.0; len],
            }
        };
        let named = |(index, p): (usize, &Parameter)| {
            (p.name.clone(), Array { shape: p.shape.clone(), values: values(index, p) })
        };
        self.parameters.iter().enumerate().map(named).collect()
    }

    /// Brings weights onto a device.
    ///
    /// # Errors
    /// A parameter is missing or has another shape; names it.
    pub fn upload(&self, weights: &Weights, device: &Device) -> Result<Arrays> {
        let one = |p: &Parameter| {
            let array = weights.get(&p.name).with_context(|| format!("the weights have no {}", p.name))?;
            Ok((p.name.clone(), flat(p, array, device)?))
        };
        self.parameters.iter().map(one).collect()
    }

    /// Brings what there is of the arrays `<prefix><parameter>` onto a device.
    ///
    /// # Errors
    /// One has another shape than its parameter; names it.
    pub fn upload_prefixed(&self, arrays: &Weights, prefix: &str, device: &Device) -> Result<Arrays> {
        let one = |p: &Parameter| {
            let array = arrays.get(&format!("{prefix}{}", p.name))?;
            Some(flat(p, array, device).map(|tensor| (p.name.clone(), tensor)))
        };
        self.parameters.iter().filter_map(one).collect()
    }

    /// Brings arrays back from the device; the opposite of [`Module::upload`]. Arrays of other names are left out.
    pub fn download(&self, arrays: &Arrays) -> Weights {
        let one = |p: &Parameter| {
            let values = to_vec(arrays.get(&p.name)?.clone());
            Some((p.name.clone(), Array { shape: p.shape.clone(), values }))
        };
        self.parameters.iter().filter_map(one).collect()
    }

    /// Logits `(n, classes)` of images `(n, 3, h, w)`, pixels in `[0, 1]`; with `training`, dropout drops, and batch
    /// normalisations use and record the batch's statistics.
    pub fn forward(&self, arrays: &Arrays, images: Tensor<4>, mut training: Option<&mut Training>) -> Tensor<2> {
        let mut values = vec![Some(normalise(images, &self.network.normalise))];
        let mut readers = self.readers.clone();
        for layer in &self.network.layers {
            let own = Lookup { arrays, layer: &layer.name };
            let recorded = training.as_mut().and_then(|training| training.tape.as_mut()).zip(layer.kind.convolution());
            let convolved = recorded.map(|(tape, (window, out_channels))| {
                let source = values[layer.inputs[0]].clone().expect("a value lives until its last reader");
                let weight = own.get("weight");
                let [y, input] = tape.convolve(own.name("weight"), weight, source, window, out_channels.into());
                values[layer.inputs[0]] = Some(input);
                y
            });
            let mut read = |value: usize| {
                readers[value] -= 1;
                let input = if readers[value] == 0 { values[value].take() } else { values[value].clone() };
                input.expect("a value lives until its last reader")
            };
            let inputs = layer.inputs.iter().map(|&value| read(value)).collect();
            let y = match convolved {
                Some(y) => add_bias(y, own.bias(layer.kind.has_bias())),
                None => run_layer(layer, own, inputs, training.as_deref_mut()),
            };
            values.push(Some(y));
        }
        let logits = values.pop().flatten().expect("the last layer's value");
        logits.flatten(1, 3)
    }
}

/// `(images - mean) / std`, for images `(n, 3, h, w)`.
fn normalise(images: Tensor<4>, by: &Normalise) -> Tensor<4> {
    if *by == Normalise::NONE {
        return images;
    }
    let device = images.device().without_autodiff();
    let channels = |values: [f32; 3]| Tensor::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device);
    let affine = by.affine();
    images * channels(affine.map(|(factor, _)| factor)) + channels(affine.map(|(_, offset)| offset))
}

fn flat(parameter: &Parameter, array: &Array, device: &Device) -> Result<Tensor<1>> {
    let Parameter { name, shape, .. } = parameter;
    ensure!(array.shape == *shape, "{name} is {:?} where the network needs {shape:?}", array.shape);
    Ok(Tensor::from_data(TensorData::new(array.values.clone(), [array.values.len()]), device))
}

/// A tensor's values.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors of this crate are f32")
}

/// The parameters of one layer.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    arrays: &'a Arrays,
    layer: &'a str,
}

impl Lookup<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.layer)
    }

    fn get(&self, part: &str) -> Tensor<1> {
        self.arrays[&self.name(part)].clone()
    }

    fn bias(&self, has_one: bool) -> Option<Tensor<1>> {
        has_one.then(|| self.get("bias"))
    }
}

fn run_layer(layer: &Layer, own: Lookup<'_>, mut inputs: Vec<Tensor<4>>, training: Option<&mut Training>) -> Tensor<4> {
    if let LayerKind::Op { op: Op::Concat, .. } = layer.kind {
        return Tensor::cat(inputs, 1);
    }
    let x = inputs.swap_remove(0);
    match layer.kind {
        LayerKind::Op { op, bias } => run_op(op, own, bias, x, inputs.pop()),
        LayerKind::BatchNorm { epsilon, momentum } => match training {
            Some(training) => normalise_batch(own, x, epsilon, momentum, training),
            None => {
                let [gamma, beta] = ["weight", "bias"].map(|part| own.get(part));
                batch_norm(x, gamma, beta, own.get("running_mean"), own.get("running_var"), epsilon)
            }
        },
        LayerKind::Relu => activation::relu(x),
        LayerKind::Relu6 => x.clamp(0.0, 6.0),
        LayerKind::Function(function) => apply(function, x),
        LayerKind::Dropout { probability } => match training {
            Some(training) => drop_out(x, probability, &mut training.random),
            None => x,
        },
    }
}

fn apply(function: Function, x: Tensor<4>) -> Tensor<4> {
    match function {
        Function::Sigmoid => activation::sigmoid(x),
        Function::Silu => x.clone() * activation::sigmoid(x),
        Function::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Function::HardSwish => x.clone() * apply(Function::HardSigmoid, x),
    }
}

fn run_op(op: Op, own: Lookup<'_>, bias: bool, x: Tensor<4>, second: Option<Tensor<4>>) -> Tensor<4> {
    let [n, c, ..] = x.dims();
    match op {
        Op::Conv { window, out_channels } => {
            convolve(x, own.get("weight"), own.bias(bias), &window, out_channels.into(), 1)
        }
        Op::Depthwise { window } => convolve(x, own.get("weight"), own.bias(bias), &window, c, c),
        Op::Dense { out_channels } => {
            let out = usize::from(out_channels);
            let x: Tensor<2> = x.flatten(1, 3);
            let len = x.dims()[1];
            let y = x.matmul(own.get("weight").reshape([out, len]).transpose());
            let y = if let Some(bias) = own.bias(bias) { y + bias.unsqueeze() } else { y };
            y.reshape([n, out, 1, 1])
        }
        Op::MaxPool { window } => {
            let (kernel, stride, padding) = sizes(&window);
            max_pool2d(x, MaxPoolOptions { stride, padding, ..MaxPoolOptions::new(kernel) })
        }
        Op::AvgPool { window } => {
            let (kernel, stride, padding) = sizes(&window);
            avg_pool2d(x, AvgPoolOptions { stride, padding, ..AvgPoolOptions::new(kernel) })
        }
        Op::GlobalAvgPool => x.mean_dim(3).mean_dim(2),
        Op::Add => x + second.expect("Module::new checked the number of inputs"),
        // The factors are (n, c, 1, 1) and stretch over the map.
        Op::Mul => x * second.expect("Module::new checked the number of inputs"),
        Op::Flatten => {
            let x: Tensor<2> = x.flatten(1, 3);
            let len = x.dims()[1];
            x.reshape([n, len, 1, 1])
        }
        Op::Concat | Op::Lut | Op::ChannelScale => unreachable!("handled by the caller or refused by Module::new"),
    }
}

fn add_bias(y: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    match bias {
        Some(bias) => {
            let channels = bias.dims()[0];
            y + bias.reshape([1, channels, 1, 1])
        }
        None => y,
    }
}

fn convolve(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    window: &Window,
    out: usize,
    groups: usize,
) -> Tensor<4> {
    let (kernel, stride, padding) = sizes(window);
    let weight = weight.reshape([out, x.dims()[1] / groups, kernel[0], kernel[1]]);
    conv2d(x, weight, bias, ConvOptions::new_with_padding(stride, padding, [1, 1], groups))
}

/// Kernel, stride and (begin, end) padding as burn has them.
fn sizes(window: &Window) -> ([usize; 2], [usize; 2], [(usize, usize); 2]) {
    let [top, left, bottom, right] = window.pad.map(usize::from);
    (window.kernel.map(usize::from), window.stride.map(usize::from), [(top, bottom), (left, right)])
}

/// Normalises with the batch's mean and (biased) variance, and moves the running ones towards them by `momentum`.
fn normalise_batch(own: Lookup<'_>, x: Tensor<4>, epsilon: f64, momentum: f64, training: &mut Training) -> Tensor<4> {
    let batch = batch_norm_train(x, own.get("weight"), own.get("bias"), epsilon);
    for (part, measured) in [("running_mean", batch.mean), ("running_var", batch.variance)] {
        let running = own.get(part) * (1.0 - momentum) + measured.inner() * momentum;
        training.statistics.insert(own.name(part), running);
    }
    batch.output
}

/// Sets each value to zero with `probability`, to the next 1/65536, and scales the others so that the mean stays.
fn drop_out(x: Tensor<4>, probability: f64, random: &mut ChaCha8Rng) -> Tensor<4> {
    let shape = x.dims();
    let mut bytes = vec![0; 2 * shape.iter().product::<usize>()];
    random.fill_bytes(&mut bytes);
    let threshold = (probability * 65536.0) as u16;
    let kept = 1.0 / (1.0 - f32::from(threshold) / 65536.0);
    let factor = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < threshold { 0.0 } else { kept };
    let mask: Vec<f32> = bytes.chunks_exact(2).map(factor).collect();
    let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device().without_autodiff());
    x * mask
}
