//! Layers of ours beside burn's autodiff.

use crate::net::layer::{Arrays, Compute, Gradients, Own, Training, from_vec, to_vec};
use crate::net::map::Map;
use crate::net::{Layer, LayerKind, Parameter};
use crate::random::{Purpose, stream};
use burn::tensor::{Device, Tensor};
use ocellus_shared::Shape;
use rand::RngExt;

/// Largest difference, as a part of the largest value.
const TOLERANCE: f32 = 1e-5;

fn random(len: usize, index: u64) -> Vec<f32> {
    let mut random = stream(7, Purpose::Weights, index);
    (0..len).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn assert_close(ours: &[f32], theirs: Vec<f32>, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() <= TOLERANCE * largest, "{what}: {a} and {b}, of {largest}");
    }
}

fn training() -> Training {
    Training { random: stream(5, Purpose::Dropout, 0), fade: 1.0, mixed: false, statistics: Arrays::new() }
}

/// The parameters of a layer on maps of these sizes, `(n, h, w, c)`.
fn arrays(kind: LayerKind, [_, h, w, c]: [usize; 4]) -> (Vec<Parameter>, Arrays) {
    let layer = Layer { name: "layer".into(), kind, inputs: vec![0] };
    let parameters = layer.parameters(Shape::new(h as u16, w as u16, c as u16));
    let array = |(i, p): (usize, &Parameter)| {
        let len = p.shape.iter().product();
        let values = random(len, 100 + i as u64).into_iter();
        let values = if p.name.ends_with("running_var") { values.map(|v| v + 1.5).collect() } else { values.collect() };
        (p.name.clone(), from_vec(values, [len], &Device::flex()))
    };
    let arrays = parameters.iter().enumerate().map(array).collect();
    (parameters, arrays)
}

/// Compares results, statistics and all gradients of a layer of `kind` with burn's, for inputs of these sizes, `(n, h, w, c)`.
pub fn assert_agrees(kind: LayerKind, inputs: &[[usize; 4]]) {
    assert_computes(&*super::of(&kind).unwrap(), kind, inputs);
}

/// The same of what computes a layer with the parameters of `kind`.
pub fn assert_computes(compute: &dyn Compute, kind: LayerKind, inputs: &[[usize; 4]]) {
    let what = |part: &str| format!("{part} of {kind:?} on {inputs:?}");
    let device = Device::flex();
    let (parameters, arrays) = arrays(kind, inputs[0]);
    let planes: Vec<Tensor<4>> =
        (0..).zip(inputs).map(|(i, &[n, h, w, c])| from_vec(random(n * h * w * c, i), [n, c, h, w], &device)).collect();
    let maps = || planes.iter().map(|x| Map::from_planes(&to_vec(x.clone()), x.dims())).collect::<Vec<_>>();
    let leaf = |(name, array): (&String, &Tensor<1>)| (name.clone(), array.clone().autodiff().require_grad());
    let is_trained = |name: &str| parameters.iter().any(|p| p.name == *name && p.role.is_trained());
    let (mut leaves, fixed): (Arrays, Arrays) = arrays.clone().into_iter().partition(|(name, _)| is_trained(name));
    leaves = leaves.iter().map(leaf).collect();
    let all: Arrays = leaves.clone().into_iter().chain(fixed).collect();
    let (own, tracked) = (Own { arrays: &arrays, layer: "layer" }, Own { arrays: &all, layer: "layer" });

    let plain = compute.tensor(planes.clone(), own, None);
    assert_close(&compute.forward(maps(), own, None).0.to_planes(), to_vec(plain), &what("result after training"));

    let xs: Vec<Tensor<4>> = planes.iter().map(|x| x.clone().autodiff().require_grad()).collect();
    let (mut measured, mut expected) = (training(), training());
    let theirs = compute.tensor(xs.clone(), tracked, Some(&mut expected));
    let (ours, back) = compute.forward(maps(), own, Some(&mut measured));
    let [n, h, w, c] = ours.dims;
    assert_eq!([n, c, h, w], theirs.dims(), "{}", what("size"));
    assert_close(&ours.to_planes(), to_vec(theirs.clone().inner()), &what("result"));
    for (name, theirs) in expected.statistics {
        assert_close(&to_vec(measured.statistics.remove(&name).unwrap()), to_vec(theirs), &what(&name));
    }

    let dy: Tensor<4> = from_vec(random(n * h * w * c, 50), [n, c, h, w], &device);
    let mut found = Gradients::default();
    let dxs = back(Map::from_planes(&to_vec(dy.clone()), dy.dims()), &vec![true; inputs.len()], &mut found);
    let gradients = (theirs * dy.autodiff()).sum().backward();
    for (dx, x) in dxs.into_iter().zip(&xs) {
        let theirs = to_vec(x.grad(&gradients).unwrap());
        assert_close(&dx.expect("it is wanted").to_planes(), theirs, &what("gradient of the input"));
    }
    for (name, leaf) in &leaves {
        assert_close(found.get(name).unwrap(), to_vec(leaf.grad(&gradients).unwrap()), &what(name));
    }
}
