//! Which taps of a window fall on the input.

use ocellus_shared::{Shape, Window};

/// The taps of one window position along one axis that fall on the input; the others fall on padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// First tap on the input.
    pub tap: usize,
    /// Where on the input it falls.
    pub at: usize,
    /// Number of taps on the input; at least one, since padding is narrower than the window, and none only past the last
    /// output, where a window may begin behind the input.
    pub len: usize,
}

impl Reach {
    fn new(index: usize, stride: u8, before: u8, kernel: u8, size: u16) -> Self {
        // Position of the first tap and of the input's end, counted from the start of the padding.
        let (start, before) = (index * usize::from(stride), usize::from(before));
        let end = (start + usize::from(kernel)).min(before + usize::from(size));
        let first = start.max(before);
        Self { tap: first - start, at: first - before, len: end.saturating_sub(first) }
    }

    /// Where on the input `tap` falls, if it does.
    pub fn on_input(&self, tap: usize) -> Option<usize> {
        tap.checked_sub(self.tap).filter(|tap| *tap < self.len).map(|tap| self.at + tap)
    }

    /// The rows under output row `y`.
    pub fn rows(window: &Window, input: Shape, y: usize) -> Self {
        Self::new(y, window.stride[0], window.pad[0], window.kernel[0], input.h)
    }

    /// The columns under output column `x`.
    pub fn columns(window: &Window, input: Shape, x: usize) -> Self {
        Self::new(x, window.stride[1], window.pad[1], window.kernel[1], input.w)
    }
}

/// Calls `visit` for every output pixel: its rows, its columns, and its channels in `output`. One function for all who
/// visit, since a board's flash pays for each.
#[inline(never)]
pub fn each_pixel(
    window: &Window,
    input: Shape,
    out: Shape,
    output: &mut [i8], // (out.h, out.w, out.c)
    visit: &mut dyn FnMut(Reach, Reach, &mut [i8]),
) {
    let channels = usize::from(out.c);
    for (y, line) in output.chunks_exact_mut(usize::from(out.w) * channels).enumerate() {
        let rows = Reach::rows(window, input, y);
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            visit(rows, Reach::columns(window, input, x), pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_on_padding_are_left_out() {
        let reach = |index, stride, before, size| {
            let Reach { tap, at, len } = Reach::new(index, stride, before, 3, size);
            (tap, at, len)
        };
        // A row of 5 with one pixel of padding on each side.
        assert_eq!(reach(0, 1, 1, 5), (1, 0, 2));
        assert_eq!(reach(2, 1, 1, 5), (0, 1, 3));
        assert_eq!(reach(4, 1, 1, 5), (0, 3, 2));
        // Stride 2, no padding.
        assert_eq!(reach(1, 2, 0, 5), (0, 2, 3));
        // A single pixel between two of padding: each window sees it with another tap.
        assert_eq!([reach(0, 1, 2, 1), reach(1, 1, 2, 1), reach(2, 1, 2, 1)], [(2, 0, 1), (1, 0, 1), (0, 0, 1)]);
        // One output more than there are, of windows of 1 at stride 2 over 5: the next would begin behind the input.
        assert_eq!(Reach::new(3, 2, 0, 1, 5).len, 0);
        let last = Reach { tap: 1, at: 3, len: 2 };
        assert_eq!([0, 1, 2, 3].map(|tap| last.on_input(tap)), [None, Some(3), Some(4), None]);
    }
}
