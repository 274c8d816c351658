//! Rows times columns, sixteen columns at a time: each pair of a row's values is multiplied by a pair of every column.
//!
//! A block of columns has for every two values the pairs of its columns, in the order of their lanes. `VPMADDWD` adds both
//! products of a pair; `VPDPWSSD`, of VNNI, adds them to the sum as well.

use super::Isa;
use super::block::{CHANNELS, ORDER, Two, requantize};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_dpwssd_avx_epi32, _mm256_dpwssd_epi32, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_si256,
};
use ocellus_shared::op::PATCHES;

/// How many of so many columns lie in blocks: none without AVX2.
pub fn in_blocks(columns: usize) -> usize {
    if Isa::in_use() >= Isa::Avx2 { columns / CHANNELS * CHANNELS } else { 0 }
}

/// Writes the values of column `index`, which lies in a block, to `columns`, of `line` values each.
pub fn set_column(columns: &mut [i16], line: usize, index: usize, values: impl Iterator<Item = i16>) {
    let block = &mut columns[index / CHANNELS * CHANNELS * line..];
    let column = index % CHANNELS;
    // Where its fours are is where they come from: the order is its own opposite.
    let lane = 4 * ORDER[column / 4] + column % 4;
    let pairs = block.as_chunks_mut::<2>().0.iter_mut().skip(lane).step_by(CHANNELS);
    pairs.flatten().zip(values).for_each(|(place, value)| *place = value);
}

/// Multiplies the first `count` of [`PATCHES`] `rows` by the `columns` of all blocks, and writes the requantized sums of each
/// row to `output`, `pitch` values behind those of the row before.
pub fn write(rows: &[i16], columns: &[i16], multiplier: f32, zero: i8, count: usize, output: &mut [i8], pitch: usize) {
    let line = rows.len() / PATCHES;
    for (index, block) in columns.chunks_exact(CHANNELS * line).enumerate() {
        // SAFETY: there are blocks where the machine has AVX2, and it has what is in use.
        let results = unsafe {
            match Isa::in_use() {
                Isa::Avx512Vnni | Isa::Avx512VnniHalves => avx512_vnni(rows, block, multiplier, zero),
                Isa::AvxVnni => avx_vnni(rows, block, multiplier, zero),
                _ => avx2(rows, block, multiplier, zero),
            }
        };
        for (row, results) in output.chunks_mut(pitch).zip(results).take(count) {
            row[index * CHANNELS..][..CHANNELS].copy_from_slice(&results);
        }
    }
}

macro_rules! block {
    ($name:ident, $features:literal, $add:expr) => {
        /// The results of all rows for a block of columns.
        #[target_feature(enable = $features)]
        fn $name(rows: &[i16], block: &[i16], multiplier: f32, zero: i8) -> [[i8; CHANNELS]; PATCHES] {
            let (pairs, _) = rows.as_chunks::<2>();
            let line = pairs.len() / PATCHES;
            let rows = [0, 1, 2].map(|row| &pairs[row * line..][..line]);
            let mut sums: [Two; PATCHES] = [[_mm256_setzero_si256(); 2]; PATCHES];
            for (k, columns) in block.as_chunks::<{ 2 * CHANNELS }>().0.iter().take(line).enumerate() {
                let columns: Two = bytemuck::cast(*columns);
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let pair = _mm256_set1_epi32(bytemuck::cast(row[k]));
                    sums[0] = $add(sums[0], pair, columns[0]);
                    sums[1] = $add(sums[1], pair, columns[1]);
                }
            }
            let multipliers = [_mm256_set1_ps(multiplier); 2];
            sums.map(|sums| requantize(sums, multipliers, zero))
        }
    };
}

#[inline]
#[target_feature(enable = "avx2")]
fn multiply_add(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
}

block!(avx2, "avx2", multiply_add);
block!(avx_vnni, "avx2,avxvnni", _mm256_dpwssd_avx_epi32);
block!(avx512_vnni, "avx2,avx512f,avx512bw,avx512vl,avx512vnni", _mm256_dpwssd_epi32);
