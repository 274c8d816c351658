//! Kernels whose products are of int8 values as they are: `VPDPBUSD` multiplies four values without signs by four with signs, and adds
//! them all to a sum that wraps.
//!
//! Inputs are taken as 128 more than they are, which is their zero point's form and all others'. What that adds to a sum is
//! 128 times the sum of a filter's weights, and the same for every output: each filter's bias is less by so much.

pub mod conv;
pub mod depthwise;
pub mod dots;
mod packed;
mod sums;

use super::Isa;
use sums::{Avx, Avx512, Avx512Halves, Sums};

/// The kernels with their instructions enabled. Each is one that `conv` or `depthwise` describes.
///
/// # Safety
/// The machine must have the instructions that the implementation is named after.
pub unsafe trait Kernels: Sums {
    /// [`conv::filter`].
    unsafe fn conv(layer: &conv::Layer, band: &mut conv::Band, output: &mut [i8]);
    /// [`conv::tile`].
    unsafe fn tile<const N: usize, const M: usize>(tile: &conv::Tile, pixels: &mut [i8]);
    /// [`depthwise::filter`].
    unsafe fn depthwise<const N: usize>(layer: &depthwise::Layer, band: depthwise::Band, output: &mut [i8]);
}

macro_rules! kernels {
    ($name:ident, $features:literal) => {
        // SAFETY: those features are what it is named after, and AVX2, which they include.
        unsafe impl Kernels for $name {
            #[target_feature(enable = $features)]
            unsafe fn conv(layer: &conv::Layer, band: &mut conv::Band, output: &mut [i8]) {
                // SAFETY: as the caller vouches.
                unsafe { conv::filter::<Self>(layer, band, output) }
            }

            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn tile<const N: usize, const M: usize>(tile: &conv::Tile, pixels: &mut [i8]) {
                // SAFETY: as the caller vouches.
                unsafe { conv::tile::<Self, N, M>(tile, pixels) }
            }

            #[target_feature(enable = $features)]
            unsafe fn depthwise<const N: usize>(layer: &depthwise::Layer, band: depthwise::Band, output: &mut [i8]) {
                // SAFETY: as the caller vouches.
                unsafe { depthwise::filter::<Self, N>(layer, band, output) }
            }
        }
    };
}

kernels!(Avx512, "avx2,avx512f,avx512bw,avx512vl,avx512vnni");
kernels!(Avx512Halves, "avx2,avx512f,avx512bw,avx512vl,avx512vnni");
kernels!(Avx, "avx2,avxvnni");
