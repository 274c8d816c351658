//! Plain loops. A Cortex-M55 compiler turns each into one vector multiply-accumulate per 16 products, which is why
//! every sum has a loop of its own.

use ocellus_shared::op::{BLOCK, PATCHES};

/// See [`super::dots`].
#[inline(always)]
pub fn dots<const C: usize>(x: &[i8], w: [&[i8]; C]) -> [i32; C] {
    // One length for all, so that every loop has a plain count.
    w.map(|w| dot(x, &w[..x.len()]))
}

/// The dot products of [`PATCHES`] rows, one after the other, with both filters of a pair; see
/// [`pair_index`](ocellus_shared::op::pair_index) for its layout.
pub fn pair(rows: &[i8], pair: &[i8]) -> [[i32; 2]; PATCHES] {
    let row = pair.len() / 2;
    let mut sums = [[0i32; 2]; PATCHES];
    for (sums, x) in sums.iter_mut().zip(rows.chunks_exact(row)) {
        for (x, w) in x.chunks(BLOCK).zip(pair.chunks(2 * BLOCK)) {
            let (first, second) = w.split_at(w.len() / 2);
            sums[0] = sums[0].wrapping_add(dot(x, first));
            sums[1] = sums[1].wrapping_add(dot(x, second));
        }
    }
    sums
}

/// `sum(x[i] * w[i])` over the length of `x`.
#[inline(always)]
pub(super) fn dot(x: &[i8], w: &[i8]) -> i32 {
    x.iter().zip(w).fold(0, |sum, (x, w)| sum.wrapping_add(i32::from(*x) * i32::from(*w)))
}

/// See [`super::multiply_add`].
#[inline(always)]
pub fn multiply_add(x: &[i8], w: &[i8], sums: &mut [i32]) {
    for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
        *sum = sum.wrapping_add(i32::from(*x) * i32::from(*w));
    }
}

/// See [`super::add_pixels`].
#[inline(always)]
pub fn add_pixels(pixels: &[i8], channels: usize, first: usize, sums: &mut [i32]) {
    for values in pixels.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(&values[first..]) {
            *sum = sum.wrapping_add(i32::from(*value));
        }
    }
}
