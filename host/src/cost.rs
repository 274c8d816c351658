//! Predicts the instructions that a plan's steps take, without running them.
//!
//! A kernel's loops turn as often as its shapes say: [`counts`] says how often each does. What one turn takes was fitted
//! to counts of an emulated core and stands in `firmware/costs.toml`
//! (`cargo test --release --test emulated cost_model:: -- --ignored --nocapture` measures anew). The prediction of a whole network is
//! within [`ERROR`] of what `ocellus profile` counts.

use anyhow::{Context, Result, bail};
use ocellus_shared::op::{Bands, PATCHES, row_bytes, winograd};
use ocellus_shared::plan::Step;
use ocellus_shared::{Op, Shape, Window};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest error of a whole network's prediction, as a part of what is counted.
pub const ERROR: f64 = 0.05;

/// Channels that channel-wise kernels take at a time.
const LANES: usize = 16;
/// Pairs of filters that the vector kernel takes at a time.
const VECTOR_PAIRS: usize = 16;

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

/// Which of an operator's kernels runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// Convolution by three patches and pairs of filters.
    Pairs,
    /// 3x3 convolution by three tiles of 2x2 outputs and pairs of filters.
    Winograd,
    /// 3x3 depthwise convolution by bands of four channels.
    Bands,
    /// 5x5 depthwise convolution by bands of four channels.
    WideBands,
    /// Depthwise convolution of any window.
    Taps,
    /// Dense layer.
    Dense,
    /// Largest value.
    MaxPool,
    /// Mean under a window.
    AvgPool,
    /// Mean of whole maps.
    GlobalAvgPool,
    /// Sum of two maps.
    Add,
    /// Map times factors.
    Mul,
    /// Table.
    Lut,
    /// Nothing.
    Flatten,
    /// Maps one after the other.
    Concat,
    /// Scale and offset per channel.
    Scale,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Pairs,
        Self::Winograd,
        Self::Bands,
        Self::WideBands,
        Self::Taps,
        Self::Dense,
        Self::MaxPool,
        Self::AvgPool,
        Self::GlobalAvgPool,
        Self::Add,
        Self::Mul,
        Self::Lut,
        Self::Flatten,
        Self::Concat,
        Self::Scale,
    ];

    /// Its name in the table of costs.
    pub fn key(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Winograd => "winograd",
            Self::Bands => "bands",
            Self::WideBands => "wide-bands",
            Self::Taps => "taps",
            Self::Dense => "dense",
            Self::MaxPool => "max-pool",
            Self::AvgPool => "avg-pool",
            Self::GlobalAvgPool => "global-avg-pool",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Lut => "lut",
            Self::Flatten => "flatten",
            Self::Concat => "concat",
            Self::Scale => "scale",
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "3 patches x 2 filters",
            Self::Winograd => "Winograd, 3 tiles x 2 filters",
            Self::Bands | Self::WideBands => "4 channels x 4 outputs",
            Self::Taps => "16 channels, tap by tap",
            Self::Dense => "rows together",
            Self::Add => "4 sums",
            Self::Lut => "4 entries",
            Self::Flatten => "no work",
            _ => "plain",
        }
    }
}

