//! Depthwise convolution: four rows of the input side by side, so that a quad is what lies under one column of a window in one channel,
//! times a column of its filter.

use super::super::band;
use super::super::block::CHANNELS;
use super::packed::{self, HEAD, Line, ROOM, Room};
use super::sums::QUAD;
use super::{Avx, Avx512, Avx512Halves, Isa, Kernels};
use core::mem::MaybeUninit;
use ocellus_shared::Window;
use ocellus_shared::plan::Step;

/// The input, 128 more than it is.
pub type Band<'a> = band::Band<'a, u8>;

/// Quads of the input that there is room for.
const COLUMNS: usize = 20 * 1024;

/// A depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    step: &'a Step<'a>,
    window: &'a Window,
}

/// Computes the whole `step` and says `true`, or says `false`: where `isa` has no such products, or the layer is too large for the memory
/// that a call has.
#[inline(never)]
pub fn run(isa: Isa, step: &Step, window: &Window, input: &[i8], output: &mut [i8]) -> bool {
    if isa < Isa::AvxVnni {
        return false;
    }
    let mut room = [const { MaybeUninit::uninit() }; band::ROOM];
    let Some(band) = Band::new(step, window, input, &mut room) else { return false };
    let [height, width] = window.kernel.map(usize::from);
    if height.div_ceil(QUAD) * band.pitch() > COLUMNS {
        return false;
    }
    let layer = Layer { step, window };
    // One instance for windows of up to 4x3, one for 8x5, one for 8x8; smaller ones have columns whose weights are 0.
    // SAFETY: the machine has what is in use.
    unsafe {
        match (height, width) {
            (..=4, ..=3) => start::<3>(isa, &layer, band, output),
            (..=8, ..=5) => start::<10>(isa, &layer, band, output),
            (..=8, ..=8) => start::<16>(isa, &layer, band, output),
            _ => return false,
        }
    }
    true
}

#[inline(always)]
unsafe fn start<const N: usize>(isa: Isa, layer: &Layer, band: Band, output: &mut [i8]) {
    // SAFETY: as the caller vouches.
    unsafe {
        match isa {
            Isa::Avx512Vnni => Avx512::depthwise::<N>(layer, band, output),
            Isa::Avx512VnniHalves => Avx512Halves::depthwise::<N>(layer, band, output),
            _ => Avx::depthwise::<N>(layer, band, output),
        }
    }
}

/// Applies as many blocks of filters, `N` columns each, to all rows as there is room for, then the next.
///
/// # Safety
/// The caller has the features of `V` enabled.
#[inline(always)]
pub unsafe fn filter<V: Kernels, const N: usize>(layer: &Layer, mut band: Band, output: &mut [i8]) {
    let mut room: Room = [const { MaybeUninit::uninit() }; ROOM];
    let mut columns = [const { MaybeUninit::uninit() }; COLUMNS];
    let Layer { step, window } = *layer;
    let count = usize::from(step.output.shape.c);
    let (mut channels, block_len) = (count, HEAD + N);
    let line = band.out[1] * channels;
    // Where neighbouring outputs are neighbours in the input, some of them fill a vector that one alone does not.
    if band.step == channels && CHANNELS.is_multiple_of(channels) {
        (channels, band.step) = (CHANNELS, CHANNELS);
    }
    let offsets = offsets::<N>(window, band.pitch(), count);
    let together = ROOM / block_len * CHANNELS;
    for start in (0..channels).step_by(together) {
        let firsts = (start..channels.min(start + together)).step_by(CHANNELS);
        for (first, packed) in firsts.clone().zip(room.chunks_exact_mut(block_len)) {
            // SAFETY: as the caller vouches.
            unsafe {
                pack(layer, first, &mut packed[HEAD..]);
                packed::finish::<V>(step, first, packed);
            }
        }
        band.rewind();
        for (y, pixels) in output.chunks_exact_mut(line).enumerate() {
            // SAFETY: `V` includes AVX2.
            unsafe { band.reach(y) };
            let columns = join(&band, &mut columns);
            for (first, packed) in firsts.clone().zip(room.chunks_exact(block_len)) {
                // SAFETY: all of it was written, and as the caller vouches.
                unsafe {
                    row::<V, N>(
                        columns,
                        band.step,
                        &offsets,
                        packed.assume_init_ref(),
                        first,
                        step.output.zero,
                        pixels,
                        channels,
                    );
                }
            }
        }
    }
}

