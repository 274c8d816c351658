//! Convolutions: three patches, widened once, times filters in pairs.

use core::arch::asm;
use ocellus_shared::op::{BLOCK, PATCHES, row_bytes};
use ocellus_shared::plan::Step;

/// What lies under the windows of [`PATCHES`] outputs, widened: for every four values of a patch a word with the even
/// ones as int16 and a word with the odd ones; and the filters that are applied to them.
#[derive(Debug)]
pub struct Patches<'m> {
    step: &'m Step<'m>,
    words: &'m mut [u32], // (row / 4, PATCHES, 2)
    /// What applies all whole pairs of filters.
    filters: Filters,
}

/// Words from one group of four values to the next.
const STRIDE: usize = 2 * PATCHES;

impl<'m> Patches<'m> {
    /// Patches for the filters of `step`, `row` bytes each, in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one patch.
    pub fn new(step: &'m Step<'m>, scratch: &'m mut [i8], row: usize) -> Self {
        let (_, words, _) = bytemuck::pod_align_to_mut(scratch);
        let channels = usize::from(step.output.shape.c);
        let pairs = channels / 2;
        let weights = step.weights[..pairs * 2 * row].as_ptr_range();
        let filters = Filters {
            multipliers: step.multipliers.as_bytes()[..2 * pairs].as_ptr(),
            zero: step.output.zero.into(),
            biases: step.biases.as_bytes()[..2 * pairs].as_ptr(),
            weights: weights.start,
            apart: channels,
            weights_end: weights.end,
            whole: row / BLOCK * (4 * BLOCK / 4 * STRIDE),
            len: row / 4 * 4 * STRIDE,
            rest: row % BLOCK,
            begin: match row / BLOCK {
                0 => 0,
                blocks => 1 + (blocks - 1) % BLOCKS,
            },
        };
        Self { step, words: &mut words[..row / 4 * STRIDE], filters }
    }

    /// Fills patch `p` with `zero`.
    pub fn clear(&mut self, p: usize, zero: i8) {
        let pair = u32::from(i16::from(zero) as u16) * 0x0001_0001;
        let count = self.words.len() / STRIDE;
        if count > 0 {
            // SAFETY: there are `count` groups of words, each with a pair for the patch.
            unsafe { fill(self.words[2 * p..][..2].as_mut_ptr(), count, pair) }
        }
    }

    /// Writes `values` to patch `p` from position `at`; both it and their number are multiples of 4.
    pub fn write(&mut self, p: usize, at: usize, values: &[i8]) {
        let count = values.len() / 4;
        let words = &mut self.words[at / 4 * STRIDE + 2 * p..];
        assert!(words.len() + STRIDE >= count * STRIDE + 2);
        if count > 0 {
            // SAFETY: there are `count` words to read, and the last pair to write begins `count - 1` strides on.
            unsafe { widen_rows(values.as_ptr(), words.as_mut_ptr(), count, 1, 0) }
        }
    }

    /// Fills each patch with `count` rows of `len` values, which lie `pitch` apart in `values`, and those of the next patch
    /// `step` further; `false` where it cannot: rows are either whole words or three pixels of three channels, of which
    /// there are three.
    #[inline(always)]
    pub fn write_rows(&mut self, values: &[i8], count: usize, len: usize, pitch: usize, step: usize) -> bool {
        let colours = (count, len) == (3, 9);
        if !(len.is_multiple_of(4) || colours) {
            return false;
        }
        assert!(count > 0 && len > 0 && values.len() >= (PATCHES - 1) * step + (count - 1) * pitch + len);
        assert!(row_bytes(count * len) / 4 * STRIDE == self.words.len());
        let (values, words) = (values.as_ptr(), self.words.as_mut_ptr());
        for p in 0..PATCHES {
            // SAFETY: the source holds that many rows from each patch's start on, and the patches as many words as they give.
            unsafe {
                let (values, words) = (values.add(p * step), words.add(2 * p));
                match colours {
                    true => widen_colours(values, words, pitch),
                    false => widen_rows(values, words, len / 4, count, pitch - len),
                }
            }
        }
        true
    }