/// The kernel of `step` on `core`, and how often its loops turn: as many numbers as its coefficients.
pub fn counts(core: Core, step: &Step) -> (Kernel, Vec<f64>) {
    let (input, out) = (step.input().shape, step.output.shape);
    let [pixels, channels, len] = [out.pixels(), out.c.into(), out.len()];
    let (kernel, counts): (_, Vec<usize>) = match &step.op {
        Op::Conv { window, .. } => (Kernel::Pairs, pairs(core, window, input, out)),
        Op::Winograd { window, .. } => (Kernel::Winograd, tiles(window, input, out)),
        Op::Depthwise { window } => match Bands::new(window, input) {
            Some(bands) => {
                let kernel = if bands.kernel == 3 { Kernel::Bands } else { Kernel::WideBands };
                (kernel, banded(window, bands, input, out))
            }
            None => (Kernel::Taps, taps(window, input, out)),
        },
        Op::Dense { .. } => {
            let groups = groups(channels, if core == Core::Dsp { 4 } else { 2 });
            let (words, rest) = (input.len() / 4, usize::from(!input.len().is_multiple_of(4)));
            (Kernel::Dense, vec![1, groups, groups * words, groups * rest])
        }
        Op::MaxPool { window } => {
            let reach = Reached::of(window, input, out);
            let [words, rest] = [channels / 4, channels % 4].map(|count| reach.taps * count);
            (Kernel::MaxPool, vec![1, pixels, reach.rows, reach.taps, words, rest, len])
        }
        Op::AvgPool { window } => {
            let [groups, alone] = channel_groups(core, channels).map(|count| pixels * count);
            let (rows, taps) = (usize::from(window.kernel[0]), window.taps());
            let counts = vec![1, pixels, groups, groups * rows, groups * taps, alone, alone * rows, alone * taps];
            (Kernel::AvgPool, counts)
        }
        Op::GlobalAvgPool => {
            let ([groups, alone], pixels) = (channel_groups(core, channels), input.pixels());
            (Kernel::GlobalAvgPool, vec![1, groups, groups * pixels, alone, alone * pixels])
        }
        Op::Add => (Kernel::Add, vec![1, len]),
        Op::Mul => {
            let [words, rest] = [channels / 4, channels % 4].map(|count| pixels * count);
            (Kernel::Mul, vec![1, pixels, words, rest])
        }
        Op::Lut => (Kernel::Lut, vec![1, len]),
        Op::Flatten => (Kernel::Flatten, vec![1]),
        Op::Concat => {
            // Copies of whole words are cheaper.
            let (parts, odd) = (pixels * step.inputs().len(), usize::from(!input.c.is_multiple_of(4)));
            (Kernel::Concat, vec![1, pixels, parts, len, odd * parts, odd * len])
        }
        Op::ChannelScale => (Kernel::Scale, vec![1, pixels, len]),
    };
    (kernel, counts.into_iter().map(|count| count as f64).collect())
}

/// Groups of `each` channels, the last of which may overlap the one before; where there are not so many, each channel is one.
fn groups(channels: usize, each: usize) -> usize {
    if channels < each { channels } else { channels.div_ceil(each) }
}

/// Groups of channels that a mean is computed for, and channels where there are too few for a group.
fn channel_groups(core: Core, channels: usize) -> [usize; 2] {
    let each = if core == Core::Dsp { 4 } else { LANES };
    if channels < each { [0, channels] } else { [groups(channels, each), 0] }
}

/// What a turn of each loop of the kernels of one core takes, in instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    core: Core,
    kernels: BTreeMap<Kernel, Vec<f64>>,
}

/// The table of both kinds of cores: coefficients by the kernel's key, in the order of [`counts`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    dsp: BTreeMap<String, Vec<f64>>,
    vector: BTreeMap<String, Vec<f64>>,
}

impl Costs {
    /// The coefficients of `core`, from `firmware/costs.toml` as it is built into this program.
    ///
    /// # Errors
    /// It does not parse or lacks a kernel.
    pub fn load(core: Core) -> Result<Self> {
        Self::parse(core, include_str!("../../firmware/costs.toml")).context("in firmware/costs.toml")
    }

    fn parse(core: Core, text: &str) -> Result<Self> {
        let Table { dsp, vector } = toml::from_str(text)?;
        let table = match core {
            Core::Dsp => dsp,
            Core::Vector => vector,
        };
        let of = |kernel: Kernel| {
            let costs = table.get(kernel.key()).with_context(|| format!("no costs of the kernel {}", kernel.key()))?;
            Ok((kernel, costs.clone()))
        };
        Ok(Self { core, kernels: Kernel::ALL.into_iter().map(of).collect::<Result<_>>()? })
    }

