//! 3x3 and 5x5 depthwise convolutions: a band of [`Bands::CHANNELS`] channels is widened and turned, so that each has its own
//! plane in which two neighbouring pixels are one word. `SMLAD` then takes two taps at a time, four outputs wide.
//!
//! Turning costs two instructions per value. The reward: of the words `(x0, x1), (x2, x3), (x4, x5)` of a row and the
//! taps `(w0, w1), (w1, w2)`, each of the outputs takes two instructions, at whichever half its window begins; of the taps
//! `(w0, w1), (w2, w3), (w1, w2), (w3, w4)` three.

use core::arch::asm;
use ocellus_shared::op::{Bands, has_kernel};
use ocellus_shared::plan::{Operand, Step};
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
    let mut next = 0;
    while next < channels {
        // Where the last channels are fewer, those before them are computed once more.
        let first = next.min(channels - CHANNELS);
        next += CHANNELS;
        work.turn_weights(first);
        let mut y = 0;
        while y < out_height {
            let rows = bands.out_rows.min(out_height - y);
            work.turn(input, first, y, rows);
            work.filter(first, y, rows, output);
            y += rows;
        }
    }
}

/// A value as both halves of a word.
fn pair(value: i8) -> u32 {
    u32::from(i16::from(value) as u16) * 0x0001_0001
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
    /// Turns the weights of the channels from `first`, each with its right neighbour.
    fn turn_weights(&mut self, first: usize) {
        let (channels, kernel) = (usize::from(self.step.output.shape.c), self.bands.kernel);
        let source = &self.step.weights[..kernel * kernel * channels];
        let words = &mut self.weights[..CHANNELS * self.bands.weight_words()];
        let plane_bytes = 4 * self.bands.weight_words();
        // SAFETY: the job reads two neighbours at every place of a row but the last, and writes as many words to a plane.
        unsafe {
            turn(&mut Turn {
                source: source[first..].as_ptr(),
                planes: words.as_mut_ptr(),
                pixel_bytes: channels,
                plane_bytes,
                plane_bytes_3: 3 * plane_bytes,
                word_bytes: channels,
                zeros: 0,
                odd_left: 0,
                whole: kernel - 1,
                odd_right: 0,
                source_skip: channels,
                plane_skip: 0,
                rows: kernel,
            })
        }
    }

    /// Turns the input under `out_rows` rows of outputs from `y`, the channels from `first`.
    fn turn(&mut self, input: &[i8], first: usize, y: usize, out_rows: usize) {
        let Operand { shape: Shape { h, w, c }, zero, .. } = self.step.input();
        let [height, width, channels] = [h, w, c].map(usize::from);
        let [top, left] = [0, 1].map(|side| usize::from(self.window.pad[side]));
        let (row_words, plane_words) = (self.bands.row_words, self.bands.plane_words());
        let start = y * usize::from(self.window.stride[0]);
        let rows = (out_rows - 1) * usize::from(self.window.stride[0]) + self.bands.kernel;
        // Rows of the band that lie on the input, and how much of each is needed.
        let from = top.saturating_sub(start).min(rows);
        let to = (top + height).saturating_sub(start).clamp(from, rows);
        // Where one band holds all rows, those of padding stay as they are, too.
        let is_only = self.bands.out_rows == usize::from(self.step.output.shape.h);
        if to - from < rows && !is_only {
            for plane in self.planes.chunks_exact_mut(plane_words) {
                plane[..from * row_words].fill(pair(zero));
                plane[to * row_words..rows * row_words].fill(pair(zero));
            }
        }
        if from == to {
            return;
        }
        let columns = width.min(2 * row_words - left);
        let odd_left = left % 2;
        let (whole, odd_right) = ((columns - odd_left) / 2, (columns - odd_left) % 2);
        let source = &input[(start + from - top) * width * channels..][..(to - from) * width * channels];
        let mut job = Turn {
            // A whole number of pixels in every row, of which this one has the band's channels.
            source: source[first..].as_ptr(),
            planes: self.planes[from * row_words + left / 2..].as_mut_ptr(),
            pixel_bytes: channels,
            plane_bytes: 4 * plane_words,
            plane_bytes_3: 12 * plane_words,
            word_bytes: 2 * channels,
            zeros: u32::from_ne_bytes([zero as u8; 4]),
            odd_left,
            whole,
            odd_right,
            source_skip: (width - columns) * channels,
            plane_skip: 4 * (row_words - odd_left - whole - odd_right),
            rows: to - from,
        };
        // SAFETY: the job reads `columns` pixels of each of the source's rows, and writes as many halves of words, filled
        // up to whole words, to each row of every plane.
        unsafe { turn(&mut job) }
    }

    /// Computes `rows` rows of outputs from `y`, the channels from `first`.
    fn filter(&self, first: usize, y: usize, rows: usize, output: &mut [i8]) {
        let Bands { kernel, out_width, row_words, .. } = self.bands;
        let channels = usize::from(self.step.output.shape.c);
        let [down, right] = self.window.stride.map(usize::from);
        let step_bytes = 4 * (Bands::OUTPUTS / 2) * right;
        let (row_bytes, plane_words) = (4 * row_words, self.bands.plane_words());
        let target = &mut output[y * out_width * channels..][..rows * out_width * channels];
        let parameters = first..first + CHANNELS;
        let mut job = Filter {
            zero: self.step.output.zero.into(),
            channels,
            full_bytes: out_width / Bands::OUTPUTS * step_bytes,
            rest: out_width % Bands::OUTPUTS,
            row_skip: (down * row_bytes).wrapping_sub(out_width.div_ceil(Bands::OUTPUTS) * step_bytes),
            down_bytes: down * row_bytes,
            rows,
            row_bytes,
            next: step_bytes.wrapping_sub((kernel - 1) * row_bytes),
            plane: self.planes[..CHANNELS * plane_words].as_ptr(),
            output: target[first..].as_mut_ptr(),
            weights: self.weights[..CHANNELS * self.bands.weight_words()].as_ptr(),
            biases: self.step.biases.as_bytes()[parameters.clone()].as_ptr(),
            multipliers: self.step.multipliers.as_bytes()[parameters].as_ptr(),
            plane_bytes: 4 * plane_words,
            left: CHANNELS,
        };
        // SAFETY: every row of outputs reads `kernel` rows of a plane, a step of words for each four outputs and half a
        // window's more, and writes one channel of `out_width` pixels; there are as many planes, weights and parameters as
        // channels are left.
        unsafe {
            match (kernel, right) {
                (3, 1) if const { has_kernel("depthwise_3x3") } => filter_3_1(&mut job),
                (3, _) if const { has_kernel("depthwise_3x3") } => filter_3_2(&mut job),
                (5, 1) if const { has_kernel("depthwise_5x5") } => filter_5_1(&mut job),
                (5, _) if const { has_kernel("depthwise_5x5") } => filter_5_2(&mut job),
                // Not linked: no plan that was parsed has them.
                _ => {}
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
    /// From a word's first pixel to the next word's.
    word_bytes: usize,
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
unsafe fn turn(job: &mut Turn) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "ldm r12, {{r0-r6}}",
            "1:",
            "ldr r7, [r12, #28]",
            "cbz r7, 2f",
            "mov r8, r6",
            "ldr r9, [r0]",
            "add r0, r2",
            turn_word!(),
            "2:",
            "ldr r7, [r12, #32]",
            "cbz r7, 4f",
            "3:",
            "ldr r8, [r0]",
            "ldr r9, [r0, r2]",
            "add r0, r5",
            turn_word!(),
            "subs r7, #1",
            "bne 3b",
            "4:",
            "ldr r7, [r12, #36]",
            "cbz r7, 5f",
            "ldr r8, [r0]",
            "add r0, r2",
            "mov r9, r6",
            turn_word!(),
            "5:",
            "ldrd r7, r8, [r12, #40]",
            "add r0, r7",
            "add r1, r8",
            "ldr r7, [r12, #48]",
            "subs r7, #1",
            "str r7, [r12, #48]",
            "bne 1b",
            "pop {{r4-r11}}",
            inout("r12") job => _,
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
    /// Bytes of a row's words for whole fours of outputs.
    full_bytes: usize,
    /// Outputs beyond them.
    rest: usize,
    /// Bytes from the end of a row to the start of the next, modulo 2^32.
    row_skip: usize,
    /// Bytes from a row of outputs to the next, in the plane.
    down_bytes: usize,
    rows: usize,
    /// Bytes of a row of the plane.
    row_bytes: usize,
    /// Bytes from four outputs' last row to the next four's first, modulo 2^32.
    next: usize,
    plane: *const u32,
    output: *mut i8,
    weights: *const u32,
    biases: *const [u8; 4],
    multipliers: *const [u8; 4],
    plane_bytes: usize,
    /// Channels that are left to do.
    left: usize,
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

/// One row of a 5x5 window for four outputs at stride 1. The row's weights begin at `$weights`, the second at `$more`, the
/// third at `$even`, the last at `$last`.
macro_rules! row_5_1 {
    ($weights:literal, $more:literal, $even:literal, $last:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
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
            "smlad r11, r8, r6, r11\n",
            "smlad lr, r9, r6, lr\n",
            "ldr r7, [r0, #12]\n",
            "ldrd r5, r6, [r1, #",
            $even,
            "]\n",
            "smlad r10, r8, r5, r10\n",
            "smlad r12, r9, r5, r12\n",
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
    ($weights:literal, $more:literal, $even:literal, $last:literal, $a:literal, $b:literal, $c:literal, $next:literal) => {
        concat!(
            "ldr r5, [r1, #",
            $weights,
            "]\n",
            "ldr r6, [r1, #",
            $even,
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
            $row!("0", "4", "8", "12", "lr", "lr", "lr", "r3"),
            "\n",
            $row!("16", "20", "24", "28", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("32", "36", "40", "44", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("48", "52", "56", "60", "r10", "r11", "r12", "r3"),
            "\n",
            $row!("64", "68", "72", "76", "r10", "r11", "r12", "r4")
        )
    };
}

macro_rules! filter {
    ($(#[$doc:meta])* $name:ident, $window:ident, $row:ident, $weight_bytes:literal) => {
        $(#[$doc])*
        #[inline(never)]
        unsafe fn $name(job: &mut Filter) {
            // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
            //
            // On the stack, from its top: the zero point, the channels, where the row's whole fours of outputs end, the rest,
            // from a row to the next in two ways, the rows that are left, the job.
            unsafe {
                asm!(
                    "push {{r4-r11}}",
                    "ldm r0, {{r1-r7}}",
                    "mov r8, r0",
                    "push {{r1-r8}}",
                    "1:",
                    "ldr r12, [sp, #28]",
                    "ldr r5, [r12, #8]",
                    "ldr r6, [r12, #24]",
                    "add r12, #28",
                    "ldm r12, {{r3, r4, r7-r11}}",
                    "mov r0, r7",
                    "mov r2, r8",
                    "mov r1, r9",
                    "add r5, r0",
                    "str r5, [sp, #8]",
                    "str r6, [sp, #24]",
                    "ldr lr, [r10], #4",
                    "vmov s8, lr",
                    "ldr lr, [r11], #4",
                    "vmov s4, lr",
                    "ldr lr, [r12, #28]",
                    "add r7, lr",
                    "add r8, #1",
                    "add r9, #{weight_bytes}",
                    "add r12, #8",
                    "stm r12, {{r7-r11}}",
                    "2:",
                    $window!($row),
                    "ldm sp, {{r6, r7, r8}}",
                    "vmov s0, s1, r10, r11",
                    "vmov s2, s3, r12, lr",
                    round_four!(),
                    "vmov r10, r11, s0, s1",
                    "vmov r12, lr, s2, s3",
                    "qadd r10, r10, r6",
                    "qadd r11, r11, r6",
                    "qadd r12, r12, r6",
                    "qadd lr, lr, r6",
                    "ssat r10, #8, r10",
                    "ssat r11, #8, r11",
                    "ssat r12, #8, r12",
                    "ssat lr, #8, lr",
                    "strb r10, [r2]",
                    "cmp r0, r8",
                    "bhi 3f",
                    "strb r11, [r2, r7]",
                    "add r2, r2, r7, lsl #1",
                    "strb r12, [r2]",
                    "strb lr, [r2, r7]",
                    "add r2, r2, r7, lsl #1",
                    "blo 2b",
                    "ldr r6, [sp, #12]",
                    "cmp r6, #0",
                    "bne 2b",
                    "b 4f",
                    "3:",
                    "ldr r6, [sp, #12]",
                    "add r2, r7",
                    "cmp r6, #2",
                    "blo 4f",
                    "strb r11, [r2]",
                    "add r2, r7",
                    "beq 4f",
                    "strb r12, [r2]",
                    "add r2, r7",
                    "4:",
                    "ldr r6, [sp, #16]",
                    "ldr r7, [sp, #20]",
                    "ldr r9, [sp, #24]",
                    "add r0, r6",
                    "add r8, r7",
                    "str r8, [sp, #8]",
                    "subs r9, #1",
                    "str r9, [sp, #24]",
                    "bne 2b",
                    "ldr r12, [sp, #28]",
                    "ldr r5, [r12, #60]",
                    "subs r5, #1",
                    "str r5, [r12, #60]",
                    "bne 1b",
                    "add sp, #32",
                    "pop {{r4-r11}}",
                    weight_bytes = const $weight_bytes,
                    inout("r0") job => _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                    out("r12") _,
                    out("lr") _,
                    out("s0") _,
                    out("s1") _,
                    out("s2") _,
                    out("s3") _,
                    out("s4") _,
                    out("s8") _,
                )
            }
        }
    };
}

filter! {
    /// Filters rows of four channels by a 3x3 window at stride 1 to the right.
    filter_3_1, window_3, row_3_1, 24
}
filter! {
    /// Filters rows of four channels by a 3x3 window at stride 2 to the right.
    filter_3_2, window_3, row_3_2, 24
}
filter! {
    /// Filters rows of four channels by a 5x5 window at stride 1 to the right.
    filter_5_1, window_5, row_5_1, 80
}
filter! {
    /// Filters rows of four channels by a 5x5 window at stride 2 to the right.
    filter_5_2, window_5, row_5_2, 80
}
