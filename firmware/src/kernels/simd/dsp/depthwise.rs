//! 3x3 and 5x5 depthwise convolutions: a band of [`Bands::CHANNELS`] channels is widened and turned, so that each has its own
//! plane in which two neighbouring pixels are one word. `SMLAD` then takes two taps at a time, four outputs wide.
//!
//! Turning costs two instructions per value. The reward: of the words `(x0, x1), (x2, x3), (x4, x5)` of a row and the
//! taps `(w0, w1), (w1, w2)`, each of the outputs takes two instructions, at whichever half its window begins; of the taps
//! `(w0, w1), (w2, w3), (w1, w2), (w3, w4)` three.

use core::arch::asm;
use ocellus_shared::op::Bands;
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

const CHANNELS: usize = Bands::CHANNELS;

/// Computes `output` with `scratch` of [`Bands::scratch_bytes`].
pub fn run(step: &Step, window: &Window, bands: Bands, input: &[i8], scratch: &mut [i8], output: &mut [i8]) {
    let (_, words, _) = bytemuck::pod_align_to_mut::<i8, u32>(scratch);
    let (weights, planes) = words.split_at_mut(CHANNELS * bands.weight_words());
    let planes = &mut planes[..CHANNELS * bands.plane_words()];
    // Columns of padding are written here and never again.
    planes.fill(pair(step.input().zero));
    let mut work = Work { step, window, bands, weights, planes };
    let (channels, out_height) = (usize::from(step.output.shape.c), usize::from(step.output.shape.h));
    for first in (0..channels).step_by(CHANNELS) {
        // Where the last channels are fewer, those before them are computed once more.
        let first = first.min(channels - CHANNELS);
        work.load_weights(first);
        for y in (0..out_height).step_by(bands.out_rows) {
            let rows = bands.out_rows.min(out_height - y);
            work.turn(input, first, y, rows);
            for k in 0..CHANNELS {
                work.filter(first, k, y, rows, output);
            }
        }
    }
}

/// A value as both halves of a word.
fn pair(value: i8) -> u32 {
    join(value, value)
}

/// Two values as the lower and the upper half of a word.
fn join(low: i8, high: i8) -> u32 {
    u32::from(i16::from(low) as u16) | u32::from(i16::from(high) as u16) << 16
}

/// One layer's bands, and the memory for one of them.
struct Work<'a> {
    step: &'a Step<'a>,
    window: &'a Window,
    bands: Bands,
    weights: &'a mut [u32], // (CHANNELS, weight_words)
    planes: &'a mut [u32],  // (CHANNELS, rows, row_words)
}

