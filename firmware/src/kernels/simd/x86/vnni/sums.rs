//! Sixteen channels' sums, and the one product that all kernels here are made of.

use super::super::block::CHANNELS;
use core::arch::x86_64::{
    __m256i, __m512i, _mm_packs_epi16, _mm_shuffle_epi32, _mm_storeu_si128, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpbusd_epi32, _mm256_extracti128_si256,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_packs_epi32,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_storeu_si256, _mm512_add_epi32, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps,
    _mm512_cvtps_epi32, _mm512_dpbusd_epi32, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_storeu_si512,
};

/// Values that one product adds up for a channel: a *quad*.
pub const QUAD: usize = 4;

/// Sums of sixteen channels.
///
/// Its functions are `unsafe` because the machine must have the instructions that the implementation is named after; they are
/// inlined into functions that have them enabled.
pub trait Sums: Copy {
    /// Most outputs whose sums, with what they are made of, fit the registers: of one block, and of two at once.
    const OUTPUTS: [usize; 2];

    /// Sums that begin with `values`.
    unsafe fn load(values: &[i32; CHANNELS]) -> Self;

    /// The one quad of the input at `from`, for every channel.
    unsafe fn one_quad(from: *const u8) -> Self;

    /// The quads at `from`, one for each channel.
    unsafe fn quads(from: *const u8) -> Self;

    /// Adds the products of quads of the input, without signs, and such of weights.
    unsafe fn add(self, x: Self, weights: Self) -> Self;

    /// The sums.
    unsafe fn store(self) -> [i32; CHANNELS];

    /// The rounding rule, see [`ocellus_shared::quant::requantize`]. A conversion to int32 rounds half to even; what is bounded by integers
    /// before it is bounded after it.
    unsafe fn requantize(self, multipliers: &[f32; CHANNELS], zero: i8) -> [i8; CHANNELS];
}

/// The least and the most that a rounded product may be, so that with `zero` it is an int8.
#[inline(always)]
fn bounds(zero: i8) -> [f32; 2] {
    let zero = i16::from(zero);
    [f32::from(i16::from(i8::MIN) - zero), f32::from(i16::from(i8::MAX) - zero)]
}

/// By AVX-512 VNNI, in one vector.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(__m512i);

impl Sums for Avx512 {
    const OUTPUTS: [usize; 2] = [12, 12];

    #[inline(always)]
    unsafe fn load(values: &[i32; CHANNELS]) -> Self {
        Self(unsafe { _mm512_loadu_si512(values.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn one_quad(from: *const u8) -> Self {
        Self(unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) })
    }

    #[inline(always)]
    unsafe fn quads(from: *const u8) -> Self {
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn add(self, x: Self, weights: Self) -> Self {
        Self(unsafe { _mm512_dpbusd_epi32(self.0, x.0, weights.0) })
    }

    #[inline(always)]
    unsafe fn store(self) -> [i32; CHANNELS] {
        let mut values = [0; CHANNELS];
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), self.0) };
        values
    }

    #[inline(always)]
    unsafe fn requantize(self, multipliers: &[f32; CHANNELS], zero: i8) -> [i8; CHANNELS] {
        let ([least, most], mut results) = (bounds(zero), [0; CHANNELS]);
        unsafe {
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(self.0), _mm512_loadu_ps(multipliers.as_ptr()));
            let bounded = _mm512_max_ps(_mm512_min_ps(product, _mm512_set1_ps(most)), _mm512_set1_ps(least));
            let rounded = _mm512_add_epi32(_mm512_cvtps_epi32(bounded), _mm512_set1_epi32(zero.into()));
            _mm_storeu_si128(results.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded));
        }
        results
    }
}

/// By the product `$dot` of vectors half as long, in two of them.
macro_rules! two_vectors {
    ($name:ident, $dot:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, Debug)]
        pub struct $name([__m256i; 2]);

        impl Sums for $name {
            const OUTPUTS: [usize; 2] = [6, 3];

            #[inline(always)]
            unsafe fn load(values: &[i32; CHANNELS]) -> Self {
                unsafe { Self::quads(values.as_ptr().cast()) }
            }

            #[inline(always)]
            unsafe fn one_quad(from: *const u8) -> Self {
                Self([unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }; 2])
            }

            #[inline(always)]
            unsafe fn quads(from: *const u8) -> Self {
                let from: *const __m256i = from.cast();
                unsafe { Self([_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))]) }
            }

            #[inline(always)]
            unsafe fn add(self, x: Self, weights: Self) -> Self {
                let (Self([low, high]), Self([x_low, x_high]), Self([w_low, w_high])) = (self, x, weights);
                unsafe { Self([$dot(low, x_low, w_low), $dot(high, x_high, w_high)]) }
            }

            #[inline(always)]
            unsafe fn store(self) -> [i32; CHANNELS] {
                let mut values = [0; CHANNELS];
                let to: *mut __m256i = values.as_mut_ptr().cast();
                unsafe {
                    _mm256_storeu_si256(to, self.0[0]);
                    _mm256_storeu_si256(to.add(1), self.0[1]);
                }
                values
            }

            #[inline(always)]
            unsafe fn requantize(self, multipliers: &[f32; CHANNELS], zero: i8) -> [i8; CHANNELS] {
                let ([least, most], mut results) = (bounds(zero), [0; CHANNELS]);
                let mut rounded = self.0;
                unsafe {
                    for (k, sums) in rounded.iter_mut().enumerate() {
                        let multipliers = _mm256_loadu_ps(multipliers.as_ptr().add(8 * k));
                        let product = _mm256_mul_ps(_mm256_cvtepi32_ps(*sums), multipliers);
                        let bounded =
                            _mm256_max_ps(_mm256_min_ps(product, _mm256_set1_ps(most)), _mm256_set1_ps(least));
                        *sums = _mm256_add_epi32(_mm256_cvtps_epi32(bounded), _mm256_set1_epi32(zero.into()));
                    }
                    // Fours of channels 0, 2, 1, 3.
                    let both = _mm256_packs_epi32(rounded[0], rounded[1]);
                    let bytes = _mm_packs_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
                    _mm_storeu_si128(results.as_mut_ptr().cast(), _mm_shuffle_epi32::<0b11_01_10_00>(bytes));
                }
                results
            }
        }
    };
}

two_vectors!(Avx, _mm256_dpbusd_avx_epi32, "By AVX-VNNI.");
two_vectors!(
    Avx512Halves,
    _mm256_dpbusd_epi32,
    "What [`Avx`] is, by instructions that a machine with AVX-512 VNNI has: for tests."
);
