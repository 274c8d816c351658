//! Depthwise convolution: one filter per channel, forwards and both ways back.
//!
//! A plane of the input is spread over as many *phases* as the window has strides: phase `(p, q)` holds every pixel of
//! the padded plane in a row `p` and a column `q` modulo the strides. Then the pixels under one tap of the window, for
//! all outputs one after the other, are a run of one phase, and each tap adds a multiple of one run to another. Between
//! two rows of outputs a run has a few values too many, which are not used.

use super::{Found, Map, dot};
use crate::net::conv::{copy_every, output_size};
use ocellus_shared::Window;

/// A depthwise convolution that has run.
#[derive(Debug)]
pub struct Depthwise {
    sizes: Sizes,
    /// Its input.
    x: Map,
    /// `(c, kh, kw)`.
    weight: Vec<f32>,
    /// Names of the weights and the biases that are fitted.
    pub(super) names: [Option<String>; 2],
}

/// What follows from the sizes of a map and a window.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Rows and columns of an input plane.
    input: [usize; 2],
    /// Of an output plane.
    output: [usize; 2],
    /// Of a phase.
    phase: [usize; 2],
    window: Window,
}

/// One tap of a window: its number, its phase, and where the run under it begins there.
#[derive(Clone, Copy)]
struct Tap {
    number: usize,
    phase: usize,
    from: usize,
}

impl Sizes {
    fn new(h: usize, w: usize, window: Window) -> Self {
        let [kernel, stride] = [window.kernel, window.stride].map(|pair| pair.map(usize::from));
        let output = output_size([h, w], &window);
        let phase = [0, 1].map(|i| ((output[i] - 1) * stride[i] + kernel[i]).div_ceil(stride[i]));
        Self { input: [h, w], output, phase, window }
    }

    /// Values of an output plane with the rest of a phase's row between its rows.
    fn run(&self) -> usize {
        (self.output[0] - 1) * self.phase[1] + self.output[1]
    }

    fn phase_len(&self) -> usize {
        self.phase[0] * self.phase[1]
    }

    fn phases(&self) -> usize {
        usize::from(self.window.stride[0]) * usize::from(self.window.stride[1])
    }

    /// The taps of the window, row by row.
    fn taps(&self) -> Vec<Tap> {
        let [kh, kw] = self.window.kernel.map(usize::from);
        let [sh, sw] = self.window.stride.map(usize::from);
        let tap = |ky: usize, kx: usize| Tap {
            number: ky * kw + kx,
            phase: ky % sh * sw + kx % sw,
            from: ky / sh * self.phase[1] + kx / sw,
        };
        (0..kh).flat_map(|ky| (0..kw).map(move |kx| tap(ky, kx))).collect()
    }

    /// Calls `visit(at, from, len)` for every part of a row of the input that the window sees: its pixels are a stride
    /// apart from `from`, and lie one after the other in the phases from `at`.
    fn rows(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [sh, sw] = self.window.stride.map(usize::from);
        let [top, left, ..] = self.window.pad.map(usize::from);
        let [h, w] = self.input;
        for y in (0..h).take_while(|y| (y + top) / sh < self.phase[0]) {
            for x in 0..sw.min(w) {
                let (row, column) = (y + top, x + left);
                let phase = row % sh * sw + column % sw;
                let at = phase * self.phase_len() + row / sh * self.phase[1] + column / sw;
                let len = (w - x).div_ceil(sw).min(self.phase[1].saturating_sub(column / sw));
                visit(at, y * w + x, len);
            }
        }
    }

    /// Writes an input plane into its phases. What lies over the border stays as it is.
    fn spread(&self, plane: &[f32], phases: &mut [f32]) {
        let step = usize::from(self.window.stride[1]);
        self.rows(|at, from, len| copy_every(step, &plane[from..], &mut phases[at..at + len]));
    }

    /// The opposite of [`Sizes::spread`].
    fn collect(&self, phases: &[f32], plane: &mut [f32]) {
        let step = usize::from(self.window.stride[1]);
        self.rows(|at, from, len| {
            plane[from..].iter_mut().step_by(step).zip(&phases[at..at + len]).for_each(|(to, from)| *to = *from);
        });
    }
}

