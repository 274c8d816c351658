//! Plans with random parameters, written without the exporter: for tests of everything that runs or reads plans.

use crate::random::Random;
use ocellus_shared::op::{MAX_INPUTS, ParamCounts, winograd};
use ocellus_shared::plan::encode::{PlanSpec, StepSpec};
use ocellus_shared::plan::{Crop, Operand};
use ocellus_shared::{Op, Shape, Window};

/// A plan under construction. Every value has its own place in the arena, at any alignment.
pub struct Sketch {
    random: Random,
    arena_bytes: usize,
    values: Vec<Operand>,
    steps: Vec<StepSpec>,
    /// Whether parameters take the most extreme values instead of sensible ones.
    extreme: bool,
}

impl Sketch {
    /// An empty plan for an image of shape `input`, which is value 0.
    pub fn new(mut random: Random, input: Shape) -> Self {
        let extreme = random.once_in(8);
        let mut sketch = Self { random, arena_bytes: 0, values: Vec::new(), steps: Vec::new(), extreme };
        let operand = sketch.place(input, -128);
        sketch.values.push(operand);
        sketch
    }

    /// Shape of a value.
    pub fn shape(&self, value: usize) -> Shape {
        self.values[value].shape
    }

    /// Adds a step over the values `inputs` and returns its own value; `None` where the operator does not take them.
    pub fn push(&mut self, op: Op, inputs: &[usize]) -> Option<usize> {
        let inputs: Vec<Operand> = inputs.iter().map(|i| self.values[*i]).collect();
        let shapes: Vec<Shape> = inputs.iter().map(|i| i.shape).collect();
        let shape = op.out_shape(&shapes).ok()?;
        if op.copies() && inputs.iter().any(|i| i.zero != inputs[0].zero) {
            return None;
        }
        let zero = if op.copies() { inputs[0].zero } else { self.zero() };
        let scratch_bytes = op.scratch_bytes(shapes[0], shape);
        // Scratch on either side of the output.
        let before = self.random.once_in(2).then(|| self.reserve(scratch_bytes));
        let output = match op {
            Op::Flatten => Operand { shape, ..inputs[0] },
            _ => self.place(shape, zero),
        };
        let scratch = (before.unwrap_or_else(|| self.reserve(scratch_bytes)), scratch_bytes);
        let counts = op.param_counts(shapes[0], shape);
        let fan_in = op.macs(shapes[0], shape) / shape.len() as u64;
        let (mut weights, biases, multipliers) = self.parameters(&op, counts, fan_in.max(1));
        if let Op::Winograd { .. } = op {
            weights = winograd_weights(&weights, shapes[0].c.into(), shape.c.into());
        }
        self.steps.push(StepSpec { op, inputs, output, scratch, strip_rows: 0, weights, biases, multipliers });
        self.values.push(output);
        Some(self.values.len() - 1)
    }

    /// The plan; its scores are the last value.
    pub fn finish(self) -> PlanSpec {
        let output = self.values[self.values.len() - 1];
        PlanSpec {
            digest: *b"sketched",
            arena_bytes: self.arena_bytes,
            input: self.values[0],
            crop: Crop::Centre,
            output,
            output_scale: 0.125,
            labels: (0..output.shape.len()).map(|i| format!("class {i}")).collect(),
            steps: self.steps,
        }
    }

    fn zero(&mut self) -> i8 {
        if self.random.once_in(2) { -128 } else { self.random.bits() as i8 }
    }

    fn reserve(&mut self, bytes: usize) -> usize {
        let at = self.arena_bytes + self.random.between(0, 3);
        self.arena_bytes = at + bytes;
        at
    }

    fn place(&mut self, shape: Shape, zero: i8) -> Operand {
        Operand { offset: self.reserve(shape.len()), shape, zero }
    }

    /// Parameters that spread the results over the int8 range, or the most extreme ones.
    fn parameters(&mut self, op: &Op, counts: ParamCounts, fan_in: u64) -> (Vec<i8>, Vec<i32>, Vec<f32>) {
        let weights = match self.extreme {
            true => (0..counts.weights).map(|_| self.random.choose(&[-128, -127, 127])).collect(),
            false => self.random.tensor(counts.weights),
        };
        let bound = 20_000 * (fan_in as f32).sqrt() as i32;
        let biases = (0..counts.biases).map(|_| match self.extreme {
            true => self.random.choose(&[i32::MIN, i32::MAX, -1]),
            false if *op == Op::Add => self.random.between(0, 32_767) as i32,
            false => self.random.between(0, 2 * bound as usize) as i32 - bound,
        });
        let biases = biases.collect();
        // Products of uniform int8 values have a deviation of about 74 * 74; sums over a map have no weights.
        let (spread, reach) = match op {
            Op::AvgPool { window } => (74.0 * window.taps() as f32, 100.0),
            Op::GlobalAvgPool => (2000.0, 100.0),
            Op::Add => (74.0 * 20_000.0, 50.0),
            Op::Mul => (74.0 * 74.0, 50.0),
            _ => (74.0 * 74.0 * (fan_in as f32).sqrt(), 50.0),
        };
        let multipliers = (0..counts.multipliers).map(|_| match self.extreme {
            true => self.random.choose(&[f32::MIN_POSITIVE, 1e-9, 1.0, f32::MAX]),
            false => reach * (0.5 + self.random.fraction()) / spread,
        });
        let multipliers = multipliers.collect();
        (weights, biases, multipliers)
    }
}

