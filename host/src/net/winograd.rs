//! Convolution with 3x3 windows at stride 1 by Winograd's minimal filtering, `F(2x2, 3x3)` (Lavin and Gray,
//! <https://arxiv.org/abs/1509.09308>): 16 products for four outputs of a channel in place of 36.
//!
//! Tiles of 4x4 inputs, which overlap by two, become 16 points each, and so does each filter; point by point, tiles times
//! filters is a product of matrices, and 16 of its results become 2x2 outputs:
//!
//! | | |
//! |---|---|
//! | inputs | `V = B^T d B`, `B^T = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]` |
//! | filters | `U = G g G^T`, `G = [[1, 0, 0], [1/2, 1/2, 1/2], [1/2, -1/2, 1/2], [0, 0, 1]]` |
//! | outputs | `A^T (sum over channels of U V) A`, `A^T = [[1, 1, 1, 0], [0, 1, -1, -1]]` |

use super::filters::{self, Epilogue, Layout, Panels};
use super::memory::Buffer;
use super::simd::{dispatch, store};
use super::sliding::{Padded, Sweep};
use pulp::{Simd, WithSimd};

/// Rows and columns of a tile of inputs.
const TILE: usize = 4;
const POINTS: usize = TILE * TILE;
/// Rows and columns of a tile of outputs.
const OUT: usize = 2;
/// Values of points that are worked on together: they should stay in a core's own cache.
const VALUES: usize = 1 << 16;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    /// Rows, columns and channels of the input.
    pub input: [usize; 3],
    /// Those of the result.
    pub output: [usize; 3],
    /// Rows above and columns before the input.
    pub pad: [usize; 2],
}

/// Filters as points: for each point a row for each input channel and a column for each output channel.
pub struct Filters(Vec<Panels>);

impl Filters {
    /// Of the weights that `weight` gives for an input channel, an output channel and a tap.
    pub fn new([inputs, outputs]: [usize; 2], weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let mut points = Buffer::any(POINTS * inputs * outputs);
        for (c, o) in (0..inputs).flat_map(|c| (0..outputs).map(move |o| (c, o))) {
            let filter: [f32; 9] = std::array::from_fn(|tap| weight(c, o, tap));
            for (point, value) in filter_points(filter).into_iter().enumerate() {
                points[(point * inputs + c) * outputs + o] = value;
            }
        }
        let layout = Layout { rows: (0..inputs).map(|c| c * outputs).collect(), columns: outputs, stride: 1 };
        Self(points.chunks_exact(inputs * outputs).map(|points| Panels::pack(points, &layout)).collect())
    }
}

/// `G g G^T`.
fn filter_points(g: [f32; 9]) -> [f32; POINTS] {
    let line = |[a, b, c]: [f32; 3]| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let columns: [[f32; TILE]; 3] = std::array::from_fn(|x| line([g[x], g[3 + x], g[6 + x]]));
    let rows: [[f32; TILE]; TILE] = std::array::from_fn(|y| line([columns[0][y], columns[1][y], columns[2][y]]));
    std::array::from_fn(|i| rows[i / TILE][i % TILE])
}

impl Winograd {
    /// Rows and columns of tiles.
    fn tiles(&self) -> [usize; 2] {
        [0, 1].map(|i| self.output[i].div_ceil(OUT))
    }

    fn padded(&self) -> Padded {
        let [h, w, channels] = self.input;
        let padded = self.tiles().map(|tiles| tiles * OUT + TILE - OUT);
        Padded { size: [h, w], origin: self.pad.map(|pad| pad as isize), padded, channels }
    }

    /// The result for the images `x`.
    pub fn convolve(&self, x: &[f32], filters: &Filters, epilogue: Epilogue<'_>, y: &mut [f32]) {
        let ([rows, columns], padded, [c, o]) = (self.tiles(), self.padded(), [self.input[2], self.output[2]]);
        let (image, output) = (self.input.iter().product::<usize>(), self.output.iter().product::<usize>());
        let count = (VALUES / (POINTS * (c + o))).clamp(8, (x.len() / image * rows * columns).max(8));
        let mut work = Work {
            sizes: self,
            filters,
            epilogue,
            count,
            sweep: Sweep::pointwise(count, c, o),
            inputs: Buffer::any(POINTS * count * c),
            outputs: Buffer::any(POINTS * count * o),
            places: Vec::with_capacity(count),
        };
        let mut memory = padded.memory();
        for (i, image) in x.chunks_exact(image).enumerate() {
            padded.copy(image, &mut memory);
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| [row * OUT, column * OUT]));
            let starts: Vec<([usize; 2], usize)> =
                places.map(|[row, column]| ([row, column], row * padded.pitch() + column * c)).collect();
            let mut starts = &starts[..];
            while !starts.is_empty() {
                let (now, later) = starts.split_at(starts.len().min(count - work.places.len()));
                let at = work.places.len();
                dispatch(ToPoints {
                    x: &memory,
                    pitch: padded.pitch(),
                    channels: c,
                    starts: now,
                    at,
                    count,
                    points: &mut work.inputs,
                });
                work.places.extend(now.iter().map(|([row, column], _)| (i * output, [*row, *column])));
                starts = later;
                if work.places.len() == count {
                    work.finish(y);
                }
            }
        }
        work.finish(y);
    }
}

