//! 3x3 convolution with fewer multiplications: the points of [`TILES`] tiles of 2x2 outputs are computed, and the filters are
//! applied to them two at a time. See [`ocellus_shared::op::winograd`] for the formula.

use super::reference::Point;
use super::simd::{Place, Tiles};
use super::window::Reach;
use super::{Inputs, Kernel};
use ocellus_shared::op::Winograd;
use ocellus_shared::op::winograd::{POINTS, TILES, index, taps};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

/// Inputs of a tile along each axis.
const SIDE: usize = 4;

impl Kernel for Winograd {
    fn run(&self, step: &Step, inputs: Inputs, scratch: &mut [i8], output: &mut [i8]) {
        let (window, input) = (&self.window, inputs.get(step.input()));
        let Shape { h, w, .. } = step.output.shape;
        let channels = usize::from(step.input().shape.c);
        let across = usize::from(w).div_ceil(2);
        let count = usize::from(h).div_ceil(2) * across;
        let (staging, scratch) = scratch.split_at_mut(POINTS * channels);
        let mut tiles = Tiles::new(scratch, channels);
        let mut gather = Gather { input, shape: step.input().shape, window, zero: step.input().zero, staging };
        for first in (0..count).step_by(TILES) {
            let mut places = [Place::default(); TILES];
            for (t, place) in places.iter_mut().enumerate() {
                // Where fewer are left, the last is computed more than once.
                let tile = (first + t).min(count - 1);
                let (y, x) = (tile / across * 2, tile % across * 2);
                gather.write(&mut tiles, t, y, x);
                *place = Place::new(step.output.shape, y, x);
            }
            tiles.filter(step, &places, output);
        }
    }

    /// The convolution whose filters have these points.
    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let channels = usize::from(at.step.input().shape.c);
        let weight = |point, channel| {
            let index = 2 * index(at.c, point, channel, channels);
            i16::from_le_bytes([at.step.weights[index] as u8, at.step.weights[index + 1] as u8])
        };
        let mut acc = 0i32;
        for channel in 0..channels {
            let taps = taps(core::array::from_fn(|point| weight(point, channel)));
            for (w, x) in taps.into_iter().zip(at.padded(&self.window, inputs, channel)) {
                acc = acc.wrapping_add(x * i32::from(w));
            }
        }
        at.finish(acc, at.c)
    }
}

/// Where the inputs of tiles come from.
struct Gather<'a> {
    input: &'a [i8], // (h, w, c)
    shape: Shape,
    window: &'a Window,
    zero: i8,
    /// Room for the inputs of one tile, `(SIDE, SIDE, c)`.
    staging: &'a mut [i8],
}

impl Gather<'_> {
    /// Brings the tile whose first output is at row `y` and column `x` to its points, as tile `t`; with the zero point where
    /// its inputs are padding.
    fn write(&mut self, tiles: &mut Tiles, t: usize, y: usize, x: usize) {
        // A window as large as the tile's inputs.
        let window = Window { kernel: [SIDE as u8; 2], ..*self.window };
        let (rows, columns) = (Reach::rows(&window, self.shape, y), Reach::columns(&window, self.shape, x));
        let channels = usize::from(self.shape.c);
        let pitch = usize::from(self.shape.w) * channels;
        let values = &self.input[rows.at * pitch + columns.at * channels..];
        if (rows.len, columns.len) == (SIDE, SIDE) {
            return tiles.write(t, values, pitch);
        }
        self.staging.fill(self.zero);
        let lines = self.staging.chunks_exact_mut(SIDE * channels).skip(rows.tap).take(rows.len);
        for (line, values) in lines.zip(values.chunks(pitch)) {
            let len = columns.len * channels;
            line[columns.tap * channels..][..len].copy_from_slice(&values[..len]);
        }
        tiles.write(t, self.staging, SIDE * channels);
    }
}
