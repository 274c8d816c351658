//! Batch normalisations that are told what their inputs really are.
//!
//! A network whose normalisations were folded into its filters has them back as identities: a mean of 0 and a variance
//! of 1, whatever they are given. It computes the right thing until it is trained: then the batch's own statistics come
//! in, and the function is another. [`measure`] writes the true statistics down, and corrects factor and offset so that
//! the function stays.

use super::LayerKind;
use super::layers::Moments;
use super::module::{Arrays, Module, to_vec};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// The arrays of `module` with every running mean and variance measured on `batches` of images, `(n, 3, h, w)` with
/// pixels in `[0, 1]`, and every factor and offset changed so that the network computes the same as before.
///
/// A normalisation `gamma (x - m) / sqrt(v + e) + beta` is a line `a x + b`; with the measured mean `m'` and variance
/// `v'` it is the same line for `gamma' = a sqrt(v' + e)` and `beta' = b + a m'`.
pub fn measure(module: &Module, arrays: &Arrays, batches: impl IntoIterator<Item = Tensor<4>>) -> Arrays {
    let on_cpu = arrays.iter().map(|(name, array)| (name.clone(), array.clone().to_device(&Device::flex()))).collect();
    let mut measured: BTreeMap<String, Moments> = BTreeMap::new();
    for images in batches {
        for (name, moments) in module.moments(&on_cpu, images) {
            measured.entry(name).or_insert_with(|| Moments::none(moments.mean.len())).join(&moments);
        }
    }
    let mut arrays = arrays.clone();
    for layer in &module.network().layers {
        if let (LayerKind::BatchNorm { epsilon, .. }, Some(moments)) = (layer.kind, measured.get(&layer.name)) {
            rewrite(&mut arrays, &layer.name, epsilon, moments);
        }
    }
    arrays
}

fn rewrite(arrays: &mut Arrays, layer: &str, epsilon: f64, moments: &Moments) {
    let name = |part: &str| format!("{layer}.{part}");
    let device: Device = arrays[&name("weight")].device();
    let [gamma, beta, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(|part| to_vec(arrays[&name(part)].clone()));
    let mut new: [Vec<f32>; 4] = Default::default();
    for i in 0..gamma.len() {
        let (m, v) = (moments.mean[i], moments.variance[i]);
        let slope = f64::from(gamma[i]) / (f64::from(variance[i]) + epsilon).sqrt();
        let offset = f64::from(beta[i]) - slope * f64::from(mean[i]);
        let values = [slope * (v + epsilon).sqrt(), offset + slope * m, m, v];
        new.iter_mut().zip(values).for_each(|(new, value)| new.push(value as f32));
    }
    for (part, values) in ["weight", "bias", "running_mean", "running_var"].into_iter().zip(new) {
        let len = values.len();
        arrays.insert(name(part), Tensor::from_data(TensorData::new(values, [len]), &device));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::build;
    use crate::net::module::Training;
    use crate::random::{Purpose, stream};
    use crate::recipe::{Model, Recipe};
    use ocellus_shared::Shape;
    use rand::RngExt;

    fn largest_difference(a: Tensor<2>, b: Tensor<2>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn the_function_stays_and_training_keeps_it() {
        let recipe = Recipe { model: Model::ResNet8, ..Recipe::default() };
        let module = Module::new(build(&recipe, Shape::new(16, 16, 3), 4).unwrap()).unwrap();
        let device = Device::flex();
        // As if normalisation had been folded: filters of odd sizes, and identities.
        let arrays = module.upload(&module.initial(1), &device).unwrap();
        let arrays: Arrays = arrays.into_iter().map(|(name, array)| (name, array * 1.7)).collect();
        let mut random = stream(1, Purpose::Shuffle, 0);
        let mut images = |n: usize| {
            let pixels: Vec<f32> = (0..n * 3 * 256).map(|_| random.random_range(0.0..1.0)).collect();
            Tensor::<4>::from_data(TensorData::new(pixels, [n, 3, 16, 16]), &device)
        };
        let batches = [images(20), images(12)];
        let measured = measure(&module, &arrays, batches.clone());
        let before = module.forward(&arrays, batches[0].clone(), None);
        let after = module.forward(&measured, batches[0].clone(), None);
        let scale: f32 = before.clone().abs().max().into_scalar();
        assert!(largest_difference(before.clone(), after) < 1e-4 * scale);

        // With the batch's own statistics, which are the running ones: nearly the same function; before it was another.
        let all = Tensor::cat(batches.to_vec(), 0);
        let before = module.forward(&arrays, all.clone(), None);
        let train = |arrays: &Arrays| {
            let random = stream(1, Purpose::Dropout, 0);
            let mut training = Training { random, fade: 1.0, mixed: false, statistics: Arrays::new() };
            module.forward(arrays, all.clone(), Some(&mut training))
        };
        assert!(largest_difference(before.clone(), train(&measured)) < 1e-3 * scale);
        assert!(largest_difference(before, train(&arrays)) > 0.1 * scale);
    }
}