    /// The kernel of `step`, and the instructions that it is expected to take: those of its strips, which are steps but for
    /// being read from the plan, all that a flattening takes.
    pub fn predict(&self, step: &Step) -> (Kernel, u64) {
        let (kernel, _) = counts(self.core, step);
        let read: f64 = self.kernels[&Kernel::Flatten].iter().sum();
        let mut expected = read;
        step.each_strip(|strip| expected += self.whole(strip) - read);
        (kernel, expected.max(0.0).round() as u64)
    }

    /// Instructions of a step that is not cut.
    fn whole(&self, step: &Step) -> f64 {
        let (kernel, counts) = counts(self.core, step);
        counts.iter().zip(&self.kernels[&kernel]).map(|(count, cost)| count * cost).sum()
    }
}

/// Fewest and most cycles of an instruction that are to be expected of `cpu`, from memory without wait states and from
/// slow memory: on boards with a Cortex-M4 the kernels of other engines take 1.2 to 1.5; a Cortex-M7 starts two
/// instructions at a time where it can; the vector instructions of a Cortex-M55 take two cycles each.
pub fn cycles_per_instruction(cpu: &str) -> [f64; 2] {
    match cpu {
        "cortex-m7" => [0.6, 1.2],
        "cortex-m55" => [1.2, 2.2],
        _ => [1.1, 1.6],
    }
}

/// How many rows and taps of all windows fall on the input, and how many windows padding falls into.
struct Reached {
    rows: usize,
    taps: usize,
    padded: usize,
}