impl Work<'_> {
    /// Widens the weights of the channels from `first`.
    fn load_weights(&mut self, first: usize) {
        let channels = usize::from(self.step.output.shape.c);
        let kernel = self.bands.kernel;
        for (k, words) in self.weights.chunks_exact_mut(self.bands.weight_words()).enumerate() {
            let mut taps = self.step.weights[first + k..].iter().step_by(channels);
            for row in words.chunks_exact_mut(kernel - 1) {
                let mut next = || taps.next().map_or(0, |tap| *tap);
                let [a, b, c] = [next(), next(), next()];
                match row {
                    [one, two] => (*one, *two) = (join(a, b), join(b, c)),
                    _ => {
                        let [d, e] = [next(), next()];
                        row.copy_from_slice(&[join(a, b), join(c, d), join(b, c), join(d, e)]);
                    }
                }
            }
        }
    }

    /// Turns the input under `out_rows` rows of outputs from `y`, the channels from `first`.
    fn turn(&mut self, input: &[i8], first: usize, y: usize, out_rows: usize) {
        let Shape { h, w, c } = self.step.input().shape;
        let [height, width, channels] = [h, w, c].map(usize::from);
        let [top, left] = [0, 1].map(|side| usize::from(self.window.pad[side]));
        let row_words = self.bands.row_words;
        let start = y * usize::from(self.window.stride[0]);
        let rows = (out_rows - 1) * usize::from(self.window.stride[0]) + self.bands.kernel;
        // Rows of the band that lie on the input, and how much of each is needed.
        let from = top.saturating_sub(start).min(rows);
        let to = (top + height).saturating_sub(start).clamp(from, rows);
        for plane in self.planes.chunks_exact_mut(self.bands.plane_words()) {
            plane[..from * row_words].fill(pair(self.step.input().zero));
            plane[to * row_words..rows * row_words].fill(pair(self.step.input().zero));
        }
        let columns = width.min(2 * row_words - left);
        let (odd_left, skipped) = (left % 2, left / 2);
        let (whole, odd_right) = ((columns - odd_left) / 2, (columns - odd_left) % 2);
        if from == to {
            return;
        }
        let source = &input[(start + from - top) * width * channels..][..(to - from) * width * channels];
        let plane_bytes = 4 * self.bands.plane_words();
        let job = Turn {
            // A whole number of pixels in every row, of which this one has the band's channels.
            source: source[first..].as_ptr(),
            planes: self.planes[from * row_words + skipped..].as_mut_ptr(),
            pixel_bytes: channels,
            plane_bytes,
            plane_bytes_3: 3 * plane_bytes,
            zeros: u32::from_ne_bytes([self.step.input().zero as u8; 4]),
            odd_left,
            whole,
            odd_right,
            source_skip: (width - columns) * channels,
            plane_skip: 4 * (row_words - odd_left - whole - odd_right),
            rows: to - from,
        };
        // SAFETY: the job reads `columns` pixels of each of the source's rows, and writes as many halves of words, filled
        // up to whole words, to each row of every plane.
        unsafe { turn(job) }
    }

    /// Computes channel `first + k` of `rows` rows of outputs from `y`.
    fn filter(&self, first: usize, k: usize, y: usize, rows: usize, output: &mut [i8]) {
        let (channels, channel) = (usize::from(self.step.output.shape.c), first + k);
        let (width, row_words) = (self.bands.out_width, self.bands.row_words);
        let [down, right] = self.window.stride.map(usize::from);
        let (full, rest) = (width / Bands::OUTPUTS, width % Bands::OUTPUTS);
        let step_bytes = 4 * (Bands::OUTPUTS / 2) * right;
        let (row_bytes, kernel) = (4 * row_words, self.bands.kernel);
        let weight_words = self.bands.weight_words();
        let plane = &self.planes[k * self.bands.plane_words()..][..self.bands.plane_words()];
        let target = &mut output[y * width * channels..][..rows * width * channels];
        let mut job = Filter {
            zero: self.step.output.zero.into(),
            channels,
            full_end: plane[..full * step_bytes / 4].as_ptr_range().end,
            rest,
            row_skip: (down * row_bytes).wrapping_sub(width.div_ceil(Bands::OUTPUTS) * step_bytes),
            down_bytes: down * row_bytes,
            rows,
            plane: plane.as_ptr(),
            weights: self.weights[k * weight_words..][..weight_words].as_ptr(),
            output: target[channel..].as_mut_ptr(),
            row_bytes,
            next: step_bytes.wrapping_sub((kernel - 1) * row_bytes),
            bias: self.step.biases.get(channel),
            multiplier: self.step.multipliers.get(channel),
        };
        // SAFETY: every row of outputs reads `kernel` rows of the plane, a step of words for each four outputs and half a
        // window's more, and writes one channel of `width` pixels.
        unsafe {
            match (kernel, right) {
                (3, 1) => filter_3_1(&mut job),
                (3, _) => filter_3_2(&mut job),
                (_, 1) => filter_5_1(&mut job),
                _ => filter_5_2(&mut job),
            }
        }
    }
}