impl Depthwise {
    /// Convolves `x` with a filter for each channel, `(c, kh, kw)`.
    pub(super) fn forward(
        x: Map,
        window: Window,
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        names: [Option<String>; 2],
    ) -> (Self, Map) {
        let [n, c, h, w] = x.dims;
        let sizes = Sizes::new(h, w, window);
        let ([oh, ow], pitch) = (sizes.output, sizes.phase[1]);
        let taps = sizes.taps();
        let mut phases = vec![0.0; sizes.phases() * sizes.phase_len()];
        let mut run = vec![0.0; sizes.run()];
        let mut y = Vec::with_capacity(n * c * oh * ow);
        for (i, plane) in x.values.chunks_exact(h * w).enumerate() {
            let filter = &weight[i % c * taps.len()..][..taps.len()];
            sizes.spread(plane, &mut phases);
            run.fill(bias.as_ref().map_or(0.0, |bias| bias[i % c]));
            for row in taps.chunks(usize::from(window.kernel[1])) {
                let source = |tap: &Tap| &phases[tap.phase * sizes.phase_len() + tap.from..];
                accumulate(&mut run, &row.iter().map(|t| (source(t), filter[t.number])).collect::<Vec<_>>());
            }
            (0..oh).for_each(|row| y.extend_from_slice(&run[row * pitch..][..ow]));
        }
        let map = Map::new([n, c, oh, ow], y);
        (Self { sizes, x, weight, names }, map)
    }

    /// Gradients for the gradient `dy` of the result: of the parameters that are fitted, and of the input if it is
    /// wanted.
    pub(super) fn backward(&self, dy: &[f32], wants_dx: bool) -> Found {
        let (sizes, c, wants_dw) = (&self.sizes, self.x.dims[1], self.names[0].is_some());
        let [oh, ow] = sizes.output;
        let taps = sizes.taps();
        let mut phases = vec![0.0; sizes.phases() * sizes.phase_len()];
        let mut run = Run::new(sizes);
        let mut dw = vec![0f64; if wants_dw { self.weight.len() } else { 0 }];
        let mut dx = vec![0.0; if wants_dx { self.x.values.len() } else { 0 }];
        let plane = sizes.input[0] * sizes.input[1];
        for (i, dy) in dy.chunks_exact(oh * ow).enumerate() {
            let first = i % c * taps.len();
            run.set(dy);
            if wants_dw {
                sizes.spread(&self.x.values[i * plane..][..plane], &mut phases);
                for (tap, dw) in taps.iter().zip(&mut dw[first..]) {
                    let under = &phases[tap.phase * sizes.phase_len() + tap.from..][..sizes.run()];
                    *dw += f64::from(dot(run.values(), under));
                }
            }
            if wants_dx {
                let filter = &self.weight[first..][..taps.len()];
                let mut gradient = vec![0.0; phases.len()];
                run.hand_back(&taps, filter, &mut gradient);
                sizes.collect(&gradient, &mut dx[i * plane..][..plane]);
            }
        }
        let dw = dw.into_iter().map(|d| d as f32).collect();
        let sums = || super::channel_sums(dy, [self.x.dims[0], c, oh, ow]);
        let parameters = [self.names[0].clone().map(|name| (name, dw)), self.names[1].clone().map(|n| (n, sums()))];
        Found { parameters: parameters.into_iter().flatten().collect(), inputs: vec![wants_dx.then_some(dx)] }
    }
}

/// An output plane's gradient with zeros between its rows, before it and behind it.
struct Run<'a> {
    sizes: &'a Sizes,
    /// Zeros before it: as many as the last tap begins behind the start of its phase.
    before: usize,
    values: Vec<f32>,
}

impl<'a> Run<'a> {
    fn new(sizes: &'a Sizes) -> Self {
        let before = sizes.taps().iter().map(|tap| tap.from).max().unwrap_or_default();
        Self { sizes, before, values: vec![0.0; before + sizes.phase_len().max(sizes.run())] }
    }

    fn set(&mut self, dy: &[f32]) {
        let ow = self.sizes.output[1];
        let rows = self.values[self.before..].chunks_mut(self.sizes.phase[1]);
        rows.zip(dy.chunks_exact(ow)).for_each(|(row, dy)| row[..ow].copy_from_slice(dy));
    }

    fn values(&self) -> &[f32] {
        &self.values[self.before..][..self.sizes.run()]
    }

    /// Adds to each phase's gradient what its taps bring back.
    fn hand_back(&self, taps: &[Tap], filter: &[f32], gradient: &mut [f32]) {
        for (phase, gradient) in gradient.chunks_exact_mut(self.sizes.phase_len()).enumerate() {
            for row in taps.chunks(usize::from(self.sizes.window.kernel[1])) {
                let own = row.iter().filter(|tap| tap.phase == phase);
                let source = |tap: &Tap| (&self.values[self.before - tap.from..], filter[tap.number]);
                accumulate(gradient, &own.map(source).collect::<Vec<_>>());
            }
        }
    }
}

