//! Convolutions: three patches, widened once, times filters in pairs.

use core::arch::asm;
use ocellus_shared::op::{BLOCK, PATCHES, row_bytes};
use ocellus_shared::plan::Step;

/// What lies under the windows of [`PATCHES`] outputs, widened: for every four values of a patch a word with the even
/// ones as int16 and a word with the odd ones.
#[derive(Debug)]
pub struct Patches<'m> {
    words: &'m mut [u32], // (row / 4, PATCHES, 2)
}

/// Words from one group of four values to the next.
const STRIDE: usize = 2 * PATCHES;

impl<'m> Patches<'m> {
    /// Patches of `row` bytes each in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one patch.
    pub fn new(scratch: &'m mut [i8], row: usize) -> Self {
        let (_, words, _) = bytemuck::pod_align_to_mut(scratch);
        Self { words: &mut words[..row / 4 * STRIDE] }
    }

    /// Fills patch `p` with `zero`.
    pub fn clear(&mut self, p: usize, zero: i8) {
        let pair = u32::from(i16::from(zero) as u16) * 0x0001_0001;
        for words in self.words.chunks_exact_mut(STRIDE) {
            words[2 * p..][..2].fill(pair);
        }
    }

    /// Writes `values` to patch `p` from position `at`; both it and their number are multiples of 4.
    pub fn write(&mut self, p: usize, at: usize, values: &[i8]) {
        let count = values.len() / 4;
        let words = &mut self.words[at / 4 * STRIDE + 2 * p..];
        assert!(words.len() + STRIDE >= count * STRIDE + 2);
        if count > 0 {
            // SAFETY: there are `count` words to read, and the last pair to write begins `count - 1` strides on.
            unsafe { widen_all(values.as_ptr(), words.as_mut_ptr(), count) }
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

    /// Applies whole pairs of the filters of `step`, each of `row` bytes, and writes the results of all patches to
    /// `pixels`; how many pairs. None where there are fewer pixels than patches.
    pub fn filter(&self, step: &Step, row: usize, pixels: &mut [i8]) -> usize {
        let channels = usize::from(step.output.shape.c);
        let pairs = channels / 2;
        if pairs == 0 || pixels.len() < PATCHES * channels {
            return 0;
        }
        let weights = step.weights[..pairs * 2 * row].as_ptr_range();
        let words = &self.words[..row / 4 * STRIDE];
        let whole = row / BLOCK * (BLOCK / 4) * STRIDE;
        let mut job = Filters {
            words: words.as_ptr(),
            multipliers: step.multipliers.as_bytes()[..2 * pairs].as_ptr().cast(),
            zero: step.output.zero.into(),
            pixels: pixels.as_mut_ptr(),
            channels,
            biases: step.biases.as_bytes()[..2 * pairs].as_ptr().cast(),
            weights: weights.start,
            weights_end: weights.end,
            whole_end: words[whole..].as_ptr(),
            end: words[words.len()..].as_ptr(),
            rest: row % BLOCK,
            threes_end: words[row / (3 * BLOCK) * 3 * (BLOCK / 4) * STRIDE..].as_ptr(),
        };
        // SAFETY: the patches have four values for every word of each filter, the filters are laid out as `pair_index`
        // says, each has a bias and a multiplier, and there are as many pixels as patches.
        unsafe { filter(&mut job) }
        pairs
    }

    /// The dot products of each patch with both filters of a pair.
    #[inline(always)]
    pub fn dots(&self, pair: &[i8]) -> [[i32; 2]; PATCHES] {
        let row = pair.len() / 2;
        let words = &self.words[..row / 4 * STRIDE];
        let mut sums = [[0; 2]; PATCHES];
        let whole = row / BLOCK * (BLOCK / 4) * STRIDE;
        let ends = [words[whole..].as_ptr(), words[words.len()..].as_ptr()];
        // SAFETY: the patches have four values for every word of each filter, and the filters are laid out as
        // `pair_index` says.
        unsafe { pair_dots(pair.as_ptr(), words.as_ptr(), ends[0], &mut sums, ends[1], row % BLOCK) }
        sums
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

/// Widens `count` words, at least one, from `values` at any alignment; the pairs that each gives lie [`STRIDE`] words
/// apart.
#[inline(always)]
unsafe fn widen_all(values: *const i8, words: *mut u32, count: usize) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "subs r2, #4",
            "blt 2f",
            "1:",
            widen_word!(),
            widen_word!(),
            widen_word!(),
            widen_word!(),
            "subs r2, #4",
            "bge 1b",
            "2:",
            "adds r2, #4",
            "beq 4f",
            "3:",
            widen_word!(),
            "subs r2, #1",
            "bne 3b",
            "4:",
            step = const 4 * STRIDE,
            inout("r0") values => _,
            inout("r1") words => _,
            inout("r2") count => _,
            out("r3") _,
            out("r12") _,
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

/// Six dot products at once: all registers but two pointers hold sums or values. That is more than a compiler can give
/// away, so that they are saved here.
///
/// `whole_end` is where the values of whole blocks end among the patches, `end` where all end; the last block of a
/// filter has `rest` bytes.
#[inline(always)]
unsafe fn pair_dots(
    pair: *const i8,
    words: *const u32,
    whole_end: *const u32,
    sums: &mut [[i32; 2]; PATCHES],
    end: *const u32,
    rest: usize,
) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r2-r12, lr}}",
            "mov r4, #0",
            "mov r5, #0",
            "mov r6, #0",
            "mov r7, #0",
            "mov r8, #0",
            "mov r9, #0",
            "cmp r1, r2",
            "beq 2f",
            "sub r0, #32",
            "1:",
            "ldr r2, [r0, #32]!",
            "ldr r10, [r0, #16]",
            four_values!(),
            "ldr r2, [r0, #4]",
            "ldr r10, [r0, #20]",
            four_values!(),
            "ldr r2, [r0, #8]",
            "ldr r10, [r0, #24]",
            four_values!(),
            "ldr r2, [r0, #12]",
            "ldr r10, [r0, #28]",
            four_values!(),
            "ldr r12, [sp]",
            "cmp r1, r12",
            "bne 1b",
            "add r0, #32",
            "2:",
            "ldr r12, [sp, #40]",
            "cmp r1, r12",
            "beq 3f",
            "ldr r10, [sp, #44]",
            "ldr r10, [r0, r10]",
            "ldr r2, [r0], #4",
            four_values!(),
            "b 2b",
            "3:",
            "ldr r12, [sp, #4]",
            "stm r12, {{r4-r9}}",
            "add sp, #8",
            "pop {{r4-r12, lr}}",
            inout("r0") pair => _,
            inout("r1") words => _,
            inout("r2") whole_end => _,
            inout("r3") sums => _,
            inout("r12") end => _,
            inout("lr") rest => _,
        )
    }
}

