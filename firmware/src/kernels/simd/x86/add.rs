//! Sums of two maps: a value of each and both factors go into one product of pairs.

use super::block::{CHANNELS, requantize};
use core::arch::x86_64::{
    _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

/// Writes `a * factors[0] + b * factors[1] + offset`, requantized, for as many values as make whole vectors; how many. None
/// where a factor does not fit 16 bits, or the machine has no AVX2.
pub fn run(a: &[i8], b: &[i8], factors: [i32; 2], offset: i32, multiplier: f32, zero: i8, output: &mut [i8]) -> usize {
    match factors.map(i16::try_from) {
        // SAFETY: the machine has AVX2.
        [Ok(first), Ok(second)] if super::Isa::in_use() >= super::Isa::Avx2 => unsafe {
            sums(a, b, [first, second], offset, multiplier, zero, output)
        },
        _ => 0,
    }
}

#[target_feature(enable = "avx2")]
fn sums(a: &[i8], b: &[i8], factors: [i16; 2], offset: i32, multiplier: f32, zero: i8, output: &mut [i8]) -> usize {
    let (factors, offset) = (_mm256_set1_epi32(bytemuck::cast(factors)), _mm256_set1_epi32(offset));
    let multipliers = [_mm256_set1_ps(multiplier); 2];
    let (a, b, output) = (a.as_chunks::<CHANNELS>().0, b.as_chunks().0, output.as_chunks_mut().0);
    for ((a, b), output) in a.iter().zip(b).zip(output) {
        let (a, b) =
            (_mm256_cvtepi8_epi16(bytemuck::cast(*a)), _mm256_cvtepi8_epi16(bytemuck::cast::<[i8; 16], _>(*b)));
        let mut sums = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
        for sum in &mut sums {
            *sum = _mm256_add_epi32(_mm256_madd_epi16(*sum, factors), offset);
        }
        *output = requantize(sums, multipliers, zero);
    }
    a.len() * CHANNELS
}
