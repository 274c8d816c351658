//! Convolution: the input under the window of [`PATCHES`] neighbouring outputs is gathered into patches, and the filters
//! are applied to them two at a time.

use super::simd::{Patches, requantize};
use super::window::Reach;
use ocellus_shared::op::{PATCHES, row_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

pub fn run(step: &Step, window: &Window, input: &[i8], scratch: &mut [i8], output: &mut [i8]) {
    let (shape, out) = (step.input().shape, step.output.shape);
    let channels = usize::from(out.c);
    let patch_len = window.taps() * usize::from(shape.c);
    let row = row_bytes(patch_len);
    let (staging, scratch) = scratch.split_at_mut(row);
    // What fills the filters up to whole words meets zeros.
    staging[patch_len..].fill(0);
    let mut patches = Patches::new(scratch, row);
    let mut gather = Gather { window, shape, out_width: usize::from(out.w), zero: step.input().zero, input, staging };
    for (index, pixels) in output.chunks_mut(PATCHES * channels).enumerate() {
        for p in 0..pixels.len() / channels {
            gather.fill(PATCHES * index + p, &mut patches, p);
        }
        apply(step, &patches, row, pixels);
    }
}

/// Applies every filter of `step` to the patches, whose filters have `row` bytes; the results go to `pixels`, one value
/// per filter and patch. A function of its own, so that its loops have all registers.
#[inline(never)]
fn apply(step: &Step, patches: &Patches, row: usize, pixels: &mut [i8]) {
    let channels = usize::from(step.output.shape.c);
    for (pair, weights) in step.weights.chunks_exact(2 * row).enumerate() {
        let sums = patches.dots(weights);
        for half in 0..2 {
            let channel = 2 * pair + half;
            if channel == channels {
                break;
            }
            let (bias, multiplier) = (step.biases.get(channel), step.multipliers.get(channel));
            let mut at = channel;
            for sums in sums {
                // The last outputs may be fewer than the patches.
                if let Some(pixel) = pixels.get_mut(at) {
                    *pixel = requantize(sums[half].wrapping_add(bias), multiplier, step.output.zero);
                }
                at += channels;
            }
        }
    }
}

/// Collects what lies under the window.
struct Gather<'a> {
    window: &'a Window,
    shape: Shape,
    out_width: usize,
    zero: i8,
    input: &'a [i8], // (h, w, c)
    /// Room for one patch, `(kh, kw, c)`.
    staging: &'a mut [i8],
}

impl Gather<'_> {
    /// Brings the input under output pixel `index` into patch `p`, with the zero point where it falls on padding.
    fn fill(&mut self, index: usize, patches: &mut Patches, p: usize) {
        let channels = usize::from(self.shape.c);
        let rows = Reach::rows(self.window, self.shape, index / self.out_width);
        let columns = Reach::columns(self.window, self.shape, index % self.out_width);
        let reaches_out = rows.len * columns.len < self.window.taps();
        let kernel_row = usize::from(self.window.kernel[1]) * channels;
        let len = columns.len * channels;
        let width = usize::from(self.shape.w) * channels;
        let (mut to, mut from) =
            (rows.tap * kernel_row + columns.tap * channels, rows.at * width + columns.at * channels);
        if channels.is_multiple_of(4) {
            if reaches_out {
                patches.clear(p, self.zero);
            }
            for _ in 0..rows.len {
                patches.write(p, to, &self.input[from..from + len]);
                (to, from) = (to + kernel_row, from + width);
            }
            return;
        }
        if reaches_out {
            self.staging[..self.window.taps() * channels].fill(self.zero);
        }
        for _ in 0..rows.len {
            self.staging[to..to + len].copy_from_slice(&self.input[from..from + len]);
            (to, from) = (to + kernel_row, from + width);
        }
        patches.write(p, 0, self.staging);
    }
}
