//! Convolution by Winograd's formula, which the packer makes of others.

use super::cost::{Core, Kernel, Reached};
use super::interval::{Input, Interval};
use super::linear::{self, linear};
use super::node::{Integers, Linear, Node, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{Channels, HostOperator};
use anyhow::Result;
use ocellus_shared::op::{Conv, ParamCounts, Winograd, winograd};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

const TILES: Kernel = Kernel::new("winograd", "Winograd, 3 tiles x 2 filters");

/// Everything but the plan is the convolution's.
fn conv(Winograd { window, out_channels }: Winograd) -> Conv {
    Conv { window, out_channels }
}

impl HostOperator for Winograd {
    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        conv(*self).run(node, inputs)
    }

    fn channels(&self) -> Channels {
        Channels::Filters
    }

    fn absorbs(&self, scale: &Linear) -> bool {
        conv(*self).absorbs(scale)
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        linear::quantize(node, inputs, output)
    }

    fn counts(&self, packed: ParamCounts, input: Shape, output: Shape) -> ParamCounts {
        conv(*self).counts(packed, input, output)
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
        conv(*self).write_int8(writer);
    }

    /// The points of every filter.
    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        let (filters, channels) = (node.biases.len(), usize::from(inputs[0].shape.c));
        let mut packed = vec![0; filters / 2 * winograd::pair_bytes(channels)];
        for (filter, channel) in (0..filters).flat_map(|f| (0..channels).map(move |c| (f, c))) {
            let taps = std::array::from_fn(|tap| node.weights[(filter * 9 + tap) * channels + channel]);
            for (point, value) in winograd::points(taps).into_iter().enumerate() {
                let at = 2 * winograd::index(filter, point, channel, channels);
                packed[at..at + 2].copy_from_slice(&value.to_le_bytes().map(|byte| byte as i8));
            }
        }
        (packed, linear::packed_biases(node, inputs))
    }

    /// Rows of tiles, of two rows each, of which no group is left unfilled at the end of a strip.
    fn least_strip_rows(&self, output: Shape) -> u16 {
        if output.w.div_ceil(2).is_multiple_of(winograd::TILES as u16) { 2 } else { 2 * winograd::TILES as u16 }
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[TILES]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        (TILES, tiles(&self.window, step.input().shape, step.output.shape))
    }
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
