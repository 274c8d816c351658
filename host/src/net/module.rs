//! A network and its parameters, ready to run: on a CPU by our own code, elsewhere by burn.
//!
//! Parameters are kept flat, so that the optimizer, the moving average and the checkpoint treat all of them alike.

pub use super::layer::{Arrays, Training, to_vec};
use super::layer::{Own, from_vec};
use super::layers::{self, Moments};
use super::map::Map;
use super::{Array, Network, Parameter, Role, Weights, engine};
use crate::random::{self, Purpose};
use crate::recipe::Normalise;
use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use ocellus_shared::Shape;
use rand::RngExt;
use std::collections::BTreeMap;

/// A network and its parameters' shapes, ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    network: Network,
    parameters: Vec<Parameter>,
    /// How many layers read each value.
    readers: Vec<usize>,
}

/// What a training step comes by.
#[derive(Debug)]
pub struct Differentiated {
    /// The logits, `(n, classes)`.
    pub logits: Vec<f32>,
    /// The loss.
    pub loss: f64,
    /// Gradients of the loss by parameter name.
    pub gradients: Arrays,
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
            ensure!(
                layers::of(&layer.kind).is_some(),
                "layer {} ({}) exists only after training",
                layer.name,
                layer.kind.name()
            );
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

    /// Whether our own code computes on `device`.
    fn is_own(device: &Device) -> bool {
        *device == Device::flex()
    }

    /// The result for images `(n, 3, h, w)`, pixels in `[0, 1]`, as rows in the order `(c, h, w)`: of a whole network the
    /// logits, `(n, classes)`. As after training, or with `training` as while it is trained, but without a way back:
    /// dropout drops, and batch normalisations use and record the batch's statistics.
    pub fn forward(&self, arrays: &Arrays, images: Tensor<4>, training: Option<&mut Training>) -> Tensor<2> {
        let device = images.device();
        if !Self::is_own(&device) {
            return self.by_burn(arrays, images, training).flatten(1, 3);
        }
        let map = self.map(images);
        let result = match training {
            Some(training) => engine::record(&self.network, &self.readers, arrays, map, training).0,
            None => engine::infer(&self.network, &self.readers, arrays, map),
        };
        let n = result.dims[0];
        let rows = result.to_planes();
        let len = rows.len() / n.max(1);
        from_vec(rows, [n, len], &device)
    }

    /// A training step on images as for [`Module::forward`]: `loss` is called with the logits.
    pub fn differentiate(
        &self,
        arrays: &Arrays,
        images: Tensor<4>,
        training: &mut Training,
        loss: impl FnOnce(&Tensor<2>) -> Tensor<1>,
    ) -> Differentiated {
        let device = images.device();
        if !Self::is_own(&device) {
            return self.differentiate_by_burn(arrays, images, training, loss);
        }
        let (result, tape) = engine::record(&self.network, &self.readers, arrays, self.map(images), training);
        let (dims, rows) = (result.dims, result.to_planes());
        let n = dims[0];
        let logits = from_vec(rows.clone(), [n, rows.len() / n], &device).autodiff().require_grad();
        let loss = loss(&logits);
        let slopes = logits.grad(&loss.backward()).expect("the loss depends on the logits");
        let [n, h, w, c] = dims;
        let gradients = tape.backward(Map::from_planes(&to_vec(slopes), [n, c, h, w])).into_arrays(&device);
        Differentiated { logits: rows, loss: loss.into_scalar::<f32>().into(), gradients }
    }

    fn differentiate_by_burn(
        &self,
        arrays: &Arrays,
        images: Tensor<4>,
        training: &mut Training,
        loss: impl FnOnce(&Tensor<2>) -> Tensor<1>,
    ) -> Differentiated {
        let leaf = |p: &Parameter| {
            let array = arrays[&p.name].clone();
            (p.name.clone(), if p.role.is_trained() { array.autodiff().require_grad() } else { array })
        };
        let leaves: Arrays = self.parameters.iter().map(leaf).collect();
        let logits = self.by_burn(&leaves, images.autodiff(), Some(training)).flatten(1, 3);
        let loss = loss(&logits);
        let mut gradients = loss.backward();
        let found = leaves.into_iter().filter_map(|(name, leaf)| Some((name, leaf.grad_remove(&mut gradients)?)));
        let gradients = found.collect();
        Differentiated { loss: loss.into_scalar::<f32>().into(), logits: to_vec(logits.inner()), gradients }
    }

    /// What the batch normalisations are given for images as for [`Module::forward`], which need no particular device, by
    /// layer name. Always computed on the CPU.
    pub(super) fn moments(&self, arrays: &Arrays, images: Tensor<4>) -> BTreeMap<String, Moments> {
        let mut found = BTreeMap::new();
        engine::visit_norms(&self.network, &self.readers, arrays, self.map(images), |layer, x| {
            found.insert(layer.name.clone(), Moments::of(x));
        });
        found
    }

    /// The images as the first layer reads them.
    fn map(&self, images: Tensor<4>) -> Map {
        let dims @ [n, c, h, w] = images.dims();
        let mut values = to_vec(images);
        if self.network.normalise != Normalise::NONE {
            let affine = self.network.normalise.affine();
            for (plane, (factor, offset)) in values.chunks_exact_mut(h * w).zip(affine.into_iter().cycle()) {
                plane.iter_mut().for_each(|v| *v = *v * factor + offset);
            }
        }
        debug_assert!(n * c * h * w == values.len());
        Map::from_planes(&values, dims)
    }