/// What [`turn`] does; in bytes, words and pixels of one row each.
#[repr(C)]
struct Turn {
    source: *const i8,
    planes: *mut u32,
    pixel_bytes: usize,
    plane_bytes: usize,
    plane_bytes_3: usize,
    /// Four times the zero point.
    zeros: u32,
    /// 1 where the first word begins with padding.
    odd_left: usize,
    /// Words of two pixels.
    whole: usize,
    /// 1 where the last word ends with padding.
    odd_right: usize,
    source_skip: usize,
    plane_skip: usize,
    rows: usize,
}

/// Widens four channels of the pixels in r8 and r9, and writes a word to each of four planes.
macro_rules! turn_word {
    () => {
        "
        sxtb16 r10, r8, ror #8
        sxtb16 r8, r8
        sxtb16 r11, r9, ror #8
        sxtb16 r9, r9
        pkhbt lr, r10, r11, lsl #16
        str lr, [r1, r3]
        pkhtb r11, r11, r10, asr #16
        str r11, [r1, r4]
        pkhtb r10, r9, r8, asr #16
        str r10, [r1, r3, lsl #1]
        pkhbt r8, r8, r9, lsl #16
        str r8, [r1], #4
        "
    };
}

/// Turns rows of pixels into rows of four planes.
#[inline(never)]
unsafe fn turn(mut job: Turn) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "ldm r12, {{r0-r4, r6}}",
            "1:",
            "ldr r7, [r12, #24]",
            "cbz r7, 2f",
            "mov r8, r6",
            "ldr r9, [r0]",
            "add r0, r2",
            turn_word!(),
            "2:",
            "ldr r7, [r12, #28]",
            "cbz r7, 4f",
            "3:",
            "ldr r8, [r0]",
            "ldr r9, [r0, r2]",
            "add r0, r0, r2, lsl #1",
            turn_word!(),
            "subs r7, #1",
            "bne 3b",
            "4:",
            "ldr r7, [r12, #32]",
            "cbz r7, 5f",
            "ldr r8, [r0]",
            "add r0, r2",
            "mov r9, r6",
            turn_word!(),
            "5:",
            "ldrd r7, r8, [r12, #36]",
            "add r0, r7",
            "add r1, r8",
            "ldr r7, [r12, #44]",
            "subs r7, #1",
            "str r7, [r12, #44]",
            "bne 1b",
            "pop {{r4-r11}}",
            inout("r12") &raw mut job => _,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("lr") _,
        )
    }
}

/// What [`filter_3_1`] and its like do.
#[repr(C)]
struct Filter {
    zero: i32,
    channels: usize,
    /// Where in the first row the last four outputs' words end of which all are wanted.
    full_end: *const u32,
    /// Outputs beyond them.
    rest: usize,
    /// Bytes from the end of a row to the start of the next, modulo 2^32.
    row_skip: usize,
    /// Bytes from a row to the next.
    down_bytes: usize,
    rows: usize,
    plane: *const u32,
    weights: *const u32,
    output: *mut i8,
    /// Bytes of a row of the plane.
    row_bytes: usize,
    /// Bytes from four outputs' last row to the next four's first, modulo 2^32.
    next: usize,
    bias: i32,
    multiplier: f32,
}

/// One row of a 3x3 window for four outputs at stride 1: their sums in r10, r11, r12 and lr. The first row adds to the
/// sums that are named.
macro_rules! row_3_1 {
    ($weights:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
        concat!(
            "ldrd r5, r6, [r1, #",
            $weights,
            "]\n",
            "ldm r0, {{r7, r8, r9}}\n",
            "smlad r10, r7, r5, ",
            $a,
            "\n",
            "smlatb r11, r7, r5, ",
            $b,
            "\n",
            "smlad r12, r8, r5, ",
            $c,
            "\n",
            "smlatb lr, r8, r5, lr\n",
            "smlabt r10, r8, r6, r10\n",
            "smlad r11, r8, r6, r11\n",
            "smlabt r12, r9, r6, r12\n",
            "smlad lr, r9, r6, lr\n",
            "add r0, ",
            $next
        )
    };
}

