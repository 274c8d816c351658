//! Networks on a CPU, by our own code: forwards layer by layer, and backwards through the list of those that ran.

use super::layer::{Arrays, Back, Compute, Gradients, Own, Training};
use super::layers::{self, BatchNorm};
use super::map::Map;
use super::{Layer, LayerKind, Network, memory};

/// One or two layers that are computed together.
struct Step<'a> {
    layer: &'a Layer,
    compute: Box<dyn Compute>,
    /// The value that it computes.
    output: usize,
}

/// The layers of a network as they are computed, where its values have so many `readers` each.
fn steps<'a>(network: &'a Network, readers: &[usize]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut layers = network.layers.iter().enumerate().peekable();
    while let Some((i, layer)) = layers.next() {
        let next = layers.peek().filter(|(_, next)| next.inputs == [i + 1] && readers[i + 1] == 1);
        let ceiling = next.and_then(|(_, next)| ceiling(&next.kind));
        let (compute, output): (Box<dyn Compute>, usize) = match (layer.kind, ceiling) {
            (LayerKind::BatchNorm { epsilon, momentum }, Some(_)) => {
                layers.next();
                (Box::new(BatchNorm { epsilon, momentum, clip: ceiling }), i + 2)
            }
            (kind, _) => (layers::of(&kind).expect("Module::new refuses what is not trained"), i + 1),
        };
        steps.push(Step { layer, compute, output });
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

/// The result of `network`, whose values have so many `readers` each, on `images`, as after training. Calls `visit` with
/// every batch normalisation and its input.
pub(super) fn infer(
    network: &Network,
    readers: &[usize],
    arrays: &Arrays,
    images: Map,
    mut visit: impl FnMut(&Layer, &Map),
) -> Map {
    let mut values = Values::new(images, readers);
    for step in steps(network, readers) {
        let inputs = values.read(step.layer);
        if let LayerKind::BatchNorm { .. } = step.layer.kind {
            visit(step.layer, &inputs[0]);
        }
        let (y, _) = step.compute.forward(inputs, Own { arrays, layer: &step.layer.name }, None);
        values.values[step.output] = Some(y);
    }
    let result = values.last();
    memory::end_pass();
    result
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
    for Step { layer, compute, output } in steps(network, readers) {
        let inputs = values.read(layer);
        let (y, back) = compute.forward(inputs, Own { arrays, layer: &layer.name }, Some(training));
        values.values[output] = Some(y);
        let wanted: Vec<bool> = layer.inputs.iter().map(|&value| depends[value]).collect();
        depends[output] = has_parameters(&layer.kind) || wanted.contains(&true);
        if depends[output] {
            records.push(Record { back, inputs: layer.inputs.clone(), wanted, output });
        }
    }
    (values.last(), Tape { records, values: readers.len() })
}

fn has_parameters(kind: &LayerKind) -> bool {
    use ocellus_shared::Op;
    match kind {
        LayerKind::Op { op, .. } => matches!(op, Op::Conv { .. } | Op::Depthwise { .. } | Op::Dense { .. }),
        LayerKind::BatchNorm { .. } => true,
        _ => false,
    }
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
