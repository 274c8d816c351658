//! Backpropagation through convolutions that burn does not see.
//!
//! burn differentiates everything between two convolutions; [`Geometry`] the convolutions themselves. So the graph is
//! cut before and after each of them: burn starts anew from a leaf on the other side of the cut, and the gradient that
//! arrives there is handed on when all later layers are done.

use super::conv::Geometry;
use super::module::Arrays;
use burn::tensor::{Gradients, Tensor};
use ocellus_shared::Window;

/// The convolutions of one forward pass, in their order.
#[derive(Debug, Default)]
pub struct Tape {
    cuts: Vec<Cut>,
}

/// One convolution.
#[derive(Debug)]
struct Cut {
    geometry: Geometry,
    /// Name of the weights.
    name: String,
    weight: Tensor<1>,
    /// The input as the layer before it made it.
    source: Tensor<4>,
    /// The input as everything after it reads it: a leaf.
    input: Tensor<4>,
    /// The output: a leaf.
    output: Tensor<4>,
}

impl Tape {
    /// Convolves `source`, `(n, c, h, w)`, with the weights `name`. Returns the output, and the input for layers that
    /// read the same value later.
    pub fn convolve(
        &mut self,
        name: String,
        weight: Tensor<1>,
        source: Tensor<4>,
        window: Window,
        out_channels: usize,
    ) -> [Tensor<4>; 2] {
        let geometry = Geometry::new(source.dims(), out_channels, window);
        let (weight, constant) = (weight.inner(), source.clone().inner());
        let output = geometry.forward(constant.clone(), weight.clone()).autodiff().require_grad();
        let input = if source.is_tracked() { constant.autodiff().require_grad() } else { source.clone() };
        self.cuts.push(Cut { geometry, name, weight, source, input: input.clone(), output: output.clone() });
        [output, input]
    }

    /// Gradients of `loss` by parameter name; `leaves` are the parameters that burn differentiates by.
    pub fn backward(self, loss: &Tensor<1>, leaves: &Arrays) -> Arrays {
        let mut sums = Sums::new(self.cuts.len());
        sums.collect(loss.backward(), &self.cuts, leaves);
        for (i, cut) in self.cuts.iter().enumerate().rev() {
            let mut total = sums.inputs[i].take();
            if let Some(dy) = sums.outputs[i].take() {
                let weight = cut.source.is_tracked().then(|| cut.weight.clone());
                let (dw, dx) = cut.geometry.backward(cut.input.clone().inner(), weight, dy);
                let so_far = sums.parameters.remove(&cut.name);
                sums.parameters.insert(cut.name.clone(), added(so_far, dw));
                total = dx.map(|dx| added(total.take(), dx)).or(total);
            }
            if let Some(total) = total {
                // A sum whose gradient by the source is the one that has arrived.
                sums.collect((cut.source.clone() * total).sum().backward(), &self.cuts, leaves);
            }
        }
        sums.parameters
    }
}

/// Gradients that have arrived so far.
struct Sums {
    /// At each cut's input.
    inputs: Vec<Option<Tensor<4>>>,
    /// At each cut's output.
    outputs: Vec<Option<Tensor<4>>>,
    /// By parameter name.
    parameters: Arrays,
}

impl Sums {
    fn new(cuts: usize) -> Self {
        Self { inputs: vec![None; cuts], outputs: vec![None; cuts], parameters: Arrays::new() }
    }

    /// Adds what one backward pass of burn found.
    fn collect(&mut self, mut found: Gradients, cuts: &[Cut], leaves: &Arrays) {
        for (i, cut) in cuts.iter().enumerate() {
            for (sum, leaf) in [(&mut self.inputs[i], &cut.input), (&mut self.outputs[i], &cut.output)] {
                if let Some(gradient) = leaf.grad_remove(&mut found) {
                    *sum = Some(added(sum.take(), gradient));
                }
            }
        }
        for (name, leaf) in leaves {
            if let Some(gradient) = leaf.grad_remove(&mut found) {
                let so_far = self.parameters.remove(name);
                self.parameters.insert(name.clone(), added(so_far, gradient));
            }
        }
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
    use crate::net::module::{Module, Training, to_vec};
    use crate::net::{Layer, LayerKind, Network};
    use crate::random::{Purpose, stream};
    use burn::tensor::{Device, TensorData};
    use ocellus_shared::{Op, Shape};
    use rand::RngExt;

    /// Two convolutions that read one value, a shortcut around them, and one after a pooling.
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
            ("pool", op(Op::MaxPool { window: Window::valid(2, 2) }), vec![7]),
            ("last", conv(3), vec![8]),
            ("mean", op(Op::GlobalAvgPool), vec![9]),
        ];
        let layer = |(name, kind, inputs): (&str, LayerKind, Vec<usize>)| Layer { name: name.into(), kind, inputs };
        Network {
            input: Shape::new(6, 6, 3),
            normalise: Default::default(),
            layers: layers.into_iter().map(layer).collect(),
        }
    }

    fn gradients(tape: Option<Tape>) -> Arrays {
        let device = Device::flex();
        let module = Module::new(network()).unwrap();
        let arrays = module.upload(&module.initial(5), &device).unwrap();
        let track = |(name, value): (String, Tensor<1>)| (name, value.autodiff().require_grad());
        let leaves: Arrays = arrays.into_iter().filter(|(name, _)| !name.contains("running")).map(track).collect();
        let mut random = stream(5, Purpose::Shuffle, 0);
        let pixels: Vec<f32> = (0..2 * 3 * 36).map(|_| random.random_range(0.0..1.0)).collect();
        let images = Tensor::from_data(TensorData::new(pixels, [2, 3, 6, 6]), &device.clone().autodiff());
        let mut training = Training { random, statistics: Arrays::new(), tape };
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
        let (ours, theirs) = (gradients(Some(Tape::default())), gradients(None));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let largest = theirs.values().map(|g| g.clone().abs().max().into_scalar::<f32>()).fold(0.0, f32::max);
        for (name, ours) in ours {
            let (ours, theirs) = (to_vec(ours), to_vec(theirs[&name].clone()));
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b}");
            }
        }
    }
}
