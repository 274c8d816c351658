//! 3x3 convolutions by fewer multiplications: Winograd's F(2x2, 3x3), in integers.
//!
//! A *tile* is 2x2 outputs, which 4x4 inputs `d` decide. With the taps `g` of a filter, both are brought to 16 *points*, are
//! multiplied point by point, summed over the channels, and brought back:
//!
//! `y = A' [(G g G') * (B' d B)] A`, where `'` is the transpose,
//!
//! ```text
//!      1  0 -1  0         1    0    0           1  1  1  0
//! B' = 0  1  1  0    G = 1/2  1/2  1/2    A' =  0  1 -1 -1
//!      0 -1  1  0        1/2 -1/2  1/2
//!      0  1  0 -1         0    0    1
//! ```
//!
//! (Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, 2015.) That is 16 multiplications for 4 outputs
//! instead of 36. Nothing is rounded: a plan holds the points of `2G`, which are integers, so that the sums are 4 times
//! those of the convolution. The points of int8 taps are within 9 * 128, those of int8 inputs within 4 * 128; sums wrap, and
//! what comes out is right while 4 times the convolution's sum fits an int32, which takes over 3,600 channels to break.

use super::Winograd;
use super::error::OpError;
use super::facts::{Facts, ParamCounts, Record};
use super::window::Window;
use crate::shape::Shape;

/// Points of a tile.
pub const POINTS: usize = 16;
/// Tiles that are computed together.
pub const TILES: usize = 3;
/// Most channels of the input.
pub const MAX_CHANNELS: u16 = 3_600;
/// Channels of the input are zero-filled to a multiple of this among the weights.
const FILL: usize = 16;
/// Values of one filter that lie together in a pair of filters.
pub const BLOCK: usize = 8;

impl Facts for Winograd {
    const NAME: &'static str = "winograd";
    const TAG: u8 = 13;
    const WORDS: bool = true;

    fn record(&self) -> Record {
        Record { window: self.window, out_channels: self.out_channels, ..Record::default() }
    }

    fn from_record(record: &Record) -> Self {
        Self { window: record.window, out_channels: record.out_channels }
    }

    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        match takes(&self.window, inputs[0], self.out_channels) {
            true => self.window.out_shape(inputs[0], self.out_channels),
            false => Err(OpError::Window),
        }
    }

    /// Those of the convolution, however few the kernel gets by with.
    fn macs(&self, input: Shape, output: Shape) -> u64 {
        output.len() as u64 * self.window.taps() as u64 * u64::from(input.c)
    }

    fn param_counts(&self, input: Shape, output: Shape) -> ParamCounts {
        let pairs = usize::from(output.c) / 2;
        ParamCounts::of_filters(pairs.saturating_mul(pair_bytes(input.c.into())), output)
    }

    fn scratch_bytes(&self, input: Shape, _: Shape) -> usize {
        scratch_bytes(input.c.into())
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }

    fn with_window(&self, window: Window) -> Self {
        Self { window, ..*self }
    }

    fn with_out_channels(&self, out_channels: u16) -> Self {
        Self { out_channels, ..*self }
    }
}

/// Whether a convolution of `input` to `out_channels` can be computed so.
pub fn takes(window: &Window, input: Shape, out_channels: u16) -> bool {
    window.kernel == [3; 2]
        && window.stride == [1; 2]
        && input.c.is_multiple_of(4)
        && input.c <= MAX_CHANNELS
        && out_channels.is_multiple_of(2)
}

/// Channels of the input once filled up.
pub const fn filled(channels: usize) -> usize {
    channels.next_multiple_of(FILL)
}

/// Bytes of the weights of one pair of filters.
pub const fn pair_bytes(channels: usize) -> usize {
    2 * POINTS * filled(channels) * size_of::<i16>()
}

/// Bytes of scratch memory for an input of so many channels: the points of [`TILES`] tiles as int16, the sums of a pair of
/// filters, and one tile's inputs; at any alignment.
pub const fn scratch_bytes(channels: usize) -> usize {
    let points = POINTS * filled(channels) * TILES * size_of::<i16>();
    let sums = POINTS * 2 * TILES * size_of::<i32>();
    points + sums + POINTS * channels + 4
}

