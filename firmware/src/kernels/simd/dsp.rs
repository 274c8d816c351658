//! For Cortex-M4, M7 and M33: two products per instruction.
//!
//! Four int8 values are one load; `SXTB16` widens the even and the odd ones of a word to pairs of int16, and `SMLAD`
//! multiplies two such pairs and adds both products. Compilers do not find these by themselves.

pub mod depthwise;

use super::portable::dot;
use core::arch::asm;
use ocellus_shared::op::{BLOCK, PATCHES};

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

/// Four values of both filters, which are in r2 and r10, times four of each patch, from r1 on.
macro_rules! four_values {
    () => {
        "
        sxtb16 r3, r2, ror #8
        sxtb16 r2, r2
        sxtb16 r11, r10, ror #8
        sxtb16 r10, r10
        ldrd r12, lr, [r1], #8
        smlad r4, r2, r12, r4
        smlad r5, r10, r12, r5
        smlad r4, r3, lr, r4
        smlad r5, r11, lr, r5
        ldrd r12, lr, [r1], #8
        smlad r6, r2, r12, r6
        smlad r7, r10, r12, r7
        smlad r6, r3, lr, r6
        smlad r7, r11, lr, r7
        ldrd r12, lr, [r1], #8
        smlad r8, r2, r12, r8
        smlad r9, r10, r12, r9
        smlad r8, r3, lr, r8
        smlad r9, r11, lr, r9
        "
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

/// The rounding rule in 8 instructions: the FPU's conversion rounds half to even, and saturates as the result does.
///
/// The same result as [`ocellus_shared::quant::requantize`] for every accumulator and multiplier.
#[inline(always)]
pub fn requantize(acc: i32, multiplier: f32, zero: i8) -> i8 {
    let mut value = acc;
    // SAFETY: the instructions touch nothing but their registers and the flags of saturation and of the FPU's
    // exceptions, which nobody reads.
    unsafe {
        asm!(
            "vmov s0, {value}",
            "vmov s1, {multiplier}",
            "vcvt.f32.s32 s0, s0",
            "vmul.f32 s0, s0, s1",
            "vcvtr.s32.f32 s0, s0",
            "vmov {value}, s0",
            "qadd {value}, {value}, {zero}",
            "ssat {value}, #8, {value}",
            value = inlateout(reg) value,
            multiplier = in(reg) multiplier.to_bits(),
            zero = in(reg) i32::from(zero),
            out("s0") _,
            out("s1") _,
            options(pure, nomem, nostack),
        );
    }
    value as i8
}

/// See [`super::dots`].
#[inline(always)]
pub fn dots<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    let w = w.map(|w| w[..x.len()].as_chunks());
    let (x, rest) = x.as_chunks();
    let mut sums = words(x, w.map(|w| w.0));
    for (sum, w) in sums.iter_mut().zip(w) {
        *sum = sum.wrapping_add(dot(rest, w.1));
    }
    sums
}

/// The same over whole words. A function of its own, so that the loop has all registers to itself.
#[inline(never)]
fn words<const C: usize>(x: &[[i8; 4]], w: [&[[i8; 4]]; C]) -> [i32; C] {
    let mut sums = [0i32; C];
    let w = w.map(|w| &w[..x.len()]);
    for (i, x) in x.iter().enumerate() {
        let x = widen(x);
        for (sum, w) in sums.iter_mut().zip(w) {
            let w = widen(&w[i]);
            *sum = smlad(x[1], w[1], smlad(x[0], w[0], *sum));
        }
    }
    sums
}

/// See [`super::multiply_add`]. A function of its own: where it is inlined, the sums are moved about between registers and
/// stack far more often than they are used.
#[inline(never)]
pub fn multiply_add<const N: usize>(x: &[i8; N], w: &[i8; N], sums: &mut [i32; N]) {
    let (x, w) = (x.as_chunks(), w.as_chunks());
    let (words, rest) = sums.as_chunks_mut::<4>();
    for (sums, (x, w)) in words.iter_mut().zip(x.0.iter().zip(w.0)) {
        let ([x_even, x_odd], [w_even, w_odd]) = (widen(x), widen(w));
        // The compiler makes each of these one multiply-accumulate of half-words.
        for (sum, product) in sums.iter_mut().zip([
            low(x_even) * low(w_even),
            low(x_odd) * low(w_odd),
            high(x_even) * high(w_even),
            high(x_odd) * high(w_odd),
        ]) {
            *sum = sum.wrapping_add(product);
        }
    }
    for ((sum, x), w) in rest.iter_mut().zip(x.1).zip(w.1) {
        *sum = sum.wrapping_add(i32::from(*x) * i32::from(*w));
    }
}

/// The lower of a pair of int16.
#[inline(always)]
fn low(pair: u32) -> i32 {
    i32::from(pair as i16)
}

/// The upper of a pair of int16.
#[inline(always)]
fn high(pair: u32) -> i32 {
    pair as i32 >> 16
}

/// The even and the odd of four int8 values, each as a pair of int16.
#[inline(always)]
fn widen(values: &[i8; 4]) -> [u32; 2] {
    let word: u32 = bytemuck::cast(*values);
    let (even, odd);
    // SAFETY: the instructions touch nothing but their registers.
    unsafe {
        asm!("sxtb16 {}, {}", lateout(reg) even, in(reg) word, options(pure, nomem, nostack, preserves_flags));
        asm!("sxtb16 {0}, {0}, ror #8", inlateout(reg) word => odd, options(pure, nomem, nostack, preserves_flags));
    }
    [even, odd]
}

/// `sum + x.low * w.low + x.high * w.high`, wrapping.
#[inline(always)]
fn smlad(x: u32, w: u32, mut sum: i32) -> i32 {
    // SAFETY: the instruction touches nothing but its registers and the saturation flag, which nobody reads.
    unsafe {
        asm!("smlad {0}, {1}, {2}, {0}", inlateout(reg) sum, in(reg) x, in(reg) w, options(pure, nomem, nostack));
    }
    sum
}
