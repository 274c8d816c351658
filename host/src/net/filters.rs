//! Matrix products of what lies under sliding windows, by vectors of output channels.
//!
//! A vector holds neighbouring channels of one output. Some outputs are worked on together: each value under a window is
//! multiplied with the weights of all channels of a block, and these are loaded once for all the outputs. The gradient of
//! the weights is the same loop with other roles: rows of weights in place of outputs, and the sum goes over windows.

use super::memory::Buffer;
use super::simd::{dispatch, load, store};
use super::sliding::Sweep;
use pulp::{Simd, WithSimd};

/// Vectors of a block of channels, at most.
const VECTORS: usize = 3;
/// Outputs that are worked on together, with the 32 registers of AVX-512: three vectors of each.
const MANY: usize = 8;
/// The same with 16 registers, and blocks of two vectors or one.
const SOME: usize = 6;
/// The same, and blocks of three vectors.
const FEW: usize = 4;
/// Windows whose products with the gradient of their outputs are summed up before the sum is stored: what is read again and
/// again stays in the nearest cache.
const WINDOWS: usize = 192;

/// Values of a vector.
pub fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// Where the weights for each value under a window and each output channel lie.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of each value under a window, the place of the first channel's weight.
    pub rows: Vec<usize>,
    /// Output channels.
    pub columns: usize,
    /// From one of them to the next.
    pub stride: usize,
}

/// Some output channels that are worked on together.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The first channel.
    first: usize,
    vectors: usize,
    /// Where its panel begins.
    panel: usize,
}

/// A matrix with a row for each value under a window and a column for each output channel, in panels of some columns that
/// follow each other. Columns that fill up the last vector are zero.
#[derive(Clone, Debug)]
pub struct Panels {
    rows: usize,
    columns: usize,
    lanes: usize,
    blocks: Vec<Block>,
    values: Buffer,
}

