//! Convolution for training on a CPU: three matrix products on patches of the input.
//!
//! With the patches of an image as a matrix `P`, `(c * kh * kw, oh * ow)`, and the weights as `W`, `(o, c * kh * kw)`:
//!
//! | | |
//! |---|---|
//! | output | `Y = W P` |
//! | gradient of the weights | `dW = dY P^T`, summed over the images |
//! | gradient of the input | `dP = W^T dY`, each value added to the pixel it came from |
//!
//! burn has no backward pass of its own for CPUs: it convolves the input with a filter as large as the image, which
//! takes most of a training step's time. The most frequent window, 3x3 at stride 1, needs no patches: see `direct`.

mod direct;

use self::direct::Direct;
use crate::net::module::to_vec;
use burn::tensor::{Device, Tensor, TensorData};
use ocellus_shared::Window;

/// Bytes of patches that are worked on together: they should stay in a core's own cache.
const PATCH_BYTES: usize = 1 << 20;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Images, input channels, rows, columns.
    input: [usize; 4],
    /// Output channels, rows, columns.
    output: [usize; 3],
    window: Window,
}

impl Geometry {
    /// Of a convolution of maps `(n, c, h, w)` to `out_channels` channels. The window must fit the input.
    pub fn new(input: [usize; 4], out_channels: usize, window: Window) -> Self {
        let [oh, ow] = output_size([input[2], input[3]], &window);
        Self { input, output: [out_channels, oh, ow], window }
    }

    /// Values of one image.
    fn image(&self) -> usize {
        self.input[1..].iter().product()
    }

    /// Rows of the matrix of patches: values of one patch.
    fn patch(&self) -> usize {
        self.input[1] * self.window.taps()
    }

    /// Its columns: outputs of one channel.
    fn places(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// Values from one row of a matrix with a column per place to the next. Rows a power of two apart would compete
    /// for the same few lines of the cache, which halves the speed of a matrix product.
    fn pitch(&self) -> usize {
        if self.places().is_multiple_of(128) { self.places() + 16 } else { self.places() }
    }

    /// Images whose patches are worked on together.
    fn group(&self) -> usize {
        (PATCH_BYTES / (4 * self.patch() * self.places())).max(1)
    }

    /// Shape of the output maps, `(n, o, oh, ow)`.
    pub fn output_dims(&self) -> [usize; 4] {
        let [o, oh, ow] = self.output;
        [self.input[0], o, oh, ow]
    }

    /// The same, where it can do without patches.
    fn direct(&self) -> Option<Direct> {
        let ([_, c, h, w], pad) = (self.input, self.window.pad.map(usize::from));
        let fits = self.window.kernel == [3, 3] && self.window.stride == [1, 1] && pad.iter().all(|&pad| pad <= 2);
        fits.then_some(Direct { channels: [c, self.output[0]], size: [h, w], pad })
    }

    /// Output maps of the maps `x`, `(n, c, h, w)`, and the weights `(o, c, kh, kw)`, flat.
    pub fn forward(&self, x: &[f32], weight: &Tensor<1>) -> Vec<f32> {
        if let Some(direct) = self.direct() {
            return direct.forward(x, &to_vec(weight.clone()));
        }
        let weight: Tensor<3> = weight.clone().reshape([1, self.output[0], self.patch()]);
        let mut y = Vec::with_capacity(self.output_dims().iter().product());
        let device = weight.device();
        let mut patches = Patches::new(self, &device);
        for images in x.chunks(self.group() * self.image()) {
            y.extend(to_vec(patches.with(images, |patches| weight.clone().matmul(patches))));
        }
        y
    }

    /// Gradients for the gradient `dy` of the output: of the weights, flat, and of the input `x`, each where it is
    /// wanted.
    pub fn backward(
        &self,
        x: &[f32],
        (weight, wants_dw): (&Tensor<1>, bool),
        dy: &[f32],
        wants_dx: bool,
    ) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
        if let Some(direct) = self.direct() {
            let dw = wants_dw.then(|| direct.weight_gradient(x, dy));
            return (dw, wants_dx.then(|| direct.input_gradient(dy, &to_vec(weight.clone()))));
        }
        let (o, device) = (self.output[0], weight.device());
        let transposed: Tensor<3> = weight.clone().reshape([1, o, self.patch()]).swap_dims(1, 2);
        let mut patches = Patches::new(self, &device);
        let mut dw: Option<Tensor<3>> = None;
        let mut dx = vec![0.0; if wants_dx { x.len() } else { 0 }];
        let group = self.group();
        for (g, images) in x.chunks(group * self.image()).enumerate() {
            let count = images.len() / self.image();
            let dy = self.pitched(&dy[g * group * o * self.places()..][..count * o * self.places()], o, &device);
            if wants_dx {
                let dp = to_vec(transposed.clone().matmul(dy.clone()));
                self.scatter(&dp, &mut dx[g * group * self.image()..][..images.len()]);
            }
            if wants_dw {
                let part = patches.with(images, |patches| dy.matmul(patches.swap_dims(1, 2)).sum_dim(0));
                dw = Some(dw.map_or(part.clone(), |sum| sum + part));
            }
        }
        (dw.map(to_vec), wants_dx.then_some(dx))
    }