    /// Applies every filter and writes the results to `pixels`, one value per filter and patch; the last patches count for
    /// nothing where there are fewer pixels. A function of its own, so that its loops have all registers.
    #[inline(never)]
    pub fn apply(&mut self, pixels: &mut [i8]) {
        let channels = self.filters.apart;
        let mut done = 0;
        if pixels.len() == PATCHES * channels && channels > 1 {
            // SAFETY: the patches have four values for every word of each filter, the filters are laid out as `pair_index`
            // says, each has a bias and a multiplier, and there are as many pixels as patches.
            unsafe { filter(&self.filters, self.words.as_ptr(), pixels.as_mut_ptr()) }
            done = channels / 2 * 2;
        }
        for first in (done..channels).step_by(2) {
            self.apply_pair(first, pixels);
        }
    }

    /// The same for the filter `first`, which is even, and the next if there is one; into room of its own, since the code
    /// knows but two filters and all patches.
    fn apply_pair(&self, first: usize, pixels: &mut [i8]) {
        let (Step { weights, biases, multipliers, .. }, channels) = (self.step, self.filters.apart);
        let both = [first, (first + 1).min(channels - 1)];
        let (biases, multipliers) = (both.map(|k| biases.as_bytes()[k]), both.map(|k| multipliers.as_bytes()[k]));
        let row = self.words.len() / STRIDE * 4;
        let weights = weights[first * row..][..2 * row].as_ptr_range();
        let (biases, multipliers) = (biases.as_ptr(), multipliers.as_ptr());
        let pair =
            Filters { multipliers, biases, weights: weights.start, weights_end: weights.end, apart: 2, ..self.filters };
        let mut results = [0; 2 * PATCHES];
        // SAFETY: as above, for one pair of filters.
        unsafe { filter(&pair, self.words.as_ptr(), results.as_mut_ptr()) }
        for (pixel, results) in pixels.chunks_exact_mut(channels).zip(results.as_chunks::<2>().0) {
            for (value, result) in pixel[first..].iter_mut().zip(results) {
                *value = *result;
            }
        }
    }
}

/// Widens the word at r0, writes the pairs to r1, and moves both on.
macro_rules! widen_word {
    () => {
        "
        ldr r3, [r0], #4
        sxtb16 r12, r3
        sxtb16 r3, r3, ror #8
        strd r12, r3, [r1], #{step}
        "
    };
}

/// Widens the word in a register and writes the pairs to the target.
macro_rules! widen_register {
    ($word:literal) => {
        concat!(
            "sxtb16 {d}, {",
            $word,
            "}\n",
            "sxtb16 {",
            $word,
            "}, {",
            $word,
            "}, ror #8\n",
            "strd {d}, {",
            $word,
            "}, [{target}], #{step}"
        )
    };
}

/// Writes `word` twice to each of `count` places, at least one, [`STRIDE`] words apart.
#[inline(always)]
unsafe fn fill(words: *mut u32, count: usize, word: u32) {
    // SAFETY: the code writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "1:",
            "strd {word}, {word}, [{words}], #{step}",
            "subs {count}, #1",
            "bne 1b",
            step = const 4 * STRIDE,
            words = inout(reg) words => _,
            count = inout(reg) count => _,
            word = in(reg) word,
            options(nostack),
        )
    }
}

/// Widens `count` rows of `words` words each, `skip` bytes apart; all of them at least one.
#[inline(always)]
unsafe fn widen_rows(values: *const i8, target: *mut u32, words: usize, count: usize, skip: usize) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "1:",
            "subs {left}, {words}, #4",
            "blt 3f",
            "2:",
            widen_word!(),
            widen_word!(),
            widen_word!(),
            widen_word!(),
            "subs {left}, #4",
            "bge 2b",
            "3:",
            "adds {left}, #4",
            "beq 5f",
            "4:",
            widen_word!(),
            "subs {left}, #1",
            "bne 4b",
            "5:",
            "add r0, {skip}",
            "subs {count}, #1",
            "bne 1b",
            step = const 4 * STRIDE,
            words = in(reg) words,
            left = out(reg) _,
            count = inout(reg) count => _,
            skip = in(reg) skip,
            inout("r0") values => _,
            inout("r1") target => _,
            out("r3") _,
            out("r12") _,
            options(nostack),
        )
    }
}

