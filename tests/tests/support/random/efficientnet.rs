//! EfficientNet-B0 (Tan and Le, <https://arxiv.org/abs/1905.11946>, table 1) with random weights: as many layers,
//! parameters and feature maps as the real one has.

use super::network::trained;
use ocellus::checkpoint::Checkpoint;
use ocellus::net::{Function, Layer, LayerKind, Network};
use ocellus::recipe::{Normalise, Recipe};
use ocellus_shared::{Op, Shape, Window};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Expansion, output channels, repetitions, stride of the first, kernel.
const STAGES: [(u16, u16, usize, u8, u8); 7] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];
const STEM: u16 = 32;
const HEAD: u16 = 1280;
/// Squeezed channels, as a part of a block's input channels.
const SQUEEZE: u16 = 4;

/// The network for square images and ten classes, with TensorFlow's padding, and weights for it.
pub fn b0(side: u16) -> (Network, Checkpoint) {
    let input = Shape::new(side, side, 3);
    let mut builder = Builder { network: Network { input, normalise: Normalise::IMAGENET, layers: Vec::new() } };
    builder.convolution(3, 2, STEM, true);
    for (expansion, width, repeats, stride, kernel) in STAGES {
        for repeat in 0..repeats {
            builder.block(expansion, width, if repeat == 0 { stride } else { 1 }, kernel);
        }
    }
    builder.convolution(1, 1, HEAD, true);
    builder.push(plain(Op::GlobalAvgPool));
    builder.push(LayerKind::Op { op: Op::Dense { out_channels: 10 }, bias: true });
    let network = builder.network;
    let checkpoint = trained(&mut ChaCha8Rng::seed_from_u64(11), &network, Recipe::default());
    (network, checkpoint)
}

struct Builder {
    network: Network,
}

impl Builder {
    /// The last value and its shape.
    fn last(&self) -> (usize, Shape) {
        let shapes = self.network.shapes().unwrap();
        (shapes.len() - 1, shapes[shapes.len() - 1])
    }

    fn push(&mut self, kind: LayerKind) {
        let last = self.network.layers.len();
        self.push_from(kind, vec![last]);
    }

    fn push_from(&mut self, kind: LayerKind, inputs: Vec<usize>) {
        let name = format!("layer{}", self.network.layers.len());
        self.network.layers.push(Layer { name, kind, inputs });
    }

    /// A window at `stride` whose output has a `stride`th of the input's size, rounded up: what padding is odd goes to
    /// the bottom and the right.
    fn same(&self, kernel: u8, stride: u8) -> Window {
        let (_, shape) = self.last();
        let pads = [shape.h, shape.w].map(|size| {
            let (size, kernel, stride) = (usize::from(size), usize::from(kernel), usize::from(stride));
            ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size) as u8
        });
        let [before, after] = [pads.map(|pad| pad / 2), pads.map(|pad| pad - pad / 2)];
        Window { kernel: [kernel; 2], stride: [stride; 2], pad: [before[0], before[1], after[0], after[1]] }
    }

    fn convolution(&mut self, kernel: u8, stride: u8, out_channels: u16, activates: bool) {
        let window = self.same(kernel, stride);
        self.filter(Op::Conv { window, out_channels }, activates);
    }

    fn filter(&mut self, op: Op, activates: bool) {
        self.push(plain(op));
        self.push(LayerKind::BatchNorm { epsilon: 1e-3, momentum: 0.01 });
        if activates {
            self.push(LayerKind::Function(Function::Silu));
        }
    }

    fn block(&mut self, expansion: u16, width: u16, stride: u8, kernel: u8) {
        let (start, shape) = self.last();
        if expansion > 1 {
            self.convolution(1, 1, expansion * shape.c, true);
        }
        let window = self.same(kernel, stride);
        self.filter(Op::Depthwise { window }, true);
        self.squeeze_excite(shape.c / SQUEEZE);
        self.convolution(1, 1, width, false);
        let (end, _) = self.last();
        if stride == 1 && width == shape.c {
            self.push_from(plain(Op::Add), vec![start, end]);
        }
    }

    fn squeeze_excite(&mut self, squeezed: u16) {
        let (x, shape) = self.last();
        self.push(plain(Op::GlobalAvgPool));
        for (out_channels, function) in [(squeezed, Function::Silu), (shape.c, Function::Sigmoid)] {
            self.push(LayerKind::Op { op: Op::Conv { window: Window::valid(1, 1), out_channels }, bias: true });
            self.push(LayerKind::Function(function));
        }
        let (factors, _) = self.last();
        self.push_from(plain(Op::Mul), vec![x, factors]);
    }
}

fn plain(op: Op) -> LayerKind {
    LayerKind::Op { op, bias: false }
}
