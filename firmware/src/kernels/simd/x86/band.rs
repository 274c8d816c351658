//! The rows of a feature map that lie under a window, with their padding, in the form that products want.
//!
//! Each row is brought into that form once, and stays while windows reach it: a row and its follower after as many rows as the window has
//! share a place.

use core::mem::MaybeUninit;
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

/// Values that there is room for.
pub const ROOM: usize = 40 * 1024;

/// Memory for a band.
pub type Room<T> = [MaybeUninit<T>; ROOM];

/// Values behind each row that a vector may reach, and that meet zeros.
pub const SLACK: usize = 16;

/// The form that values have in a band.
pub trait Form: Copy {
    /// `value` in that form.
    fn of(value: i8) -> Self;
}

/// Widened.
impl Form for i16 {
    #[inline(always)]
    fn of(value: i8) -> Self {
        value.into()
    }
}

/// 128 more, so that no sign is left.
impl Form for u8 {
    #[inline(always)]
    fn of(value: i8) -> Self {
        value as Self ^ 0x80
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Band<'a, T> {
    /// Rows of outputs, and outputs of each.
    pub out: [usize; 2],
    /// Values from an output's window to the next one's.
    pub step: usize,
    /// Rows of the window.
    pub kernel_rows: usize,
    stride: usize,
    zero: i8,
    input: &'a [i8], // (height, width * channels)
    row: usize,
    height: usize,
    top: usize,
    left: usize,
    pitch: usize,
    values: &'a mut [MaybeUninit<T>], // (kernel_rows, pitch)
    /// The next row to bring in, counted from the start of the padding.
    next: usize,
    /// The place of the first row under the windows.
    first: usize,
}

impl<'a, T: Form> Band<'a, T> {
    /// The band of a convolution; nothing where there is no room for it.
    pub fn new(
        step: &Step,
        window: &Window,
        input: &'a [i8], // (h, w, c)
        room: &'a mut Room<T>,
    ) -> Option<Self> {
        let (Shape { h, w, c }, out) = (step.input().shape, step.output.shape);
        let [height, width, channels, out_height, out_width] = [h, w, c, out.h, out.w].map(usize::from);
        let [kernel_rows, stride, top, left, right] =
            [window.kernel[0], window.stride[0], window.pad[0], window.pad[1], window.pad[3]].map(usize::from);
        // A window of one pixel that goes everywhere does not see where rows end.
        let is_flat = *window == Window::valid(1, 1) && height * width * channels + SLACK <= ROOM;
        let (height, width) = if is_flat { (1, height * width) } else { (height, width) };
        let pitch = (left + width + right) * channels + SLACK;
        let values = room.get_mut(..kernel_rows * pitch)?;
        Some(Self {
            out: if is_flat { [1, width] } else { [out_height, out_width] },
            step: usize::from(window.stride[1]) * channels,
            kernel_rows,
            stride,
            zero: step.input().zero,
            input,
            row: width * channels,
            height,
            top,
            left: left * channels,
            pitch,
            values,
            next: 0,
            first: 0,
        })
    }

    /// Goes back to the top.
    pub fn rewind(&mut self) {
        if self.out[0] > 1 {
            self.next = 0;
        }
    }

    /// Brings in what lies under output row `y`; rows come one after the other.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn reach(&mut self, y: usize) {
        let first = y * self.stride;
        for at in self.next.max(first)..first + self.kernel_rows {
            let place = &mut self.values[at % self.kernel_rows * self.pitch..][..self.pitch];
            if !(self.top..self.top + self.height).contains(&at) {
                fill(place, self.zero);
                continue;
            }
            let (left, place) = place.split_at_mut(self.left);
            let (place, right) = place.split_at_mut(self.row);
            fill(left, self.zero);
            fill(right, self.zero);
            let values = &self.input[(at - self.top) * self.row..][..self.row];
            for (to, from) in place.iter_mut().zip(values) {
                to.write(T::of(*from));
            }
        }
        self.next = first + self.kernel_rows;
        self.first = first % self.kernel_rows;
    }

    /// Where row `dy` under the windows of the output row last reached begins among [`Self::values`].
    #[inline(always)]
    pub fn start(&self, dy: usize) -> usize {
        let place = self.first + dy;
        (if place < self.kernel_rows { place } else { place - self.kernel_rows }) * self.pitch
    }

    /// Values of a row, its padding and the slack included.
    pub fn pitch(&self) -> usize {
        self.pitch
    }

    /// All values of row `dy` under the windows of the output row last reached.
    #[inline(always)]
    pub fn row(&self, dy: usize) -> &[T] {
        let row = &self.values[self.start(dy)..][..self.pitch];
        // SAFETY: all rows under the windows were brought in.
        unsafe { row.assume_init_ref() }
    }

    /// How many values there are in all rows.
    pub fn end(&self) -> usize {
        self.values.len()
    }

    /// The values of all rows; only rows that were reached hold any.
    pub fn values(&self) -> *const T {
        self.values.as_ptr().cast()
    }
}

#[inline(always)]
fn fill<T: Form>(place: &mut [MaybeUninit<T>], zero: i8) {
    for value in place {
        value.write(T::of(zero));
    }
}
