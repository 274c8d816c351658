//! Runs any [`Network`] on burn's tensors, forwards and for training.
//!
//! Feature maps are `(n, c, h, w)`, vectors `(n, c, 1, 1)`. Parameters are kept flat, so that the optimizer, the
//! moving average and the checkpoint treat all of them alike; a layer gives them their shape when it runs.

use super::conv::Geometry;
use super::kernels::{Kernel, Map};
use super::tape::{Tape, Value};
use super::{Array, Function, Layer, LayerKind, Network, Parameter, Role, Weights};
use crate::random::{self, Purpose};
use crate::recipe::Normalise;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, FloatDType, Tensor, TensorData, activation};
use ocellus_shared::{Op, Shape, Window};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// What the probabilities of dropouts that fade are multiplied by, in `[0, 1]`.
    pub fade: f64,
    /// Whether burn's convolutions and dense layers multiply in bf16.
    pub mixed: bool,
    /// Running statistics after this step, by parameter name.
    pub statistics: Arrays,
    /// Where layers are recorded that our own kernels compute, as they should on a CPU; nothing for burn's.
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

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
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
    pub fn forward(&self, arrays: &Arrays, images: Tensor<4>, training: Option<&mut Training>) -> Tensor<2> {
        let logits = match training {
            Some(training) => self.train(arrays, images, training),
            None => self.infer(arrays, images, |_, _| {}),
        };
        logits.flatten(1, 3)
    }

    /// Runs the network as after training, and calls `visit` with every layer and its inputs, `(n, c, h, w)`; images as
    /// for [`Module::forward`].
    pub fn infer(&self, arrays: &Arrays, images: Tensor<4>, mut visit: impl FnMut(&Layer, &[Tensor<4>])) -> Tensor<4> {
        let mut values = Values::new(normalise(images, &self.network.normalise), &self.readers);
        for layer in &self.network.layers {
            let inputs = values.read(layer);
            visit(layer, &inputs);
            values.push(run_layer(layer, Lookup { arrays, layer: &layer.name }, inputs, None));
        }
        values.last()
    }

    fn train(&self, arrays: &Arrays, images: Tensor<4>, training: &mut Training) -> Tensor<4> {
        let device = images.device();
        let mut values = Values::new(Value::Tensor(normalise(images, &self.network.normalise)), &self.readers);
        for layer in &self.network.layers {
            let mut inputs = values.read(layer);
            let y = train_layer(layer, Lookup { arrays, layer: &layer.name }, &mut inputs, training, &device);
            // Who reads an input later must read what this layer made of it.
            values.replace(layer, inputs);
            values.push(y);
        }
        match (values.last(), &mut training.tape) {
            (Value::Tensor(logits), _) => logits,
            (logits, Some(tape)) => tape.tensor(logits, &device),
            (Value::Map { .. }, None) => unreachable!("only a tape makes maps"),
        }
    }
}

/// The values between a network's layers, each of which lives until its last reader.
struct Values<T> {
    values: Vec<Option<T>>,
    /// Readers that are still to come.
    readers: Vec<usize>,
}

impl<T: Clone> Values<T> {
    fn new(images: T, readers: &[usize]) -> Self {
        Self { values: vec![Some(images)], readers: readers.to_vec() }
    }

    /// The inputs of `layer`, which reads them once.
    fn read(&mut self, layer: &Layer) -> Vec<T> {
        let one = |&value: &usize| {
            self.readers[value] -= 1;
            let input = if self.readers[value] == 0 { self.values[value].take() } else { self.values[value].clone() };
            input.expect("a value lives until its last reader")
        };
        layer.inputs.iter().map(one).collect()
    }

    /// Puts others in the place of the inputs of `layer` that are still to be read.
    fn replace(&mut self, layer: &Layer, inputs: Vec<T>) {
        for (&value, input) in layer.inputs.iter().zip(inputs) {
            if let Some(stored) = &mut self.values[value] {
                *stored = input;
            }
        }
    }

    fn push(&mut self, value: T) {
        self.values.push(Some(value));
    }

