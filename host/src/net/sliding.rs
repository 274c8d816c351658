//! Windows that slide over maps: where each of them begins, and what lies under it.
//!
//! With the channels innermost, the values under one row of a window lie one after the other, so that a window on a map
//! with its padding around it is as many runs as it has rows: nothing has to be gathered.

use super::memory::Buffer;
use ocellus_shared::Window;

/// Rows and columns of the result of sliding `window` over a map of `size` rows and columns, which it must fit.
pub fn output_size(size: [usize; 2], window: &Window) -> [usize; 2] {
    let pad = |i: usize| usize::from(window.pad[i]) + usize::from(window.pad[i + 2]);
    [0, 1].map(|i| (size[i] + pad(i) - usize::from(window.kernel[i])) / usize::from(window.stride[i]) + 1)
}

/// An image with zeros around it, or without its margins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Rows and columns of the image itself.
    pub size: [usize; 2],
    /// Row and column of the padded image where it begins; negative where some of it is cut off.
    pub origin: [isize; 2],
    /// Rows and columns of the padded image.
    pub padded: [usize; 2],
    /// Channels.
    pub channels: usize,
}

impl Padded {
    /// Values of a padded image.
    pub fn len(&self) -> usize {
        self.padded[0] * self.pitch()
    }

    /// Values from one row to the next.
    pub fn pitch(&self) -> usize {
        self.padded[1] * self.channels
    }

    /// Calls `visit(from, at, len)` for every run of values that lies at `from` in the image and at `at` in the padded one.
    fn runs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let seen = |i: usize| {
            let first = 0.max(-self.origin[i]) as usize;
            let end = (self.padded[i] as isize - self.origin[i]).clamp(0, self.size[i] as isize) as usize;
            first..end.max(first)
        };
        let (rows, columns, c) = (seen(0), seen(1), self.channels);
        for row in rows {
            let to = (row as isize + self.origin[0]) as usize * self.padded[1];
            let at = to + (columns.start as isize + self.origin[1]) as usize;
            visit((row * self.size[1] + columns.start) * c, at * c, columns.len() * c);
        }
    }

    /// Writes `image` into `padded`, whose other values are zero and stay it.
    pub fn copy(&self, image: &[f32], padded: &mut [f32]) {
        self.runs(|from, at, len| padded[at..at + len].copy_from_slice(&image[from..from + len]));
    }

    /// Copies the image out of `padded`. What lies outside of it stays as it is.
    pub fn copy_back(&self, padded: &[f32], image: &mut [f32]) {
        self.runs(|from, at, len| image[from..from + len].copy_from_slice(&padded[at..at + len]));
    }

    /// Memory for one padded image.
    pub fn memory(&self) -> Buffer {
        Buffer::zeros(self.len())
    }
}

/// Windows that slide over images one after the other.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// How an image is padded; nothing where its windows lie inside it.
    pub padded: Option<Padded>,
    /// Where each window begins in the padded image.
    pub starts: Vec<usize>,
    /// Where the output of each window lies in the output image.
    pub targets: Vec<usize>,
    /// Values from one row of a window to the next.
    pub pitch: usize,
    /// Values of a row of a window.
    pub len: usize,
    /// Values of an image. The last one may be smaller where each pixel is a window.
    pub image: usize,
}

impl Sweep {
    /// `count` pixels of `channels` values that are windows themselves, with `outputs` values for each.
    pub fn pointwise(count: usize, channels: usize, outputs: usize) -> Self {
        Self {
            padded: None,
            starts: (0..count).map(|i| i * channels).collect(),
            targets: (0..count).map(|i| i * outputs).collect(),
            pitch: channels,
            len: channels,
            image: count * channels,
        }
    }

    /// Windows of `kernel` rows and columns on images `padded`: `size` rows and columns of them, `stride` apart, with their
    /// outputs at `targets`.
    pub fn new(padded: Padded, kernel: [usize; 2], stride: [usize; 2], size: [usize; 2], targets: Vec<usize>) -> Self {
        let (c, pitch) = (padded.channels, padded.pitch());
        let rows = (0..size[0]).map(|y| y * stride[0] * pitch);
        let starts = rows.flat_map(|row| (0..size[1]).map(move |x| row + x * stride[1] * c)).collect();
        let image = padded.size[0] * padded.size[1] * c;
        let is_inside = padded.origin == [0, 0] && padded.padded == padded.size;
        let padded = (!is_inside).then_some(padded);
        Self { padded, starts, targets, pitch, len: kernel[1] * c, image }
    }

    /// Calls `visit` with the number of each image of `x`, its values with their padding, and how many windows it has.
    pub fn images(&self, x: &[f32], mut visit: impl FnMut(usize, &[f32], usize)) {
        let mut memory = self.padded.map(|padded| padded.memory());
        for (i, image) in x.chunks(self.image).enumerate() {
            let windows = self.starts.len() * image.len() / self.image;
            match (&self.padded, &mut memory) {
                (Some(padded), Some(memory)) => {
                    padded.copy(image, memory);
                    visit(i, memory, windows);
                }
                _ => visit(i, image, windows),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_padded_and_cut() {
        let padded = Padded { size: [2, 2], origin: [1, -1], padded: [3, 2], channels: 1 };
        let mut memory = padded.memory();
        padded.copy(&[1.0, 2.0, 3.0, 4.0], &mut memory);
        assert_eq!(memory[..6], [0.0, 0.0, 2.0, 0.0, 4.0, 0.0]);
        let mut image = [0.0; 4];
        padded.copy_back(&memory, &mut image);
        assert_eq!(image, [0.0, 2.0, 0.0, 4.0]);
    }
}