/// Widens three rows of nine bytes each, which lie `pitch` bytes apart, and a byte of zero: where a row ends within a
/// word, the next one is joined to it.
#[inline(always)]
unsafe fn widen_colours(values: *const i8, target: *mut u32, pitch: usize) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "ldr {a}, [{row}]",
            "ldr {b}, [{row}, #4]",
            "ldrb {c}, [{row}, #8]",
            "ldr {d}, [{row}, {pitch}]",
            "add {row}, {pitch}",
            "orr {c}, {c}, {d}, lsl #8",
            widen_register!("a"),
            widen_register!("b"),
            widen_register!("c"),
            "ldr {a}, [{row}, #3]",
            "ldrh {b}, [{row}, #7]",
            "add {row}, {pitch}",
            "ldrh {c}, [{row}]",
            "orr {b}, {b}, {c}, lsl #16",
            widen_register!("a"),
            widen_register!("b"),
            "ldr {a}, [{row}, #2]",
            "ldr {b}, [{row}, #5]",
            "lsr {b}, #8",
            widen_register!("a"),
            widen_register!("b"),
            step = const 4 * STRIDE,
            row = inout(reg) values => _,
            target = inout(reg) target => _,
            pitch = in(reg) pitch,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack, preserves_flags),
        )
    }
}

/// Four values of both filters, which are in r2 and r10, times four of each patch, from r1 on.
macro_rules! four_values {
    () => {
        concat!(
            "sxtb16 r3, r2, ror #8\n",
            "sxtb16 r2, r2\n",
            "sxtb16 r11, r10, ror #8\n",
            "sxtb16 r10, r10\n",
            six_sums!(),
        )
    };
}

/// A block of both filters, from r0 on.
macro_rules! block {
    () => {
        concat!(
            "ldr r10, [r0, #16]\n",
            "ldr r2, [r0], #4\n",
            four_values!(),
            "ldr r10, [r0, #16]\n",
            "ldr r2, [r0], #4\n",
            four_values!(),
            "ldr r10, [r0, #16]\n",
            "ldr r2, [r0], #4\n",
            four_values!(),
            "ldr r10, [r0, #16]\n",
            "ldr r2, [r0], #20\n",
            four_values!(),
        )
    };
}

/// What [`filter`] does. Lengths are in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Filters {
    multipliers: *const [u8; 4],
    zero: i32,
    biases: *const [u8; 4],
    weights: *const i8,
    /// From a pixel to the next.
    apart: usize,
    weights_end: *const i8,
    /// Of the patches' words for whole blocks of a filter.
    whole: usize,
    /// Of all the patches' words.
    len: usize,
    /// A filter's last block, where it is not whole.
    rest: usize,
    /// Of [`BLOCKS`] blocks how many a filter begins with; 0 where it has no whole one.
    begin: usize,
}

/// Whole blocks of a filter that are multiplied without asking whether they were the last.
const BLOCKS: usize = 2;

