//! What a kind of layer must know to be trained.

use super::map::Map;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// A network's parameters on a device, flat, by [`Parameter::name`](super::Parameter::name).
pub type Arrays = BTreeMap<String, Tensor<1>>;

/// A tensor's values.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors of this crate are f32")
}

/// A tensor of these values.
pub fn from_vec<const D: usize>(values: Vec<f32>, dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, dims), device)
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
}

/// The parameters of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    /// Those of all layers.
    pub arrays: &'a Arrays,
    /// The layer's name.
    pub layer: &'a str,
}

impl Own<'_> {
    /// The whole name of the parameter `part`.
    pub fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.layer)
    }

    /// The parameter `part`, as burn reads it.
    pub fn tensor(&self, part: &str) -> Tensor<1> {
        self.arrays[&self.name(part)].clone()
    }

    /// Its values.
    pub fn values(&self, part: &str) -> Vec<f32> {
        to_vec(self.tensor(part))
    }

    /// Moves the running statistics towards a batch's mean and variance by `momentum`.
    pub fn follow(&self, mean: Tensor<1>, variance: Tensor<1>, momentum: f64, training: &mut Training) {
        for (part, measured) in [("running_mean", mean), ("running_var", variance)] {
            let running = self.tensor(part) * (1.0 - momentum) + measured * momentum;
            training.statistics.insert(self.name(part), running);
        }
    }
}

/// Gradients of the parameters that a backward pass has come by, by parameter name.
#[derive(Debug, Default)]
pub(super) struct Gradients(BTreeMap<String, Vec<f32>>);

impl Gradients {
    /// Adds that of the parameter `name`.
    pub fn add(&mut self, name: String, gradient: Vec<f32>) {
        match self.0.get_mut(&name) {
            Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
            None => drop(self.0.insert(name, gradient)),
        }
    }

    /// As arrays on `device`.
    pub fn into_arrays(self, device: &Device) -> Arrays {
        let array = |(name, values): (String, Vec<f32>)| {
            let len = values.len();
            (name, from_vec(values, [len], device))
        };
        self.0.into_iter().map(array).collect()
    }

    /// That of the parameter `name`.
    #[cfg(test)]
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// The way back through a layer that has run, with what it needs for that: takes the gradient of the layer's result and
/// whether that of each input is wanted; adds those of the layer's parameters to the others, and returns those of the
/// inputs.
pub(super) type Back = Box<dyn FnOnce(Map, &[bool], &mut Gradients) -> Vec<Option<Map>>>;

/// What a kind of layer computes: by our own code on a CPU, forwards and backwards, and by burn on any device, whose
/// autodiff is also what our own gradients are compared with.
pub(super) trait Compute {
    /// The result for `inputs`, and the way back; with `training`, as while it is trained.
    fn forward(&self, inputs: Vec<Map>, own: Own<'_>, training: Option<&mut Training>) -> (Map, Back);

    /// The same by burn, on maps `(n, c, h, w)`.
    fn tensor(&self, inputs: Vec<Tensor<4>>, own: Own<'_>, training: Option<&mut Training>) -> Tensor<4>;
}

/// The only element of `list`.
pub(super) fn only<T>(mut list: Vec<T>) -> T {
    debug_assert_eq!(list.len(), 1);
    list.swap_remove(0)
}