/// The same at stride 2.
macro_rules! row_3_2 {
    ($weights:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
        concat!(
            "ldrd r5, r6, [r1, #",
            $weights,
            "]\n",
            "ldm r0, {{r7, r8, r9}}\n",
            "smlad r10, r7, r5, ",
            $a,
            "\n",
            "smlad r11, r8, r5, ",
            $b,
            "\n",
            "smlad r12, r9, r5, ",
            $c,
            "\n",
            "smlabt r10, r8, r6, r10\n",
            "smlabt r11, r9, r6, r11\n",
            "ldrd r7, r8, [r0, #12]\n",
            "smlad lr, r7, r5, lr\n",
            "smlabt r12, r7, r6, r12\n",
            "smlabt lr, r8, r6, lr\n",
            "add r0, ",
            $next
        )
    };
}

/// One row of a 5x5 window for four outputs at stride 1. The row's weights begin at `$weights`, the
/// second pair of their words at `$more`, the last at `$last`.
macro_rules! row_5_1 {
    ($weights:literal, $more:literal, $last:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
        concat!(
            "ldrd r5, r6, [r1, #",
            $weights,
            "]\n",
            "ldm r0, {{r7, r8, r9}}\n",
            "smlad r10, r7, r5, ",
            $a,
            "\n",
            "smlatb r11, r7, r5, ",
            $b,
            "\n",
            "smlad r12, r8, r5, ",
            $c,
            "\n",
            "smlatb lr, r8, r5, lr\n",
            "smlad r10, r8, r6, r10\n",
            "smlad r12, r9, r6, r12\n",
            "ldr r7, [r0, #12]\n",
            "ldrd r5, r6, [r1, #",
            $more,
            "]\n",
            "smlad r11, r8, r5, r11\n",
            "smlad lr, r9, r5, lr\n",
            "smlabt r10, r9, r6, r10\n",
            "smlad r11, r9, r6, r11\n",
            "smlabt r12, r7, r6, r12\n",
            "smlad lr, r7, r6, lr\n",
            "add r0, ",
            $next
        )
    };
}

/// The same at stride 2, where no window begins in the middle of a word.
macro_rules! row_5_2 {
    ($weights:literal, $more:literal, $last:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
        concat!(
            "ldrd r5, r6, [r1, #",
            $weights,
            "]\n",
            "ldm r0, {{r7, r8, r9}}\n",
            "smlad r10, r7, r5, ",
            $a,
            "\n",
            "smlad r11, r8, r5, ",
            $b,
            "\n",
            "smlad r12, r9, r5, ",
            $c,
            "\n",
            "smlad r10, r8, r6, r10\n",
            "smlad r11, r9, r6, r11\n",
            "ldrd r7, r8, [r0, #12]\n",
            "smlad lr, r7, r5, lr\n",
            "smlad r12, r7, r6, r12\n",
            "smlad lr, r8, r6, lr\n",
            "ldr r6, [r1, #",
            $last,
            "]\n",
            "ldr r5, [r0, #20]\n",
            "smlabt r10, r9, r6, r10\n",
            "smlabt r11, r7, r6, r11\n",
            "smlabt r12, r8, r6, r12\n",
            "smlabt lr, r5, r6, lr\n",
            "add r0, ",
            $next
        )
    };
}

