//! 3x3 and 5x5 depthwise convolutions on vectors: a band of [`Bands::CHANNELS`] channels is copied with its padding, so that four
//! channels of a pixel are a word; then four outputs at a time, each a vector of four channels.
//!
//! Vectors of integers multiply by a scalar only, vectors of f32 by one another too. 25 products of int8 values are less
//! than 2^19 together, so that f32 adds them up without rounding.

use core::arch::asm;
use ocellus_shared::op::{Bands, has_kernel};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

const CHANNELS: usize = Bands::CHANNELS;
/// Taps of the largest window.
const TAPS: usize = 25;

/// Computes `output` with `scratch` of [`Bands::scratch_bytes`].
pub fn run(step: &Step, window: &Window, bands: Bands, input: &[i8], scratch: &mut [i8], output: &mut [i8]) {
    let columns = 2 * bands.row_words;
    let (pixels, _) = scratch.as_chunks_mut::<CHANNELS>();
    let pixels = &mut pixels[..bands.rows * columns];
    // Columns of padding are written here and never again.
    pixels.fill([step.input().zero; CHANNELS]);
    let mut work = Work { step, window, bands, columns, weights: [[0.0; CHANNELS]; TAPS], pixels };
    let (channels, out_height) = (usize::from(step.output.shape.c), usize::from(step.output.shape.h));
    for first in (0..channels).step_by(CHANNELS) {
        // Where the last channels are fewer, those before them are computed once more.
        let first = first.min(channels - CHANNELS);
        for (tap, weights) in work.weights[..window.taps()].iter_mut().enumerate() {
            let at = tap * channels + first;
            weights.iter_mut().zip(&step.weights[at..at + CHANNELS]).for_each(|(to, from)| *to = f32::from(*from));
        }
        for y in (0..out_height).step_by(bands.out_rows) {
            let rows = bands.out_rows.min(out_height - y);
            work.copy(input, first, y, rows);
            work.filter(first, y, rows, output);
        }
    }
}

/// One layer's bands, and the memory for one of them.
struct Work<'a> {
    step: &'a Step<'a>,
    window: &'a Window,
    bands: Bands,
    /// Pixels of a band's row, padding included.
    columns: usize,
    weights: [[f32; CHANNELS]; TAPS],
    pixels: &'a mut [[i8; CHANNELS]], // (rows, columns)
}

impl Work<'_> {
    /// Copies the input under `out_rows` rows of outputs from `y`, the channels from `first`.
    fn copy(&mut self, input: &[i8], first: usize, y: usize, out_rows: usize) {
        let Shape { h, w, c } = self.step.input().shape;
        let [height, width, channels] = [h, w, c].map(usize::from);
        let [top, left] = [0, 1].map(|side| usize::from(self.window.pad[side]));
        let start = y * usize::from(self.window.stride[0]);
        let rows = (out_rows - 1) * usize::from(self.window.stride[0]) + self.bands.kernel;
        let count = width.min(self.columns - left);
        for (row, pixels) in (start..).zip(self.pixels.chunks_exact_mut(self.columns).take(rows)) {
            // Rows count from the start of the padding.
            if !(top..top + height).contains(&row) {
                pixels.fill([self.step.input().zero; CHANNELS]);
                continue;
            }
            let source = &input[(row - top) * width * channels..][..width * channels][first..];
            let target = &mut pixels[left..left + count];
            // SAFETY: the row has `count` pixels, each with `CHANNELS` channels from the first one on.
            unsafe { copy(source.as_ptr(), channels, target.as_mut_ptr(), count) }
        }
    }

    /// Computes the channels from `first` of `rows` rows of outputs from `y`.
    fn filter(&self, first: usize, y: usize, rows: usize, output: &mut [i8]) {
        let channels = usize::from(self.step.output.shape.c);
        let width = self.bands.out_width;
        let [down, right] = self.window.stride.map(usize::from);
        let pitch = self.columns * CHANNELS;
        let step_bytes = Bands::OUTPUTS * right * CHANNELS;
        let target = &mut output[y * width * channels..][..rows * width * channels];
        let job = Filter {
            pixels: self.pixels.as_ptr().cast(),
            weights: self.weights.as_ptr().cast(),
            output: target[first..].as_mut_ptr(),
            pitch,
            next: step_bytes.wrapping_sub((self.bands.kernel - 1) * pitch),
            channels,
            zero: self.step.output.zero.into(),
            width,
            row_skip: (down * pitch).wrapping_sub(width.div_ceil(Bands::OUTPUTS) * step_bytes),
            rows,
            biases: core::array::from_fn(|k| self.step.biases.get(first + k)),
            multipliers: core::array::from_fn(|k| self.step.multipliers.get(first + k)),
        };
        // SAFETY: every row of outputs reads `kernel` rows of the band, at most four columns more than its last four outputs
        // begin at, and writes some channels of `width` pixels.
        unsafe {
            match (self.bands.kernel, right) {
                (3, 1) if const { has_kernel("depthwise_3x3") } => filter_3_1(&job),
                (3, _) if const { has_kernel("depthwise_3x3") } => filter_3_2(&job),
                (5, 1) if const { has_kernel("depthwise_5x5") } => filter_5_1(&job),
                (5, _) if const { has_kernel("depthwise_5x5") } => filter_5_2(&job),
                // Not linked: no plan that was parsed has them.
                _ => {}
            }
        }
    }
}

