//! Sixteen channels of an output: their parameters in the order of the lanes that hold their sums, and what becomes of
//! the sums.
//!
//! Of two vectors of sums, the first holds channels 0 to 3 and 8 to 11, the second 4 to 7 and 12 to 15: unpacking two
//! vectors of int16 puts them there, and narrowing brings them back in order.

use core::arch::x86_64::{
    __m256, __m256i, _mm_packs_epi16, _mm256_adds_epi16, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_extracti128_si256, _mm256_min_ps, _mm256_mul_ps, _mm256_packs_epi32,
    _mm256_set1_epi16, _mm256_set1_ps,
};
use core::mem::MaybeUninit;
use ocellus_shared::plan::Step;

/// Channels of a block.
pub const CHANNELS: usize = 16;

/// Half of them, as many as the last block often has.
pub const HALF: usize = CHANNELS / 2;

/// Two vectors: sums of sixteen channels, or a pair of int16 for each.
pub type Two = [__m256i; 2];

/// Memory for blocks.
pub type Room = [MaybeUninit<Two>; ROOM];

/// Pairs of vectors that there is room for.
pub const ROOM: usize = 1280;

/// Pairs of vectors that stay in the cache beside the input while blocks are applied together.
pub const CACHED: usize = 192;

/// How many blocks of `block_len` pairs of vectors are applied together: at least one, since that has room.
pub fn together(block_len: usize) -> usize {
    (CACHED / block_len).max(1)
}

/// Pairs of vectors before a block's weights: biases and multipliers.
pub const HEAD: usize = 2;

/// Which four of a block's channels are in each four of its lanes.
pub const ORDER: [usize; CHANNELS / 4] = [0, 2, 1, 3];

/// The same for a block of half as many channels, all of which are in the first vector.
pub const HALF_ORDER: [usize; CHANNELS / 4] = [0, 1, 2, 3];

/// A block of channels from `first` on, packed: biases, multipliers, and then weights of which the kernel knows the
/// meaning.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Its first channel.
    pub first: usize,
    /// Whether only the first of its vectors matters, in [`HALF_ORDER`].
    pub is_half: bool,
    zero: i8,
    packed: &'a [Two],
}

impl<'a> Block<'a> {
    /// The block of `step` from channel `first` on, of what [`head`] and a kernel have packed, in [`HALF_ORDER`] if it
    /// `is_half`.
    pub fn new(step: &Step, first: usize, is_half: bool, packed: &'a [Two]) -> Self {
        Self { first, is_half, zero: step.output.zero, packed }
    }

    /// What sums begin with.
    #[inline(always)]
    pub fn biases(&self) -> Two {
        self.packed[0]
    }

    /// Its weights.
    #[inline(always)]
    pub fn weights(&self) -> &'a [Two] {
        &self.packed[HEAD..]
    }

    /// Writes the results of `sums` to their channels in all those of an output.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn write(&self, sums: Two, pixel: &mut [i8]) {
        let multipliers = [_mm256_castsi256_ps(self.packed[1][0]), _mm256_castsi256_ps(self.packed[1][1])];
        let mut results = requantize(sums, multipliers, self.zero);
        if self.is_half {
            let fours: [[i8; 4]; 4] = bytemuck::cast(results);
            results = bytemuck::cast([fours[0], fours[2], fours[1], fours[3]]);
        }
        let pixel = &mut pixel[self.first..];
        if let Some(pixel) = pixel.first_chunk_mut::<CHANNELS>() {
            *pixel = results;
        } else if let ([pixel], []) = pixel.as_chunks_mut::<HALF>() {
            pixel.copy_from_slice(&results[..HALF]);
        } else {
            pixel.iter_mut().zip(results).for_each(|(value, result)| *value = result);
        }
    }
}

/// The parameters of the block of `step` from channel `first` on, its fours in the `order` of lanes; after the last channel comes the
/// first again.
pub fn head(step: &Step, first: usize, order: [usize; CHANNELS / 4]) -> [Two; HEAD] {
    let (mut biases, mut multipliers) = ([0; CHANNELS], [0.0; CHANNELS]);
    let mut channel = first;
    for (bias, multiplier) in biases.iter_mut().zip(&mut multipliers) {
        if channel == step.biases.len() {
            channel = 0;
        }
        (*bias, *multiplier) = (step.biases.get(channel), step.multipliers.get(channel));
        channel += 1;
    }
    let (biases, multipliers): ([[i32; 4]; 4], [[f32; 4]; 4]) = (bytemuck::cast(biases), bytemuck::cast(multipliers));
    [bytemuck::cast(order.map(|four| biases[four])), bytemuck::cast(order.map(|four| multipliers[four]))]
}

/// The rounding rule for sixteen sums, their results in the order of their channels.
///
/// The same as [`ocellus_shared::quant::requantize`]: a conversion to int32 rounds half to even, and what does not fit
/// becomes the least value, so that only what is too large needs a bound before.
#[inline]
#[target_feature(enable = "avx2")]
pub fn requantize(sums: Two, multipliers: [__m256; 2], zero: i8) -> [i8; CHANNELS] {
    let most = _mm256_set1_ps(1024.0);
    let mut rounded = sums;
    for (value, multiplier) in rounded.iter_mut().zip(multipliers) {
        *value = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(*value), multiplier), most));
    }
    let [low, high] = rounded;
    let results = _mm256_adds_epi16(_mm256_packs_epi32(low, high), _mm256_set1_epi16(zero.into()));
    bytemuck::cast(_mm_packs_epi16(_mm256_castsi256_si128(results), _mm256_extracti128_si256::<1>(results)))
}