    /// The network's result by burn.
    fn by_burn(&self, arrays: &Arrays, images: Tensor<4>, mut training: Option<&mut Training>) -> Tensor<4> {
        let mut values = vec![Some(normalise(images, &self.network.normalise))];
        let mut readers = self.readers.clone();
        for layer in &self.network.layers {
            let one = |&value: &usize| {
                readers[value] -= 1;
                let input = if readers[value] == 0 { values[value].take() } else { values[value].clone() };
                input.expect("a value lives until its last reader")
            };
            let inputs = layer.inputs.iter().map(one).collect();
            let compute = layers::of(&layer.kind).expect("Module::new refuses what is not trained");
            values.push(Some(compute.tensor(inputs, Own { arrays, layer: &layer.name }, training.as_deref_mut())));
        }
        values.pop().flatten().expect("the last layer's value")
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
    Ok(from_vec(array.values.clone(), [array.values.len()], device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Function, Layer, LayerKind};
    use crate::random::stream;
    use ocellus_shared::{Op, Window};

    /// Most kinds of layers, and values that several of them read.
    fn network() -> Network {
        let conv = |out_channels| LayerKind::Op { op: Op::Conv { window: Window::same(3), out_channels }, bias: true };
        let op = |op| LayerKind::Op { op, bias: false };
        let layers = [
            ("first", conv(4), vec![0]),
            ("relu", LayerKind::Relu, vec![1]),
            ("left", conv(4), vec![2]),
            ("right", conv(4), vec![2]),
            ("norm", LayerKind::BatchNorm { epsilon: 1e-5, momentum: 0.1 }, vec![4]),
            ("join", op(Op::Add), vec![3, 5]),
            ("shortcut", op(Op::Add), vec![6, 2]),
            // Read by five layers.
            ("pooled", op(Op::AvgPool { window: Window::valid(1, 1) }), vec![7]),
            ("after", conv(4), vec![8]),
            ("clipped", LayerKind::Relu6, vec![8]),
            ("pooled again", op(Op::AvgPool { window: Window::valid(1, 1) }), vec![8]),
            ("twice", op(Op::Add), vec![8, 11]),
            ("sum", op(Op::Add), vec![9, 10]),
            ("total", op(Op::Add), vec![12, 13]),
            ("deep", LayerKind::Op { op: Op::Depthwise { window: Window::same(5) }, bias: true }, vec![14]),
            ("smooth", LayerKind::Function(Function::Silu), vec![15]),
            ("squeeze", op(Op::GlobalAvgPool), vec![16]),
            ("excite", LayerKind::Op { op: Op::Dense { out_channels: 4 }, bias: true }, vec![17]),
            ("gate", LayerKind::Function(Function::Sigmoid), vec![18]),
            ("scaled", op(Op::Mul), vec![16, 19]),
            ("dropped", LayerKind::Dropout { probability: 0.3, fades: false }, vec![20]),
            (
                "pool",
                op(Op::MaxPool { window: Window { kernel: [3, 3], stride: [2, 2], pad: [1, 0, 1, 1] } }),
                vec![21],
            ),
            ("last", conv(3), vec![22]),
            ("mean", op(Op::GlobalAvgPool), vec![23]),
        ];
        let layer = |(name, kind, inputs): (&str, LayerKind, Vec<usize>)| Layer { name: name.into(), kind, inputs };
        Network {
            input: Shape::new(6, 6, 3),
            normalise: Default::default(),
            layers: layers.into_iter().map(layer).collect(),
        }
    }

    /// Gradients by our own code, or by burn's in f32 or with short products.
    fn gradients(by_burn: bool, mixed: bool) -> Arrays {
        let device = Device::flex();
        let module = Module::new(network()).unwrap();
        let arrays = module.upload(&module.initial(5), &device).unwrap();
        let mut random = stream(5, Purpose::Shuffle, 0);
        let pixels: Vec<f32> = (0..2 * 3 * 36).map(|_| random.random_range(0.0..1.0)).collect();
        let images = from_vec(pixels, [2, 3, 6, 6], &device);
        let mut training = Training { random, fade: 1.0, mixed, statistics: Arrays::new() };
        let loss = |logits: &Tensor<2>| (logits.clone() * logits.clone()).sum();
        let found = if by_burn {
            module.differentiate_by_burn(&arrays, images, &mut training, loss)
        } else {
            module.differentiate(&arrays, images, &mut training, loss)
        };
        found.gradients
    }

    #[test]
    fn agrees_with_burn_through_branches() {
        let (ours, theirs) = (gradients(false, false), gradients(true, false));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let largest = theirs.values().map(|g| g.clone().abs().max().into_scalar::<f32>()).fold(0.0, f32::max);
        for (name, ours) in ours {
            let (ours, theirs) = (to_vec(ours), to_vec(theirs[&name].clone()));
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b}");
            }
        }
    }

    #[test]
    fn short_products_find_nearly_the_same_gradients() {
        let (short, exact) = (gradients(true, true), gradients(true, false));
        let all = |arrays: &Arrays| -> Vec<f64> {
            arrays.values().flat_map(|array| to_vec(array.clone())).map(f64::from).collect()
        };
        let (short, exact) = (all(&short), all(&exact));
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let apart: Vec<f64> = short.iter().zip(&exact).map(|(a, b)| a - b).collect();
        // bf16 keeps 8 binary digits; products of some twenty layers follow each other.
        let error = norm(&apart) / norm(&exact);
        assert!(error > 1e-4 && error < 5e-2, "{error}");
    }
}
