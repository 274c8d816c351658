//! Depthwise convolution.

use super::cost::{Core, Kernel, LANES, Reached};
use super::interval::{Input, Interval, taps};
use super::linear::{self, linear};
use super::node::{Integers, Linear, Node, Params, QuantNode, Value};
use super::onnx::{FloatWriter, Int8Writer};
use super::{HostOperator, Trained};
use anyhow::Result;
use ocellus_shared::op::{Bands, Depthwise};
use ocellus_shared::plan::Step;
use ocellus_shared::{Shape, Window};

/// 3x3 by bands of four channels.
const BANDS: Kernel = Kernel::new("bands", "4 channels x 4 outputs");
/// 5x5 by bands of four channels.
const WIDE_BANDS: Kernel = Kernel::new("wide-bands", "4 channels x 4 outputs");
/// Any window.
const TAPS: Kernel = Kernel::new("taps", "16 channels, tap by tap");

impl HostOperator for Depthwise {
    fn lower(&self, layer: &Trained) -> Result<Params> {
        let (c, channel) = (usize::from(layer.input.c), layer.channel_order());
        let [kh, kw] = self.window.kernel.map(usize::from);
        let w = (layer.array)("weight", &[c, 1, kh, kw])?;
        let taps = kh * kw;
        let weights = (0..taps * c).map(|k| w[channel[k % c] * taps + k / c]).collect();
        Ok(Params::Linear(Linear { weights, bias: layer.bias(c)? }))
    }

    fn run(&self, node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
        let ((x, shape), linear) = (inputs[0], linear(node));
        let c = usize::from(shape.c);
        let mut out: Vec<f32> = linear.bias.iter().copied().cycle().take(node.output.len()).collect();
        linear::for_each_tap(shape, self.window, node.output, |o, tap, i| {
            let weights = &linear.weights[tap * c..][..c];
            for ((out, x), w) in out[o * c..][..c].iter_mut().zip(&x[i * c..][..c]).zip(weights) {
                *out += x * w;
            }
        });
        out
    }

    fn absorbs(&self, scale: &Linear) -> bool {
        linear::absorbs(self.window, scale)
    }

    fn quantize(&self, node: &Node, inputs: &[Value], output: Value) -> Result<Integers> {
        linear::quantize(node, inputs, output)
    }

    fn largest_sums(&self, node: &QuantNode, inputs: &[Value]) -> Vec<i64> {
        linear::largest_sums(node, inputs)
    }

    fn intervals(&self, node: &QuantNode, inputs: &[Input], output: Value) -> Vec<Interval> {
        let (x, channels) = (&inputs[0], inputs[0].intervals.len());
        let taps = taps(Some(self.window), x.value.shape, output.shape);
        let product =
            |c: usize, tap: usize| taps[tap].padded(x.centred(c).times(node.weights[tap * channels + c].into()));
        linear::intervals(node, output, |c| (0..taps.len()).map(|tap| product(c, tap)).sum())
    }

    fn narrowed(&self, node: &QuantNode, kept: &[usize]) -> QuantNode {
        linear::narrowed(node, kept)
    }

    fn write_float(&self, writer: &mut FloatWriter, node: &Node, result: &str) {
        writer.conv(node, linear(node), writer.input(0), result);
    }

    fn write_int8(&self, writer: &mut Int8Writer) {
        writer.linear(writer.input(0), &writer.node.weights, &writer.node.biases);
    }

    fn pack(&self, node: &QuantNode, inputs: &[Value], _: Value) -> (Vec<i8>, Vec<i32>) {
        (node.weights.clone(), linear::packed_biases(node, inputs))
    }

    /// Each strip reads the rows around it once more.
    fn least_strip_rows(&self, _: Shape) -> u16 {
        2
    }

    /// Every strip sets up all of its channels.
    fn strip_overhead(&self, output: Shape) -> usize {
        output.c.into()
    }

    fn kernels(&self) -> &'static [Kernel] {
        &[BANDS, WIDE_BANDS, TAPS]
    }

    fn loops(&self, _: Core, step: &Step) -> (Kernel, Vec<usize>) {
        let (input, out) = (step.input().shape, step.output.shape);
        match Bands::new(&self.window, input) {
            Some(bands) => {
                let kernel = if bands.kernel == 3 { BANDS } else { WIDE_BANDS };
                (kernel, banded(&self.window, bands, input, out))
            }
            None => (TAPS, tap_by_tap(&self.window, input, out)),
        }
    }
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
fn tap_by_tap(window: &Window, input: Shape, out: Shape) -> Vec<usize> {
    let inside = Reached::of(window, input, out).taps;
    let (pixels, channels) = (out.pixels(), usize::from(out.c));
    let (blocks, all) = (channels.div_ceil(LANES), pixels * window.taps());
    let [words, rest] = [channels / 4, channels % 4];
    vec![1, pixels, pixels * blocks, all * blocks, inside * blocks, all * words, all * rest, pixels * channels]
}