/// Brings the rows of the band that lie under windows side by side by four, the last one more than once where there are fewer:
/// quads of the first four rows, then those of the others.
#[inline(always)]
fn join<'a>(band: &Band, columns: &'a mut [MaybeUninit<[u8; QUAD]>; COLUMNS]) -> &'a [[u8; QUAD]] {
    let pitch = band.pitch();
    let groups = band.kernel_rows.div_ceil(QUAD);
    let columns = &mut columns[..groups * pitch];
    for (group, columns) in columns.chunks_exact_mut(pitch).enumerate() {
        let row = |k: usize| band.row((group * QUAD + k).min(band.kernel_rows - 1));
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        for ((((column, a), b), c), d) in columns.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            column.write([*a, *b, *c, *d]);
        }
    }
    // SAFETY: all of it was written.
    unsafe { columns.assume_init_ref() }
}

/// Where each of a block's lines of weights finds its quad for a row's first output and the first channel; those of columns
/// that do not exist are where the first is.
#[inline(always)]
fn offsets<const N: usize>(window: &Window, pitch: usize, channels: usize) -> [usize; N] {
    let mut offsets = [0; N];
    let [height, width] = window.kernel.map(usize::from);
    for (line, offset) in offsets.iter_mut().enumerate() {
        let (group, dx) = (line / width, line % width);
        if group * QUAD < height {
            *offset = group * pitch + dx * channels;
        }
    }
    offsets
}

/// The outputs of a row in the channels of a block.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn row<V: Kernels, const N: usize>(
    columns: &[[u8; QUAD]],
    step: usize,
    offsets: &[usize; N],
    packed: &[Line],
    first: usize,
    zero: i8,
    pixels: &mut [i8],
    channels: usize,
) {
    let last = first + (pixels.len().div_ceil(channels) - 1) * step + CHANNELS;
    assert!(offsets.iter().all(|offset| offset + last <= columns.len()));
    let Some(weights) = packed[HEAD..].first_chunk::<N>() else { return };
    let (biases, multipliers) = (packed::biases(packed), packed::multipliers(packed));
    for (x, pixel) in pixels.chunks_mut(channels).enumerate() {
        // SAFETY: no output's quads end behind those of the last, which were just found to be there.
        let results = unsafe {
            let mut sums = V::load(&biases);
            for (offset, line) in offsets.iter().zip(weights) {
                let x = V::quads(columns.as_ptr().add(first + x * step + offset).cast());
                sums = sums.add(x, line.quads());
            }
            sums.requantize(&multipliers, zero)
        };
        packed::put(results, &mut pixel[first..]);
    }
}

/// Packs the filters of the channels from `first` on, column after column, to all of `room`; after the last channel comes the first
/// again.
#[inline(always)]
fn pack(layer: &Layer, first: usize, room: &mut [MaybeUninit<Line>]) {
    let channels = usize::from(layer.step.output.shape.c);
    let [height, width] = layer.window.kernel.map(usize::from);
    for (line, to) in room.iter_mut().enumerate() {
        let mut quads = [[0; QUAD]; CHANNELS];
        let (group, dx) = (line / width, line % width);
        for k in 0..QUAD {
            let dy = group * QUAD + k;
            let Some(weights) = layer.step.weights.get((dy * width + dx) * channels..).filter(|_| dy < height) else {
                break;
            };
            let weights = &weights[..channels];
            match weights.get(first..).and_then(|weights| weights.first_chunk::<CHANNELS>()) {
                Some(weights) => quads.iter_mut().zip(weights).for_each(|(quad, weight)| quad[k] = *weight),
                None => {
                    let weights = weights.get(first..).unwrap_or_default().iter().chain(weights.iter().cycle());
                    quads.iter_mut().zip(weights).for_each(|(quad, weight)| quad[k] = *weight);
                }
            }
        }
        to.write(Line(quads));
    }
}
