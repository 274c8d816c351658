//! For Cortex-M4, M7 and M33: two products per instruction.
//!
//! Four int8 values are one load; `SXTB16` widens the even and the odd ones of a word to pairs of int16, and `SMLAD`
//! multiplies two such pairs and adds both products. Compilers do not find these by themselves.

pub mod add;
mod conv;
pub mod depthwise;
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
