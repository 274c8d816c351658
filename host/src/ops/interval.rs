//! Interval arithmetic over a quantized graph: the least and the largest int8 value that every channel can have.
//!
//! Each value under a window is taken to move freely within its channel's range, on padding to be the zero point. The
//! bounds of a sum are then exact, and requantization, which never decreases, makes bounds of them.

use super::node::Value;
use ocellus_shared::quant::requantize;
use ocellus_shared::{Shape, Window};
use std::iter::Sum as IteratorSum;
use std::ops::Add;

/// Bounds of one channel's int8 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The least.
    pub lo: i8,
    /// The largest.
    pub hi: i8,
}

impl Interval {
    /// Any value.
    pub const ANY: Self = Self { lo: i8::MIN, hi: i8::MAX };

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
pub struct Bounds {
    lo: i64,
    hi: i64,
}

impl Bounds {
    /// Of one value.
    pub fn of(value: i32) -> Self {
        Self { lo: value.into(), hi: value.into() }
    }

    /// Each value times `factor`.
    pub fn times(self, factor: i64) -> Self {
        self.product(Self { lo: factor, hi: factor })
    }

    /// Any value times any of the other.
    pub fn product(self, other: Self) -> Self {
        let corners = [self.lo * other.lo, self.lo * other.hi, self.hi * other.lo, self.hi * other.hi];
        corners[1..].iter().fold(Self { lo: corners[0], hi: corners[0] }, |all, &corner| all.or(corner))
    }

    /// With `value` among its values.
    fn or(self, value: i64) -> Self {
        Self { lo: self.lo.min(value), hi: self.hi.max(value) }
    }

    /// What it becomes as int8. The graph's check has found that it fits an int32.
    pub fn requantized(self, multiplier: f32, output: Value) -> Interval {
        let of = |acc: i64| requantize(acc as i32, multiplier, output.params.zero);
        Interval { lo: of(self.lo), hi: of(self.hi) }
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

/// What an operator reads.
pub struct Input<'a> {
    /// How it is stored.
    pub value: Value,
    /// Bounds of its channels.
    pub intervals: &'a [Interval],
}

impl Input<'_> {
    /// A channel less the zero point.
    pub fn centred(&self, channel: usize) -> Bounds {
        self.intervals[channel].centred(self.value.params.zero)
    }
}

/// What one tap of a window falls on as the window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// Always on the map.
    Map,
    /// Here on the map, there on padding.
    Both,
    /// Always on padding.
    Padding,
}

impl Tap {
    /// `product`, of values on the map, with what padding makes of it.
    pub fn padded(self, product: Bounds) -> Bounds {
        match self {
            Self::Map => product,
            Self::Both => product.or(0),
            Self::Padding => Bounds::default(),
        }
    }
}

/// The taps of an operator's window, row by row; without one, the pixels of its input.
pub fn taps(window: Option<Window>, input: Shape, output: Shape) -> Vec<Tap> {
    let Some(window) = window else { return vec![Tap::Map; input.pixels()] };
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

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::Op;

    #[test]
    fn taps_know_where_padding_reaches() {
        use Tap::{Both, Map, Padding};
        let of = |window: Window, side: u16| {
            let input = Shape::new(side, side, 1);
            let op = Op::Conv { window, out_channels: 1 };
            taps(Some(window), input, op.out_shape(&[input]).unwrap())
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
    fn products_take_every_corner() {
        let x = Interval { lo: -3, hi: 5 }.centred(1);
        assert_eq!(x, Bounds { lo: -4, hi: 4 });
        assert_eq!(x.times(-2), Bounds { lo: -8, hi: 8 });
        assert_eq!(x.product(Bounds { lo: -3, hi: 1 }), Bounds { lo: -12, hi: 12 });
        assert_eq!(Tap::Both.padded(Bounds { lo: 2, hi: 7 }), Bounds { lo: 0, hi: 7 });
    }
}
