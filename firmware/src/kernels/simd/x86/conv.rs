//! Convolution: a pair of neighbouring values of the input times such pairs of sixteen filters, sixteen channels and a few
//! outputs at a time. No sum is ever added up across the lanes of a vector.

use super::Isa;
use super::band::{self, Band};
use super::block::{self, Block, CHANNELS, HALF, HALF_ORDER, HEAD, ORDER, Two};
use super::taps::{Taps, pair};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};
use core::mem::MaybeUninit;
use ocellus_shared::Window;
use ocellus_shared::op::BLOCK;
use ocellus_shared::plan::Step;

/// Neighbouring outputs that are computed together: their sums, the weights and a product fit the registers.
const OUTPUTS: usize = 4;

/// Vectors of a packed block, by two.
fn block_len(taps: &Taps) -> usize {
    HEAD + taps.runs * taps.groups
}

/// Computes the whole `step` and says `true`, or says `false`: where the machine has no AVX2, or the layer is too large for
/// the memory that a call has.
#[inline(never)]
pub fn run(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) -> bool {
    let isa = Isa::in_use();
    if super::vnni::conv::run(isa, step, window, input, output) {
        return true;
    }
    let taps = Taps::new(step, window, 2);
    if isa < Isa::Avx2 || block_len(&taps) > block::ROOM {
        return false;
    }
    let mut room: band::Room<i16> = [const { MaybeUninit::uninit() }; band::ROOM];
    let Some(mut band) = Band::new(step, window, input, &mut room) else { return false };
    // SAFETY: the machine has AVX2.
    unsafe { filter(step, taps, &mut band, output) }
    true
}

/// Applies as many blocks of filters to all rows as there is room for, then the next.
#[target_feature(enable = "avx2")]
fn filter(step: &Step, taps: Taps, band: &mut Band<i16>, output: &mut [i8]) {
    let mut room: block::Room = [const { MaybeUninit::uninit() }; block::ROOM];
    let channels = usize::from(step.output.shape.c);
    let line = band.out[1] * channels;
    let together = block::together(block_len(&taps)) * CHANNELS;
    for start in (0..channels).step_by(together) {
        let firsts = (start..channels.min(start + together)).step_by(CHANNELS);
        let mut packed = room.chunks_exact_mut(block_len(&taps));
        for first in firsts.clone() {
            pack(step, taps, first, packed.next().unwrap_or_default());
        }
        band.rewind();
        for (y, pixels) in output.chunks_exact_mut(line).enumerate() {
            band.reach(y);
            for (first, packed) in firsts.clone().zip(room.chunks_exact(block_len(&taps))) {
                // SAFETY: `pack` has written all of it.
                let packed = unsafe { packed.assume_init_ref() };
                let block = Block::new(step, first, channels - first <= HALF, packed);
                row(band, &block, pixels, channels);
            }
        }
    }
}

/// The outputs of a row in the channels of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn row(band: &Band<i16>, block: &Block, pixels: &mut [i8], channels: usize) {
    let (pairs, width) = (block.weights().len() / band.kernel_rows, pixels.len() / channels);
    let last = (width - 1) * band.step + 2 * pairs;
    assert!((0..band.kernel_rows).all(|dy| band.start(dy) + last <= band.end()));
    // All groups of about one size.
    let each = width.div_ceil(width.div_ceil(OUTPUTS));
    for (index, pixels) in pixels.chunks_mut(each * channels).enumerate() {
        let at = index * each * band.step;
        // SAFETY: no output's pairs end behind those of the last, which were just found to be in the band, in rows that
        // were reached.
        unsafe {
            match (pixels.len() / channels, block.is_half) {
                (4, false) => outputs::<4, 2>(band, at, block, pixels),
                (3, false) => outputs::<3, 2>(band, at, block, pixels),
                (2, false) => outputs::<2, 2>(band, at, block, pixels),
                (_, false) => outputs::<1, 2>(band, at, block, pixels),
                (4, true) => outputs::<4, 1>(band, at, block, pixels),
                (3, true) => outputs::<3, 1>(band, at, block, pixels),
                (2, true) => outputs::<2, 1>(band, at, block, pixels),
                (_, true) => outputs::<1, 1>(band, at, block, pixels),
            }
        }
    }
}

/// `N` outputs, whose windows begin `at` values behind each row's start, in the channels of `V` vectors; all of their values
/// are in the band, and were brought in.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn outputs<const N: usize, const V: usize>(band: &Band<i16>, at: usize, block: &Block, pixels: &mut [i8]) {
    let mut sums = [block.biases(); N];
    let weights = block.weights();
    for (dy, weights) in weights.chunks_exact(weights.len() / band.kernel_rows).enumerate() {
        let start = band.start(dy) + at;
        for (k, weights) in weights.iter().enumerate() {
            for (p, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller vouches.
                let pair = unsafe { band.values().add(start + p * band.step + 2 * k).cast::<i32>().read_unaligned() };
                for (sum, weights) in sums.iter_mut().zip(weights).take(V) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_set1_epi32(pair), *weights));
                }
            }
        }
    }
    let channels = pixels.len() / N;
    for (sums, pixel) in sums.iter().zip(pixels.chunks_exact_mut(channels)) {
        block.write(*sums, pixel);
    }
}

/// Packs the filters from `first` on, pair of taps after pair of taps, to all of `room`.
#[target_feature(enable = "avx2")]
fn pack(step: &Step, taps: Taps, first: usize, room: &mut [MaybeUninit<Two>]) {
    let (head, weights) = room.split_at_mut(HEAD);
    let is_half = usize::from(step.output.shape.c) - first <= HALF;
    let order = if is_half { HALF_ORDER } else { ORDER };
    head.write_copy_of_slice(&block::head(step, first, order));
    for (run, weights) in weights.chunks_exact_mut(taps.groups).enumerate() {
        for (index, weights) in weights.chunks_mut(BLOCK / 2).enumerate() {
            let mut filters = [[[0; BLOCK]; 2]; CHANNELS / 2];
            for (half, filters) in filters.iter_mut().enumerate() {
                *filters = pair(step, taps, first / 2 + half, run, index * BLOCK);
            }
            for (to, both) in weights.iter_mut().zip(transposed(&filters, order)) {
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(both));
                to.write([low, _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(both))]);
            }
        }
    }
}

/// Eight pairs of taps of sixteen filters, filter after filter, as pairs of each filter, tap after tap, fours of filters in the
/// `order` of lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(filters: &[[[i8; BLOCK]; 2]; CHANNELS / 2], order: [usize; CHANNELS / 4]) -> [__m256i; BLOCK / 2] {
    let filters = filters.as_flattened();
    let mut rows = [_mm256_setzero_si256(); 8];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = bytemuck::cast([0, 2].map(|vector| filters[4 * order[vector + i / 4] + i % 4]));
    }
    // Each round turns the six bits of a pair's place, three of its row and three of its column, by one.
    for _ in 0..3 {
        let mut turned = rows;
        for i in 0..4 {
            turned[2 * i] = _mm256_unpacklo_epi16(rows[i], rows[i + 4]);
            turned[2 * i + 1] = _mm256_unpackhi_epi16(rows[i], rows[i + 4]);
        }
        rows = turned;
    }
    rows
}