    /// Matrices of `rows` rows with a column per place, as a tensor whose rows are a pitch apart.
    fn pitched(&self, values: &[f32], rows: usize, device: &Device) -> Tensor<3> {
        let (places, pitch) = (self.places(), self.pitch());
        let count = values.len() / (rows * places);
        let mut wide = Vec::with_capacity(values.len() / places * pitch);
        for row in values.chunks_exact(places) {
            wide.extend_from_slice(row);
            wide.resize(wide.len() + pitch - places, 0.0);
        }
        let wide = Tensor::from_data(TensorData::new(wide, [count, rows, pitch]), device);
        wide.slice([0..count, 0..rows, 0..places])
    }

    /// Writes the patches of whole images, `(images, c * kh * kw, pitch)`. What lies over the border stays as it is.
    fn gather(&self, images: &[f32], patches: &mut [f32]) {
        let size = self.patch() * self.pitch();
        let step = usize::from(self.window.stride[1]);
        for (image, patches) in images.chunks_exact(self.image()).zip(patches.chunks_exact_mut(size)) {
            self.spans(self.pitch(), |at, from, len| copy_every(step, &image[from..], &mut patches[at..at + len]));
        }
    }

    /// Adds the gradient of patches to the gradient of the images they came from.
    fn scatter(&self, patches: &[f32], images: &mut [f32]) {
        let size = self.patch() * self.places();
        let step = usize::from(self.window.stride[1]);
        for (image, patches) in images.chunks_exact_mut(self.image()).zip(patches.chunks_exact(size)) {
            self.spans(self.places(), |at, from, len| {
                let values = &patches[at..at + len];
                if step == 1 {
                    image[from..from + len].iter_mut().zip(values).for_each(|(to, value)| *to += value);
                } else {
                    image[from..].iter_mut().step_by(step).zip(values).for_each(|(to, value)| *to += value);
                }
            });
        }
    }

    /// Calls `visit(at, from, len)` for every run of patch values `at..at + len`, in a matrix with rows `pitch` apart,
    /// that lies inside the image; it comes from the pixels that begin at `from` and are a horizontal stride apart.
    fn spans(&self, pitch: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let [_, channels, h, w] = self.input;
        let [_, oh, ow] = self.output;
        let [kh, kw] = self.window.kernel.map(usize::from);
        let [sh, sw] = self.window.stride.map(usize::from);
        let [top, left, ..] = self.window.pad.map(usize::from);
        if self.window == Window::valid(1, 1) {
            return (0..channels).for_each(|c| visit(c * pitch, c * h * w, h * w));
        }
        for c in 0..channels {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let matrix_row = (c * kh + ky) * kw + kx;
                // Outputs whose window has this tap inside the image.
                let inside = |k: usize, pad: usize, stride: usize, size: usize, outputs: usize| {
                    let first = pad.saturating_sub(k).div_ceil(stride);
                    first..(size + pad).saturating_sub(k).div_ceil(stride).min(outputs).max(first)
                };
                let columns = inside(kx, left, sw, w, ow);
                if columns.is_empty() {
                    continue;
                }
                for oy in inside(ky, top, sh, h, oh) {
                    let at = matrix_row * pitch + oy * ow + columns.start;
                    let from = (c * h + oy * sh + ky - top) * w + columns.start * sw + kx - left;
                    visit(at, from, columns.len());
                }
            }
        }
    }
}

/// Rows and columns of the result of sliding `window` over a map of `size` rows and columns, which it must fit.
pub(super) fn output_size(size: [usize; 2], window: &Window) -> [usize; 2] {
    let pad = |i: usize| usize::from(window.pad[i]) + usize::from(window.pad[i + 2]);
    [0, 1].map(|i| (size[i] + pad(i) - usize::from(window.kernel[i])) / usize::from(window.stride[i]) + 1)
}

/// Fills `to` with every `step`th value from the first of `from` on.
pub(super) fn copy_every(step: usize, from: &[f32], to: &mut [f32]) {
    if step == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from);
    }
}

/// The memory that the patches of one group of images after the other are written to. Its zeros, where patches reach
/// over the border, are written once.
struct Patches<'a> {
    geometry: &'a Geometry,
    device: &'a Device,
    memory: Vec<f32>,
}

