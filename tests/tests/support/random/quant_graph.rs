//! Small random quantized graphs of every operator, in odd shapes, with extreme parameters.

use ocellus::graph::Origin;
use ocellus::quantize::{QuantGraph, QuantNode, Value, break_multiplier_ties};
use ocellus_shared::plan::Crop;
use ocellus_shared::quant::QuantParams;
use ocellus_shared::{Op, Shape, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws graphs and images.
pub struct Generator {
    rng: ChaCha8Rng,
    values: Vec<Value>,
    nodes: Vec<QuantNode>,
}

/// A quantized graph of a few layers that ends in a vector of scores.
pub fn quant_graph(seed: u64) -> QuantGraph {
    Generator::new(seed).graph()
}

/// A quantized graph of 3x3 convolutions with many channels, one of them in a residual block.
pub fn thick_graph(seed: u64) -> QuantGraph {
    Generator::new(seed).thick_graph()
}

/// A quantized graph of attention over maps of few pixels, heads and channels, often one of each, and a window behind it.
pub fn attention_graph(seed: u64) -> QuantGraph {
    Generator::new(seed).attention_graph()
}

/// Images `(h, w, c)` for `graph`: all smallest, all largest, only extremes, then any values.
pub fn images(graph: &QuantGraph, seed: u64, count: usize) -> Vec<Vec<i8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let len = graph.values[0].shape.len();
    let image = |i: usize| match i {
        0 => vec![i8::MIN; len],
        1 => vec![i8::MAX; len],
        2 => (0..len).map(|_| if rng.random() { i8::MIN } else { i8::MAX }).collect(),
        _ => (0..len).map(|_| rng.random()).collect(),
    };
    (0..count).map(image).collect()
}