/// Applies pairs of filters to three patches, and requantizes, with nothing but registers between the sums and the results:
/// six dot products at once, so that all registers but two pointers hold sums or values. That is more than a compiler can
/// give away, so that they are saved here.
#[inline(never)]
unsafe fn filter(job: &Filters, words: *const u32, pixels: *mut i8) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    //
    // On the stack, from its top: the words, multipliers, zero point, pixels, their distance and biases, as they are between
    // two pairs; the end of the weights; where whole blocks and all values end among the words; the rest; the first blocks.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "add r7, r0, #20",
            "ldm r7, {{r4-r8}}",
            "add r5, r1",
            "add r6, r1",
            "push {{r4-r8}}",
            "ldm r0, {{r4-r6, r7, r11}}",
            "mov r10, r2",
            "mov r2, r4",
            "mov r3, r5",
            "mov r12, r6",
            "mov r0, r7",
            "sub sp, #24",
            "1:",
            "ldr r4, [r12], #4",
            "ldr r5, [r12], #4",
            "stm sp, {{r1, r2, r3, r10, r11, r12}}",
            "mov r6, r4",
            "mov r7, r5",
            "mov r8, r4",
            "mov r9, r5",
            "ldr r12, [sp, #40]",
            "tbh [pc, r12, lsl #1]",
            "9:",
            ".hword (6f - 9b) / 2, (4f - 9b) / 2, (3f - 9b) / 2",
            ".p2align 1",
            "3:",
            block!(),
            "4:",
            block!(),
            "ldr r12, [sp, #28]",
            "cmp r1, r12",
            "bne 3b",
            "6:",
            "ldr r12, [sp, #32]",
            "cmp r1, r12",
            "beq 8f",
            "7:",
            "ldr r10, [sp, #36]",
            "ldr r10, [r0, r10]",
            "ldr r2, [r0], #4",
            four_values!(),
            "ldr r12, [sp, #32]",
            "cmp r1, r12",
            "bne 7b",
            "ldr r10, [sp, #36]",
            "add r0, r10",
            "8:",
            "ldm sp, {{r1, r2, r3, r10, r11, r12}}",
            "vmov s0, s1, r4, r5",
            "vmov s2, s3, r6, r7",
            "vmov s4, s5, r8, r9",
            "ldr r4, [r2], #4",
            "ldr r5, [r2], #4",
            "vmov s6, s7, r4, r5",
            "vcvt.f32.s32 s0, s0",
            "vcvt.f32.s32 s1, s1",
            "vcvt.f32.s32 s2, s2",
            "vcvt.f32.s32 s3, s3",
            "vcvt.f32.s32 s4, s4",
            "vcvt.f32.s32 s5, s5",
            "vmul.f32 s0, s0, s6",
            "vmul.f32 s1, s1, s7",
            "vmul.f32 s2, s2, s6",
            "vmul.f32 s3, s3, s7",
            "vmul.f32 s4, s4, s6",
            "vmul.f32 s5, s5, s7",
            "vcvtr.s32.f32 s0, s0",
            "vcvtr.s32.f32 s1, s1",
            "vcvtr.s32.f32 s2, s2",
            "vcvtr.s32.f32 s3, s3",
            "vcvtr.s32.f32 s4, s4",
            "vcvtr.s32.f32 s5, s5",
            "vmov r4, r5, s0, s1",
            "vmov r6, r7, s2, s3",
            "vmov r8, r9, s4, s5",
            "qadd r4, r4, r3",
            "qadd r5, r5, r3",
            "qadd r6, r6, r3",
            "qadd r7, r7, r3",
            "qadd r8, r8, r3",
            "qadd r9, r9, r3",
            "ssat r4, #8, r4",
            "ssat r5, #8, r5",
            "ssat r6, #8, r6",
            "ssat r7, #8, r7",
            "ssat r8, #8, r8",
            "ssat r9, #8, r9",
            "strb r6, [r10, r11]",
            "strb r8, [r10, r11, lsl #1]",
            "strb r4, [r10], #1",
            "strb r7, [r10, r11]",
            "strb r9, [r10, r11, lsl #1]",
            "strb r5, [r10], #1",
            "ldr r4, [sp, #24]",
            "cmp r0, r4",
            "bne 1b",
            "add sp, #44",
            "pop {{r4-r11}}",
            inout("r0") job => _,
            inout("r1") words => _,
            inout("r2") pixels => _,
            out("r3") _,
            out("r12") _,
            out("lr") _,
            out("s0") _,
            out("s1") _,
            out("s2") _,
            out("s3") _,
            out("s4") _,
            out("s5") _,
            out("s6") _,
            out("s7") _,
        )
    }
}
