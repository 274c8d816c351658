//! The least and the largest int8 value that every channel can have, whatever the image.
//!
//! Each value under a window is taken to move freely within its channel's range, on padding to be the zero point. The
//! bounds of a sum are then exact, and requantization, which never decreases, makes bounds of them.

use crate::quantize::{QuantGraph, QuantNode, Value};
use ocellus_shared::quant::requantize;
use ocellus_shared::{Op, Shape, Window};
use std::iter::Sum as IteratorSum;
use std::ops::Add;

/// Bounds of one channel's int8 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub lo: i8,
    pub hi: i8,
}

impl Range {
    /// Any value.
    const ANY: Self = Self { lo: i8::MIN, hi: i8::MAX };

    /// The only value that it holds.
    pub fn constant(self) -> Option<i8> {
        (self.lo == self.hi).then_some(self.lo)
    }

    /// Its values less `zero`.
    fn centred(self, zero: i8) -> Bounds {
        let of = |q: i8| i64::from(q) - i64::from(zero);
        Bounds { lo: of(self.lo), hi: of(self.hi) }
    }
}

/// Bounds of an accumulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    lo: i64,
    hi: i64,
}

impl Bounds {
    fn of(value: i32) -> Self {
        Self { lo: value.into(), hi: value.into() }
    }

    fn times(self, factor: i64) -> Self {
        self.product(Self { lo: factor, hi: factor })
    }

    fn product(self, other: Self) -> Self {
        let corners = [self.lo * other.lo, self.lo * other.hi, self.hi * other.lo, self.hi * other.hi];
        corners[1..].iter().fold(Self { lo: corners[0], hi: corners[0] }, |all, &corner| all.or(corner))
    }

    /// With `value` among its values.
    fn or(self, value: i64) -> Self {
        Self { lo: self.lo.min(value), hi: self.hi.max(value) }
    }

    /// What it becomes as int8. The graph's check has found that it fits an int32.
    fn requantized(self, multiplier: f32, zero: i8) -> Range {
        let of = |acc: i64| requantize(acc as i32, multiplier, zero);
        Range { lo: of(self.lo), hi: of(self.hi) }
    }
}

impl Add for Bounds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lo: self.lo + other.lo, hi: self.hi + other.hi }
    }
}

impl IteratorSum for Bounds {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What one tap of a window falls on as the window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    /// Always on the map.
    Map,
    /// Here on the map, there on padding.
    Both,
    /// Always on padding.
    Padding,
}

impl Tap {
    /// `product`, of values on the map, with what padding makes of it.
    fn padded(self, product: Bounds) -> Bounds {
        match self {
            Self::Map => product,
            Self::Both => product.or(0),
            Self::Padding => Bounds::default(),
        }
    }
}

/// The taps of a convolution's window, row by row; of a dense layer, the pixels of its input.
pub(super) fn taps(op: Op, input: Shape, output: Shape) -> Vec<Tap> {
    let (Op::Conv { window, .. } | Op::Winograd { window, .. } | Op::Depthwise { window }) = op else {
        return vec![Tap::Map; input.pixels()];
    };
    let [rows, columns] = [0, 1].map(|axis| axis_taps(&window, axis, input, output));
    let both = |&(row, column): &(Tap, Tap)| match (row, column) {
        (Tap::Padding, _) | (_, Tap::Padding) => Tap::Padding,
        (Tap::Map, Tap::Map) => Tap::Map,
        _ => Tap::Both,
    };
    rows.iter().flat_map(|&row| columns.iter().map(move |&column| (row, column))).map(|tap| both(&tap)).collect()
}

/// The same along one axis: 0 for rows, 1 for columns.
fn axis_taps(window: &Window, axis: usize, input: Shape, output: Shape) -> Vec<Tap> {
    let (size, count) = if axis == 0 { (input.h, output.h) } else { (input.w, output.w) };
    let [stride, pad] = [window.stride[axis], window.pad[axis]].map(usize::from);
    let map = pad..pad + usize::from(size);
    let tap = |k: u8| {
        let inside = (0..usize::from(count)).filter(|i| map.contains(&(i * stride + usize::from(k)))).count();
        match inside {
            0 => Tap::Padding,
            _ if inside == usize::from(count) => Tap::Map,
            _ => Tap::Both,
        }
    };
    (0..window.kernel[axis]).map(tap).collect()
}

/// The range of every channel of every value.
pub(super) fn ranges(graph: &QuantGraph) -> Vec<Vec<Range>> {
    let mut ranges = vec![vec![Range::ANY; graph.values[0].shape.c.into()]];
    for (i, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<Input> =
            node.inputs.iter().map(|&v| Input { value: graph.values[v], ranges: &ranges[v] }).collect();
        let results = results(node, &inputs, graph.values[i + 1]);
        ranges.push(results);
    }
    ranges
}

/// What an operator reads.
struct Input<'a> {
    value: Value,
    ranges: &'a [Range],
}

