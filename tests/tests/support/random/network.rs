//! Small random networks as they are trained: normalisations and activations in any order, residuals, branches, and
//! weights as after training, except that some normalisation factors are negative.

use ocellus::checkpoint::Checkpoint;
use ocellus::data::Split;
use ocellus::net::{self, Array, Function, Layer, LayerKind, Network, Parameter, Role};
use ocellus::recipe::{Normalise, Recipe};
use ocellus_shared::{Op, Shape, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A network and random weights for it.
pub fn network(seed: u64) -> (Network, Checkpoint) {
    of_layers(seed, false)
}

/// The same with attention among its layers, which no layer of ours trains.
pub fn attention(seed: u64) -> (Network, Checkpoint) {
    of_layers(seed, true)
}

fn of_layers(seed: u64, attends: bool) -> (Network, Checkpoint) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let input = Shape::new(rng.random_range(5..13), rng.random_range(5..13), 3);
    let normalise = match rng.random_range(0..6) {
        0 => Normalise::CENTRED,
        1 => Normalise::IMAGENET,
        // Different factors, one mean.
        2 => Normalise { mean: [0.3; 3], ..Normalise::IMAGENET },
        _ => Normalise::NONE,
    };
    let network = Network { input, normalise, layers: Vec::new() };
    let mut generator = Generator { rng, network };
    generator.layers(attends);
    let Generator { mut rng, network } = generator;
    let checkpoint = trained(&mut rng, &network, Recipe::default());
    (network, checkpoint)
}

/// The network of a recipe in TOML, for small pictures and three classes.
pub fn of_recipe(recipe: &str) -> (Checkpoint, Network) {
    of_recipe_at(recipe, Shape::new(12, 12, 3))
}

/// The same for pictures of another size.
pub fn of_recipe_at(recipe: &str, input: Shape) -> (Checkpoint, Network) {
    let recipe = Recipe::parse(recipe).unwrap();
    let network = net::build(&recipe, input, 3).unwrap();
    (trained(&mut ChaCha8Rng::seed_from_u64(0), &network, recipe), network)
}

/// A checkpoint of `network` with random weights.
pub fn trained(rng: &mut ChaCha8Rng, network: &Network, recipe: Recipe) -> Checkpoint {
    let weights = network.parameters().unwrap().into_iter().map(|p| (p.name.clone(), array(rng, p))).collect();
    let classes = *network.shapes().unwrap().last().unwrap();
    Checkpoint {
        recipe,
        classes: (0..classes.len()).map(|i| format!("class {i}")).collect(),
        input: network.input,
        dataset_hash: "00".repeat(32),
        weights,
        resume: None,
    }
}

/// Random pictures of the network's size.
pub fn pictures(network: &Network, seed: u64, count: usize) -> Split {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (height, width) = (network.input.h.into(), network.input.w.into());
    let images = (0..count * network.input.len()).map(|_| rng.random()).collect();
    Split { images, labels: vec![0; count], height, width }
}

fn array(rng: &mut ChaCha8Rng, Parameter { shape, role, .. }: Parameter) -> Array {
    let fan_in = shape[1..].iter().product::<usize>() as f32;
    let value = |_| match role {
        Role::Weight => rng.random_range(-1.7..1.7) / fan_in.sqrt(),
        Role::Scale => rng.random_range(0.3..1.5) * if rng.random_bool(0.25) { -1.0 } else { 1.0 },
        Role::Shift | Role::Mean => rng.random_range(-0.5..0.5),
        Role::Variance => rng.random_range(0.3..2.0),
    };
    Array { values: (0..shape.iter().product()).map(value).collect(), shape }
}

struct Generator {
    rng: ChaCha8Rng,
    network: Network,
}

impl Generator {
    fn layers(&mut self, attends: bool) {
        for _ in 0..self.rng.random_range(1..5) {
            match self.rng.random_range(0..7) {
                0..3 => self.convolution(),
                3 => self.pool(),
                4 => self.residual(),
                5 => self.squeeze_excite(),
                _ => self.branches(),
            }
        }
        if attends {
            self.attention();
        }
        match self.rng.random_range(0..3) {
            0 => self.push(op(Op::Flatten)),
            1 => self.push(op(Op::GlobalAvgPool)),
            _ => {}
        }
        if self.rng.random_bool(0.3) {
            self.batch_norm();
        }
        let out_channels = self.rng.random_range(2..9);
        self.push(LayerKind::Op { op: Op::Dense { out_channels }, bias: true });
    }

    /// A convolution with a normalisation and an activation after it, before it, or without.
    fn convolution(&mut self) {
        let window = self.window();
        let linear = match self.rng.random_range(0..3) {
            0 => Op::Depthwise { window },
            _ => Op::Conv { window, out_channels: self.rng.random_range(1..9) },
        };
        let bias = self.rng.random();
        self.push(LayerKind::Op { op: linear, bias });
        match self.rng.random_range(0..5) {
            0 | 1 => {
                self.batch_norm();
                self.activation();
            }
            2 | 3 => {
                self.activation();
                self.batch_norm();
            }
            _ => self.activation(),
        }
        if self.rng.random_bool(0.2) {
            self.push(LayerKind::Dropout { probability: 0.3, fades: false });
        }
    }

