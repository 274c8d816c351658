//! Depthwise convolution: the taps of sixteen channels two by two, each pair of a channel in one product.

use super::Isa;
use super::band::{self, Band};
use super::block::{self, Block, CHANNELS, HEAD, ORDER, Two};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};
use core::mem::MaybeUninit;
use ocellus_shared::Window;
use ocellus_shared::plan::Step;

/// Computes the whole `step` and says `true`, or says `false`: where the machine has no AVX2, or the layer is too large for
/// the memory that a call has.
#[inline(never)]
pub fn run(step: &Step, window: &Window, input: &[i8], output: &mut [i8]) -> bool {
    let isa = Isa::in_use();
    if super::vnni::depthwise::run(isa, step, window, input, output) {
        return true;
    }
    if isa < Isa::Avx2 {
        return false;
    }
    let mut room: band::Room<i16> = [const { MaybeUninit::uninit() }; band::ROOM];
    let Some(band) = Band::new(step, window, input, &mut room) else { return false };
    // One instance for 3x3 windows, one for 5x5; smaller ones have taps whose weight is 0.
    // SAFETY: the machine has AVX2.
    match window.taps() {
        ..=9 => unsafe { filter::<5>(step, window, band, output) },
        10..=25 => unsafe { filter::<13>(step, window, band, output) },
        _ => return false,
    }
    true
}

/// Applies as many blocks of filters, `N` pairs of taps each, to all rows as there is room for, then the next.
#[target_feature(enable = "avx2")]
fn filter<const N: usize>(step: &Step, window: &Window, mut band: Band<i16>, output: &mut [i8]) {
    let mut room: block::Room = [const { MaybeUninit::uninit() }; block::ROOM];
    let mut channels = usize::from(step.output.shape.c);
    let line = band.out[1] * channels;
    // Where neighbouring outputs are neighbours in the input, some of them fill a vector that one alone does not.
    if band.step == channels && CHANNELS.is_multiple_of(channels) {
        (channels, band.step) = (CHANNELS, CHANNELS);
    }
    let together = block::together(HEAD + N) * CHANNELS;
    for start in (0..channels).step_by(together) {
        let firsts = (start..channels.min(start + together)).step_by(CHANNELS);
        for (first, packed) in firsts.clone().zip(room.chunks_exact_mut(HEAD + N)) {
            pack(step, first, packed);
        }
        band.rewind();
        for (y, pixels) in output.chunks_exact_mut(line).enumerate() {
            band.reach(y);
            let offsets = offsets::<N>(&band, window, step.output.shape.c.into());
            for (first, packed) in firsts.clone().zip(room.chunks_exact(HEAD + N)) {
                // SAFETY: `pack` has written all of it.
                let packed = unsafe { packed.assume_init_ref() };
                row(&band, &offsets, &Block::new(step, first, false, packed), pixels, channels);
            }
        }
    }
}

/// Where each tap of a row's first output finds its value of the first channel in the band; those of taps
/// that do not exist are in its last row.
fn offsets<const N: usize>(band: &Band<i16>, window: &Window, channels: usize) -> [[usize; 2]; N] {
    let mut last = band.start(0);
    let mut offsets = [[last; 2]; N];
    let [height, width] = window.kernel.map(usize::from);
    let rows = offsets.as_flattened_mut().chunks_mut(width);
    for (dy, row) in rows.enumerate() {
        if dy < height {
            last = band.start(dy);
        }
        for (dx, offset) in row.iter_mut().enumerate() {
            *offset = last + dx * channels;
        }
    }
    offsets
}

/// The outputs of a row in the channels of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn row<const N: usize>(band: &Band<i16>, offsets: &[[usize; 2]; N], block: &Block, pixels: &mut [i8], channels: usize) {
    let values = band.values();
    let last = block.first + (pixels.len().div_ceil(channels) - 1) * band.step + CHANNELS;
    assert!(offsets.as_flattened().iter().all(|offset| offset + last <= band.end()));
    let Some(weights) = block.weights().first_chunk::<N>() else { return };
    for (x, pixel) in pixels.chunks_mut(channels).enumerate() {
        let at = block.first + x * band.step;
        let mut sums = block.biases();
        for ([one, other], [low, high]) in offsets.iter().zip(weights) {
            // SAFETY: no output's sixteen values end behind those of the last, which were just found to be in the band,
            // in rows that were reached.
            let [one, other] = [one, other].map(|tap| unsafe { _mm256_loadu_si256(values.add(at + tap).cast()) });
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(one, other), *low));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(one, other), *high));
        }
        block.write(sums, pixel);
    }
}

/// Packs the filters of the channels from `first` on, pair of taps after pair of taps, to all of `room`; after the last channel
/// comes the first again.
#[target_feature(enable = "avx2")]
fn pack(step: &Step, first: usize, room: &mut [MaybeUninit<Two>]) {
    let (head, weights) = room.split_at_mut(HEAD);
    head.write_copy_of_slice(&block::head(step, first, ORDER));
    let mut rows = step.weights.chunks_exact(step.output.shape.c.into());
    for weights in weights {
        let [one, other] = [(); 2].map(|()| widened(rows.next().unwrap_or_default(), first));
        weights.write([_mm256_unpacklo_epi16(one, other), _mm256_unpackhi_epi16(one, other)]);
    }
}

/// The weights of one tap from channel `first` on, the same once more where they are fewer than a block has.
#[inline(always)]
fn widened(row: &[i8], first: usize) -> __m256i {
    let mut values = [0i16; CHANNELS];
    if let Some(weights) = row.get(first..).and_then(|row| row.first_chunk::<CHANNELS>()) {
        values = weights.map(i16::from);
    } else {
        let weights = row.get(first..).unwrap_or_default().iter().cycle();
        values.iter_mut().zip(weights).for_each(|(value, weight)| *value = i16::from(*weight));
    }
    bytemuck::cast(values)
}