/// Filters whose taps are taken from `taps` in the layout of a plan: not any points are those of int8 taps.
fn winograd_weights(taps: &[i8], channels: usize, filters: usize) -> Vec<i8> {
    let mut weights = vec![0; filters / 2 * winograd::pair_bytes(channels)];
    let mut taps = taps.as_chunks().0.iter();
    for (filter, channel) in (0..filters).flat_map(|f| (0..channels).map(move |c| (f, c))) {
        let taps = taps.next().expect("a filter has more points than taps");
        for (point, value) in winograd::points(*taps).into_iter().enumerate() {
            let at = 2 * winograd::index(filter, point, channel, channels);
            weights[at..at + 2].copy_from_slice(&value.to_le_bytes().map(|byte| byte as i8));
        }
    }
    weights
}

/// A small network of random operators and odd shapes.
pub fn random(seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let mut side = |most| random.between(1, most) as u16;
    let input = Shape::new(side(11), side(11), side(7));
    let mut sketch = Sketch::new(random.clone(), input);
    random.bits();
    let mut last = 0;
    for _ in 0..random.between(1, 8) {
        // An operator that does not fit what there is so far is left out.
        let (op, inputs) = random_op(&mut random, &sketch, last);
        last = sketch.push(op, &inputs).unwrap_or(last);
    }
    let out_channels = random.between(1, 12) as u16;
    sketch.push(Op::Dense { out_channels }, &[last]);
    sketch.finish()
}

/// Any operator, and the values it reads: mostly the `last` one.
fn random_op(random: &mut Random, sketch: &Sketch, last: usize) -> (Op, Vec<usize>) {
    let kernel = [0; 2].map(|_| random.between(1, 5) as u8);
    let stride = [0; 2].map(|_| random.between(1, 3) as u8);
    let mut pad = |axis: usize| random.between(0, usize::from(kernel[axis]) - 1) as u8;
    let pad = [pad(0), pad(1), pad(0), pad(1)];
    let window = match random.between(0, 7) {
        0..=1 => Window::valid(1, 1),
        // What most kernels have a fast path for.
        2..=3 => Window { kernel: [3; 2], stride: stride.map(|s| s.min(2)), pad: pad.map(|p| p % 3) },
        _ => Window { kernel, stride, pad },
    };
    let unpadded = Window { pad: [0; 4], ..window };
    let out_channels = random.between(1, 37) as u16;
    let alike = |same: &dyn Fn(Shape) -> bool| (0..=last).filter(|v| same(sketch.shape(*v))).collect::<Vec<_>>();
    let shape = sketch.shape(last);
    match random.between(0, 14) {
        0 if shape.c.is_multiple_of(4) => {
            let window = Window { pad: pad.map(|p| p % 3), ..Window::valid(3, 1) };
            (Op::Winograd { window, out_channels: out_channels.next_multiple_of(4) }, vec![last])
        }
        0..=2 => (Op::Conv { window, out_channels }, vec![last]),
        3 => (Op::Depthwise { window }, vec![last]),
        4 => (Op::MaxPool { window }, vec![last]),
        5 => (Op::AvgPool { window: unpadded }, vec![last]),
        6 => (Op::GlobalAvgPool, vec![last]),
        7 => (Op::Lut, vec![last]),
        8 => (Op::ChannelScale, vec![last]),
        9 => (Op::Flatten, vec![last]),
        10 => (Op::Dense { out_channels }, vec![last]),
        11 => (Op::Add, vec![last, random.choose(&alike(&|s| s == shape))]),
        // Before there is a vector as long as a pixel, the factors would be of another shape: the step is left out.
        12 => (Op::Mul, vec![random.choose(&alike(&|s| s.c == shape.c)), last]),
        13 => matmul(random, sketch, last),
        _ => {
            let candidates = alike(&|s| (s.h, s.w) == (shape.h, shape.w));
            let count = random.between(1, MAX_INPUTS - 1);
            let others = (0..count).map(|_| random.choose(&candidates));
            (Op::Concat, core::iter::once(last).chain(others).collect())
        }
    }
}