/// What [`filter`] does. The first six lie in the order of the registers that take them.
#[repr(C)]
struct Filters {
    words: *const u32,
    multipliers: *const u8,
    zero: i32,
    pixels: *mut i8,
    channels: usize,
    biases: *const u8,
    weights: *const i8,
    weights_end: *const i8,
    /// Where the values of whole blocks end among the patches.
    whole_end: *const u32,
    /// Where all end.
    end: *const u32,
    /// Bytes of a filter's last block, where it is not whole.
    rest: usize,
    /// Where the values of three whole blocks at a time end.
    threes_end: *const u32,
}

/// Applies pairs of filters to three patches, and requantizes: like [`pair_dots`], but for all pairs, and with nothing
/// but registers between the sums and the results.
#[inline(never)]
unsafe fn filter(job: &mut Filters) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "add r1, r0, #32",
            "ldm r1, {{r1-r4}}",
            "push {{r0-r4}}",
            "mov lr, r0",
            "ldr r0, [lr, #24]",
            "ldm lr, {{r1, r2, r3, r10, r11, r12}}",
            "1:",
            "ldr r4, [r12], #4",
            "ldr r5, [r12], #4",
            "stm lr, {{r1, r2, r3, r10, r11, r12}}",
            "mov r6, r4",
            "mov r7, r5",
            "mov r8, r4",
            "mov r9, r5",
            "ldr r12, [sp, #16]",
            "cmp r1, r12",
            "beq 3f",
            "2:",
            block!(),
            block!(),
            block!(),
            "ldr r12, [sp, #16]",
            "cmp r1, r12",
            "bne 2b",
            "3:",
            "ldr r12, [sp, #4]",
            "cmp r1, r12",
            "beq 4f",
            "9:",
            block!(),
            "ldr r12, [sp, #4]",
            "cmp r1, r12",
            "bne 9b",
            "4:",
            "ldr r12, [sp, #8]",
            "cmp r1, r12",
            "beq 6f",
            "5:",
            "ldr r10, [sp, #12]",
            "ldr r10, [r0, r10]",
            "ldr r2, [r0], #4",
            four_values!(),
            "ldr r12, [sp, #8]",
            "cmp r1, r12",
            "bne 5b",
            "ldr r10, [sp, #12]",
            "add r0, r10",
            "6:",
            "ldr lr, [sp]",
            "ldm lr, {{r1, r2, r3, r10, r11, r12}}",
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
            "ldr r4, [lr, #28]",
            "cmp r0, r4",
            "bne 1b",
            "add sp, #20",
            "pop {{r4-r11}}",
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
            out("s5") _,
            out("s6") _,
            out("s7") _,
        )
    }
}