/// Where the int16 weight of `filter` at `point` for `channel` lies.
///
/// Pair of filters after pair, point after point, [`BLOCK`] channels of the one filter and then of the other. Of every
/// four channels the second and third change places: a core that widens the even and the odd bytes of a word has them so.
pub const fn index(filter: usize, point: usize, channel: usize, channels: usize) -> usize {
    let block = (filter / 2 * POINTS + point) * (filled(channels) / BLOCK) + channel / BLOCK;
    block * 2 * BLOCK + filter % 2 * BLOCK + channel % BLOCK / 4 * 4 + lane(channel)
}

/// The place of a channel among its four.
pub const fn lane(channel: usize) -> usize {
    [0, 2, 1, 3][channel % 4]
}

/// `2G g (2G)'`: the points of a filter's `taps`, row after row.
pub fn points(taps: [i8; 9]) -> [i16; POINTS] {
    let line = |[a, b, c]: [i16; 3]| [2 * a, a + b + c, a - b + c, 2 * c];
    let taps = taps.map(i16::from);
    let rows = [0, 3, 6].map(|at| line([taps[at], taps[at + 1], taps[at + 2]]));
    let mut points = [0; POINTS];
    for column in 0..4 {
        let column_points = line([rows[0][column], rows[1][column], rows[2][column]]);
        (0..4).for_each(|row| points[4 * row + column] = column_points[row]);
    }
    points
}

/// The taps whose [`points`] these are.
pub fn taps(points: [i16; POINTS]) -> [i8; 9] {
    // The last row of `2G` and the first are the outer taps, twice; the second is their sum.
    let line = |[first, sum, _, last]: [i16; 4]| {
        let (a, c) = (first / 2, last / 2);
        [a, sum.wrapping_sub(a).wrapping_sub(c), c]
    };
    let columns = [0, 1, 2, 3].map(|j| line([points[j], points[4 + j], points[8 + j], points[12 + j]]));
    let mut taps = [0; 9];
    for row in 0..3 {
        let row_taps = line([0, 1, 2, 3].map(|j| columns[j][row]));
        (0..3).for_each(|column| taps[3 * row + column] = row_taps[column] as i8);
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters() -> impl Iterator<Item = [i8; 9]> {
        let mut state = 1u32;
        (0..2000).map(move |i| {
            [(); 9].map(|()| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if i % 4 == 0 { [-128, 127][(state >> 31) as usize] } else { (state >> 24) as i8 }
            })
        })
    }

    #[test]
    fn taps_come_back_from_their_points() {
        assert!(filters().all(|filter| taps(points(filter)) == filter));
    }

    /// The whole formula over one tile against the definition of a convolution.
    #[test]
    fn tiles_are_four_times_the_convolution() {
        for (filter, other) in filters().zip(filters().skip(5)) {
            let mut d = [[0i32; 4]; 4];
            for (i, d) in d.iter_mut().flatten().enumerate() {
                *d = i32::from(if i < 9 { other[i] } else { filter[i - 9] });
            }
            let b = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]];
            let a = [[1, 1, 1, 0], [0, 1, -1, -1]];
            let g = points(filter);
            let point = |i: usize, j: usize| -> i32 {
                let sum = (0..4).flat_map(|y| (0..4).map(move |x| (y, x))).map(|(y, x)| b[i][y] * b[j][x] * d[y][x]);
                sum.sum::<i32>() * i32::from(g[4 * i + j])
            };
            for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let got: i32 = (0..POINTS).map(|p| a[y][p / 4] * a[x][p % 4] * point(p / 4, p % 4)).sum();
                let expected: i32 = (0..9).map(|t| i32::from(filter[t]) * d[y + t / 3][x + t % 3]).sum();
                assert_eq!(got, 4 * expected);
            }
        }
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        let (filters, channels) = (4, 20);
        let mut taken = [false; 4 * POINTS * 32];
        for filter in 0..filters {
            for (point, channel) in (0..POINTS).flat_map(|p| (0..channels).map(move |c| (p, c))) {
                let at = index(filter, point, channel, channels);
                assert!(2 * at < filters / 2 * pair_bytes(channels) && !core::mem::replace(&mut taken[at], true));
            }
        }
    }
}