/// The three rows of the window for four outputs.
macro_rules! window_3 {
    ($row:ident) => {
        concat!(
            "vmov lr, s8\n",
            $row!("0", "lr", "lr", "lr", "r3"),
            "\n",
            $row!("8", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("16", "r10", "r11", "r12", "r4")
        )
    };
}

/// The five rows of the window for four outputs.
macro_rules! window_5 {
    ($row:ident) => {
        concat!(
            "vmov lr, s8\n",
            $row!("0", "8", "12", "lr", "lr", "lr", "r3"),
            "\n",
            $row!("16", "24", "28", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("32", "40", "44", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("48", "56", "60", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("64", "72", "76", "r10", "r11", "r12", "r4")
        )
    };
}

/// The results of the sums `$a` and `$b`, in int8; the zero point is in r6, the multiplier in s9.
macro_rules! finish {
    ($a:literal, $b:literal) => {
        concat!(
            "vmov s0, s1, ",
            $a,
            ", ",
            $b,
            "\n",
            "vcvt.f32.s32 s0, s0\n",
            "vcvt.f32.s32 s1, s1\n",
            "vmul.f32 s0, s0, s9\n",
            "vmul.f32 s1, s1, s9\n",
            "vcvtr.s32.f32 s0, s0\n",
            "vcvtr.s32.f32 s1, s1\n",
            "vmov ",
            $a,
            ", ",
            $b,
            ", s0, s1\n",
            "qadd ",
            $a,
            ", ",
            $a,
            ", r6\n",
            "qadd ",
            $b,
            ", ",
            $b,
            ", r6\n",
            "ssat ",
            $a,
            ", #8, ",
            $a,
            "\n",
            "ssat ",
            $b,
            ", #8, ",
            $b
        )
    };
}

macro_rules! filter {
    ($(#[$doc:meta])* $name:ident, $window:ident, $row:ident) => {
        $(#[$doc])*
        #[inline(never)]
        unsafe fn $name(job: &mut Filter) {
            // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
            unsafe {
                asm!(
                    "push {{r4-r11}}",
                    "push {{r0, r1}}",
                    "add r5, r0, #28",
                    "vldr s8, [r0, #48]",
                    "vldr s9, [r0, #52]",
                    "ldr r8, [r0, #8]",
                    "ldm r5, {{r0-r4}}",
                    "b 2f",
                    "1:",
                    $window!($row),
                    "ldr r5, [sp]",
                    "ldm r5, {{r6, r7, r8}}",
                    finish!("r10", "r11"),
                    "strb r10, [r2]",
                    "strb r11, [r2, r7]",
                    "add r2, r2, r7, lsl #1",
                    finish!("r12", "lr"),
                    "strb r12, [r2]",
                    "strb lr, [r2, r7]",
                    "add r2, r2, r7, lsl #1",
                    "2:",
                    "cmp r0, r8",
                    "blo 1b",
                    "ldr r5, [sp]",
                    "ldr r6, [r5, #12]",
                    "cmp r6, #0",
                    "beq 3f",
                    $window!($row),
                    "ldr r5, [sp]",
                    "ldrd r6, r7, [r5]",
                    "ldr r8, [r5, #12]",
                    finish!("r10", "r11"),
                    "strb r10, [r2]",
                    "add r2, r7",
                    "cmp r8, #2",
                    "blo 3f",
                    "strb r11, [r2]",
                    "add r2, r7",
                    "beq 3f",
                    finish!("r12", "lr"),
                    "strb r12, [r2]",
                    "add r2, r7",
                    "3:",
                    "ldr r8, [r5, #8]",
                    "ldrd r6, r7, [r5, #16]",
                    "add r0, r6",
                    "add r8, r7",
                    "str r8, [r5, #8]",
                    "ldr r6, [r5, #24]",
                    "subs r6, #1",
                    "str r6, [r5, #24]",
                    "bne 2b",
                    "add sp, #8",
                    "pop {{r4-r11}}",
                    inout("r0") job => _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                    out("r12") _,
                    out("lr") _,
                    out("s0") _,
                    out("s1") _,
                    out("s8") _,
                    out("s9") _,
                )
            }
        }
    };
}

filter! {
    /// Filters rows of one channel by a 3x3 window at stride 1 to the right.
    filter_3_1, window_3, row_3_1
}
filter! {
    /// Filters rows of one channel by a 3x3 window at stride 2 to the right.
    filter_3_2, window_3, row_3_2
}
filter! {
    /// Filters rows of one channel by a 5x5 window at stride 1 to the right.
    filter_5_1, window_5, row_5_1
}
filter! {
    /// Filters rows of one channel by a 5x5 window at stride 2 to the right.
    filter_5_2, window_5, row_5_2
}
