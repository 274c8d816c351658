//! Convolution: the input under the window of [`PATCHES`] neighbouring outputs is gathered into rows, and the filters,
//! which are rows of the same layout, are applied to them as dot products.

use super::filters;
use super::window::Reach;
use ocellus_shared::op::{PATCHES, row_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

pub fn run(step: &Step, window: &Window, input: &[i8], scratch: &mut [i8], output: &mut [i8]) {
    let (shape, out) = (step.input().shape, step.output.shape);
    let channels = usize::from(out.c);
    let patch_len = window.taps() * usize::from(shape.c);
    if window.taps() == 1 && window.stride == [1, 1] {
        return pointwise(step, input, output);
    }
    let (first, second) = scratch.split_at_mut(row_bytes(patch_len));
    let (first, second) = (&mut first[..patch_len], &mut second[..patch_len]);
    let mut patches = Gather { window, shape, out_width: usize::from(out.w), zero: step.input().zero, input };
    for (index, pixels) in output.chunks_mut(PATCHES * channels).enumerate() {
        patches.fill(PATCHES * index, first);
        match pixels.split_at_mut_checked(channels) {
            Some((one, two)) if !two.is_empty() => {
                patches.fill(PATCHES * index + 1, second);
                filters::apply(step, [first, second], [one, two]);
            }
            _ => filters::apply(step, [first], [pixels]),
        }
    }
}

/// A 1x1 convolution at stride 1: the pixels themselves are the patches.
fn pointwise(step: &Step, input: &[i8], output: &mut [i8]) {
    let (in_channels, channels) = (usize::from(step.input().shape.c), usize::from(step.output.shape.c));
    for (patches, pixels) in input.chunks(PATCHES * in_channels).zip(output.chunks_mut(PATCHES * channels)) {
        let (first, second) = patches.split_at(in_channels);
        let (one, two) = pixels.split_at_mut(channels);
        if second.is_empty() {
            filters::apply(step, [first], [one]);
        } else {
            filters::apply(step, [first, second], [one, two]);
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
}

impl Gather<'_> {
    /// Writes the input under output pixel `index` to `patch`, `(kh, kw, c)`, with the zero point where it falls on
    /// padding.
    fn fill(&mut self, index: usize, patch: &mut [i8]) {
        let channels = usize::from(self.shape.c);
        let rows = Reach::rows(self.window, self.shape, index / self.out_width);
        let columns = Reach::columns(self.window, self.shape, index % self.out_width);
        if rows.len * columns.len < self.window.taps() {
            patch.fill(self.zero);
        }
        let (from, to) = (columns.tap * channels, (columns.tap + columns.len) * channels);
        let lines = patch.chunks_exact_mut(usize::from(self.window.kernel[1]) * channels);
        for (line, y) in lines.skip(rows.tap).take(rows.len).zip(rows.at..) {
            let at = (y * usize::from(self.shape.w) + columns.at) * channels;
            line[from..to].copy_from_slice(&self.input[at..][..to - from]);
        }
    }
}