impl Input<'_> {
    /// A channel less the zero point.
    fn centred(&self, channel: usize) -> Bounds {
        self.ranges[channel].centred(self.value.params.zero)
    }
}

fn results(node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Range> {
    let (x, channels) = (&inputs[0], usize::from(output.shape.c));
    let of_tensor = |sum: Bounds| sum.requantized(node.multipliers[0], output.params.zero);
    let each = |range: &dyn Fn(usize) -> Range| (0..channels).map(range).collect();
    match node.op {
        Op::Conv { .. } | Op::Winograd { .. } | Op::Depthwise { .. } | Op::Dense { .. } | Op::ChannelScale => {
            let taps = taps(node.op, x.value.shape, output.shape);
            each(&|c| {
                let sum = filter(node, x, &taps, c) + Bounds::of(node.biases[c]);
                sum.requantized(node.multipliers[c], output.params.zero)
            })
        }
        Op::AvgPool { window } => {
            each(&|c| x.centred(c).times(window.taps() as i64).requantized(node.multipliers[c], output.params.zero))
        }
        Op::GlobalAvgPool => each(&|c| of_tensor(x.centred(c).times(x.value.shape.pixels() as i64))),
        Op::Add => each(&|c| of_tensor((0..2).map(|k| inputs[k].centred(c).times(node.biases[k].into())).sum())),
        Op::Mul => each(&|c| of_tensor(x.centred(c).product(inputs[1].centred(c)))),
        Op::Lut => each(&|c| looked_up(&node.weights, x.ranges[c])),
        Op::MaxPool { .. } => x.ranges.to_vec(),
        Op::Flatten => each(&|k| x.ranges[k % x.ranges.len()]),
        Op::Concat => inputs.iter().flat_map(|input| input.ranges).copied().collect(),
    }
}

/// The sum of filter `c` without its bias.
fn filter(node: &QuantNode, x: &Input, taps: &[Tap], c: usize) -> Bounds {
    let channels = x.ranges.len();
    let product = |tap: usize, channel: usize, at: usize| {
        let weight = i64::from(node.weights[at]);
        taps[tap].padded(x.centred(channel).times(weight))
    };
    match node.op {
        Op::Depthwise { .. } => (0..taps.len()).map(|tap| product(tap, c, tap * channels + c)).sum(),
        Op::ChannelScale => x.centred(c).times(node.weights[c].into()),
        _ => {
            let first = c * taps.len() * channels;
            (0..taps.len() * channels).map(|k| product(k / channels, k % channels, first + k)).sum()
        }
    }
}

/// The least and the largest entry of a table for arguments in `range`.
fn looked_up(table: &[i8], range: Range) -> Range {
    let [first, last] = [range.lo, range.hi].map(|q| (i32::from(q) + 128) as usize);
    let entry = |all: Range, &q: &i8| Range { lo: all.lo.min(q), hi: all.hi.max(q) };
    table[first..=last].iter().fold(Range { lo: i8::MAX, hi: i8::MIN }, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_know_where_padding_reaches() {
        use Tap::{Both, Map, Padding};
        let of = |window: Window, side: u16| {
            let input = Shape::new(side, side, 1);
            let op = Op::Conv { window, out_channels: 1 };
            taps(op, input, op.out_shape(&[input]).unwrap())
        };
        assert_eq!(of(Window::valid(3, 1), 5), [Map; 9]);
        assert_eq!(of(Window::same(3), 5), [Both, Both, Both, Both, Map, Both, Both, Both, Both]);
        // A map of one pixel: eight taps see nothing but padding.
        let alone = [Padding, Padding, Padding, Padding, Map, Padding, Padding, Padding, Padding];
        assert_eq!(of(Window::same(3), 1), alone);
        // An even map at stride 2 with padding at its end only.
        let window = Window { kernel: [3; 2], stride: [2; 2], pad: [0, 0, 1, 1] };
        assert_eq!(of(window, 4), [Map, Map, Both, Map, Map, Both, Both, Both, Both]);
    }

    #[test]
    fn products_and_tables_take_every_corner() {
        let x = Range { lo: -3, hi: 5 }.centred(1);
        assert_eq!(x, Bounds { lo: -4, hi: 4 });
        assert_eq!(x.times(-2), Bounds { lo: -8, hi: 8 });
        assert_eq!(x.product(Bounds { lo: -3, hi: 1 }), Bounds { lo: -12, hi: 12 });
        assert_eq!(Tap::Both.padded(Bounds { lo: 2, hi: 7 }), Bounds { lo: 0, hi: 7 });
        let table: Vec<i8> = (-128..=127).map(|q: i32| (q * q / 200) as i8).collect();
        assert_eq!(looked_up(&table, Range { lo: -20, hi: 40 }), Range { lo: 0, hi: 8 });
        assert_eq!(looked_up(&table, Range { lo: 30, hi: 30 }).constant(), Some(4));
    }
}
