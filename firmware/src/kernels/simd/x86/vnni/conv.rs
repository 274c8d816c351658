//! Convolution: a quad of neighbouring values of the input times such quads of sixteen filters, for a few outputs and up to two
//! blocks of filters at a time. Outputs share the loads of weights, blocks those of the input.

use super::super::band;
use super::super::block::CHANNELS;
use super::super::taps::{Taps, pair};
use super::packed::{self, HEAD, Line, ROOM, Room};
use super::sums::{QUAD, Sums};
use super::{Avx, Avx512, Avx512Halves, Isa, Kernels};
use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_inserti128_si256, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_zextsi128_si256,
};
use core::mem::MaybeUninit;
use ocellus_shared::Window;
use ocellus_shared::op::BLOCK;
use ocellus_shared::plan::Step;

/// The input, 128 more than it is.
pub type Band<'a> = band::Band<'a, u8>;

/// Outputs that one pointer addresses.
const FOUR: usize = 4;

/// A convolution.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    step: &'a Step<'a>,
    taps: Taps,
}

impl Layer<'_> {
    /// Lines of a packed block.
    fn block_len(&self) -> usize {
        HEAD + self.taps.runs * self.taps.groups
    }
}

/// Computes the whole `step` and says `true`, or says `false`: where `isa` has no such products, or the layer is too large for the memory
/// that a call has.
#[inline(never)]
pub fn run(isa: Isa, step: &Step, window: &Window, input: &[i8], output: &mut [i8]) -> bool {
    let layer = Layer { step, taps: Taps::new(step, window, QUAD) };
    if isa < Isa::AvxVnni || layer.block_len() > ROOM {
        return false;
    }
    let mut room = [const { MaybeUninit::uninit() }; band::ROOM];
    let Some(mut band) = Band::new(step, window, input, &mut room) else { return false };
    // SAFETY: the machine has what is in use.
    unsafe {
        match isa {
            Isa::Avx512Vnni => Avx512::conv(&layer, &mut band, output),
            Isa::Avx512VnniHalves => Avx512Halves::conv(&layer, &mut band, output),
            _ => Avx::conv(&layer, &mut band, output),
        }
    }
    true
}

/// Applies as many blocks of filters to all rows as there is room for, then the next.
///
/// # Safety
/// The caller has the features of `V` enabled.
#[inline(always)]
pub unsafe fn filter<V: Kernels>(layer: &Layer, band: &mut Band, output: &mut [i8]) {
    let mut room: Room = [const { MaybeUninit::uninit() }; ROOM];
    let (channels, block_len) = (usize::from(layer.step.output.shape.c), layer.block_len());
    let line = band.out[1] * channels;
    let together = ROOM / block_len * CHANNELS;
    for start in (0..channels).step_by(together) {
        let count = (channels - start).min(together).div_ceil(CHANNELS);
        let packed = &mut room[..count * block_len];
        for (k, packed) in packed.chunks_exact_mut(block_len).enumerate() {
            // SAFETY: as the caller vouches.
            unsafe {
                pack(layer, start + k * CHANNELS, &mut packed[HEAD..]);
                packed::finish::<V>(layer.step, start + k * CHANNELS, packed);
            }
        }
        // SAFETY: all of it was written.
        let blocks = unsafe { packed.assume_init_ref() };
        band.rewind();
        for (y, pixels) in output.chunks_exact_mut(line).enumerate() {
            // SAFETY: `V` includes AVX2.
            unsafe { band.reach(y) };
            for (k, blocks) in blocks.chunks(2 * block_len).enumerate() {
                let first = start + 2 * k * CHANNELS;
                // SAFETY: as the caller vouches.
                unsafe { row::<V>(layer, band, blocks, first, pixels) };
            }
        }
    }
}

/// A few neighbouring outputs in the channels of one or two blocks.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    band: &'a Band<'a>,
    /// Values from the start of a row to the window of the first output.
    at: usize,
    blocks: &'a [Line],
    /// The first channel of the first block.
    first: usize,
    channels: usize,
    zero: i8,
}

/// The outputs of a row in the channels of one or two `blocks`.
#[inline(always)]
unsafe fn row<V: Kernels>(layer: &Layer, band: &Band, blocks: &[Line], first: usize, pixels: &mut [i8]) {
    let channels = usize::from(layer.step.output.shape.c);
    let (count, width) = (blocks.len() / layer.block_len(), pixels.len() / channels);
    let quads = (layer.block_len() - HEAD) / band.kernel_rows;
    let last = (width - 1) * band.step + QUAD * quads;
    assert!((0..band.kernel_rows).all(|dy| band.start(dy) + last <= band.end()));
    // All tiles of about one size.
    let each = width.div_ceil(width.div_ceil(V::OUTPUTS[count - 1]));
    for (index, pixels) in pixels.chunks_mut(each * channels).enumerate() {
        let tile = Tile { band, at: index * each * band.step, blocks, first, channels, zero: layer.step.output.zero };
        // SAFETY: no output's quads end behind those of the last, which were just found to be in the band, in rows that were
        // reached.
        unsafe {
            match count {
                1 => tiles::<V, 1>(&tile, pixels),
                _ => tiles::<V, 2>(&tile, pixels),
            }
        }
    }
}