impl Panels {
    /// All zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        let lanes = lanes();
        let vectors = columns.div_ceil(lanes);
        let count = vectors.div_ceil(VECTORS).max(1);
        let mut blocks = Vec::new();
        let mut done = 0;
        for i in 0..count {
            // As even as can be: blocks of one vector are slow.
            let own = vectors / count + usize::from(i < vectors % count);
            blocks.push(Block { first: done * lanes, vectors: own, panel: done * lanes * rows });
            done += own;
        }
        Self { rows, columns, lanes, blocks, values: Buffer::zeros(rows * vectors * lanes) }
    }

    /// The `weights` that lie as `layout` says.
    pub fn pack(weights: &[f32], layout: &Layout) -> Self {
        let mut panels = Self::zeros(layout.rows.len(), layout.columns);
        let Self { rows, columns, lanes, blocks, values } = &mut panels;
        for block in blocks {
            let width = block.vectors * *lanes;
            let count = width.min(*columns - block.first);
            let panel = &mut values[block.panel..][..*rows * width];
            for (to, from) in panel.chunks_exact_mut(width).zip(&layout.rows) {
                let from = &weights[from + block.first * layout.stride..];
                if layout.stride == 1 {
                    to[..count].copy_from_slice(&from[..count]);
                } else {
                    to[..count].iter_mut().zip(from.iter().step_by(layout.stride)).for_each(|(to, from)| *to = *from);
                }
            }
        }
        panels
    }

    /// Writes the values to where `layout` says.
    pub fn unpack(&self, layout: &Layout, weights: &mut [f32]) {
        for block in &self.blocks {
            let width = block.vectors * self.lanes;
            let count = width.min(self.columns - block.first);
            let panel = &self.values[block.panel..][..self.rows * width];
            for (from, to) in panel.chunks_exact(width).zip(&layout.rows) {
                let to = weights[to + block.first * layout.stride..].iter_mut().step_by(layout.stride);
                to.zip(&from[..count]).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// What is done with each output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to each output channel.
    pub bias: Option<&'a [f32]>,
    /// Brings the sum into `[0, ceiling]`.
    pub ceiling: Option<f32>,
}

impl Epilogue<'_> {
    /// What becomes of the sums of `len` channels, the first of which is `first`.
    #[inline(always)]
    pub fn of<S: Simd>(&self, simd: S, mut sum: S::f32s, first: usize, len: usize) -> S::f32s {
        if let Some(bias) = self.bias {
            sum = simd.add_f32s(sum, simd.partial_load_f32s(&bias[first..first + len]));
        }
        self.clip(simd, sum)
    }

    #[inline(always)]
    fn clip<S: Simd>(&self, simd: S, sum: S::f32s) -> S::f32s {
        match self.ceiling {
            // In this order, what is not a number stays so.
            Some(ceiling) => simd.min_f32s(simd.splat_f32s(ceiling), simd.max_f32s(simd.splat_f32s(0.0), sum)),
            None => sum,
        }
    }
}

/// Outputs of the windows on `x`, a value for each column of `panels`.
pub fn apply(sweep: &Sweep, x: &[f32], panels: &Panels, epilogue: Epilogue<'_>, output: usize, y: &mut [f32]) {
    sweep.images(x, |i, x, windows| dispatch(Apply { sweep, x, panels, epilogue, windows, y: &mut y[i * output..] }));
}

struct Apply<'a> {
    sweep: &'a Sweep,
    x: &'a [f32],
    panels: &'a Panels,
    epilogue: Epilogue<'a>,
    windows: usize,
    y: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for block in &self.panels.blocks {
            match (block.vectors, S::F32_LANES >= 16) {
                (1, true) => self.block::<S, MANY, 1>(simd, *block),
                (2, true) => self.block::<S, MANY, 2>(simd, *block),
                (_, true) => self.block::<S, MANY, 3>(simd, *block),
                (1, false) => self.block::<S, SOME, 1>(simd, *block),
                (2, false) => self.block::<S, SOME, 2>(simd, *block),
                (_, false) => self.block::<S, FEW, 3>(simd, *block),
            }
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn block<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, block: Block) {
        let (sweep, x, columns) = (self.sweep, self.x, self.panels.columns);
        let panel = &self.panels.values[block.panel..][..self.panels.rows * N * S::F32_LANES];
        let count = (N * S::F32_LANES).min(columns - block.first);
        let mut first = [simd.splat_f32s(0.0); N];
        if let Some(bias) = self.epilogue.bias {
            for (j, first) in first.iter_mut().enumerate() {
                let from = (block.first + j * S::F32_LANES).min(columns);
                *first = simd.partial_load_f32s(&bias[from..columns.min(from + S::F32_LANES)]);
            }
        }
        for at in (0..self.windows).step_by(M) {
            let mut starts = [0; M];
            for (i, start) in starts.iter_mut().enumerate() {
                // The last window stands in for those that are missing.
                *start = sweep.starts[(at + i).min(self.windows - 1)];
            }
            let mut sums = [first; M];
            for (row, panel) in panel.chunks_exact(sweep.len * N * S::F32_LANES).enumerate() {
                let mut rows = [x; M];
                for (row_slice, start) in rows.iter_mut().zip(starts) {
                    *row_slice = &x[start + row * sweep.pitch..][..sweep.len];
                }
                multiply(simd, rows, sweep.len, panel, &mut sums);
            }
            if self.epilogue.ceiling.is_some() {
                sums.iter_mut().flatten().for_each(|sum| *sum = self.epilogue.clip(simd, *sum));
            }
            for (target, sums) in sweep.targets[at..self.windows.min(at + M)].iter().zip(&sums) {
                let y = &mut self.y[target + block.first..][..count];
                for (y, sum) in y.chunks_mut(S::F32_LANES).zip(sums) {
                    store(simd, *sum, y);
                }
            }
        }
    }
}

/// Adds the products of each row's values with the rows of `panel`.
#[inline(always)]
fn multiply<S: Simd, const M: usize, const N: usize>(
    simd: S,
    rows: [&[f32]; M],
    len: usize,
    panel: &[f32],
    sums: &mut [[S::f32s; N]; M],
) {
    // All of one length, so that the loop needs no checks.
    let mut exact = rows;
    for row in &mut exact {
        *row = &row[..len];
    }
    let mut local = *sums;
    for (k, weights) in panel.chunks_exact(N * S::F32_LANES).enumerate().take(len) {
        let mut vectors = [simd.splat_f32s(0.0); N];
        for (j, vector) in vectors.iter_mut().enumerate() {
            *vector = load::<S>(&weights[j * S::F32_LANES..]);
        }
        for (row, sums) in exact.iter().zip(&mut local) {
            let value = simd.splat_f32s(row[k]);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = simd.mul_add_e_f32s(value, vector, *sum);
            }
        }
    }
    *sums = local;
}