/// The product of `last` and a value that fits it: as the values that what came before attends to, if there are some.
fn matmul(random: &mut Random, sketch: &Sketch, last: usize) -> (Op, Vec<usize>) {
    let shape = sketch.shape(last);
    let fits = |b: usize, heads: u8, transpose_b: bool| {
        let out = Op::MatMul { heads, transpose_b }.out_shape(&[shape, sketch.shape(b)]);
        out.is_ok_and(|out| out.c <= 64)
    };
    let all = |transpose_b: bool| {
        let pairs = (0..=last).flat_map(|b| (1..=8).map(move |heads| (b, heads)));
        pairs.filter(|&(b, heads)| fits(b, heads, transpose_b)).collect::<Vec<_>>()
    };
    let (mut transpose_b, mut choices) = (false, all(false));
    if choices.is_empty() || random.once_in(3) {
        (transpose_b, choices) = (true, all(true));
    }
    // Where nothing fits, the step is left out.
    let (b, heads) = if choices.is_empty() { (last, 0) } else { random.choose(&choices) };
    (Op::MatMul { heads, transpose_b }, vec![last, b])
}

/// Attention of one head or several over maps of all sizes that kernels tell apart: scores, and values by them.
pub fn attention(seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let heads = random.between(1, 3) as u8;
    let channels = usize::from(heads) * random.between(1, 37);
    let input = Shape::new(random.between(1, 8) as u16, random.between(1, 8) as u16, channels as u16);
    let mut sketch = Sketch::new(random.clone(), input);
    random.bits();
    let window = Window { stride: [0; 2].map(|_| random.between(1, 2) as u8), ..Window::valid(1, 1) };
    let keys = sketch.push(Op::Conv { window, out_channels: channels as u16 }, &[0]);
    let keys = keys.expect("a window of one pixel fits");
    let scores = sketch.push(Op::MatMul { heads, transpose_b: true }, &[0, keys]).expect("keys have the same channels");
    let values = sketch.push(Op::MatMul { heads, transpose_b: false }, &[scores, keys]);
    sketch.push(Op::GlobalAvgPool, &[values.expect("there is a value for every key")]);
    sketch.finish()
}

/// Depthwise convolutions over maps of all widths and channels that their fast path tells apart, and more rows than it
/// takes at once.
pub fn depthwise(seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let mut side = |least, most| random.between(least, most) as u16;
    let input = Shape::new(side(1, 70), side(1, 34), side(1, 21));
    let mut sketch = Sketch::new(random.clone(), input);
    random.bits();
    for value in 0..3 {
        let stride = [0; 2].map(|_| random.between(1, 2) as u8);
        let pad = [0; 4].map(|_| random.between(0, 2) as u8);
        let window = Window { kernel: [random.choose(&[3, 5]); 2], stride, pad };
        if sketch.push(Op::Depthwise { window }, &[value]).is_none() {
            break;
        }
    }
    sketch.push(Op::GlobalAvgPool, &[sketch.values.len() - 1]);
    sketch.finish()
}

/// 3x3 convolutions over maps of all widths and channels that Winograd's kernel tells apart.
pub fn winograd(seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let input =
        Shape::new(random.between(1, 13) as u16, random.between(1, 13) as u16, 4 * random.between(1, 12) as u16);
    let mut sketch = Sketch::new(random.clone(), input);
    random.bits();
    for value in 0..3 {
        let pad = [0; 4].map(|_| random.between(0, 2) as u8);
        let op = Op::Winograd {
            window: Window { pad, ..Window::valid(3, 1) },
            out_channels: 4 * random.between(1, 9) as u16,
        };
        if sketch.push(op, &[value]).is_none() {
            break;
        }
    }
    sketch.push(Op::GlobalAvgPool, &[sketch.values.len() - 1]);
    sketch.finish()
}

/// Convolutions of more taps, and depthwise ones of larger windows, than the fast paths of workstations take, on small maps.
pub fn large(seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let mut side = |least, most| random.between(least, most) as u16;
    let input = Shape::new(side(4, 7), side(4, 7), side(300, 340));
    let mut sketch = Sketch::new(random.clone(), input);
    random.bits();
    let window =
        |kernel, random: &mut Random| Window { stride: [1, random.between(1, 2) as u8], ..Window::same(kernel) };
    let layers = [
        Op::Depthwise { window: window(7, &mut random) },
        Op::Conv { window: window(3, &mut random), out_channels: random.between(1, 9) as u16 },
        Op::GlobalAvgPool,
    ];
    for (value, op) in layers.into_iter().enumerate() {
        sketch.push(op, &[value]).expect("the layers follow on each other");
    }
    sketch.finish()
}