/// Copies a word of each of `count` pixels, which lie `channels` apart; at least one.
#[inline(always)]
unsafe fn copy(source: *const i8, channels: usize, target: *mut [i8; CHANNELS], count: usize) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "dls lr, {count}",
            "1:",
            "ldr {word}, [{source}]",
            "add {source}, {channels}",
            "str {word}, [{target}], #4",
            "le lr, 1b",
            source = inout(reg) source => _,
            channels = in(reg) channels,
            target = inout(reg) target => _,
            count = in(reg) count,
            word = out(reg) _,
            out("lr") _,
            options(nostack),
        )
    }
}

/// What [`filter_3_1`] and its like do.
#[repr(C)]
struct Filter {
    pixels: *const i8,
    weights: *const f32,
    output: *mut i8,
    /// Bytes of a row of the band.
    pitch: usize,
    /// Bytes from four outputs' last row to the next four's first, modulo 2^32.
    next: usize,
    channels: usize,
    zero: i32,
    width: usize,
    /// Bytes from the end of a row to the start of the next, modulo 2^32.
    row_skip: usize,
    rows: usize,
    biases: [i32; CHANNELS],
    multipliers: [f32; CHANNELS],
}

/// Loads a pixel as f32.
macro_rules! pixel {
    ($at:literal) => {
        concat!("vldrb.s32 q4, [r0, #", $at, "]\n", "vcvt.f32.s32 q4, q4\n")
    };
}

/// Loads the weights of three taps.
macro_rules! weights {
    ($at:literal, $next:literal, $last:literal) => {
        concat!(
            "vldrw.s32 q5, [r1, #",
            $at,
            "]\n",
            "vldrw.s32 q6, [r1, #",
            $next,
            "]\n",
            "vldrw.s32 q7, [r1, #",
            $last,
            "]\n"
        )
    };
}

/// Three taps of a row for four outputs at stride 1: their sums in q0 to q3, which begin with `$first`.
macro_rules! three_1 {
    ($first:literal) => {
        concat!(
            pixel!("0"),
            $first,
            " q0, q4, q5\n",
            pixel!("4"),
            $first,
            " q1, q4, q5\n",
            "vfma.f32 q0, q4, q6\n",
            pixel!("8"),
            $first,
            " q2, q4, q5\n",
            "vfma.f32 q1, q4, q6\n",
            "vfma.f32 q0, q4, q7\n",
            pixel!("12"),
            $first,
            " q3, q4, q5\n",
            "vfma.f32 q2, q4, q6\n",
            "vfma.f32 q1, q4, q7\n",
            pixel!("16"),
            "vfma.f32 q3, q4, q6\n",
            "vfma.f32 q2, q4, q7\n",
            pixel!("20"),
            "vfma.f32 q3, q4, q7\n"
        )
    };
}