/// Adds `weight * source` of every pair to `sums`, in one pass over it where there are not too many.
fn accumulate(sums: &mut [f32], terms: &[(&[f32], f32)]) {
    match *terms {
        [] => {}
        [a] => add_products(sums, [a]),
        [a, b] => add_products(sums, [a, b]),
        [a, b, c] => add_products(sums, [a, b, c]),
        [a, b, c, d] => add_products(sums, [a, b, c, d]),
        [a, b, c, d, e, ref rest @ ..] => {
            add_products(sums, [a, b, c, d, e]);
            accumulate(sums, rest);
        }
    }
}

fn add_products<const N: usize>(sums: &mut [f32], terms: [(&[f32], f32); N]) {
    let len = sums.len();
    // All of one length, so that the loop needs no checks.
    let sources = terms.map(|(source, _)| &source[..len]);
    for i in 0..len {
        let mut sum = sums[i];
        for k in 0..N {
            sum += sources[k][i] * terms[k].1;
        }
        sums[i] = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::to_vec;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Tensor, TensorData};
    use rand::RngExt;

    fn random(len: usize, index: u64) -> Vec<f32> {
        let mut random = crate::random::stream(7, crate::random::Purpose::Weights, index);
        (0..len).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    fn assert_close(ours: &[f32], theirs: Tensor<4>, what: &str) {
        let theirs = to_vec(theirs);
        assert_eq!(ours.len(), theirs.len(), "{what}");
        let largest = theirs.iter().fold(0f32, |a, b| a.max(b.abs()));
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-5 * largest, "{what}: {a} and {b}");
        }
    }

    #[test]
    fn agrees_with_burn() {
        let cases = [
            (Window::same(3), [2, 3, 6, 5]),
            (Window::same(5), [2, 2, 9, 9]),
            // What EfficientNet pads at stride 2.
            (Window { kernel: [3, 3], stride: [2, 2], pad: [0, 0, 1, 1] }, [2, 3, 8, 8]),
            (Window { kernel: [5, 5], stride: [2, 2], pad: [1, 1, 2, 2] }, [1, 4, 12, 14]),
            (Window { kernel: [5, 3], stride: [2, 1], pad: [2, 1, 2, 1] }, [2, 3, 9, 7]),
            (Window { kernel: [3, 7], stride: [1, 3], pad: [1, 3, 1, 3] }, [1, 2, 5, 11]),
            // The last column is under no window.
            (Window::valid(2, 2), [1, 1, 4, 5]),
            (Window::valid(1, 3), [1, 2, 5, 6]),
            // Some taps never meet the image.
            (Window { kernel: [5, 5], stride: [1, 1], pad: [2, 2, 2, 2] }, [1, 2, 1, 1]),
        ];
        for (window, [n, c, h, w]) in cases {
            let what = format!("{window:?} on {c}x{h}x{w}");
            let [kh, kw] = window.kernel.map(usize::from);
            let device = Device::flex();
            let tensor =
                |values: Vec<f32>, dims: [usize; 4]| Tensor::<4>::from_data(TensorData::new(values, dims), &device);
            let (values, weights) = (random(n * c * h * w, 0), random(c * kh * kw, 1));
            let x = tensor(values.clone(), [n, c, h, w]).autodiff().require_grad();
            let weight = tensor(weights.clone(), [c, 1, kh, kw]).autodiff().require_grad();
            let [top, left, bottom, right] = window.pad.map(usize::from);
            let padding = [(top, bottom), (left, right)];
            let options = ConvOptions::new_with_padding(window.stride.map(usize::from), padding, [1, 1], c);
            let theirs = conv2d(x.clone(), weight.clone(), None, options);

            let names = [Some("w".to_owned()), Some("b".to_owned())];
            let map = Map::new([n, c, h, w], values);
            let (kernel, y) = Depthwise::forward(map, window, weights, Some(vec![0.0; c]), names);
            assert_eq!(y.dims, theirs.dims(), "{what}");
            assert_close(&y.values, theirs.clone().inner(), &what);

            let dy = random(y.values.len(), 2);
            let found = kernel.backward(&dy, true);
            let gradients = (theirs * tensor(dy.clone(), y.dims)).sum().backward();
            assert_close(found.inputs[0].as_ref().unwrap(), x.grad(&gradients).unwrap(), &what);
            assert_close(&found.parameters[0].1, weight.grad(&gradients).unwrap(), &what);
            assert_eq!(found.parameters[1].1, crate::net::kernels::channel_sums(&dy, y.dims));
            // What nobody asks for is not computed.
            assert_eq!(kernel.backward(&dy, false).inputs, [None]);
        }
    }

    #[test]
    fn a_bias_is_added_to_its_channel() {
        let map = Map::new([1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let (_, y) = Depthwise::forward(map, Window::valid(1, 1), vec![1.0, -1.0], Some(vec![0.5, 10.0]), [None, None]);
        assert_eq!(*y.values, [1.5, 2.5, 7.0, 6.0]);
    }
}