    /// The last layer's.
    fn last(mut self) -> T {
        self.values.pop().flatten().expect("the last layer's value")
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

/// Values without a tape, which are all burn's.
fn tensors(values: Vec<Value>) -> Vec<Tensor<4>> {
    let tensor = |value| match value {
        Value::Tensor(tensor) => tensor,
        Value::Map { .. } => unreachable!("only a tape makes maps"),
    };
    values.into_iter().map(tensor).collect()
}

/// Runs a layer by one of our own kernels where there is a tape and a kernel, else by burn.
fn train_layer(
    layer: &Layer,
    own: Lookup<'_>,
    inputs: &mut [Value],
    training: &mut Training,
    device: &Device,
) -> Value {
    let Some(mut tape) = training.tape.take() else {
        return Value::Tensor(run_layer(layer, own, tensors(inputs.to_vec()), Some(training)));
    };
    let y = record_layer(&mut tape, layer, own, inputs, training).unwrap_or_else(|| {
        let inputs = inputs.iter_mut().map(|input| {
            let tensor = tape.tensor(input.clone(), device);
            *input = Value::Tensor(tensor.clone());
            tensor
        });
        Value::Tensor(run_layer(layer, own, inputs.collect(), Some(training)))
    });
    training.tape = Some(tape);
    y
}

/// Runs a layer by one of our own kernels, if there is one for it.
fn record_layer(
    tape: &mut Tape,
    layer: &Layer,
    own: Lookup<'_>,
    inputs: &mut [Value],
    training: &mut Training,
) -> Option<Value> {
    let one = |mut maps: Vec<Map>| maps.swap_remove(0);
    Some(match layer.kind {
        LayerKind::Op { op: Op::Conv { window, out_channels }, bias } => tape.run(inputs, |maps| {
            let x = one(maps);
            let geometry = Geometry::new(x.dims, out_channels.into(), window);
            let names = [own.fitted("weight"), if bias { own.fitted("bias") } else { None }];
            let bias = own.bias(bias).map(|bias| to_vec(constant(bias)));
            Kernel::conv(x, geometry, constant(own.get("weight")), bias, names)
        }),
        LayerKind::Op { op: Op::Depthwise { window }, bias } => tape.run(inputs, |maps| {
            let names = [own.fitted("weight"), if bias { own.fitted("bias") } else { None }];
            let [weight, bias] = [Some(own.get("weight")), own.bias(bias)].map(|p| p.map(|p| to_vec(constant(p))));
            Kernel::depthwise(one(maps), window, weight.expect("it has weights"), bias, names)
        }),
        LayerKind::Op { op: Op::GlobalAvgPool, .. } => tape.run(inputs, |maps| Kernel::mean(&one(maps))),
        LayerKind::Op { op: Op::MaxPool { window }, .. } => {
            tape.run(inputs, |maps| Kernel::max_pool(&one(maps), &window))
        }
        LayerKind::Op { op: Op::Add, .. } => tape.run(inputs, |mut maps| {
            let second = maps.swap_remove(1);
            Kernel::add(one(maps), &second)
        }),
        LayerKind::Op { op: Op::Mul, .. } => tape.run(inputs, |mut maps| {
            let factors = maps.swap_remove(1);
            Kernel::mul(one(maps), factors)
        }),
        LayerKind::BatchNorm { epsilon, momentum } => tape.run(inputs, |maps| {
            let x = one(maps);
            let device = own.get("running_mean").device();
            let [gamma, beta] = ["weight", "bias"].map(|part| to_vec(constant(own.get(part))));
            let names = own.fitted("weight").zip(own.fitted("bias")).map(|(a, b)| [a, b]);
            let (kernel, y, batch) = Kernel::batch_norm(x, gamma, &beta, epsilon, names);
            let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [beta.len()]), &device);
            follow(own, tensor(batch.mean), tensor(batch.variance), momentum, training);
            (kernel, y)
        }),
        LayerKind::Relu => tape.run(inputs, |maps| Kernel::relu(one(maps), f32::INFINITY)),
        LayerKind::Relu6 => tape.run(inputs, |maps| Kernel::relu(one(maps), 6.0)),
        LayerKind::Function(function) => tape.run(inputs, |maps| Kernel::function(one(maps), function)),
        LayerKind::Dropout { probability, fades } => tape.run(inputs, |maps| {
            let x = one(maps);
            let factors = drop_factors(x.values.len(), probability, fades, training);
            Kernel::dropout(x, factors)
        }),
        _ => return None,
    })
}

