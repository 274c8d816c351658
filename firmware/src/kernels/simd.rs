//! The innermost loops, as fast as the core allows.
//!
//! Every version gives the same results: additions wrap, so their order does not matter. Tests compare them all with
//! the definitions in [`reference`](super::reference).

#[cfg(all(target_arch = "arm", feature = "dsp"))]
pub mod dsp;
#[cfg(all(target_arch = "arm", feature = "mve"))]
pub mod mve;
pub mod portable;
#[cfg(not(all(target_arch = "arm", any(feature = "dsp", feature = "mve"))))]
mod product;
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
mod rows;
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
mod tiles;
#[cfg(target_arch = "x86_64")]
pub mod x86;

use ocellus_shared::Shape;
use ocellus_shared::op::winograd::{POINTS, TILES};

#[cfg(all(target_arch = "arm", feature = "dsp"))]
pub use dsp::{Patches, Product, Tiles, depthwise, requantize};
#[cfg(all(target_arch = "arm", feature = "mve"))]
pub use mve::{Product, depthwise};
#[cfg(not(all(target_arch = "arm", any(feature = "dsp", feature = "mve"))))]
pub use product::Product;
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
pub use {ocellus_shared::quant::requantize, rows::Patches, tiles::Tiles};

/// Channels that channel-wise kernels hold accumulators for.
pub const LANES: usize = 16;

/// Where the 2x2 results of a tile go: to the next column is `right`, to the next row `down`. Each is 0 where there is none
/// any more, so that the results beyond fall on those that are there, and must be written before them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Place {
    /// The first channel of the first result.
    pub at: usize,
    /// From a result to the one below.
    pub down: usize,
    /// From a result to the one beside it.
    pub right: usize,
}

impl Place {
    /// The tile whose first output is at row `y` and column `x` of a map of shape `out`.
    pub fn new(out: Shape, y: usize, x: usize) -> Self {
        let (width, channels) = (usize::from(out.w), usize::from(out.c));
        let at = (y * width + x) * channels;
        let down = if y + 1 < usize::from(out.h) { width * channels } else { 0 };
        let right = if x + 1 < width { channels } else { 0 };
        Self { at, down, right }
    }

    /// Where the four results of `channel` go, row after row.
    pub fn of(&self, channel: usize) -> [usize; 4] {
        [0, self.right, self.down, self.down + self.right].map(|offset| self.at + channel + offset)
    }
}

/// The products of a pair of filters with [`TILES`] Winograd tiles, summed over the channels: for each point both filters
/// times the first tile, then times the others.
pub type TileSums = [[i32; 2 * TILES]; POINTS];

/// The vector instructions that the kernels use on this machine; what a board has follows from its core.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let name = x86::Isa::in_use().name();
    #[cfg(not(target_arch = "x86_64"))]
    let name = COMPILERS;
    name
}

/// The sets of vector instructions of this machine that there are kernels for, the best one last.
pub fn instruction_sets() -> impl Iterator<Item = &'static str> {
    #[cfg(target_arch = "x86_64")]
    let names = x86::Isa::ALL.into_iter().filter(|isa| isa.is_here()).map(x86::Isa::name);
    #[cfg(not(target_arch = "x86_64"))]
    let names = core::iter::once(COMPILERS);
    names
}

/// Lets the kernels of this process use at most the instructions called `name`, whatever its case, from their next step on; `false`, and
/// nothing changed, where this machine has none of that name. Results are the same with all.
pub fn limit(name: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = x86::Isa::ALL.into_iter().find(|isa| isa.is_here() && isa.name().eq_ignore_ascii_case(name));
    #[cfg(target_arch = "x86_64")]
    found.inspect(|isa| isa.limit());
    #[cfg(not(target_arch = "x86_64"))]
    let found = COMPILERS.eq_ignore_ascii_case(name).then_some(());
    found.is_some()
}

/// Of a machine without kernels of its own.
#[cfg(not(target_arch = "x86_64"))]
const COMPILERS: &str = "scalar";

/// Rows that [`dots`] takes at a time, which share each load of what they are multiplied with.
pub const ROWS: usize = if cfg!(all(target_arch = "arm", feature = "dsp")) { 4 } else { 2 };

/// The dot products of `x` with so many rows of `row` bytes, a multiple of 4 and not less than `x` is long, wrapping: the first
/// row is where `rows` begins, and each is `apart` bytes from the last. What a row holds beyond `x` counts for nothing.
#[inline(always)]
pub fn dots(x: &[i8], rows: &[i8], row: usize, apart: usize) -> [i32; ROWS] {
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    let sums = dsp::dots(x, rows, row, apart);
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    let rows: [&[i8]; ROWS] = core::array::from_fn(|k| &rows[k * apart..][..row]);
    #[cfg(target_arch = "x86_64")]
    let sums = x86::dots(x, rows);
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", feature = "dsp"))))]
    let sums = portable::dots(x, rows);
    sums
}

/// Adds the products of neighbours to their sums: `sums[i] += x[i] * w[i]`, wrapping. What `x` and `w` hold beyond is not
/// read.
#[inline(always)]
pub fn multiply_add(x: &[i8], w: &[i8], sums: &mut [i32]) {
    let (x, w) = (&x[..sums.len()], &w[..sums.len()]);
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    dsp::multiply_add(x, w, sums);
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    portable::multiply_add(x, w, sums);
}

/// Channels that [`add_pixels`] takes at a time.
pub const GROUP: usize = if cfg!(all(target_arch = "arm", feature = "dsp")) { 4 } else { LANES };

/// Adds each pixel's values to their sums: `sums[i] += pixels[p][first + i]`, over the whole of `pixels`, `(pixels, channels)`,
/// wrapping; for [`GROUP`] channels or for one.
#[inline(always)]
pub fn add_pixels(pixels: &[i8], channels: usize, first: usize, sums: &mut [i32]) {
    #[cfg(all(target_arch = "arm", feature = "dsp"))]
    dsp::add_pixels(pixels, channels, first, sums);
    #[cfg(not(all(target_arch = "arm", feature = "dsp")))]
    portable::add_pixels(pixels, channels, first, sums);
}