impl Generator {
    fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), values: Vec::new(), nodes: Vec::new() }
    }

    fn graph(mut self) -> QuantGraph {
        let image = self.shape();
        let params = self.params();
        self.values.push(Value { shape: image, params });
        for _ in 0..self.rng.random_range(1..7) {
            self.layer();
        }
        self.finish()
    }

    fn thick_graph(mut self) -> QuantGraph {
        let [h, w] = [0; 2].map(|_| self.rng.random_range(4..12));
        let channels = 4 * self.rng.random_range(4..12);
        let params = self.params();
        self.values.push(Value { shape: Shape::new(h, w, channels), params });
        let conv = |pad, out_channels| Op::Conv { window: Window { pad, ..Window::valid(3, 1) }, out_channels };
        self.push(conv([1; 4], channels), vec![0]);
        self.push(Op::Add, vec![0, 1]);
        let pad = [0; 4].map(|_: u8| self.rng.random_range(0..3));
        let out_channels = 2 * self.rng.random_range(4..20);
        self.push(conv(pad, out_channels), vec![2]);
        self.finish()
    }

    fn attention_graph(mut self) -> QuantGraph {
        let [h, w, c, heads, depth, columns] = [0; 6].map(|_| self.rng.random_range(1..4));
        let params = self.params();
        self.values.push(Value { shape: Shape::new(h, w, c), params });
        let [queries, keys] = [0; 2].map(|_| [h, w].map(|side| self.rng.random_range(1..=side) as u8));
        for (kernel, channels) in [(queries, depth), (keys, depth), (keys, columns)] {
            let window = Window { kernel, ..Window::valid(1, 1) };
            self.push(Op::Conv { window, out_channels: heads * channels }, vec![0]);
        }
        for (transpose_b, inputs) in [(true, vec![1, 2]), (false, vec![4, 3])] {
            self.push(Op::MatMul { heads: heads as u8, transpose_b }, inputs);
        }
        let window = self.window(self.values[5].shape);
        self.push(Op::Conv { window, out_channels: 2 }, vec![5]);
        self.finish()
    }

    /// Adds scores of the last value.
    fn finish(mut self) -> QuantGraph {
        let last = self.values.len() - 1;
        let out_channels = self.rng.random_range(1..12);
        self.push(Op::Dense { out_channels }, vec![last]);
        let classes = self.values[self.values.len() - 1].shape.len();
        QuantGraph {
            crop: Crop::Centre,
            labels: (0..classes).map(|i| format!("class {i}")).collect(),
            origin: Origin::default(),
            values: std::mem::take(&mut self.values),
            nodes: std::mem::take(&mut self.nodes),
        }
    }

    fn shape(&mut self) -> Shape {
        let mut size = |most| self.rng.random_range(1..=most);
        Shape::new(size(11), size(11), size(6))
    }

    /// Any scale and zero point, extremes often.
    fn params(&mut self) -> QuantParams {
        let zero = match self.rng.random_range(0..6) {
            0 | 1 => i8::MIN,
            2 => i8::MAX,
            3 => 0,
            _ => self.rng.random(),
        };
        QuantParams { scale: self.rng.random_range(0.001..1.0), zero }
    }

    /// Adds a layer that fits a recent value; or none, if the drawn one does not fit.
    fn layer(&mut self) {
        let newest = self.values.len() - 1;
        let v = if self.rng.random_bool(0.8) { newest } else { self.rng.random_range(0..=newest) };
        let x = self.values[v].shape;
        if self.rng.random_bool(0.12) {
            return self.products(v);
        }
        let op = self.op(x);
        let mut inputs = vec![v];
        match op {
            Op::Add => inputs.push(self.alike(v, |shape| shape == x)),
            Op::Mul => inputs.push(self.factors(v)),
            Op::Concat => {
                for _ in 0..self.rng.random_range(1..4) {
                    inputs.push(self.alike(v, |shape| (shape.h, shape.w) == (x.h, x.w)));
                }
                // Concatenated values share their scale and zero point.
                let params = self.values[v].params;
                inputs.retain(|&i| self.values[i].params == params);
                if inputs.len() < 2 {
                    inputs.push(v);
                }
            }
            _ => {}
        }
        let shapes: Vec<Shape> = inputs.iter().map(|&i| self.values[i].shape).collect();
        if op.out_shape(&shapes).is_ok() {
            self.push(op, inputs);
        }
    }

    /// One factor for each channel of `v`: a vector that there is, or the means of `v` through a table.
    fn factors(&mut self, v: usize) -> usize {
        let factors = Shape::vector(self.values[v].shape.c);
        let there_is_one = self.values.iter().any(|value| value.shape == factors);
        if there_is_one && self.rng.random() {
            return self.alike(v, |shape| shape == factors);
        }
        self.push(Op::GlobalAvgPool, vec![v]);
        self.push(Op::Lut, vec![self.values.len() - 1]);
        self.values.len() - 1
    }

    /// The product of `v` and a value of as many channels, head by head, and often that product by one more.
    fn products(&mut self, v: usize) {
        let x = self.values[v].shape;
        let keys: Vec<usize> = (0..self.values.len())
            .filter(|&i| self.values[i].shape.c == x.c && self.values[i].shape.pixels() <= 40)
            .collect();
        if keys.is_empty() {
            return;
        }
        let b = keys[self.rng.random_range(0..keys.len())];
        let pixels = self.values[b].shape.pixels();
        let heads: Vec<u8> =
            (1..=6).filter(|&heads| x.c.is_multiple_of(heads.into()) && pixels * usize::from(heads) <= 80).collect();
        let heads = heads[self.rng.random_range(0..heads.len())];
        self.push(Op::MatMul { heads, transpose_b: true }, vec![v, b]);
        if self.rng.random_bool(0.7) {
            let product = self.values.len() - 1;
            let fits = |shape: Shape| shape.pixels() == pixels && shape.c.is_multiple_of(heads.into());
            let values = self.alike(b, fits);
            self.push(Op::MatMul { heads, transpose_b: false }, vec![product, values]);
        }
    }

    /// A value whose shape is `right`, often another than `v`.
    fn alike(&mut self, v: usize, right: impl Fn(Shape) -> bool) -> usize {
        let all: Vec<usize> = (0..self.values.len()).filter(|&i| right(self.values[i].shape)).collect();
        *all.get(self.rng.random_range(0..all.len())).unwrap_or(&v)
    }

    fn op(&mut self, x: Shape) -> Op {
        let window = self.window(x);
        let whole = Window { pad: [0; 4], ..window };
        let out_channels = if self.rng.random_bool(0.2) { 1 } else { self.rng.random_range(1..10) };
        match self.rng.random_range(0..15) {
            0 | 1 => Op::Conv { window, out_channels },
            2 => Op::Conv { window: Window::valid(1, 1), out_channels },
            3 | 4 => Op::Depthwise { window },
            5 => Op::MaxPool { window },
            6 => Op::AvgPool { window: whole },
            7 => Op::GlobalAvgPool,
            8 => Op::Add,
            9 => Op::Lut,
            10 => Op::Concat,
            11 => Op::ChannelScale,
            12 | 13 => Op::Mul,
            _ if x.len() < 300 && self.rng.random_bool(0.5) => Op::Flatten,
            _ => Op::Dense { out_channels },
        }
    }

    /// Any window that fits `x`, its padding different on every side.
    fn window(&mut self, x: Shape) -> Window {
        let kernel = [x.h, x.w].map(|size| self.rng.random_range(1..=size.min(5)) as u8);
        let stride = kernel.map(|_| self.rng.random_range(1..4));
        let pads = self.rng.random_bool(0.6);
        let pad = [kernel[0], kernel[1], kernel[0], kernel[1]];
        Window { kernel, stride, pad: pad.map(|k| if pads { self.rng.random_range(0..k) } else { 0 }) }
    }

    /// Appends a layer with random parameters.
    fn push(&mut self, op: Op, inputs: Vec<usize>) {
        let shapes: Vec<Shape> = inputs.iter().map(|&v| self.values[v].shape).collect();
        let shape = op.out_shape(&shapes).expect("the layer fits");
        let params = if op.copies() { self.values[inputs[0]].params } else { self.params() };
        let (x, channels) = (shapes[0], usize::from(shape.c));
        let mut node = QuantNode {
            name: format!("{}{}", op.name(), self.nodes.len()),
            op,
            inputs,
            weights: Vec::new(),
            biases: Vec::new(),
            multipliers: Vec::new(),
        };
        match op {
            Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale => {
                let terms = match op {
                    Op::Conv { window, .. } | Op::Winograd { window, .. } => window.taps() * usize::from(x.c),
                    Op::Depthwise { window } => window.taps(),
                    Op::Dense { .. } => x.len(),
                    _ => 1,
                };
                node.weights = self.weights(terms * channels);
                let reach = 1 << self.rng.random_range(1..20);
                node.biases = (0..channels).map(|_| self.rng.random_range(-reach..reach)).collect();
                node.multipliers = self.multipliers(channels, terms as f32 * 5000.0);
            }
            Op::AvgPool { window } => node.multipliers = self.multipliers(channels, window.taps() as f32 * 80.0),
            Op::GlobalAvgPool => node.multipliers = self.multipliers(1, x.pixels() as f32 * 80.0),
            Op::Add => {
                let most = if self.rng.random_bool(0.3) { 1 } else { 32767 };
                node.biases = (0..2).map(|_| self.rng.random_range(0..=most)).collect();
                node.multipliers = self.multipliers(1, most as f32 * 80.0);
            }
            Op::Mul => node.multipliers = self.multipliers(1, 8000.0),
            Op::MatMul { heads, .. } => {
                node.multipliers = self.multipliers(1, 8000.0 * f32::from(x.c / u16::from(heads)));
            }
            Op::Lut => node.weights = (0..256).map(|_| self.rng.random()).collect(),
            Op::MaxPool { .. } | Op::Flatten | Op::Concat => {}
        }
        break_multiplier_ties(&mut node.multipliers);
        self.values.push(Value { shape, params });
        self.nodes.push(node);
    }

    /// Small ones, any, only the extremes, or none at all.
    fn weights(&mut self, count: usize) -> Vec<i8> {
        let kind = self.rng.random_range(0..8);
        let weight = |_| match kind {
            0 => 0,
            1 => [-127, 127][usize::from(self.rng.random::<bool>())],
            2 => self.rng.random_range(-2..=2),
            _ => self.rng.random_range(-127..=127),
        };
        (0..count).map(weight).collect()
    }

    /// Multipliers that bring sums of about `size` into int8; powers of two, which round on many ties, and equal ones
    /// among them.
    fn multipliers(&mut self, count: usize, size: f32) -> Vec<f32> {
        let scale = 2f32.powf(self.rng.random_range(-1.0..5.0)) * 64.0 / size;
        let kind = self.rng.random_range(0..5);
        let multiplier = |_| match kind {
            0 => 2f32.powi(scale.log2().round() as i32 + self.rng.random_range(-1..=1)),
            1 => scale,
            _ => scale * self.rng.random_range(0.3..3.0),
        };
        (0..count).map(multiplier).collect()
    }
}