/// A network for a camera, small enough for every board to run it many times a second.
pub fn watched(seed: u64) -> PlanSpec {
    let mut sketch = Sketch::new(Random::new(seed), Shape::new(32, 32, 3));
    sketch.extreme = false;
    let window = Window { stride: [2, 2], ..Window::same(3) };
    let layers = [Op::Conv { window, out_channels: 8 }, Op::Conv { window, out_channels: 8 }];
    let layers = layers.into_iter().chain([Op::Dense { out_channels: 10 }]);
    for (value, op) in layers.enumerate() {
        sketch.push(op, &[value]).expect("the layers follow on each other");
    }
    sketch.finish()
}

/// Operators side by side, each on values that the image of shape `input` is, with plausible parameters; what does not
/// take such values is left out. For counting what a layer costs.
pub fn layers(seed: u64, input: Shape, layers: &[(Op, usize)]) -> PlanSpec {
    let mut sketch = Sketch::new(Random::new(seed), input);
    sketch.extreme = false;
    for (op, inputs) in layers {
        match op {
            Op::Mul => sketch.push(Op::GlobalAvgPool, &[0]).and_then(|means| sketch.push(*op, &[0, means])),
            Op::MatMul { heads, .. } => attend(&mut sketch, *heads),
            _ => sketch.push(*op, &vec![0; *inputs]),
        };
    }
    sketch.push(Op::GlobalAvgPool, &[0]);
    sketch.finish()
}

/// Both products of maps, where the image has channels for so many heads: its own by its reduced self.
fn attend(sketch: &mut Sketch, heads: u8) -> Option<usize> {
    let Shape { h, w, .. } = sketch.shape(0);
    let window = Window { stride: [h, w].map(|side| side.div_ceil(8) as u8), ..Window::valid(1, 1) };
    let keys = sketch.push(Op::MaxPool { window }, &[0])?;
    let scores = sketch.push(Op::MatMul { heads, transpose_b: true }, &[0, keys])?;
    sketch.push(Op::MatMul { heads, transpose_b: false }, &[scores, keys])
}

/// The 22.6 million multiply-accumulates of the CIFAR network, with random parameters.
pub fn cifar_cnn(seed: u64) -> PlanSpec {
    cifar_cnn_of(seed, |out_channels, _| Op::Conv { window: Window::same(3), out_channels })
}

/// The same as a Winograd plan.
pub fn fast_cifar_cnn(seed: u64) -> PlanSpec {
    let window = Window::same(3);
    cifar_cnn_of(seed, |out_channels, input| match winograd::takes(&window, input, out_channels) {
        true => Op::Winograd { window, out_channels },
        false => Op::Conv { window, out_channels },
    })
}

/// The same with the convolutions that `conv` makes of their filters and input.
fn cifar_cnn_of(seed: u64, conv: impl Fn(u16, Shape) -> Op) -> PlanSpec {
    let mut sketch = Sketch::new(Random::new(seed), Shape::new(32, 32, 3));
    sketch.extreme = false;
    let mut push = |op: &dyn Fn(Shape) -> Op| {
        let last = sketch.values.len() - 1;
        let op = op(sketch.shape(last));
        sketch.push(op, &[last]).expect("the layers follow on each other");
    };
    for filters in [&[32, 32][..], &[64, 32], &[128]] {
        filters.iter().for_each(|&filters| push(&|input| conv(filters, input)));
        push(&|_| Op::MaxPool { window: Window::valid(2, 2) });
    }
    [256, 10].into_iter().for_each(|out_channels| push(&|_| Op::Dense { out_channels }));
    sketch.finish()
}

/// Most layers of a quarter of MobileNetV1 at 96x96, with random parameters.
pub fn mobilenet(seed: u64) -> PlanSpec {
    let mut sketch = Sketch::new(Random::new(seed), Shape::new(96, 96, 3));
    sketch.extreme = false;
    let window = |stride| match stride {
        1 => Window::same(3),
        // An even size is padded below and to the right alone.
        _ => Window { kernel: [3; 2], stride: [2; 2], pad: [0, 0, 1, 1] },
    };
    let blocks = [(1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128), (1, 128), (1, 128), (2, 256), (1, 256)];
    let pairs = blocks.into_iter().flat_map(|(stride, out_channels)| {
        [Op::Depthwise { window: window(stride) }, Op::Conv { window: Window::valid(1, 1), out_channels }]
    });
    let stem = Op::Conv { window: window(2), out_channels: 8 };
    let head = [Op::GlobalAvgPool, Op::Dense { out_channels: 2 }];
    for (value, op) in core::iter::once(stem).chain(pairs).chain(head).enumerate() {
        sketch.push(op, &[value]).expect("the layers follow on each other");
    }
    sketch.finish()
}