/// The instance for as many outputs as `pixels` has.
#[inline(always)]
unsafe fn tiles<V: Kernels, const M: usize>(tile: &Tile, pixels: &mut [i8]) {
    // SAFETY: as the caller vouches.
    unsafe {
        match pixels.len() / tile.channels {
            1 => V::tile::<1, M>(tile, pixels),
            2 => V::tile::<2, M>(tile, pixels),
            3 => V::tile::<3, M>(tile, pixels),
            4 => V::tile::<4, M>(tile, pixels),
            5 => V::tile::<5, M>(tile, pixels),
            6 => V::tile::<6, M>(tile, pixels),
            7 => V::tile::<7, M>(tile, pixels),
            8 => V::tile::<8, M>(tile, pixels),
            9 => V::tile::<9, M>(tile, pixels),
            10 => V::tile::<10, M>(tile, pixels),
            11 => V::tile::<11, M>(tile, pixels),
            _ => V::tile::<12, M>(tile, pixels),
        }
    }
}

/// `N` outputs in the channels of `M` blocks; all of their values are in the band, and were brought in.
///
/// # Safety
/// The caller has the features of `V` enabled.
#[inline(always)]
pub unsafe fn tile<V: Sums, const N: usize, const M: usize>(tile: &Tile, pixels: &mut [i8]) {
    let Tile { band, at, blocks, first, channels, zero } = *tile;
    let step = band.step;
    let block_len = blocks.len() / M;
    let quads = (block_len - HEAD) / band.kernel_rows;
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sums = [[V::load(&packed::biases(blocks)); M]; N];
        for m in 1..M {
            for sums in &mut sums {
                sums[m] = V::load(&packed::biases(&blocks[m * block_len..]));
            }
        }
        let mut weights = blocks.as_ptr().add(HEAD);
        for dy in 0..band.kernel_rows {
            // Fours of outputs, so that few registers address all.
            let start = band.values().add(band.start(dy) + at);
            let mut values = [start; 3];
            for (four, values) in values.iter_mut().enumerate() {
                *values = start.add(FOUR * four * step);
            }
            for _ in 0..quads {
                let mut lines = [(*weights).quads::<V>(); M];
                for (m, line) in lines.iter_mut().enumerate() {
                    *line = (*weights.add(m * block_len)).quads();
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = V::one_quad(values[p / FOUR].add(p % FOUR * step));
                    for (sum, line) in sums.iter_mut().zip(lines) {
                        *sum = sum.add(x, line);
                    }
                }
                for values in &mut values {
                    *values = values.add(QUAD);
                }
                weights = weights.add(1);
            }
        }
        // Short loops of a known count are unrolled, so that the sums stay in registers until here.
        let mut done = [[[0; CHANNELS]; M]; N];
        for (done, sums) in done.iter_mut().zip(&sums) {
            for (done, sums) in done.iter_mut().zip(sums) {
                *done = sums.store();
            }
        }
        for m in 0..M {
            let multipliers = packed::multipliers(&blocks[m * block_len..]);
            for (done, pixel) in done.iter().zip(pixels.chunks_exact_mut(channels)) {
                let results = V::load(&done[m]).requantize(&multipliers, zero);
                packed::put(results, &mut pixel[first + m * CHANNELS..]);
            }
        }
    }
}

/// Packs the filters from `first` on, quad of taps after quad of taps, to all of `room`.
#[inline]
#[target_feature(enable = "avx2")]
fn pack(layer: &Layer, first: usize, room: &mut [MaybeUninit<Line>]) {
    for (run, room) in room.chunks_exact_mut(layer.taps.groups).enumerate() {
        for (index, room) in room.chunks_mut(BLOCK / QUAD).enumerate() {
            let mut filters = [[[0; BLOCK]; 2]; CHANNELS / 2];
            for (half, filters) in filters.iter_mut().enumerate() {
                *filters = pair(layer.step, layer.taps, first / 2 + half, run, index * BLOCK);
            }
            for (to, line) in room.iter_mut().zip(transposed(&filters)) {
                to.write(line);
            }
        }
    }
}

/// Four quads of taps of sixteen filters, filter after filter, as quads of each filter, tap after tap.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(filters: &[[[i8; BLOCK]; 2]; CHANNELS / 2]) -> [Line; BLOCK / QUAD] {
    let filters = filters.as_flattened();
    let mut lines = [Line([[0; QUAD]; CHANNELS]); BLOCK / QUAD];
    for half in 0..2 {
        let row = |j: usize| both(&filters[8 * half + j], &filters[8 * half + 4 + j]);
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (low, high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (low_2, high_2) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        let quads = [
            _mm256_unpacklo_epi64(low, low_2),
            _mm256_unpackhi_epi64(low, low_2),
            _mm256_unpacklo_epi64(high, high_2),
            _mm256_unpackhi_epi64(high, high_2),
        ];
        for (line, quads) in lines.iter_mut().zip(quads) {
            let to: &mut [[i8; QUAD]] = &mut line.0[CHANNELS / 2 * half..][..CHANNELS / 2];
            // SAFETY: eight quads are as long as a vector.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast::<__m256i>(), quads) };
        }
    }
    lines
}

/// Taps of two filters in the halves of a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn both(one: &[i8; BLOCK], other: &[i8; BLOCK]) -> __m256i {
    // SAFETY: sixteen bytes are as long as these vectors.
    let [one, other] = [one, other].map(|values| unsafe { _mm_loadu_si128(values.as_ptr().cast::<__m128i>()) });
    _mm256_inserti128_si256::<1>(_mm256_zextsi128_si256(one), other)
}
