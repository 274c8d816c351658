//! Convolution: a pair of neighbouring values of the input times such pairs of sixteen filters, sixteen channels and a few
//! outputs at a time. No sum is ever added up across the lanes of a vector.

use super::band::{self, Band};
use super::block::{self, Block, CHANNELS, HEAD, Two};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};
use core::mem::MaybeUninit;
use ocellus_shared::Window;
use ocellus_shared::op::{BLOCK, pair_index, row_bytes};
use ocellus_shared::plan::Step;

/// Taps of a filter without a gap, and the pairs that they make: a filter's rows, one after the other where each is whole
/// pairs.
#[derive(Clone, Copy)]
struct Taps {
    runs: usize,
    len: usize,
    pairs: usize,
}

impl Taps {
    fn new(step: &Step, window: &Window) -> Self {
        let len = usize::from(window.kernel[1]) * usize::from(step.input().shape.c);
        let rows = usize::from(window.kernel[0]);
        let (runs, len) = if len.is_multiple_of(2) { (1, rows * len) } else { (rows, len) };
        Self { runs, len, pairs: len.div_ceil(2) }
    }

    /// Vectors of a packed block, by two.
    fn block_len(&self) -> usize {
        HEAD + self.runs * self.pairs
    }
}

/// Computes the whole `step` and says `true`, or says `false`: where the machine has no AVX2, or the layer is too large for
/// the memory that a call has.
#[inline(never)]
pub fn run(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) -> bool {
    let taps = Taps::new(step, window);
    if !super::has_avx2() || taps.block_len() > block::ROOM {
        return false;
    }
    let mut room = [const { MaybeUninit::uninit() }; band::ROOM];
    let Some(mut band) = Band::new(step, window, input, &mut room) else { return false };
    // SAFETY: the machine has AVX2.
    unsafe { filter(step, taps, &mut band, output) }
    true
}

/// Applies as many blocks of filters to all rows as there is room for, then the next.
#[target_feature(enable = "avx2")]
fn filter(step: &Step, taps: Taps, band: &mut Band, output: &mut [i8]) {
    let mut room: block::Room = [const { MaybeUninit::uninit() }; block::ROOM];
    let channels = usize::from(step.output.shape.c);
    let line = band.out[1] * channels;
    let together = block::together(taps.block_len()) * CHANNELS;
    for start in (0..channels).step_by(together) {
        let firsts = (start..channels.min(start + together)).step_by(CHANNELS);
        let mut packed = room.chunks_exact_mut(taps.block_len());
        for first in firsts.clone() {
            pack(step, taps, first, packed.next().unwrap_or_default());
        }
        band.rewind();
        for (y, pixels) in output.chunks_exact_mut(line).enumerate() {
            band.reach(y);
            for (first, packed) in firsts.clone().zip(room.chunks_exact(taps.block_len())) {
                // SAFETY: `pack` has written all of it.
                let packed = unsafe { packed.assume_init_ref() };
                row(band, y, &Block::new(step, first, packed), pixels, channels);
            }
        }
    }
}

/// The outputs of row `y` in the channels of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn row(band: &Band, y: usize, block: &Block, pixels: &mut [i8], channels: usize) {
    let mut x = 0;
    for pixels in pixels.chunks_mut(4 * channels) {
        match pixels.len() / channels {
            4 => outputs::<4>(band, y, x, block, pixels),
            3 => outputs::<3>(band, y, x, block, pixels),
            2 => outputs::<2>(band, y, x, block, pixels),
            _ => outputs::<1>(band, y, x, block, pixels),
        }
        x += 4;
    }
}

/// `N` outputs from column `x` on.
#[inline]
#[target_feature(enable = "avx2")]
fn outputs<const N: usize>(band: &Band, y: usize, x: usize, block: &Block, pixels: &mut [i8]) {
    let mut sums = [block.biases(); N];
    let weights = block.weights();
    for (dy, weights) in weights.chunks_exact(weights.len() / band.kernel_rows).enumerate() {
        let values = &band.values()[band.start(y, dy) + x * band.step..];
        let mut under = [&[][..]; N];
        for (p, under) in under.iter_mut().enumerate() {
            *under = &values[p * band.step..].as_chunks::<2>().0[..weights.len()];
        }
        for (k, [low, high]) in weights.iter().enumerate() {
            for (sums, under) in sums.iter_mut().zip(under) {
                let pair = _mm256_set1_epi32(bytemuck::cast(under[k]));
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(pair, *low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(pair, *high));
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
    head.write_copy_of_slice(&block::head(step, first));
    for (run, weights) in weights.chunks_exact_mut(taps.pairs).enumerate() {
        for (index, weights) in weights.chunks_mut(BLOCK / 2).enumerate() {
            let mut filters = [[[0; BLOCK]; 2]; CHANNELS / 2];
            for (half, filters) in filters.iter_mut().enumerate() {
                *filters = pair(step, taps, first / 2 + half, run, index * BLOCK);
            }
            for (to, both) in weights.iter_mut().zip(transposed(&filters)) {
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(both));
                to.write([low, _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(both))]);
            }
        }
    }
}

/// The taps from `k` on, of a run, of both filters of a pair; zeros for what does not exist.
#[inline(always)]
fn pair(step: &Step, taps: Taps, pair: usize, run: usize, k: usize) -> [[i8; BLOCK]; 2] {
    let row = row_bytes(taps.runs * taps.len);
    let mut both = [[0; BLOCK]; 2];
    let Some(weights) = step.weights.get(2 * row * pair..).filter(|weights| !weights.is_empty()) else { return both };
    if taps.runs == 1 && k + BLOCK <= taps.len {
        both.as_flattened_mut().copy_from_slice(&weights[2 * k..2 * (k + BLOCK)]);
    } else {
        for (filter, values) in both.iter_mut().enumerate() {
            for (value, k) in values.iter_mut().zip(k..taps.len) {
                *value = weights[pair_index(filter, run * taps.len + k, row)];
            }
        }
    }
    both
}

/// Eight pairs of taps of sixteen filters, filter after filter, as pairs of each filter, tap after tap, in the order of a
/// block's lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(filters: &[[[i8; BLOCK]; 2]; CHANNELS / 2]) -> [__m256i; BLOCK / 2] {
    let filters = filters.as_flattened();
    let mut rows = [_mm256_setzero_si256(); 8];
    for (i, row) in rows.iter_mut().enumerate() {
        // Lanes 0 to 7 of a block are its channels 0 to 3 and 8 to 11, lanes 8 to 15 are those four further.
        let channel = i / 4 * 8 + i % 4;
        *row = bytemuck::cast([filters[channel], filters[channel + 4]]);
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
