//! The innermost loops, as fast as the core allows.
//!
//! Every version gives the same results: additions wrap, so their order does not matter. Tests compare them all with
//! the definitions in [`reference`](super::reference).

#[cfg(all(target_arch = "arm", feature = "dsp"))]
pub mod dsp;
#[cfg(all(target_arch = "arm", feature = "mve"))]
pub mod mve;
pub mod portable;
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
mod rows;
#[cfg(target_arch = "x86_64")]
pub mod x86;

#[cfg(all(target_arch = "arm", feature = "dsp"))]
pub use dsp::{Patches, depthwise, requantize};
#[cfg(all(target_arch = "arm", feature = "mve"))]
pub use mve::depthwise;
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
pub use {ocellus_shared::quant::requantize, rows::Patches};

/// Channels that channel-wise kernels hold accumulators for.
pub const LANES: usize = 16;

/// The vector instructions that the kernels use on this machine, by their makers' name; what a board has follows from its
/// core.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let name = x86::instruction_set();
    #[cfg(not(target_arch = "x86_64"))]
    let name = "what the compiler finds";
    name
}

/// The dot product of `x` with every `w`: `sums[c] = sum(x[i] * w[c][i])`, wrapping.
///
/// Each `w` is at least as long as `x`, and what it holds beyond is not read.
#[inline(always)]
pub fn dots<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    #[cfg(target_arch = "x86_64")]
    let sums = x86::dots(x, w);
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    let sums = dsp::dots(x, w);
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", feature = "dsp"))))]
    let sums = portable::dots(x, w);
    sums
}

/// Adds the products of neighbours to their sums: `sums[i] += x[i] * w[i]`, wrapping.
#[inline(always)]
pub fn multiply_add<const N: usize>(x: &[i8; N], w: &[i8; N], sums: &mut [i32; N]) {
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    dsp::multiply_add(x, w, sums);
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    portable::multiply_add(x, w, sums);
}
