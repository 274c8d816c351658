//! Convolution: the input under the window of [`PATCHES`] neighbouring outputs is gathered into patches, and the filters
//! are applied to them two at a time.

use super::reference::Point;
use super::simd::Patches;
use super::window::Reach;
use super::{Inputs, Kernel};
use core::ops::Range;
use ocellus_shared::op::{Conv, PATCHES, pair_index, row_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

impl Kernel for Conv {
    fn run(&self, step: &Step, inputs: Inputs, scratch: &mut [i8], output: &mut [i8]) {
        let (window, input) = (&self.window, inputs.get(step.input()));
        #[cfg(target_arch = "x86_64")]
        if super::simd::x86::conv::run(step, window, input, output) {
            return;
        }
        let (shape, out) = (step.input().shape, step.output.shape);
        let channels = usize::from(out.c);
        let patch_len = window.taps() * usize::from(shape.c);
        let row = row_bytes(patch_len);
        let (staging, scratch) = scratch.split_at_mut(row);
        // What fills the filters up to whole words meets zeros.
        staging[patch_len..].fill(0);
        let mut patches = Patches::new(step, scratch, row);
        let mut gather = Gather::new(step, window, input, staging);
        for pixels in output.chunks_mut(PATCHES * channels) {
            let count = pixels.len() / channels;
            if !gather.group(&mut patches, count) {
                (0..count).for_each(|p| gather.next(&mut patches, p));
            }
            patches.apply(pixels);
        }
    }

    fn value(&self, at: &Point, inputs: Inputs) -> i8 {
        let channels = usize::from(at.step.input().shape.c);
        let row = row_bytes(self.window.taps() * channels);
        let mut acc = 0i32;
        for channel in 0..channels {
            for (tap, x) in at.padded(&self.window, inputs, channel).enumerate() {
                let w = at.step.weights[pair_index(at.c, tap * channels + channel, row)];
                acc = acc.wrapping_add(x * i32::from(w));
            }
        }
        at.finish(acc, at.c)
    }
}

/// Collects what lies under the window, output after output.
struct Gather<'a> {
    window: &'a Window,
    shape: Shape,
    out_width: usize,
    zero: i8,
    input: &'a [i8], // (h, w, c)
    /// Room for one patch, `(kh, kw, c)`.
    staging: &'a mut [i8],
    /// The next output's row and column.
    y: usize,
    x: usize,
    /// What the window reaches in that row.
    rows: Reach,
    /// Columns of outputs whose windows no padding falls into.
    inside: Range<usize>,
}

impl<'a> Gather<'a> {
    fn new(step: &Step, window: &'a Window, input: &'a [i8], staging: &'a mut [i8]) -> Self {
        let shape = step.input().shape;
        let out_width = usize::from(step.output.shape.w);
        let rows = Reach::rows(window, shape, 0);
        // Of the columns under a window, counted from the start of the padding.
        let [left, stride, kernel] = [window.pad[1], window.stride[1], window.kernel[1]].map(usize::from);
        let end = (left + usize::from(shape.w)).checked_sub(kernel).map_or(0, |last| last / stride + 1);
        Self {
            window,
            shape,
            out_width,
            zero: step.input().zero,
            input,
            staging,
            y: 0,
            x: 0,
            rows,
            inside: left.div_ceil(stride)..end.min(out_width),
        }
    }

    /// Brings the input under the next `count` output pixels into the patches; `false`, and nothing done, unless they fill
    /// all patches, are of one row, and no padding falls into their windows.
    #[inline(always)]
    fn group(&mut self, patches: &mut Patches, count: usize) -> bool {
        let [height, width] = self.window.kernel.map(usize::from);
        let fits = self.x >= self.inside.start && self.x + PATCHES <= self.inside.end;
        if count < PATCHES || !fits || self.rows.len != height {
            return false;
        }
        let channels = usize::from(self.shape.c);
        let pitch = usize::from(self.shape.w) * channels;
        let stride = usize::from(self.window.stride[1]);
        let column = self.x * stride - usize::from(self.window.pad[1]);
        let values = &self.input[self.rows.at * pitch + column * channels..];
        let done = patches.write_rows(values, height, width * channels, pitch, stride * channels);
        if done {
            self.advance(PATCHES);
        }
        done
    }

    /// Goes on by `count` outputs of one row.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        self.x += count;
        if self.x == self.out_width {
            (self.x, self.y) = (0, self.y + 1);
            self.rows = Reach::rows(self.window, self.shape, self.y);
        }
    }

    /// Brings the input under the next output pixel into patch `p`, with the zero point where it falls on padding; by way
    /// of the staging room where channels are no whole words.
    #[inline(never)]
    fn next(&mut self, patches: &mut Patches, p: usize) {
        let columns = Reach::columns(self.window, self.shape, self.x);
        let (rows, channels) = (self.rows, usize::from(self.shape.c));
        self.advance(1);
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
