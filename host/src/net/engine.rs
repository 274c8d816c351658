//! Networks on a CPU, by our own code: forwards layer by layer, and backwards through the list of those that ran.

use super::layer::{Arrays, Back, Compute, Gradients, Own, Training};
use super::layers::{self, BatchNorm, Then};
use super::map::Map;
use super::{Layer, LayerKind, Network, memory};

/// Layers that are computed together.
struct Step<'a> {
    /// The first of them.
    layer: &'a Layer,
    compute: Box<dyn Compute>,
    /// The value that they compute.
    output: usize,
}

/// How layers are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    /// A batch normalisation and its ReLU.
    Training,
    /// Also a convolution and its normalisation, whose statistics are known.
    Inference,
}

/// The layers of a network as they are computed, where its values have so many `readers` each.
fn steps<'a>(network: &'a Network, readers: &[usize], together: Together) -> Vec<Step<'a>> {
    let layers = &network.layers;
    // The layer after `i`, if it alone reads what `i` computes.
    let next = |i: usize| layers.get(i + 1).filter(|next| next.inputs == [i + 1] && readers[i + 1] == 1);
    let mut steps = Vec::new();
    let mut at = 0;
    while at < layers.len() {
        let (layer, mut end) = (&layers[at], at);
        let mut then = Then::default();
        if let (Together::Inference, Some(LayerKind::BatchNorm { epsilon, .. })) = (together, next(at).map(|l| l.kind))
        {
            end += 1;
            then.norm = Some((layers[end].name.clone(), epsilon));
        }
        if let Some(ceiling) = next(end).and_then(|next| ceiling(&next.kind)) {
            end += 1;
            then.ceiling = Some(ceiling);
        }
        let compute: Option<Box<dyn Compute>> = match (layer.kind, together) {
            (LayerKind::BatchNorm { epsilon, momentum }, _) if then.norm.is_none() => {
                Some(Box::new(BatchNorm { epsilon, momentum, clip: then.ceiling }))
            }
            (kind, Together::Inference) => layers::folded(&kind, then),
            _ => None,
        };
        let (compute, last) = match compute {
            Some(compute) => (compute, end),
            None => (layers::of(&layer.kind).expect("Module::new refuses what is not trained"), at),
        };
        steps.push(Step { layer, compute, output: last + 1 });
        at = last + 1;
    }
    steps
}

/// Where a ReLU clips.
fn ceiling(kind: &LayerKind) -> Option<f32> {
    match kind {
        LayerKind::Relu => Some(f32::INFINITY),
        LayerKind::Relu6 => Some(6.0),
        _ => None,
    }
}

/// The values between a network's layers, each of which lives until its last reader.
struct Values {
    values: Vec<Option<Map>>,
    /// Readers that are still to come.
    readers: Vec<usize>,
}

impl Values {
    fn new(images: Map, readers: &[usize]) -> Self {
        let mut values = vec![None; readers.len()];
        values[0] = Some(images);
        Self { values, readers: readers.to_vec() }
    }

    /// The inputs of `layer`, which reads them once.
    fn read(&mut self, layer: &Layer) -> Vec<Map> {
        let one = |&value: &usize| {
            self.readers[value] -= 1;
            let input = if self.readers[value] == 0 { self.values[value].take() } else { self.values[value].clone() };
            input.expect("a value lives until its last reader")
        };
        layer.inputs.iter().map(one).collect()
    }

    /// The last layer's.
    fn last(mut self) -> Map {
        self.values.pop().flatten().expect("the last layer's value")
    }
}

/// The result of `network`, whose values have so many `readers` each, on `images`, as after training.
pub(super) fn infer(network: &Network, readers: &[usize], arrays: &Arrays, images: Map) -> Map {
    let mut values = Values::new(images, readers);
    for Step { layer, compute, output } in steps(network, readers, Together::Inference) {
        let inputs = values.read(layer);
        let (y, _) = compute.forward(inputs, Own { arrays, layer: &layer.name }, None);
        values.values[output] = Some(y);
    }
    let result = values.last();
    memory::end_pass();
    result
}

/// Calls `visit` with every batch normalisation and its input, as after training.
pub(super) fn visit_norms(
    network: &Network,
    readers: &[usize],
    arrays: &Arrays,
    images: Map,
    mut visit: impl FnMut(&Layer, &Map),
) {
    let mut values = Values::new(images, readers);
    for Step { layer, compute, output } in steps(network, readers, Together::Training) {
        let inputs = values.read(layer);
        if let LayerKind::BatchNorm { .. } = layer.kind {
            visit(layer, &inputs[0]);
        }
        let (y, _) = compute.forward(inputs, Own { arrays, layer: &layer.name }, None);
        values.values[output] = Some(y);
    }
    memory::end_pass();
}

/// A layer that has run.
struct Record {
    back: Back,
    /// The values that it read, and whether the gradient of each is wanted.
    inputs: Vec<usize>,
    wanted: Vec<bool>,
    /// The value that it computed.
    output: usize,
}

/// The layers of one forward pass that lead from its parameters to its result, in their order.
pub(super) struct Tape {
    records: Vec<Record>,
    values: usize,
}

/// As [`infer`], while the network is trained; and the way back.
pub(super) fn record(
    network: &Network,
    readers: &[usize],
    arrays: &Arrays,
    images: Map,
    training: &mut Training,
) -> (Map, Tape) {
    let mut values = Values::new(images, readers);
    // Whether a value depends on parameters.
    let mut depends = vec![false; readers.len()];
    let mut records = Vec::new();
    for Step { layer, compute, output } in steps(network, readers, Together::Training) {
        let inputs = values.read(layer);
        let (y, back) = compute.forward(inputs, Own { arrays, layer: &layer.name }, Some(training));
        values.values[output] = Some(y);
        let wanted: Vec<bool> = layer.inputs.iter().map(|&value| depends[value]).collect();
        depends[output] = layer.kind.has_parameters() || wanted.contains(&true);
        if depends[output] {
            records.push(Record { back, inputs: layer.inputs.clone(), wanted, output });
        }
    }
    (values.last(), Tape { records, values: readers.len() })
}

impl Tape {
    /// Gradients of the parameters for the gradient `dy` of the result.
    pub fn backward(self, dy: Map) -> Gradients {
        let mut gradients = Gradients::default();
        let mut sums: Vec<Option<Map>> = vec![None; self.values];
        if let Some(last) = sums.last_mut() {
            *last = Some(dy);
        }
        for Record { back, inputs, wanted, output } in self.records.into_iter().rev() {
            // What nobody read has no part in the result.
            let Some(dy) = sums[output].take() else { continue };
            let found = back(dy, &wanted, &mut gradients);
            for ((value, gradient), wanted) in inputs.into_iter().zip(found).zip(wanted) {
                let Some(gradient) = gradient.filter(|_| wanted) else { continue };
                sums[value] = Some(match sums[value].take() {
                    Some(sum) => sum.plus(gradient),
                    None => gradient,
                });
            }
        }
        memory::end_pass();
        gradients
    }
}
