//! For workstations: by what the machine has, [`Isa`]. AVX-512 VNNI and AVX-VNNI, 64 and 32 products per instruction, in `vnni`; AVX2,
//! sixteen, in [`conv`], [`depthwise`] and [`add`]; otherwise SSE2, which every x86-64 has, and eight.

pub mod add;
mod band;
mod block;
pub mod conv;
pub mod depthwise;
mod isa;
pub mod product;
mod taps;
mod vnni;

pub use isa::Isa;

use super::portable::{self, dot};
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_madd_epi16, _mm_set_epi64x, _mm_setzero_si128, _mm_srai_epi16, _mm_unpackhi_epi8,
    _mm_unpacklo_epi8,
};
use ocellus_shared::op::{BLOCK, PATCHES};

/// Values of one vector.
const WIDTH: usize = BLOCK;

/// See [`super::dots`].
#[inline(always)]
pub fn dots<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    // SAFETY: the machine has what is in use, and SSE2 is part of x86-64.
    match Isa::in_use() {
        Isa::Portable => portable::dots(x, w),
        Isa::Avx512Vnni => unsafe { vnni::dots::avx512(x, w) },
        _ => unsafe { sse2(x, w) },
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn sse2<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    let w = w.map(|w| w[..x.len()].as_chunks());
    let (x, rest) = x.as_chunks();
    let mut sums = [_mm_setzero_si128(); C];
    for (i, x) in x.iter().enumerate() {
        let x = widen(x);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = multiply_add(*sum, x, widen(&w.0[i]));
        }
    }
    let mut totals = sums.map(|lanes| total(bytemuck::cast(lanes)));
    for (total, w) in totals.iter_mut().zip(w) {
        *total = total.wrapping_add(dot(rest, w.1));
    }
    totals
}

/// Adds sixteen products to the lanes of `sums`.
#[inline]
#[target_feature(enable = "sse2")]
fn multiply_add(sums: __m128i, x: [__m128i; 2], w: [__m128i; 2]) -> __m128i {
    let (low, high) = (_mm_madd_epi16(x[0], w[0]), _mm_madd_epi16(x[1], w[1]));
    _mm_add_epi32(sums, _mm_add_epi32(low, high))
}

/// See [`pair`](super::portable::pair()).
#[inline(always)]
pub fn pair(rows: &[i8], pair: &[i8]) -> [[i32; 2]; PATCHES] {
    if Isa::in_use() == Isa::Portable {
        return portable::pair(rows, pair);
    }
    // SAFETY: SSE2 is part of x86-64.
    unsafe { pair_sse2(rows, pair) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn pair_sse2(rows: &[i8], pair: &[i8]) -> [[i32; 2]; PATCHES] {
    let row = pair.len() / 2;
    let x = [0, 1, 2].map(|p| rows[p * row..][..row].as_chunks::<WIDTH>());
    let (blocks, rest) = pair.split_at(row / WIDTH * 2 * WIDTH);
    let mut sums = [[_mm_setzero_si128(); 2]; PATCHES];
    for (i, w) in blocks.as_chunks::<WIDTH>().0.as_chunks::<2>().0.iter().enumerate() {
        let w = [widen(&w[0]), widen(&w[1])];
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = widen(&x.0[i]);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = multiply_add(*sum, x, w);
            }
        }
    }
    let mut totals = sums.map(|sums| sums.map(|lanes| total(bytemuck::cast(lanes))));
    let (first, second) = rest.split_at(rest.len() / 2);
    for (totals, x) in totals.iter_mut().zip(x) {
        totals[0] = totals[0].wrapping_add(dot(x.1, first));
        totals[1] = totals[1].wrapping_add(dot(x.1, second));
    }
    totals
}

/// Sixteen int8 values as two vectors of int16.
#[inline]
#[target_feature(enable = "sse2")]
fn widen(values: &[i8; WIDTH]) -> [__m128i; 2] {
    let halves: [i64; 2] = bytemuck::cast(*values);
    let bytes = _mm_set_epi64x(halves[1], halves[0]);
    // Each byte doubled, then the copy below shifted out, which leaves its sign above.
    [_mm_unpacklo_epi8(bytes, bytes), _mm_unpackhi_epi8(bytes, bytes)].map(|doubled| _mm_srai_epi16::<8>(doubled))
}

/// Wrapping sum of four lanes.
#[inline(always)]
fn total(lanes: [i32; 4]) -> i32 {
    lanes.into_iter().fold(0, i32::wrapping_add)
}