impl<'a> Patches<'a> {
    fn new(geometry: &'a Geometry, device: &'a Device) -> Self {
        Self { geometry, device, memory: Vec::new() }
    }

    /// Calls `compute` with the patches of `images`, `(images, c * kh * kw, oh * ow)`.
    fn with(&mut self, images: &[f32], compute: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let count = images.len() / self.geometry.image();
        let (rows, pitch) = (self.geometry.patch(), self.geometry.pitch());
        let mut memory = std::mem::take(&mut self.memory);
        memory.resize(count * rows * pitch, 0.0);
        self.geometry.gather(images, &mut memory);
        let patches = Tensor::from_data(TensorData::new(memory, [count, rows, pitch]), self.device);
        let result = compute(patches.clone().slice([0..count, 0..rows, 0..self.geometry.places()]));
        self.memory = to_vec(patches);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::{conv2d, conv2d_weight_backward};
    use burn::tensor::ops::ConvOptions;
    use rand::RngExt;

    fn random<const D: usize>(shape: [usize; D], index: u64) -> Tensor<D> {
        let mut random = crate::random::stream(7, crate::random::Purpose::Weights, index);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn options(window: &Window) -> ConvOptions<2> {
        let [top, left, bottom, right] = window.pad.map(usize::from);
        ConvOptions::new_with_padding(window.stride.map(usize::from), [(top, bottom), (left, right)], [1, 1], 1)
    }

    fn assert_close<const D: usize>(ours: Tensor<D>, theirs: Tensor<D>, what: &str) {
        assert_eq!(ours.dims(), theirs.dims(), "{what}");
        let (ours, theirs) = (to_vec(ours), to_vec(theirs));
        let largest = theirs.iter().fold(0f32, |a, b| a.max(b.abs()));
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-5 * largest, "{what}: {a} and {b}");
        }
    }

    #[test]
    fn agrees_with_burn() {
        let cases = [
            (Window::same(3), [3, 2, 6, 5, 4]),
            // More images than are worked on together, with and without patches; rows of one and of three vectors.
            (Window::same(3), [40, 8, 32, 32, 2]),
            (Window::same(5), [20, 8, 32, 32, 2]),
            (Window::same(3), [3, 5, 8, 8, 9]),
            (Window::same(3), [2, 3, 7, 21, 6]),
            (Window::valid(3, 1), [2, 3, 7, 9, 4]),
            // What EfficientNet pads at stride 2.
            (Window { kernel: [3, 3], stride: [2, 2], pad: [0, 0, 1, 1] }, [2, 3, 8, 8, 5]),
            (Window { kernel: [5, 3], stride: [2, 1], pad: [2, 1, 2, 1] }, [2, 3, 9, 7, 2]),
            // The last column is under no window.
            (Window::valid(2, 2), [1, 1, 4, 5, 1]),
            (Window::valid(1, 1), [2, 3, 4, 4, 6]),
            // Some taps never meet the image.
            (Window { kernel: [3, 3], stride: [1, 1], pad: [2, 2, 2, 2] }, [1, 2, 1, 1, 2]),
        ];
        for (window, [n, c, h, w, o]) in cases {
            let what = format!("{window:?} on {c}x{h}x{w}");
            let [kh, kw] = window.kernel.map(usize::from);
            let (x, weight) = (random([n, c, h, w], 0), random([o, c, kh, kw], 1));
            let geometry = Geometry::new([n, c, h, w], o, window);
            let theirs = conv2d(x.clone(), weight.clone(), None, options(&window));
            let flat = weight.clone().reshape([o * c * kh * kw]);
            let device = Device::flex();
            let tensor = |values: Vec<f32>, dims: [usize; 4]| Tensor::from_data(TensorData::new(values, dims), &device);
            let values = to_vec(x.clone());
            assert_close(tensor(geometry.forward(&values, &flat), geometry.output_dims()), theirs.clone(), &what);

            let dy = random(theirs.dims(), 2);
            let (dw, dx) = geometry.backward(&values, (&flat, true), &to_vec(dy.clone()), true);
            let theirs = conv2d_weight_backward(x.clone(), weight.clone(), dy.clone(), options(&window));
            assert_close(tensor(dw.expect("asked for"), [o, c, kh, kw]), theirs, &what);

            let x = x.autodiff().require_grad();
            let y = conv2d(x.clone(), weight, None, options(&window));
            let gradients = (y * dy).sum().backward();
            assert_close(
                tensor(dx.expect("asked for"), [n, c, h, w]),
                x.grad(&gradients).expect("x is tracked"),
                &what,
            );
        }
    }
}
