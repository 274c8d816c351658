//! Convolution.

use super::cost::{Core, Kernel, axis};
use super::interval::{Input, Interval};
use super::linear::{self, linear};
use super::node::{Integers, Linear, Node, Params, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{Channels, HostOperator, Trained};
use anyhow::Result;
use ocellus_shared::op::{Conv, PATCHES, ParamCounts, pair_index, row_bytes};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

const PAIRS: Kernel = Kernel::new("pairs", "3 patches x 2 filters");
/// Pairs of filters that the vector kernel takes at a time.
const VECTOR_PAIRS: usize = 16;

impl HostOperator for Conv {
    fn lower(&self, layer: &Trained) -> Result<Params> {
        let (c, channel) = (usize::from(layer.input.c), layer.channel_order());
        let [kh, kw] = self.window.kernel.map(usize::from);
        let w = (layer.array)("weight", &[self.out_channels.into(), c, kh, kw])?;
        let taps = kh * kw;
        let at = |o: usize, tap: usize, i: usize| w[(o * c + channel[i]) * taps + tap];
        let filter = taps * c;
        let weights = (0..usize::from(self.out_channels) * filter).map(|k| at(k / filter, k % filter / c, k % c));
        Ok(Params::Linear(Linear { weights: weights.collect(), bias: layer.bias(self.out_channels.into())? }))
    }

    /// The input is gathered under every output (im2col), which makes one matrix product.
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let ((x, shape), output) = (inputs[0], node.output);
        let c = usize::from(shape.c);
        let row = self.window.taps() * c;
        let mut patches = vec![0.0; output.pixels() * row];
        linear::for_each_tap(shape, self.window, output, |out, tap, input| {
            patches[out * row + tap * c..][..c].copy_from_slice(&x[input * c..][..c]);
        });
        linear::product(&patches, output.pixels(), linear(node))
    }

    fn channels(&self) -> Channels {
        Channels::Filters
    }

    fn absorbs(&self, scale: &Linear) -> bool {
        linear::absorbs(self.window, scale)
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        linear::quantize(node, inputs, output)
    }

    fn counts(&self, packed: ParamCounts, input: Shape, output: Shape) -> ParamCounts {
        ParamCounts { weights: usize::from(output.c) * self.window.taps() * usize::from(input.c), ..packed }
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        linear::largest_sums(node, inputs)
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        linear::filter_intervals(node, inputs, output)
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        writer.conv(node, linear(node), writer.input(0), result);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        writer.linear(writer.input(0), &writer.node.weights, &writer.node.biases);
    }

    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        let filters = node.biases.len();
        let row = row_bytes(node.weights.len() / filters);
        let len = filters.next_multiple_of(2) * row;
        let weights = linear::packed(node, len, |filter, k| pair_index(filter, k, row));
        (weights, linear::packed_biases(node, inputs))
    }

    /// No group of outputs is left unfilled at the end of a strip.
    fn least_strip_rows(&self, output: Shape) -> u16 {
        if usize::from(output.w).is_multiple_of(PATCHES) { 1 } else { PATCHES as u16 }
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[PAIRS]
    }

    fn loops(&self, core: Core, step: &Step) -> (Kernel, Vec<usize>) {
        (PAIRS, pairs(core, &self.window, step.input().shape, step.output.shape))
    }
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