    fn activation(&mut self) {
        let functions = [Function::Sigmoid, Function::Silu, Function::HardSigmoid, Function::HardSwish];
        let function = functions[self.rng.random_range(0..4)];
        match self.rng.random_range(0..8) {
            0..4 => self.push(LayerKind::Relu),
            4 => self.push(LayerKind::Relu6),
            5 => self.push(LayerKind::Function(function)),
            _ => {}
        }
    }

    fn pool(&mut self) {
        let window = self.window();
        let whole = Window { pad: [0; 4], ..window };
        let pool = if self.rng.random() { Op::MaxPool { window } } else { Op::AvgPool { window: whole } };
        self.push(op(pool));
        if self.rng.random() {
            self.batch_norm();
        }
        self.activation();
    }

    /// `activation(x + bn(conv(x)))`
    fn residual(&mut self) {
        let (x, shape) = self.last();
        self.push(LayerKind::Op { op: Op::Conv { window: Window::same(3), out_channels: shape.c }, bias: false });
        self.batch_norm();
        let (branch, _) = self.last();
        self.push_from(op(Op::Add), vec![x, branch]);
        self.activation();
    }

    /// `x * gate(conv(activation(conv(mean(x)))))`, perhaps with an activation and a normalisation after it.
    fn squeeze_excite(&mut self) {
        let (x, shape) = self.last();
        self.push(op(Op::GlobalAvgPool));
        for out_channels in [self.rng.random_range(1..5), shape.c] {
            let op = Op::Conv { window: Window::valid(1, 1), out_channels };
            self.push(LayerKind::Op { op, bias: true });
            self.activation();
        }
        let gate = [Function::Sigmoid, Function::HardSigmoid][self.rng.random_range(0..2)];
        self.push(LayerKind::Function(gate));
        let (factors, _) = self.last();
        self.push_from(op(Op::Mul), vec![x, factors]);
        self.activation();
        if self.rng.random() {
            self.batch_norm();
        }
    }

    /// `relu(q k') v`, of one head or several, on a map of few pixels.
    fn attention(&mut self) {
        while self.last().1.pixels() > 25 {
            self.push(op(Op::AvgPool { window: Window::valid(2, 2) }));
        }
        let (x, _) = self.last();
        let heads = self.rng.random_range(1..4);
        let out_channels = u16::from(heads) * self.rng.random_range(1..5);
        let [q, k, v] = [0; 3].map(|_| {
            let op = Op::Conv { window: Window::valid(1, 1), out_channels };
            self.push_from(LayerKind::Op { op, bias: true }, vec![x]);
            self.last().0
        });
        self.push_from(op(Op::MatMul { heads, transpose_b: true }), vec![q, k]);
        self.push(LayerKind::Relu);
        let (scores, _) = self.last();
        self.push_from(op(Op::MatMul { heads, transpose_b: false }), vec![scores, v]);
    }

    /// Convolutions of one value, activated in different ways, and that value itself, one beside the other.
    fn branches(&mut self) {
        let (x, _) = self.last();
        let mut inputs = Vec::new();
        for _ in 0..2 {
            let out_channels = self.rng.random_range(1..5);
            let op = Op::Conv { window: Window::valid(1, 1), out_channels };
            self.push_from(LayerKind::Op { op, bias: true }, vec![x]);
            self.activation();
            inputs.push(self.last().0);
        }
        if self.rng.random() {
            inputs.push(x);
        }
        self.push_from(op(Op::Concat), inputs);
    }

    fn batch_norm(&mut self) {
        self.push(LayerKind::BatchNorm { epsilon: 1e-5, momentum: 0.1 });
    }

    /// Any window that fits the last value.
    fn window(&mut self) -> Window {
        let (_, shape) = self.last();
        let kernel = [shape.h, shape.w].map(|size| self.rng.random_range(1..=size.min(4)) as u8);
        let stride = kernel.map(|_| self.rng.random_range(1..3));
        // Training pads both sides of an axis alike.
        let pads = kernel.map(|k| self.rng.random_range(0..=k / 2));
        Window { kernel, stride, pad: [pads[0], pads[1], pads[0], pads[1]] }
    }

    /// The last value and its shape.
    fn last(&self) -> (usize, Shape) {
        let shapes = self.network.shapes().expect("only layers that fit are added");
        (shapes.len() - 1, shapes[shapes.len() - 1])
    }

    fn push(&mut self, kind: LayerKind) {
        let (last, _) = self.last();
        self.push_from(kind, vec![last]);
    }

    fn push_from(&mut self, kind: LayerKind, inputs: Vec<usize>) {
        let name = format!("layer{}", self.network.layers.len());
        self.network.layers.push(Layer { name, kind, inputs });
    }
}

fn op(op: Op) -> LayerKind {
    LayerKind::Op { op, bias: false }
}