/// A parameter's value, whether it is fitted or not.
fn constant(parameter: Tensor<1>) -> Tensor<1> {
    if parameter.is_tracked() { parameter.inner() } else { parameter }
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

    /// Whether burn follows the weights.
    fn is_fitted(&self) -> bool {
        self.get("weight").is_tracked()
    }

    /// The name of a parameter that is fitted.
    fn fitted(&self, part: &str) -> Option<String> {
        self.get(part).is_tracked().then(|| self.name(part))
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
        LayerKind::Op { op, bias } => {
            let mixed = training.is_some_and(|training| training.mixed);
            run_op(op, own, bias, x, inputs.pop(), mixed)
        }
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
        LayerKind::Dropout { probability, fades } => match training {
            Some(training) => drop_out(x, probability, fades, training),
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

fn run_op(op: Op, own: Lookup<'_>, bias: bool, x: Tensor<4>, second: Option<Tensor<4>>, mixed: bool) -> Tensor<4> {
    let filters = || Filters { weight: own.get("weight"), bias: own.bias(bias), mixed };
    let [n, c, ..] = x.dims();
    match op {
        Op::Conv { window, out_channels } | Op::Winograd { window, out_channels } => {
            filters().convolve(x, &window, out_channels.into(), 1)
        }
        // burn-flex convolves one channel after the other, which would take most of the time.
        Op::Depthwise { window } if x.device() == Device::flex() && !x.is_tracked() && !own.is_fitted() => {
            let (device, map) = (x.device(), Map::new(x.dims(), to_vec(x)));
            let (weight, bias) = (to_vec(own.get("weight")), own.bias(bias).map(to_vec));
            let (_, y) = Kernel::depthwise(map, window, weight, bias, [None, None]);
            Tensor::from_data(TensorData::new(Arc::unwrap_or_clone(y.values), y.dims), &device)
        }
        Op::Depthwise { window } => filters().convolve(x, &window, c, c),
        Op::Dense { out_channels } => {
            let out = usize::from(out_channels);
            filters().multiply(x.flatten(1, 3), out).reshape([n, out, 1, 1])
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

/// What burn multiplies a layer's input with.
struct Filters {
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    /// Whether in bf16.
    mixed: bool,
}

impl Filters {
    /// A convolution by `out` filters; f32, `(n, out, h, w)`.
    fn convolve(self, x: Tensor<4>, window: &Window, out: usize, groups: usize) -> Tensor<4> {
        let (kernel, stride, padding) = sizes(window);
        let weight = self.weight.reshape([out, x.dims()[1] / groups, kernel[0], kernel[1]]);
        let options = ConvOptions::new_with_padding(stride, padding, [1, 1], groups);
        if !self.mixed {
            return conv2d(x, weight, self.bias, options);
        }
        let y = conv2d(short(x), short(weight), None, options).cast(FloatDType::F32);
        // Added in f32: rounding it would move a whole channel.
        if let Some(bias) = self.bias { y + bias.reshape([1, out, 1, 1]) } else { y }
    }

    /// Rows `(n, len)` by the matrix of `out` filters; f32, `(n, out)`.
    fn multiply(self, x: Tensor<2>, out: usize) -> Tensor<2> {
        let weight = self.weight.reshape([out, x.dims()[1]]).transpose();
        let y = if self.mixed { short(x).matmul(short(weight)).cast(FloatDType::F32) } else { x.matmul(weight) };
        if let Some(bias) = self.bias { y + bias.unsqueeze() } else { y }
    }
}

/// The values as bf16.
fn short<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::BF16)
}

/// Kernel, stride and (begin, end) padding as burn has them.
fn sizes(window: &Window) -> ([usize; 2], [usize; 2], [(usize, usize); 2]) {
    let [top, left, bottom, right] = window.pad.map(usize::from);
    (window.kernel.map(usize::from), window.stride.map(usize::from), [(top, bottom), (left, right)])
}

/// Normalises with the batch's mean and (biased) variance, and moves the running ones towards them by `momentum`.
fn normalise_batch(own: Lookup<'_>, x: Tensor<4>, epsilon: f64, momentum: f64, training: &mut Training) -> Tensor<4> {
    let batch = batch_norm_train(x, own.get("weight"), own.get("bias"), epsilon);
    follow(own, batch.mean.inner(), batch.variance.inner(), momentum, training);
    batch.output
}

/// Moves a normalisation's running statistics towards the batch's by `momentum`.
fn follow(own: Lookup<'_>, mean: Tensor<1>, variance: Tensor<1>, momentum: f64, training: &mut Training) {
    for (part, measured) in [("running_mean", mean), ("running_var", variance)] {
        let running = own.get(part) * (1.0 - momentum) + measured * momentum;
        training.statistics.insert(own.name(part), running);
    }
}

fn drop_out(x: Tensor<4>, probability: f64, fades: bool, training: &mut Training) -> Tensor<4> {
    let shape = x.dims();
    let factors = drop_factors(shape.iter().product(), probability, fades, training);
    x.clone() * Tensor::from_data(TensorData::new(factors, shape), &x.device().without_autodiff())
}

/// Factors that set each of `len` values to zero with `probability`, to the next 1/65536, and scale the others so that
/// the mean stays.
fn drop_factors(len: usize, probability: f64, fades: bool, training: &mut Training) -> Vec<f32> {
    let probability = if fades { probability * training.fade } else { probability };
    let mut bytes = vec![0; 2 * len];
    training.random.fill_bytes(&mut bytes);
    let threshold = (probability * 65536.0) as u16;
    let kept = 1.0 / (1.0 - f32::from(threshold) / 65536.0);
    let factor = |pair: &[u8]| if u16::from_le_bytes([pair[0], pair[1]]) < threshold { 0.0 } else { kept };
    bytes.chunks_exact(2).map(factor).collect()
}