/// Tiles that are worked on together.
struct Work<'a> {
    sizes: &'a Winograd,
    filters: &'a Filters,
    epilogue: Epilogue<'a>,
    /// Tiles that there is room for.
    count: usize,
    sweep: Sweep,
    /// Their inputs as points, `(16, count, c)`.
    inputs: Buffer,
    /// Their outputs as points, `(16, count, o)`.
    outputs: Buffer,
    /// Where each of them lies: the beginning of the image's result, and row and column in it.
    places: Vec<(usize, [usize; 2])>,
}

impl Work<'_> {
    /// Computes the outputs of the tiles so far.
    fn finish(&mut self, y: &mut [f32]) {
        let [c, o] = [self.sizes.input[2], self.sizes.output[2]];
        let tiles = self.places.len();
        if tiles == 0 {
            return;
        }
        let points = self.inputs.chunks_exact(self.count * c).zip(self.outputs.chunks_exact_mut(self.count * o));
        for ((x, y), filters) in points.zip(&self.filters.0) {
            filters::apply(&self.sweep, &x[..tiles * c], filters, Epilogue::default(), self.count * o, y);
        }
        dispatch(FromPoints {
            points: &self.outputs,
            count: self.count,
            size: self.sizes.output,
            places: &self.places,
            epilogue: self.epilogue,
            y,
        });
        self.places.clear();
    }
}

/// Makes points of tiles of inputs.
struct ToPoints<'a> {
    /// The padded image.
    x: &'a [f32],
    pitch: usize,
    channels: usize,
    /// Tiles, and where each of them begins.
    starts: &'a [([usize; 2], usize)],
    /// The number of the first.
    at: usize,
    /// Tiles of a point.
    count: usize,
    points: &'a mut [f32],
}

/// The vector at the beginning of `values`, or as much of it as they are.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    if values.len() >= S::F32_LANES { super::simd::load::<S>(values) } else { simd.partial_load_f32s(values) }
}

impl WithSimd for ToPoints<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let c = self.channels;
        for (i, (_, start)) in self.starts.iter().enumerate() {
            let to = (self.at + i) * c;
            for first in (0..c).step_by(S::F32_LANES) {
                let len = S::F32_LANES.min(c - first);
                let mut d = [[simd.splat_f32s(0.0); TILE]; TILE];
                for (row, d) in d.iter_mut().enumerate() {
                    for (column, d) in d.iter_mut().enumerate() {
                        *d = load(simd, &self.x[start + row * self.pitch + column * c + first..][..len]);
                    }
                }
                for column in 0..TILE {
                    let line = line_in(simd, d.map(|row| row[column]));
                    for (row, value) in d.iter_mut().zip(line) {
                        row[column] = value;
                    }
                }
                for (row, d) in d.into_iter().enumerate() {
                    for (column, value) in line_in(simd, d).into_iter().enumerate() {
                        let point = (row * TILE + column) * self.count * c;
                        store(simd, value, &mut self.points[point + to + first..][..len]);
                    }
                }
            }
        }
    }
}

/// `B^T d`.
#[inline(always)]
fn line_in<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; TILE]) -> [S::f32s; TILE] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `A^T m`.
#[inline(always)]
fn line_out<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; TILE]) -> [S::f32s; OUT] {
    [simd.add_f32s(simd.add_f32s(a, b), c), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}

/// Makes outputs of points.
struct FromPoints<'a> {
    points: &'a [f32],
    count: usize,
    /// Rows, columns and channels of the result.
    size: [usize; 3],
    places: &'a [(usize, [usize; 2])],
    epilogue: Epilogue<'a>,
    y: &'a mut [f32],
}

impl WithSimd for FromPoints<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [oh, ow, o] = self.size;
        for (tile, (image, [row, column])) in self.places.iter().enumerate() {
            for first in (0..o).step_by(S::F32_LANES) {
                let len = S::F32_LANES.min(o - first);
                let mut m = [[simd.splat_f32s(0.0); TILE]; TILE];
                for (point, m) in m.iter_mut().flatten().enumerate() {
                    *m = load(simd, &self.points[(point * self.count + tile) * o + first..][..len]);
                }
                let mut half = [[simd.splat_f32s(0.0); TILE]; OUT];
                for x in 0..TILE {
                    let line = line_out(simd, m.map(|row| row[x]));
                    (half[0][x], half[1][x]) = (line[0], line[1]);
                }
                for (dy, half) in half.into_iter().enumerate().take(oh - row) {
                    for (dx, value) in line_out(simd, half).into_iter().enumerate().take(ow - column) {
                        let value = self.epilogue.of(simd, value, first, len);
                        let at = image + ((row + dy) * ow + column + dx) * o + first;
                        store(simd, value, &mut self.y[at..at + len]);
                    }
                }
            }
        }
    }
}
