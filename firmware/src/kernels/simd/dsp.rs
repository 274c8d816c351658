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
mod winograd;

use super::portable::dot;
use core::arch::asm;

pub use conv::Patches;
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

/// The dot products of `x` with four rows of weights, which are `row` bytes each, a multiple of 4 and not less than `x` is long;
/// what they hold beyond `x` is not read.
pub fn four_dots(x: &[i8], rows: &[i8], row: usize) -> [i32; 4] {
    let whole = x.len() / 4 * 4;
    let mut sums = [0; 4];
    assert!(rows.len() >= 4 * row && row >= x.len());
    if whole > 0 {
        let x = x[..whole].as_ptr_range();
        // SAFETY: there are `whole` values of `x`, and as many at the begin of each of four rows.
        unsafe { four_rows(x.start, x.end, rows.as_ptr(), row, &mut sums) }
    }
    for (k, sum) in sums.iter_mut().enumerate() {
        *sum = sum.wrapping_add(dot(&x[whole..], &rows[k * row + whole..]));
    }
    sums
}

/// The same over whole words, of which there are some: 25 instructions for 16 products.
#[inline(never)]
unsafe fn four_rows(x: *const i8, end: *const i8, rows: *const i8, row: usize, sums: &mut [i32; 4]) {
    // SAFETY: the code reads what the caller vouches for and writes the sums; it restores the registers that it may not name.
    unsafe {
        asm!(
            "push {{r4, r6-r11}}",
            "lsl r5, r3, #1",
            "add lr, r5, r3",
            "mov r6, #0",
            "mov r7, #0",
            "mov r8, #0",
            "mov r9, #0",
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

/// Sums over all pixels of `map`, `(pixels, channels)`, of each of the four channels from `first`, which it has.
pub fn sums_of_pixels(map: &[i8], channels: usize, first: usize) -> [i32; 4] {
    /// Pixels whose sum fits an int16.
    const PIXELS: usize = 256;
    assert!(first + 4 <= channels);
    let mut sums = [0; 4];
    for pixels in map.chunks(PIXELS * channels) {
        let (mut even, mut odd) = (0u32, 0u32);
        let count = pixels.len() / channels;
        if count > 0 {
            // SAFETY: `count` pixels are there, each with four channels from `first`; the instructions touch nothing but
            // their registers and flags.
            unsafe {
                asm!(
                    "2:",
                    "ldr {word}, [{at}]",
                    "add {at}, {channels}",
                    "sxtab16 {even}, {even}, {word}",
                    "sxtab16 {odd}, {odd}, {word}, ror #8",
                    "subs {count}, #1",
                    "bne 2b",
                    word = out(reg) _,
                    at = inout(reg) pixels.as_ptr().wrapping_add(first) => _,
                    channels = in(reg) channels,
                    even = inout(reg) even,
                    odd = inout(reg) odd,
                    count = inout(reg) count => _,
                    options(pure, readonly, nostack),
                );
            }
        }
        for (sum, part) in sums.iter_mut().zip([low(even), low(odd), high(even), high(odd)]) {
            *sum += part;
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