/// The same at stride 2.
macro_rules! three_2 {
    ($first:literal) => {
        concat!(
            pixel!("0"),
            $first,
            " q0, q4, q5\n",
            pixel!("4"),
            "vfma.f32 q0, q4, q6\n",
            pixel!("8"),
            $first,
            " q1, q4, q5\n",
            "vfma.f32 q0, q4, q7\n",
            pixel!("12"),
            "vfma.f32 q1, q4, q6\n",
            pixel!("16"),
            $first,
            " q2, q4, q5\n",
            "vfma.f32 q1, q4, q7\n",
            pixel!("20"),
            "vfma.f32 q2, q4, q6\n",
            pixel!("24"),
            $first,
            " q3, q4, q5\n",
            "vfma.f32 q2, q4, q7\n",
            pixel!("28"),
            "vfma.f32 q3, q4, q6\n",
            pixel!("32"),
            "vfma.f32 q3, q4, q7\n"
        )
    };
}

/// The fourth and fifth tap of a row at stride 1, whose weights are in q5 and q6.
macro_rules! two_1 {
    () => {
        concat!(
            pixel!("12"),
            "vfma.f32 q0, q4, q5\n",
            pixel!("16"),
            "vfma.f32 q1, q4, q5\n",
            "vfma.f32 q0, q4, q6\n",
            pixel!("20"),
            "vfma.f32 q2, q4, q5\n",
            "vfma.f32 q1, q4, q6\n",
            pixel!("24"),
            "vfma.f32 q3, q4, q5\n",
            "vfma.f32 q2, q4, q6\n",
            pixel!("28"),
            "vfma.f32 q3, q4, q6\n"
        )
    };
}

/// The same at stride 2.
macro_rules! two_2 {
    () => {
        concat!(
            pixel!("12"),
            "vfma.f32 q0, q4, q5\n",
            pixel!("16"),
            "vfma.f32 q0, q4, q6\n",
            pixel!("20"),
            "vfma.f32 q1, q4, q5\n",
            pixel!("24"),
            "vfma.f32 q1, q4, q6\n",
            pixel!("28"),
            "vfma.f32 q2, q4, q5\n",
            pixel!("32"),
            "vfma.f32 q2, q4, q6\n",
            pixel!("36"),
            "vfma.f32 q3, q4, q5\n",
            pixel!("40"),
            "vfma.f32 q3, q4, q6\n"
        )
    };
}

/// The three rows of a window for four outputs.
macro_rules! window_3 {
    ($three:ident, $two:ident) => {
        concat!(
            weights!("0", "16", "32"),
            $three!("vmul.f32"),
            "add r0, r3\n",
            weights!("48", "64", "80"),
            $three!("vfma.f32"),
            "add r0, r3\n",
            weights!("96", "112", "128"),
            $three!("vfma.f32"),
            "add r0, r4\n"
        )
    };
}

/// One row of five taps, whose weights are at `$a` to `$e`.
macro_rules! row_5 {
    ($three:ident, $two:ident, $first:literal, [$a:literal, $b:literal, $c:literal, $d:literal, $e:literal]) => {
        concat!(
            weights!($a, $b, $c),
            $three!($first),
            "vldrw.s32 q5, [r1, #",
            $d,
            "]\n",
            "vldrw.s32 q6, [r1, #",
            $e,
            "]\n",
            $two!()
        )
    };
}

