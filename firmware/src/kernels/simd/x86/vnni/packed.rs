//! Blocks of sixteen channels in the form that kernels read: their parameters, and quads of weights.

use super::super::block::{self, CHANNELS, HALF, HALF_ORDER};
use super::sums::{QUAD, Sums};
use core::mem::MaybeUninit;
use ocellus_shared::plan::Step;

/// As much as a line of the cache: a quad of weights, a bias or a multiplier of each channel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line(pub [[i8; QUAD]; CHANNELS]);

impl Line {
    /// Its weights.
    #[inline(always)]
    pub unsafe fn quads<V: Sums>(&self) -> V {
        // SAFETY: as the caller vouches; a line is as long as what is read.
        unsafe { V::quads(self.0.as_ptr().cast()) }
    }
}

/// Lines that there is room for.
pub const ROOM: usize = 1280;

/// Memory for blocks.
pub type Room = [MaybeUninit<Line>; ROOM];

/// Lines before a block's weights: biases and multipliers.
pub const HEAD: usize = 2;

/// The value that stands for 0 in an input without signs.
const ZERO: u8 = 0x80;

/// Writes the parameters of the block of `step` from channel `first` on before its `weights`, which were packed: biases are less
/// by what inputs without signs add.
#[inline(always)]
pub unsafe fn finish<V: Sums>(step: &Step, first: usize, packed: &mut [MaybeUninit<Line>]) {
    let (head, weights) = packed.split_at_mut(HEAD);
    // SAFETY: they were packed.
    let weights = unsafe { weights.assume_init_ref() };
    // SAFETY: as the caller vouches. Four sums, so that products need not wait for each other.
    let excess = unsafe {
        let zeros = V::one_quad([ZERO; QUAD].as_ptr());
        let mut sums = [V::load(&[0; CHANNELS]); 4];
        let (fours, rest) = weights.as_chunks::<4>();
        for lines in fours {
            for (sum, line) in sums.iter_mut().zip(lines) {
                *sum = sum.add(zeros, line.quads());
            }
        }
        for (sum, line) in sums.iter_mut().zip(rest) {
            *sum = sum.add(zeros, line.quads());
        }
        [sums[0].store(), sums[1].store(), sums[2].store(), sums[3].store()]
    };
    let [biases, multipliers] = block::head(step, first, HALF_ORDER);
    let (mut biases, multipliers): ([i32; CHANNELS], [f32; CHANNELS]) =
        (bytemuck::cast(biases), bytemuck::cast(multipliers));
    for sums in &excess {
        for (bias, sum) in biases.iter_mut().zip(sums) {
            *bias = bias.wrapping_sub(*sum);
        }
    }
    head[0].write(Line(bytemuck::cast(biases)));
    head[1].write(Line(bytemuck::cast(multipliers)));
}

/// What the sums of a block begin with.
#[inline(always)]
pub fn biases(block: &[Line]) -> [i32; CHANNELS] {
    bytemuck::cast(block[0].0)
}

/// Its multipliers.
#[inline(always)]
pub fn multipliers(block: &[Line]) -> [f32; CHANNELS] {
    bytemuck::cast(block[1].0)
}

/// Writes the results of a block to its channels, those from the start of `to`, as many as there are.
#[inline(always)]
pub fn put(results: [i8; CHANNELS], to: &mut [i8]) {
    if let Some(to) = to.first_chunk_mut::<CHANNELS>() {
        *to = results;
    } else if let ([to], []) = to.as_chunks_mut::<HALF>() {
        to.copy_from_slice(&results[..HALF]);
    } else {
        to.iter_mut().zip(results).for_each(|(to, result)| *to = result);
    }
}