/// Adds to `panels` the products of what lies under each window on `x` with the gradients `dy` of its outputs.
pub fn correlate(sweep: &Sweep, x: &[f32], dy: &[f32], output: usize, panels: &mut Panels) {
    let mut packed = Buffer::any(WINDOWS * VECTORS * panels.lanes);
    sweep.images(x, |i, x, windows| {
        dispatch(Correlate { sweep, x, dy: &dy[i * output..], windows, packed: &mut packed, panels });
    });
}

struct Correlate<'a> {
    sweep: &'a Sweep,
    x: &'a [f32],
    dy: &'a [f32],
    windows: usize,
    /// Gradients of a block's channels, of some windows.
    packed: &'a mut [f32],
    panels: &'a mut Panels,
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for at in (0..self.windows).step_by(WINDOWS) {
            let windows = at..self.windows.min(at + WINDOWS);
            for b in 0..self.panels.blocks.len() {
                let block = self.panels.blocks[b];
                match (block.vectors, S::F32_LANES >= 16) {
                    (1, true) => self.block::<S, MANY, 1>(simd, block, windows.clone()),
                    (2, true) => self.block::<S, MANY, 2>(simd, block, windows.clone()),
                    (_, true) => self.block::<S, MANY, 3>(simd, block, windows.clone()),
                    (1, false) => self.block::<S, SOME, 1>(simd, block, windows.clone()),
                    (2, false) => self.block::<S, SOME, 2>(simd, block, windows.clone()),
                    (_, false) => self.block::<S, FEW, 3>(simd, block, windows.clone()),
                }
            }
        }
    }
}

impl Correlate<'_> {
    #[inline(always)]
    fn block<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        block: Block,
        windows: std::ops::Range<usize>,
    ) {
        let (sweep, width) = (self.sweep, N * S::F32_LANES);
        let count = width.min(self.panels.columns - block.first);
        for (to, target) in self.packed.chunks_exact_mut(width).zip(&sweep.targets[windows.clone()]) {
            to[..count].copy_from_slice(&self.dy[target + block.first..][..count]);
            to[count..].fill(0.0);
        }
        let packed = &self.packed[..windows.len() * width];
        let starts = &sweep.starts[windows];
        let panel = &mut self.panels.values[block.panel..][..self.panels.rows * width];
        for (row, panel) in panel.chunks_exact_mut(sweep.len * width).enumerate() {
            for first in (0..sweep.len).step_by(M) {
                let sums = summed::<S, M, N>(simd, &self.x[row * sweep.pitch + first..], starts, packed);
                let rows = panel[first * width..].chunks_exact_mut(width);
                for (to, sums) in rows.zip(&sums) {
                    for (to, sum) in to.chunks_exact_mut(S::F32_LANES).zip(sums) {
                        store(simd, simd.add_f32s(load::<S>(to), *sum), to);
                    }
                }
            }
        }
    }
}

/// Sums over windows of the products of `M` values, from where each window starts in `x`, with the window's vectors.
#[inline(always)]
fn summed<S: Simd, const M: usize, const N: usize>(
    simd: S,
    x: &[f32],
    starts: &[usize],
    packed: &[f32],
) -> [[S::f32s; N]; M] {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for (start, dy) in starts.iter().zip(packed.chunks_exact(N * S::F32_LANES)) {
        let from = &x[*start..];
        let values = match from.first_chunk::<M>() {
            Some(values) => *values,
            // The last values of the image.
            None => first_of(from),
        };
        let mut vectors = [simd.splat_f32s(0.0); N];
        for (j, vector) in vectors.iter_mut().enumerate() {
            *vector = load::<S>(&dy[j * S::F32_LANES..]);
        }
        for (value, sums) in values.iter().zip(&mut sums) {
            let value = simd.splat_f32s(*value);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = simd.mul_add_e_f32s(value, vector, *sum);
            }
        }
    }
    sums
}

/// The values, and zeros behind them.
fn first_of<const M: usize>(values: &[f32]) -> [f32; M] {
    let mut all = [0.0; M];
    all.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    all
}