/// The five rows of a window for four outputs.
macro_rules! window_5 {
    ($three:ident, $two:ident) => {
        concat!(
            row_5!($three, $two, "vmul.f32", ["0", "16", "32", "48", "64"]),
            "add r0, r3\n",
            row_5!($three, $two, "vfma.f32", ["80", "96", "112", "128", "144"]),
            "add r0, r3\n",
            row_5!($three, $two, "vfma.f32", ["160", "176", "192", "208", "224"]),
            "add r0, r3\n",
            row_5!($three, $two, "vfma.f32", ["240", "256", "272", "288", "304"]),
            "add r0, r3\n",
            row_5!($three, $two, "vfma.f32", ["320", "336", "352", "368", "384"]),
            "add r0, r4\n"
        )
    };
}

/// The results of a sum, in the low byte of each lane: biases are in q4, multipliers in q5, the zero point in r6.
macro_rules! finish {
    ($sum:literal) => {
        concat!(
            "vcvt.s32.f32 ",
            $sum,
            ", ",
            $sum,
            "\n",
            "vadd.i32 ",
            $sum,
            ", ",
            $sum,
            ", q4\n",
            "vcvt.f32.s32 ",
            $sum,
            ", ",
            $sum,
            "\n",
            "vmul.f32 ",
            $sum,
            ", ",
            $sum,
            ", q5\n",
            "vcvtn.s32.f32 ",
            $sum,
            ", ",
            $sum,
            "\n",
            "vqadd.s32 ",
            $sum,
            ", ",
            $sum,
            ", r6\n",
            "vqmovnb.s32 ",
            $sum,
            ", ",
            $sum,
            "\n",
            "vqmovnb.s16 ",
            $sum,
            ", ",
            $sum,
            "\n",
            "vstrb.32 ",
            $sum,
            ", [r2]\n",
            "add r2, r5\n"
        )
    };
}

macro_rules! filter {
    ($(#[$doc:meta])* $name:ident, $window:ident, $three:ident, $two:ident) => {
        $(#[$doc])*
        #[inline(never)]
        unsafe fn $name(job: &Filter) {
            // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
            unsafe {
                asm!(
                    "push {{r4-r11}}",
                    "vpush {{d8-d15}}",
                    "mov r12, r0",
                    "ldr r8, [r12, #28]",
                    "ldr r9, [r12, #32]",
                    "ldr r10, [r12, #36]",
                    "ldm r12, {{r0-r6}}",
                    "1:",
                    "mov r7, r8",
                    "2:",
                    $window!($three, $two),
                    "vldrw.s32 q4, [r12, #40]",
                    "vldrw.s32 q5, [r12, #56]",
                    finish!("q0"),
                    "cmp r7, #2",
                    "blt 3f",
                    finish!("q1"),
                    "beq 3f",
                    finish!("q2"),
                    "cmp r7, #4",
                    "blt 3f",
                    finish!("q3"),
                    "3:",
                    "subs r7, #4",
                    "bgt 2b",
                    "add r0, r9",
                    "subs r10, #1",
                    "bne 1b",
                    "vpop {{d8-d15}}",
                    "pop {{r4-r11}}",
                    inout("r0") job => _,
                    out("r1") _,
                    out("r2") _,
                    out("r3") _,
                    out("r12") _,
                    out("s0") _, out("s1") _, out("s2") _, out("s3") _,
                    out("s4") _, out("s5") _, out("s6") _, out("s7") _,
                    out("s8") _, out("s9") _, out("s10") _, out("s11") _,
                    out("s12") _, out("s13") _, out("s14") _, out("s15") _,
                )
            }
        }
    };
}

filter! {
    /// Filters rows of four channels by a 3x3 window at stride 1 to the right.
    filter_3_1, window_3, three_1, two_1
}
filter! {
    /// Filters rows of four channels by a 3x3 window at stride 2 to the right.
    filter_3_2, window_3, three_2, two_2
}
filter! {
    /// Filters rows of four channels by a 5x5 window at stride 1 to the right.
    filter_5_1, window_5, three_1, two_1
}
filter! {
    /// Filters rows of four channels by a 5x5 window at stride 2 to the right.
    filter_5_2, window_5, three_2, two_2
}
