//! Runs a [`Graph`] in f32: what `eval --with float` measures and what calibration looks at.
//!
//! Convolutions gather their input under every output (im2col) and become one matrix product.

use super::{Graph, Linear, Node, Params};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use ocellus_shared::{Op, Shape, Window};

/// A graph's input for an RGB image, `(h, w, 3)`: its pixels in `[0, 1]`. For a graph that was centred, see [`input`].
pub fn image(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&p| f32::from(p) / 255.0).collect()
}

/// What `graph` takes for an RGB image, `(h, w, 3)`.
pub fn input(graph: &Graph, pixels: &[u8]) -> Vec<f32> {
    let zero = f32::from(graph.zero_pixel) / 255.0;
    pixels.iter().map(|&p| f32::from(p) / 255.0 - zero).collect()
}

/// The logits of `image`, `(h, w, c)` as the graph's input.
pub fn logits(graph: &Graph, image: &[f32]) -> Vec<f32> {
    values(graph, image).pop().expect("the image is a value")
}

/// Every value of the graph for `image`, the image itself first; each `(h, w, c)`.
///
/// # Panics
/// If the image has another size than the graph's input.
pub fn values(graph: &Graph, image: &[f32]) -> Vec<Vec<f32>> {
    assert_eq!(image.len(), graph.input.len(), "the image has another size than the graph's input");
    let mut values = Vec::with_capacity(graph.nodes.len() + 1);
    values.push(image.to_vec());
    for node in &graph.nodes {
        let inputs: Vec<(&[f32], Shape)> =
            node.inputs.iter().map(|&v| (values[v].as_slice(), graph.shape(v))).collect();
        let mut out = operator(node, &inputs);
        out.iter_mut().for_each(|x| *x = node.activation.apply(*x));
        values.push(out);
    }
    values
}

fn operator(node: &Node, inputs: &[(&[f32], Shape)]) -> Vec<f32> {
    let (x, shape) = inputs[0];
    match (node.op, &node.params) {
        (Op::Conv { window, .. }, Params::Linear(linear)) => conv(x, shape, window, linear, node.output),
        (Op::Dense { .. }, Params::Linear(linear)) => product(x, 1, linear, node.output.c.into()),
        (Op::Depthwise { window }, Params::Linear(linear)) => depthwise(x, shape, window, linear, node.output),
        (Op::ChannelScale, Params::Linear(Linear { weights, bias })) => {
            let c = weights.len();
            x.iter().enumerate().map(|(k, v)| v * weights[k % c] + bias[k % c]).collect()
        }
        (Op::MaxPool { window }, _) => pool(x, shape, window, node.output, f32::NEG_INFINITY, f32::max),
        (Op::AvgPool { window }, _) => {
            let taps = window.taps() as f32;
            let sums = pool(x, shape, window, node.output, 0.0, |a, b| a + b);
            sums.into_iter().map(|sum| sum / taps).collect()
        }
        (Op::GlobalAvgPool, _) => {
            let (c, pixels) = (usize::from(shape.c), shape.pixels() as f32);
            (0..c).map(|i| x.iter().skip(i).step_by(c).sum::<f32>() / pixels).collect()
        }
        (Op::Mul, _) => x.iter().zip(inputs[1].0.iter().cycle()).map(|(a, b)| a * b).collect(),
        (Op::Add, _) => x.iter().zip(inputs[1].0).map(|(a, b)| a + b).collect(),
        (Op::Lut, Params::Function(function)) => x.iter().map(|&v| function.eval(v)).collect(),
        (Op::Flatten, _) => x.to_vec(),
        (Op::Concat, _) => concat(inputs),
        (op, _) => unreachable!("{} without its parameters", op.name()),
    }
}

/// The taps of `window` that lie inside the input, for every output pixel: calls `tap(output pixel, tap, input pixel)`.
fn for_each_tap(shape: Shape, window: Window, output: Shape, mut tap: impl FnMut(usize, usize, usize)) {
    let [h, w, oh, ow] = [shape.h, shape.w, output.h, output.w].map(usize::from);
    let [kh, kw] = window.kernel.map(usize::from);
    let [sh, sw] = window.stride.map(usize::from);
    let [top, left, ..] = window.pad.map(usize::from);
    for (oy, ky) in (0..oh).flat_map(|oy| (0..kh).map(move |ky| (oy, ky))) {
        let y = oy * sh + ky;
        if y < top || y - top >= h {
            continue;
        }
        for (ox, kx) in (0..ow).flat_map(|ox| (0..kw).map(move |kx| (ox, kx))) {
            let x = ox * sw + kx;
            if x >= left && x - left < w {
                tap(oy * ow + ox, ky * kw + kx, (y - top) * w + x - left);
            }
        }
    }
}

fn conv(x: &[f32], shape: Shape, window: Window, linear: &Linear, output: Shape) -> Vec<f32> {
    let c = usize::from(shape.c);
    let row = window.taps() * c;
    let mut patches = vec![0.0; output.pixels() * row];
    for_each_tap(shape, window, output, |out, tap, input| {
        patches[out * row + tap * c..][..c].copy_from_slice(&x[input * c..][..c]);
    });
    product(&patches, output.pixels(), linear, output.c.into())
}

/// `rows * weights^T + bias`: `rows` is `(count, k)`, the weights are `(channels, k)`, the result `(count, channels)`.
fn product(rows: &[f32], count: usize, linear: &Linear, channels: usize) -> Vec<f32> {
    let k = rows.len() / count;
    let view = |shape, values| ArrayView2::from_shape(shape, values).expect("as many values as the shape has");
    let mut out: Vec<f32> = linear.bias.iter().copied().cycle().take(count * channels).collect();
    let mut sums = ArrayViewMut2::from_shape((count, channels), &mut out).expect("as many values as the shape has");
    general_mat_mul(1.0, &view((count, k), rows), &view((channels, k), &linear.weights).t(), 1.0, &mut sums);
    out
}

fn depthwise(x: &[f32], shape: Shape, window: Window, linear: &Linear, output: Shape) -> Vec<f32> {
    let c = usize::from(shape.c);
    let mut out: Vec<f32> = linear.bias.iter().copied().cycle().take(output.len()).collect();
    for_each_tap(shape, window, output, |o, tap, i| {
        let weights = &linear.weights[tap * c..][..c];
        for ((out, x), w) in out[o * c..][..c].iter_mut().zip(&x[i * c..][..c]).zip(weights) {
            *out += x * w;
        }
    });
    out
}

fn pool(
    x: &[f32],
    shape: Shape,
    window: Window,
    output: Shape,
    start: f32,
    merge: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    let c = usize::from(shape.c);
    let mut out = vec![start; output.len()];
    for_each_tap(shape, window, output, |o, _, i| {
        for (out, x) in out[o * c..][..c].iter_mut().zip(&x[i * c..][..c]) {
            *out = merge(*out, *x);
        }
    });
    out
}

fn concat(inputs: &[(&[f32], Shape)]) -> Vec<f32> {
    let pixels = inputs[0].1.pixels();
    let pixel = |p: usize| inputs.iter().flat_map(move |(x, shape)| &x[p * usize::from(shape.c)..][..shape.c.into()]);
    (0..pixels).flat_map(pixel).copied().collect()
}
