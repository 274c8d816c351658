//! The taps of a convolution's filters, as the layout of a plan has them.

use ocellus_shared::Window;
use ocellus_shared::op::{BLOCK, pair_index, row_bytes};
use ocellus_shared::plan::Step;

/// Taps of a filter without a gap, and the groups that they make, such as pairs: a filter's rows, one after the other where each
/// is whole groups.
#[derive(Clone, Copy, Debug)]
pub struct Taps {
    /// How many such runs of taps a filter has.
    pub runs: usize,
    /// Taps of a run.
    pub len: usize,
    /// Groups of a run.
    pub groups: usize,
}

impl Taps {
    /// The taps of the filters of `step`, in groups of so many.
    pub fn new(step: &Step, window: &Window, group: usize) -> Self {
        let len = usize::from(window.kernel[1]) * usize::from(step.input().shape.c);
        let rows = usize::from(window.kernel[0]);
        let (runs, len) = if len.is_multiple_of(group) { (1, rows * len) } else { (rows, len) };
        Self { runs, len, groups: len.div_ceil(group) }
    }
}

/// The taps from `k` on, of a run, of both filters of a pair; zeros for what does not exist.
#[inline(always)]
pub fn pair(step: &Step, taps: Taps, pair: usize, run: usize, k: usize) -> [[i8; BLOCK]; 2] {
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
