//! For Cortex-M4, M7 and M33: two products per instruction.
//!
//! Four int8 values are one load; `SXTB16` widens the even and the odd ones of a word to pairs of int16, and `SMLAD`
//! multiplies two such pairs and adds both products. Compilers do not find these by themselves.

/// Four values of two filters, pairs of int16 in r2, r3 and in r10, r11, times four of each of three patches or tiles, which
/// begin at r1: added to the sums r4 to r9, of both filters for each patch.
macro_rules! six_sums {
    () => {
        "
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

/// Rounds the products of the int32 in s0 to s3 with s4.
macro_rules! round_four {
    () => {
        "
        vcvt.f32.s32 s0, s0
        vcvt.f32.s32 s1, s1
        vcvt.f32.s32 s2, s2
        vcvt.f32.s32 s3, s3
        vmul.f32 s0, s0, s4
        vmul.f32 s1, s1, s4
        vmul.f32 s2, s2, s4
        vmul.f32 s3, s3, s4
        vcvtr.s32.f32 s0, s0
        vcvtr.s32.f32 s1, s1
        vcvtr.s32.f32 s2, s2
        vcvtr.s32.f32 s3, s3
        "
    };
}

mod conv;
pub mod depthwise;
pub mod maps;
mod product;
mod winograd;

use super::{GROUP, ROWS};
use core::arch::asm;

pub use conv::Patches;
pub use product::Product;
pub use winograd::Tiles;

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
pub fn dots(x: &[i8], rows: &[i8], row: usize, apart: usize) -> [i32; ROWS] {
    let (words, rest) = x.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let mut sums = [0; ROWS];
    assert!(rows.len() >= (ROWS - 1) * apart + row && row >= x.len() && row.is_multiple_of(4));
    // SAFETY: each of four rows has `row` values, as many as the words and, where there is a rest, the last.
    unsafe {
        if !words.is_empty() {
            let x = words.as_ptr_range();
            four_rows(x.start, x.end, rows.as_ptr(), apart, &mut sums);
        }
        if !rest.is_empty() {
            let x = core::slice::from_ref(&last).as_ptr_range();
            four_rows(x.start, x.end, rows.as_ptr().add(4 * words.len()), apart, &mut sums);
        }
    }
    sums
}

/// Adds the dot products over whole words, of which there are some, to the sums: 25 instructions for 16 products.
#[inline(never)]
unsafe fn four_rows(x: *const [i8; 4], end: *const [i8; 4], rows: *const i8, row: usize, sums: &mut [i32; ROWS]) {
    // SAFETY: the code reads what the caller vouches for and writes the sums; it restores the registers that it may not name.
    unsafe {
        asm!(
            "push {{r4, r6-r11}}",
            "ldm r4, {{r6-r9}}",
            "lsl r5, r3, #1",
            "add lr, r5, r3",
            "2:",
            "ldr r10, [r0], #4",
            "sxtb16 r11, r10, ror #8",
            "sxtb16 r10, r10",
            "ldr r12, [r2, r3]",
            "sxtb16 r4, r12, ror #8",
            "sxtb16 r12, r12",
            "smlad r7, r10, r12, r7",
            "smlad r7, r11, r4, r7",
            "ldr r12, [r2, r5]",
            "sxtb16 r4, r12, ror #8",
            "sxtb16 r12, r12",
            "smlad r8, r10, r12, r8",
            "smlad r8, r11, r4, r8",
            "ldr r12, [r2, lr]",
            "sxtb16 r4, r12, ror #8",
            "sxtb16 r12, r12",
            "smlad r9, r10, r12, r9",
            "smlad r9, r11, r4, r9",
            "ldr r12, [r2], #4",
            "sxtb16 r4, r12, ror #8",
            "sxtb16 r12, r12",
            "smlad r6, r10, r12, r6",
            "smlad r6, r11, r4, r6",
            "cmp r0, r1",
            "bne 2b",
            "ldr r4, [sp]",
            "stm r4, {{r6-r9}}",
            "pop {{r4, r6-r11}}",
            inout("r0") x => _,
            in("r1") end,
            inout("r2") rows => _,
            in("r3") row,
            in("r4") sums,
            out("r5") _,
            out("r12") _,
            out("lr") _,
        )
    }
}

/// Keeps the larger of each of `most` and `values`, for as many as make whole words; how many.
#[inline(always)]
pub fn larger(most: &mut [i8], values: &[i8]) -> usize {
    let (most, values) = (most.as_chunks_mut::<4>().0, values.as_chunks::<4>().0);
    for (most, values) in most.iter_mut().zip(values) {
        let mut word: u32 = bytemuck::cast(*most);
        // SAFETY: the instructions touch nothing but their registers and the flags that tell for each byte whether it was
        // not less.
        unsafe {
            asm!(
                "ssub8 {0}, {1}, {2}",
                "sel {1}, {1}, {2}",
                out(reg) _,
                inout(reg) word,
                in(reg) bytemuck::cast::<_, u32>(*values),
                options(pure, nomem, nostack),
            );
        }
        *most = bytemuck::cast(word);
    }
    4 * most.len()
}

/// See [`super::add_pixels`].
#[inline(always)]
pub fn add_pixels(pixels: &[i8], channels: usize, first: usize, sums: &mut [i32]) {
    let values = &pixels[first..];
    match sums {
        // The last pixel has as many channels as the others.
        [a, b, c, d] if first + GROUP <= channels && !pixels.is_empty() => {
            // SAFETY: each pixel has four channels from `first`; the instructions touch nothing but their registers and flags.
            unsafe {
                asm!(
                    "2:",
                    "ldr {word}, [{at}]",
                    "add {at}, {channels}",
                    "sxtab {a}, {a}, {word}",
                    "sxtab {b}, {b}, {word}, ror #8",
                    "sxtab {c}, {c}, {word}, ror #16",
                    "sxtab {d}, {d}, {word}, ror #24",
                    "subs {count}, #1",
                    "bne 2b",
                    word = out(reg) _,
                    at = inout(reg) values.as_ptr() => _,
                    channels = in(reg) channels,
                    a = inout(reg) *a,
                    b = inout(reg) *b,
                    c = inout(reg) *c,
                    d = inout(reg) *d,
                    count = inout(reg) pixels.len() / channels => _,
                    options(pure, readonly, nostack),
                );
            }
        }
        _ => super::portable::add_pixels(pixels, channels, first, sums),
    }
}

/// See [`super::multiply_add`].
#[inline(always)]
pub fn multiply_add(x: &[i8], w: &[i8], sums: &mut [i32]) {
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