impl Reached {
    fn of(window: &Window, input: Shape, out: Shape) -> Self {
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
fn axis(window: &Window, input: Shape, out: Shape, axis: usize) -> Vec<usize> {
    let (size, count) = if axis == 0 { (input.h, out.h) } else { (input.w, out.w) };
    let (before, size) = (usize::from(window.pad[axis]), usize::from(size));
    let (kernel, stride) = (usize::from(window.kernel[axis]), usize::from(window.stride[axis]));
    (0..usize::from(count))
        .map(|i| (i * stride + kernel).min(before + size).saturating_sub((i * stride).max(before)))
        .collect()
}

/// See the convolution kernel of the firmware: groups of [`PATCHES`] outputs are gathered at once where no padding falls
/// into them and they are of one row, and one by one elsewhere.
fn pairs(core: Core, window: &Window, input: Shape, out: Shape) -> Vec<usize> {
    let (pixels, width, channels) = (out.pixels(), usize::from(out.w), usize::from(out.c));
    let [kernel_rows, kernel_columns] = window.kernel.map(usize::from);
    let [rows, columns] = [axis(window, input, out, 0), axis(window, input, out, 1)];
    let line = kernel_columns * usize::from(input.c);
    let patch = line * kernel_rows;
    let words = row_bytes(patch) / 4;
    let colours = core == Core::Dsp && (kernel_rows, line) == (3, 9);
    let at_once = core == Core::Vector || line.is_multiple_of(4) || colours;
    let inside = |first: usize| {
        let (y, x) = (first / width, first % width);
        let whole = |x: usize| columns.get(x).is_some_and(|&len| len == kernel_columns);
        first + PATCHES <= pixels && rows[y] == kernel_rows && (x..x + PATCHES).all(whole)
    };
    let (groups, whole_groups) = (pixels.div_ceil(PATCHES), pixels / PATCHES);
    let fast = if at_once { (0..pixels).step_by(PATCHES).filter(|&first| inside(first)).count() } else { 0 };
    let slow = pixels - fast * PATCHES;
    let staged = if usize::from(input.c).is_multiple_of(4) { 0 } else { patch };
    let (pairs, odd) = (channels / 2, channels % 2);
    let (in_pairs, alone) = match core {
        Core::Dsp => (whole_groups * pairs, whole_groups * odd + (groups - whole_groups) * (pairs + odd)),
        Core::Vector => (groups * pairs, groups * odd),
    };
    let (words_fast, colours_fast) = if colours { (0, fast) } else { (fast, 0) };
    vec![
        1,
        groups,
        words_fast,
        words_fast * kernel_rows,
        words_fast * words,
        colours_fast,
        slow,
        slow * words,
        slow * staged,
        in_pairs,
        in_pairs * (words / 4),
        in_pairs * (words % 4),
        if words.is_multiple_of(4) { 0 } else { in_pairs },
        groups * pairs.div_ceil(VECTOR_PAIRS),
        alone,
        alone * words,
    ]
}

/// See the Winograd kernel of the firmware: tiles whose inputs no padding falls into are read where they are.
fn tiles(window: &Window, input: Shape, out: Shape) -> Vec<usize> {
    let halves = |size: u16| size.div_ceil(2);
    // A tile is an output of a 4x4 window at stride 2.
    let grid = Shape { h: halves(out.h), w: halves(out.w), ..out };
    let inputs = Window { kernel: [4; 2], stride: [2; 2], pad: window.pad };
    let Reached { padded, .. } = Reached::of(&inputs, input, grid);
    let (groups, channels) = (grid.pixels().div_ceil(winograd::TILES), usize::from(input.c));
    let (transformed, pairs) = (groups * winograd::TILES, groups * usize::from(out.c) / 2);
    let blocks = winograd::filled(channels) / 16;
    vec![1, groups, transformed * channels / 4, padded, padded * channels, pairs, pairs * blocks]
}

/// See the banded depthwise kernels of the firmware.
fn banded(window: &Window, bands: Bands, input: Shape, out: Shape) -> Vec<usize> {
    let channel_groups = usize::from(out.c).div_ceil(Bands::CHANNELS);
    let (out_height, stride) = (usize::from(out.h), window.stride.map(usize::from));
    let (top, height) = (usize::from(window.pad[0]), usize::from(input.h));
    let (mut count, mut rows, mut inside) = (0, 0, 0);
    for y in (0..out_height).step_by(bands.out_rows) {
        let here = (bands.out_rows.min(out_height - y) - 1) * stride[0] + bands.kernel;
        count += 1;
        rows += here;
        inside += (y * stride[0]..y * stride[0] + here).filter(|row| (top..top + height).contains(row)).count();
    }
    let words = usize::from(input.w).div_ceil(2);
    let (steps, rest) = (bands.out_width / Bands::OUTPUTS, bands.out_width % Bands::OUTPUTS);
    let each = channel_groups * out_height;
    vec![
        1,
        bands.plane_words(),
        channel_groups,
        channel_groups * count,
        channel_groups * inside,
        channel_groups * inside * words,
        channel_groups * (rows - inside),
        channel_groups * (rows - inside) * bands.row_words,
        each,
        each * steps,
        each * steps * (stride[1] - 1),
        if rest > 0 { each } else { 0 },
        each * rest,
    ]
}

/// See the plain depthwise kernel of the firmware.
fn taps(window: &Window, input: Shape, out: Shape) -> Vec<usize> {
    let inside = Reached::of(window, input, out).taps;
    let (pixels, channels) = (out.pixels(), usize::from(out.c));
    let (blocks, all) = (channels.div_ceil(LANES), pixels * window.taps());
    let [words, rest] = [channels / 4, channels % 4];
    vec![1, pixels, pixels * blocks, all * blocks, inside * blocks, all * words, all * rest, pixels * channels]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_kernel_of_every_core() {
        for core in [Core::Dsp, Core::Vector] {
            Costs::load(core).unwrap();
        }
        let error = format!("{:#}", Costs::parse(Core::Dsp, "[dsp]\n[vector]").unwrap_err());
        assert!(error.contains("no costs of the kernel pairs"), "{error}");
        assert!(Core::of("cortex-m0").is_err());
    }
}
