//! How often a kernel's loops turn, which follows from the shapes; what a turn takes is fitted, see [`crate::cost`].

use anyhow::{Result, bail};
use ocellus_shared::{Shape, Window};

/// Channels that channel-wise kernels take at a time.
pub(super) const LANES: usize = 16;

/// Cores whose kernels are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Cortex-M4, M7 and M33 with the DSP extension.
    Dsp,
    /// Cortex-M55 with vectors.
    Vector,
}

impl Core {
    /// The core of a board whose table says `cpu`.
    ///
    /// # Errors
    /// No kernel was measured on it.
    pub fn of(cpu: &str) -> Result<Self> {
        match cpu {
            "cortex-m4" | "cortex-m7" | "cortex-m33" => Ok(Self::Dsp),
            "cortex-m55" => Ok(Self::Vector),
            _ => bail!("no kernel was measured on {cpu}: instructions can be predicted for cortex-m4, m7, m33 and m55"),
        }
    }
}

/// One of an operator's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    /// Its name in the table of costs.
    pub key: &'static str,
    /// Its name in reports.
    pub name: &'static str,
}

impl Kernel {
    pub(super) const fn new(key: &'static str, name: &'static str) -> Self {
        Self { key, name }
    }
}

/// Groups of `each` channels, the last of which may overlap the one before; where there are not so many, each channel is one.
pub(super) fn groups(channels: usize, each: usize) -> usize {
    if channels < each { channels } else { channels.div_ceil(each) }
}

/// How many rows and taps of all windows fall on the input, and how many windows padding falls into.
pub(super) struct Reached {
    pub rows: usize,
    pub taps: usize,
    pub padded: usize,
}

impl Reached {
    pub fn of(window: &Window, input: Shape, out: Shape) -> Self {
        let [rows, columns] = [axis(window, input, out, 0), axis(window, input, out, 1)];
        let [height, width] = window.kernel.map(usize::from);
        let sum = |reach: &[usize]| reach.iter().sum::<usize>();
        let whole = |reach: &[usize], size| reach.iter().filter(|&&len| len == size).count();
        Self {
            rows: sum(&rows) * columns.len(),
            taps: sum(&rows) * sum(&columns),
            padded: out.pixels() - whole(&rows, height) * whole(&columns, width),
        }
    }
}

/// Taps on the input of each window along an axis: 0 for rows, 1 for columns.
pub(super) fn axis(window: &Window, input: Shape, out: Shape, axis: usize) -> Vec<usize> {
    let (size, count) = if axis == 0 { (input.h, out.h) } else { (input.w, out.w) };
    let (before, size) = (usize::from(window.pad[axis]), usize::from(size));
    let (kernel, stride) = (usize::from(window.kernel[axis]), usize::from(window.stride[axis]));
    (0..usize::from(count))
        .map(|i| (i * stride + kernel).min(before + size).saturating_sub((i * stride).max(before)))
        .collect()
}
