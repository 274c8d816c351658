//! Backpropagation through layers that burn does not see.
//!
//! On a CPU our own [`Kernel`]s compute the layers that take most of a training step, each with a backward pass of its
//! own; burn differentiates everything else. Where burn reads what a kernel computed, its graph starts anew from a
//! leaf, and where a kernel reads what burn computed, burn's graph ends. Going backwards, the gradient that arrives at
//! one side of such a cut is handed on at the other side when all later layers are done.

use super::kernels::{Kernel, Map};
use super::module::{Arrays, to_vec};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value between two layers.
#[derive(Clone, Debug)]
pub enum Value {
    /// Computed by burn.
    Tensor(Tensor<4>),
    /// Computed by a kernel.
    Map {
        /// What it computed.
        map: Map,
        /// Its place on the tape; nothing where no parameter that is fitted had a part in it.
        record: Option<usize>,
    },
}

/// The kernels of one forward pass, in their order.
#[derive(Debug, Default)]
pub struct Tape {
    records: Vec<Record>,
}

/// One kernel's run.
#[derive(Debug)]
struct Record {
    kernel: Kernel,
    sources: Vec<Source>,
    /// The result as burn reads it, where it does.
    leaf: Option<Tensor<4>>,
}

/// Where a kernel's input came from.
#[derive(Debug)]
enum Source {
    /// No gradient is wanted.
    Constant,
    /// The result of another kernel.
    Record(usize),
    /// Burn, which made `tensor`; layers of burn's that read it later read `leaf`.
    Burn { tensor: Box<Tensor<4>>, leaf: Box<Tensor<4>> },
}

impl Tape {
    /// Runs `kernel`, which `prepare` makes from its inputs' values, on `inputs`. A tensor of burn's among them is
    /// replaced by the one that later layers must read.
    pub fn run(&mut self, inputs: &mut [Value], prepare: impl FnOnce(Vec<Map>) -> (Kernel, Map)) -> Value {
        let (sources, maps): (Vec<Source>, Vec<Map>) = inputs.iter_mut().map(read).unzip();
        let (kernel, map) = prepare(maps);
        let is_fitted = kernel.has_parameters() || sources.iter().any(|source| !matches!(source, Source::Constant));
        let record = is_fitted.then(|| {
            self.records.push(Record { kernel, sources, leaf: None });
            self.records.len() - 1
        });
        Value::Map { map, record }
    }

    /// The value as burn reads it.
    pub fn tensor(&mut self, value: Value, device: &Device) -> Tensor<4> {
        let (map, record) = match value {
            Value::Tensor(tensor) => return tensor,
            Value::Map { map, record } => (map, record),
        };
        let make = || Tensor::from_data(TensorData::new(Arc::unwrap_or_clone(map.values), map.dims), device);
        match record {
            Some(i) => self.records[i].leaf.get_or_insert_with(|| make().require_grad()).clone(),
            None => make(),
        }
    }

    /// Gradients of `loss` by parameter name; `leaves` are the parameters that burn differentiates by.
    pub fn backward(self, loss: &Tensor<1>, leaves: &Arrays) -> Arrays {
        let device = loss.device().without_autodiff();
        let mut sums = Sums::new(self.records.len());
        sums.collect(loss.backward(), &self.records, leaves);
        for (i, record) in self.records.iter().enumerate().rev() {
            let Some(dy) = sums.outputs[i].take() else {
                record.sources.iter().enumerate().for_each(|(k, _)| sums.hand_on(&self.records, i, k, None, leaves));
                continue;
            };
            let wanted: Vec<bool> = record.sources.iter().map(|s| !matches!(s, Source::Constant)).collect();
            let found = record.kernel.backward(dy, &wanted);
            for (name, gradient) in found.parameters {
                let len = gradient.len();
                sums.add_parameter(name, Tensor::from_data(TensorData::new(gradient, [len]), &device));
            }
            for (k, dx) in found.inputs.into_iter().enumerate() {
                sums.hand_on(&self.records, i, k, dx, leaves);
            }
        }
        sums.parameters
    }
}

/// A kernel's input, and where its gradient goes.
fn read(value: &mut Value) -> (Source, Map) {
    match value {
        Value::Map { map, record } => (record.map_or(Source::Constant, Source::Record), map.clone()),
        Value::Tensor(tensor) => {
            let constant = tensor.clone().inner();
            let map = Map { dims: tensor.dims(), values: Arc::new(to_vec(constant.clone())) };
            if !tensor.is_tracked() {
                return (Source::Constant, map);
            }
            let leaf = constant.autodiff().require_grad();
            let tensor = std::mem::replace(tensor, leaf.clone());
            (Source::Burn { tensor: Box::new(tensor), leaf: Box::new(leaf) }, map)
        }
    }
}

