//! Dot products of whole rows, for dense layers: here it is the weights that are taken as 128 more than they are, which adds 128
//! times the sum of the input to each product.

use super::super::super::portable::dot;
use core::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    _mm512_xor_si512,
};

/// Values of one vector.
const WIDTH: usize = 64;

/// See [`dots`](super::super::dots()).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn avx512<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    let w = w.map(|w| w[..x.len()].as_chunks::<WIDTH>());
    let (x, rest) = x.as_chunks::<WIDTH>();
    let bias = _mm512_set1_epi8(i8::MIN);
    let (mut sums, mut excess) = ([_mm512_setzero_si512(); C], _mm512_setzero_si512());
    for (i, x) in x.iter().enumerate() {
        let x = load(x);
        excess = _mm512_dpbusd_epi32(excess, bias, x);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(&w.0[i]), bias), x);
        }
    }
    let (mut totals, excess) = ([0; C], _mm512_reduce_add_epi32(excess));
    for ((total, sum), w) in totals.iter_mut().zip(sums).zip(w) {
        *total = _mm512_reduce_add_epi32(sum).wrapping_sub(excess).wrapping_add(dot(rest, w.1));
    }
    totals
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[i8; WIDTH]) -> __m512i {
    // SAFETY: they are as long as a vector.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}
