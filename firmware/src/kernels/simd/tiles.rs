//! Winograd tiles in plain loops, whose dot products of int16 compilers make vectors of.

use super::{Place, TileSums};
use ocellus_shared::op::winograd::{BLOCK, POINTS, TILES, filled, lane, pair_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::quant::requantize;

/// The points of [`TILES`] tiles.
#[derive(Debug)]
pub struct Tiles<'m> {
    channels: usize,
    points: &'m mut [i16], // (TILES, POINTS, filled channels)
    sums: &'m mut TileSums,
}

impl<'m> Tiles<'m> {
    /// Tiles of so many `channels` in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one tile's inputs.
    pub fn new(scratch: &'m mut [i8], channels: usize) -> Self {
        let (_, words, _) = bytemuck::pod_align_to_mut::<i8, i32>(scratch);
        let (sums, points) = words.split_at_mut(size_of::<TileSums>() / size_of::<i32>());
        // What lies there for channels that are filled up meets weights of zero.
        let points = &mut bytemuck::cast_slice_mut(points)[..TILES * POINTS * filled(channels)];
        Self { channels, points, sums: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(sums)) }
    }

    /// Computes the points of tile `t`, whose 4x4 inputs begin with `values`, rows `pitch` apart: `B' d B`. A function of its own, for
    /// its stack.
    #[inline(never)]
    pub fn write(&mut self, t: usize, values: &[i8], pitch: usize) {
        let filled = filled(self.channels);
        let points = &mut self.points[t * POINTS * filled..][..POINTS * filled];
        for channel in 0..self.channels {
            let line = |[a, b, c, d]: [i16; 4]| [a - c, b + c, c - b, b - d];
            let value = |row: usize, column: usize| i16::from(values[row * pitch + column * self.channels + channel]);
            let rows = [0, 1, 2, 3].map(|row| line([0, 1, 2, 3].map(|column| value(row, column))));
            let place = channel / 4 * 4 + lane(channel);
            for column in 0..4 {
                let column_points = line(rows.map(|row| row[column]));
                (0..4).for_each(|row| points[(4 * row + column) * filled + place] = column_points[row]);
            }
        }
    }

    /// Applies every filter of `step` and writes the results to the `places` of `output`. A function of its own, for its
    /// stack.
    #[inline(never)]
    pub fn filter(&mut self, step: &Step, places: &[Place; TILES], output: &mut [i8]) {
        for (pair, weights) in step.weights.chunks_exact(pair_bytes(self.channels)).enumerate() {
            self.multiply(bytemuck::cast_slice(weights));
            for half in 0..2 {
                let channel = 2 * pair + half;
                let (bias, multiplier) = (step.biases.get(channel), step.multipliers.get(channel));
                for (t, place) in places.iter().enumerate() {
                    let results = convolutions(self.sums, 2 * t + half)
                        .map(|sum| requantize(sum.wrapping_add(bias), multiplier, step.output.zero));
                    // Those last that are there in any case.
                    for (at, result) in place.of(channel).into_iter().zip(results).rev() {
                        output[at] = result;
                    }
                }
            }
        }
    }

    /// All points of all tiles times those of a pair of filters.
    fn multiply(&mut self, weights: &[i16]) {
        let filled = filled(self.channels);
        for (point, (sums, weights)) in self.sums.iter_mut().zip(weights.chunks_exact(2 * filled)).enumerate() {
            for (t, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let values = &self.points[(t * POINTS + point) * filled..][..filled];
                *sums = [0; 2];
                for (values, weights) in values.as_chunks().0.iter().zip(weights.as_chunks::<BLOCK>().0.as_chunks().0) {
                    let [first, second]: &[_; 2] = weights;
                    sums[0] = dot(values, first).wrapping_add(sums[0]);
                    sums[1] = dot(values, second).wrapping_add(sums[1]);
                }
            }
        }
    }
}

#[inline(always)]
fn dot(x: &[i16; BLOCK], w: &[i16; BLOCK]) -> i32 {
    x.iter().zip(w).fold(0, |sum, (x, w)| sum.wrapping_add(i32::from(*x) * i32::from(*w)))
}

/// The four convolutions of a tile with a filter, which are `k` of each point: `A' sums A / 4`, row after row.
#[inline(always)]
fn convolutions(sums: &TileSums, k: usize) -> [i32; 4] {
    let column = |j: usize| halved([sums[j][k], sums[4 + j][k], sums[8 + j][k], sums[12 + j][k]]);
    let [a, b, c, d] = [column(0), column(1), column(2), column(3)];
    let ([p, q], [r, s]) = (halved([a[0], b[0], c[0], d[0]]), halved([a[1], b[1], c[1], d[1]]));
    [p, q, r, s].map(|sum| sum >> 2)
}

/// `A'` times a column.
#[inline(always)]
fn halved([a, b, c, d]: [i32; 4]) -> [i32; 2] {
    [a.wrapping_add(b).wrapping_add(c), b.wrapping_sub(c).wrapping_sub(d)]
}