/// Gradients that have arrived so far.
struct Sums {
    /// At each record's result.
    outputs: Vec<Option<Vec<f32>>>,
    /// By parameter name.
    parameters: Arrays,
    /// At the leaves of [`Source::Burn`], by record and input.
    sources: BTreeMap<(usize, usize), Tensor<4>>,
}

impl Sums {
    fn new(records: usize) -> Self {
        Self { outputs: vec![None; records], parameters: Arrays::new(), sources: Default::default() }
    }

    /// Adds what one backward pass of burn found.
    fn collect(&mut self, mut found: Gradients, records: &[Record], leaves: &Arrays) {
        for (i, record) in records.iter().enumerate() {
            if let Some(gradient) = record.leaf.as_ref().and_then(|leaf| leaf.grad_remove(&mut found)) {
                self.add_output(i, to_vec(gradient));
            }
            for (k, source) in record.sources.iter().enumerate() {
                let Source::Burn { leaf, .. } = source else { continue };
                if let Some(gradient) = leaf.grad_remove(&mut found) {
                    let sum = self.sources.remove(&(i, k));
                    self.sources.insert((i, k), added(sum, gradient));
                }
            }
        }
        for (name, leaf) in leaves {
            if let Some(gradient) = leaf.grad_remove(&mut found) {
                self.add_parameter(name.clone(), gradient);
            }
        }
    }

    /// Hands `dx`, and what later layers of burn's added, on to input `k` of record `i`.
    fn hand_on(&mut self, records: &[Record], i: usize, k: usize, dx: Option<Vec<f32>>, leaves: &Arrays) {
        match &records[i].sources[k] {
            Source::Constant => {}
            Source::Record(from) => {
                if let Some(dx) = dx {
                    self.add_output(*from, dx);
                }
            }
            Source::Burn { tensor, .. } => {
                let so_far = self.sources.remove(&(i, k));
                let device = tensor.device().without_autodiff();
                let dx = dx.map(|dx| Tensor::from_data(TensorData::new(dx, tensor.dims()), &device));
                let total = dx.map(|dx| added(so_far.clone(), dx)).or(so_far);
                if let Some(total) = total {
                    // A sum whose gradient by the tensor is the one that has arrived.
                    self.collect((Tensor::clone(tensor) * total).sum().backward(), records, leaves);
                }
            }
        }
    }

    fn add_output(&mut self, i: usize, gradient: Vec<f32>) {
        match &mut self.outputs[i] {
            Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
            none => *none = Some(gradient),
        }
    }

    fn add_parameter(&mut self, name: String, gradient: Tensor<1>) {
        let so_far = self.parameters.remove(&name);
        self.parameters.insert(name, added(so_far, gradient));
    }
}

fn added<const D: usize>(sum: Option<Tensor<D>>, more: Tensor<D>) -> Tensor<D> {
    match sum {
        Some(sum) => sum + more,
        None => more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::{Module, Training};
    use crate::net::{Function, Layer, LayerKind, Network};
    use crate::random::{Purpose, stream};

    use ocellus_shared::{Op, Shape, Window};
    use rand::RngExt;

    /// Every kernel, and values that are read by kernels and by burn, several times.
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
            // Read by three kernels and by burn, which made it.
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

    fn gradients(tape: Option<Tape>, mixed: bool) -> Arrays {
        let device = Device::flex();
        let module = Module::new(network()).unwrap();
        let arrays = module.upload(&module.initial(5), &device).unwrap();
        let track = |(name, value): (String, Tensor<1>)| (name, value.autodiff().require_grad());
        let leaves: Arrays = arrays.into_iter().filter(|(name, _)| !name.contains("running")).map(track).collect();
        let mut random = stream(5, Purpose::Shuffle, 0);
        let pixels: Vec<f32> = (0..2 * 3 * 36).map(|_| random.random_range(0.0..1.0)).collect();
        let images = Tensor::from_data(TensorData::new(pixels, [2, 3, 6, 6]), &device.clone().autodiff());
        let mut training = Training { random, fade: 1.0, mixed, statistics: Arrays::new(), tape };
        let mut all = leaves.clone();
        all.extend(
            module
                .upload(&module.initial(5), &device)
                .unwrap()
                .into_iter()
                .filter(|(name, _)| name.contains("running")),
        );
        let logits = module.forward(&all, images, Some(&mut training));
        let loss = (logits.clone() * logits).sum();
        training.tape.take().unwrap_or_default().backward(&loss, &leaves)
    }

    #[test]
    fn agrees_with_burn_through_branches() {
        let (ours, theirs) = (gradients(Some(Tape::default()), false), gradients(None, false));
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
        let (short, exact) = (gradients(None, true), gradients(None, false));
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
