//! Convolution over all channels.

use super::batch_norm::running;
use crate::net::filters::{self, Epilogue, Layout, Panels};
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use crate::net::simd::vectorized;
use crate::net::sliding::{Padded, Sweep, output_size};
use crate::net::winograd::{Filters, Winograd};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};
use ocellus_shared::Window;

/// Values of pixels that are worked on together where each is a window: they should stay in a core's own cache.
const POINTWISE_VALUES: usize = 1 << 16;
const POINTWISE_PIXELS: std::ops::RangeInclusive<usize> = 48..=1536;

/// Fewest channels and smallest maps that Winograd's algorithm is faster for.
const WINOGRAD_CHANNELS: usize = 16;
const WINOGRAD_SIZE: usize = 4;

/// A convolution.
pub struct Conv {
    /// What slides over the map.
    pub window: Window,
    /// Filters.
    pub out_channels: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// What is computed with it after training.
    pub then: Then,
}

/// Layers that follow a convolution and are computed with it after training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Then {
    /// The name of a batch normalisation, and what it adds to the variance.
    pub norm: Option<(String, f64)>,
    /// The ceiling of a ReLU.
    pub ceiling: Option<f32>,
}

impl Then {
    /// The weights, with an output channel's one after the other, and the biases, with which the convolution has the results
    /// of the normalisation too.
    pub fn fold(&self, own: Own<'_>, bias: bool) -> (Vec<f32>, Option<Vec<f32>>) {
        let (mut weight, bias) = (own.values("weight"), bias.then(|| own.values("bias")));
        let Some((norm, epsilon)) = &self.norm else { return (weight, bias) };
        let [factors, mut offsets] = running(Own { layer: norm, ..own }, *epsilon);
        let len = weight.len() / factors.len();
        let filters = weight.chunks_exact_mut(len);
        filters.zip(&factors).for_each(|(filter, factor)| filter.iter_mut().for_each(|w| *w *= factor));
        if let Some(bias) = bias {
            offsets
                .iter_mut()
                .zip(bias.iter().zip(&factors))
                .for_each(|(offset, (bias, factor))| *offset += bias * factor);
        }
        (weight, Some(offsets))
    }
}

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Images, rows, columns, channels.
    pub input: [usize; 4],
    /// Output channels.
    pub outputs: usize,
    /// What slides over the input, which it must fit.
    pub window: Window,
}

impl Sizes {
    /// Of the result, `(n, h, w, c)`.
    pub fn output(&self) -> [usize; 4] {
        let [n, h, w, _] = self.input;
        let [oh, ow] = output_size([h, w], &self.window);
        [n, oh, ow, self.outputs]
    }

    fn is_pointwise(&self) -> bool {
        self.window == Window::valid(1, 1)
    }

    /// Pixels that are worked on together where each is a window: all of them are those of one image then.
    fn pointwise(&self, channels: usize) -> usize {
        let [n, h, w, _] = self.input;
        (POINTWISE_VALUES / channels).clamp(*POINTWISE_PIXELS.start(), *POINTWISE_PIXELS.end()).min(n * h * w).max(1)
    }

    /// Windows on the input, and how many outputs an image has.
    fn sweep(&self) -> (Sweep, usize) {
        let ([_, h, w, c], [_, oh, ow, o]) = (self.input, self.output());
        if self.is_pointwise() {
            let count = self.pointwise(c.max(o));
            return (Sweep::pointwise(count, c, o), count * o);
        }
        let pad = self.window.pad.map(usize::from);
        let padded = Padded {
            size: [h, w],
            origin: [pad[0] as isize, pad[1] as isize],
            padded: [h + pad[0] + pad[2], w + pad[1] + pad[3]],
            channels: c,
        };
        let [kernel, stride] = [self.window.kernel, self.window.stride].map(|pair| pair.map(usize::from));
        let targets = (0..oh * ow).map(|i| i * o).collect();
        (Sweep::new(padded, kernel, stride, [oh, ow], targets), oh * ow * o)
    }

    /// Where weights `(o, c, kh, kw)` lie for the values under a window.
    fn layout(&self) -> Layout {
        let (c, [kh, kw]) = (self.input[3], self.window.kernel.map(usize::from));
        let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| ky * kw + kx));
        let rows = taps.flat_map(|tap| (0..c).map(move |channel| channel * kh * kw + tap)).collect();
        Layout { rows, columns: self.outputs, stride: c * kh * kw }
    }

    /// The same by Winograd's algorithm, forwards, where that is faster.
    fn winograd(&self) -> Option<Winograd> {
        let ([_, h, w, c], [_, oh, ow, o]) = (self.input, self.output());
        let pad = self.window.pad.map(usize::from);
        let fits = self.window.kernel == [3, 3] && self.window.stride == [1, 1] && pad.iter().all(|pad| *pad <= 2);
        let pays = c.min(o) >= WINOGRAD_CHANNELS && oh.min(ow) >= WINOGRAD_SIZE;
        (fits && pays).then_some(Winograd { input: [h, w, c], output: [oh, ow, o], pad: [pad[0], pad[1]] })
    }

    /// The result for `x`, `(n, h, w, c)`, and weights `(o, c, kh, kw)`.
    pub fn forward(&self, x: &[f32], weight: &[f32], epilogue: Epilogue<'_>) -> Buffer {
        let mut y = Buffer::any(self.output().iter().product());
        if let Some(winograd) = self.winograd() {
            let c = self.input[3];
            let filters = Filters::new([c, self.outputs], |c_in, o, tap| weight[(o * c + c_in) * 9 + tap]);
            winograd.convolve(x, &filters, epilogue, &mut y);
            return y;
        }
        let (sweep, output) = self.sweep();
        filters::apply(&sweep, x, &Panels::pack(weight, &self.layout()), epilogue, output, &mut y);
        y
    }

    /// The gradient of the weights for the gradient `dy` of the result.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let ((sweep, output), layout) = (self.sweep(), self.layout());
        let mut panels = Panels::zeros(layout.rows.len(), layout.columns);
        filters::correlate(&sweep, x, dy, output, &mut panels);
        let mut dw = vec![0.0; layout.rows.len() * layout.columns];
        panels.unpack(&layout, &mut dw);
        dw
    }

    /// The gradient of the input for the gradient `dy` of the result: a convolution with the filters turned by half a turn,
    /// and input and output channels exchanged. With strides, inputs whose rows and columns have the same remainders are
    /// under the same taps, and are the result of a convolution of their own.
    pub fn input_gradient(&self, dy: &[f32], weight: &[f32]) -> Buffer {
        let ([n, h, w, c], image) = (self.input, self.input[1..].iter().product::<usize>());
        if self.is_pointwise() {
            let mut dx = Buffer::any(n * image);
            let count = self.pointwise(c.max(self.outputs));
            let layout = Layout { rows: (0..self.outputs).map(|o| o * c).collect(), columns: c, stride: 1 };
            let panels = Panels::pack(weight, &layout);
            let sweep = Sweep::pointwise(count, self.outputs, c);
            filters::apply(&sweep, dy, &panels, Epilogue::default(), count * c, &mut dx);
            return dx;
        }
        if let Some(winograd) = self.winograd() {
            let mut dx = Buffer::any(n * image);
            let filters = Filters::new([self.outputs, c], |o, c_in, tap| weight[(o * c + c_in) * 9 + 8 - tap]);
            let turned =
                Winograd { input: winograd.output, output: winograd.input, pad: winograd.pad.map(|pad| 2 - pad) };
            turned.convolve(dy, &filters, Epilogue::default(), &mut dx);
            return dx;
        }
        let [sh, sw] = self.window.stride.map(usize::from);
        let phases: Vec<[Phase; 2]> =
            (0..sh).flat_map(|ry| (0..sw).map(move |rx| [self.phase(0, ry), self.phase(1, rx)])).collect();
        let is_whole = phases.iter().flatten().all(|phase| !phase.taps.is_empty());
        let mut dx = if is_whole { Buffer::any(n * image) } else { Buffer::zeros(n * image) };
        let some = phases.iter().filter(|pair| pair.iter().all(|p| p.count > 0 && !p.taps.is_empty()));
        for [rows, columns] in some {
            let at = |y: usize, x: usize| ((rows.first + y * sh) * w + columns.first + x * sw) * c;
            let targets = (0..rows.count).flat_map(|y| (0..columns.count).map(move |x| at(y, x))).collect();
            let panels = Panels::pack(weight, &self.turned(&rows.taps, &columns.taps));
            filters::apply(&self.back(rows, columns, targets), dy, &panels, Epilogue::default(), image, &mut dx);
        }
        debug_assert!(h * w * c == image);
        dx
    }

    /// Inputs with remainder `r` along axis `i`.
    fn phase(&self, i: usize, r: usize) -> Phase {
        let [pad, stride, kernel] = [self.window.pad[i], self.window.stride[i], self.window.kernel[i]].map(usize::from);
        // Of the padded input.
        let first = (r + stride - pad % stride) % stride;
        let taps: Vec<usize> = (r..kernel).step_by(stride).rev().collect();
        let count = self.input[1 + i].saturating_sub(first).div_ceil(stride);
        Phase { first, count, origin: taps.len() as isize - 1 - ((first + pad) / stride) as isize, taps }
    }

    /// Windows on the gradient of the result.
    fn back(&self, rows: &Phase, columns: &Phase, targets: Vec<usize>) -> Sweep {
        let [_, oh, ow, o] = self.output();
        let kernel = [rows.taps.len(), columns.taps.len()];
        let size = [rows.count, columns.count];
        let padded = Padded {
            size: [oh, ow],
            origin: [rows.origin, columns.origin],
            padded: [0, 1].map(|i| size[i] + kernel[i] - 1),
            channels: o,
        };
        Sweep::new(padded, kernel, [1, 1], size, targets)
    }

    /// Where weights lie for the gradients under a window of these taps.
    fn turned(&self, rows: &[usize], columns: &[usize]) -> Layout {
        let (c, o, [kh, kw]) = (self.input[3], self.outputs, self.window.kernel.map(usize::from));
        let taps = rows.iter().flat_map(|ky| columns.iter().map(move |kx| ky * kw + kx));
        let rows = taps.flat_map(|tap| (0..o).map(move |output| output * c * kh * kw + tap)).collect();
        Layout { rows, columns: c, stride: kh * kw }
    }
}

/// The inputs along one axis that are under the same taps.
struct Phase {
    /// The first of them; the others are a stride apart.
    first: usize,
    count: usize,
    /// The taps, in the order in which outputs meet them.
    taps: Vec<usize>,
    /// Where the gradient of the result begins under the windows.
    origin: isize,
}

vectorized! {
    fn add_pixels(values: &[f32], sums: &mut [f32]) {
        for pixel in values.chunks_exact(sums.len()) {
            sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
        }
    }
}

/// The sum of each channel's values of maps of `channels` channels.
pub fn channel_sums(values: &[f32], channels: usize) -> Vec<f32> {
    /// Values that are summed up before the sum gets more digits.
    const TOGETHER: usize = 1 << 14;
    let mut sums = vec![0f64; channels];
    for part in values.chunks((TOGETHER / channels).max(1) * channels) {
        let mut some = vec![0.0; channels];
        add_pixels(part, &mut some);
        sums.iter_mut().zip(some).for_each(|(sum, some)| *sum += f64::from(some));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

impl Compute for Conv {
    fn forward(&self, inputs: Vec<Map>, own: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let sizes = Sizes { input: x.dims, outputs: self.out_channels, window: self.window };
        let (weight, bias) = self.then.fold(own, self.bias);
        let epilogue = Epilogue { bias: bias.as_deref(), ceiling: self.then.ceiling };
        let y = sizes.forward(&x.values, &weight, epilogue);
        let (weight_name, bias_name) = (own.name("weight"), self.bias.then(|| own.name("bias")));
        let back: Back = Box::new(move |dy, wanted, gradients| {
            gradients.add(weight_name, sizes.weight_gradient(&x.values, &dy.values));
            if let Some(name) = bias_name {
                gradients.add(name, channel_sums(&dy.values, sizes.outputs));
            }
            vec![wanted[0].then(|| Map::new(sizes.input, sizes.input_gradient(&dy.values, &weight)))]
        });
        (Map::new(sizes.output(), y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, own: Own<'_>, training: Option<&mut Training>) -> Tensor<4> {
        let bias = self.bias.then(|| own.tensor("bias"));
        convolve(only(inputs), (own.tensor("weight"), bias), self.out_channels, &self.window, 1, is_mixed(training))
    }
}

/// Whether burn multiplies in bf16.
pub fn is_mixed(training: Option<&mut Training>) -> bool {
    training.is_some_and(|training| training.mixed)
}

/// Kernel, stride and (begin, end) padding as burn has them.
pub fn for_burn(window: &Window) -> ([usize; 2], [usize; 2], [(usize, usize); 2]) {
    let [top, left, bottom, right] = window.pad.map(usize::from);
    (window.kernel.map(usize::from), window.stride.map(usize::from), [(top, bottom), (left, right)])
}

/// The values as bf16.
pub fn short<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::BF16)
}

/// A convolution by burn with `out` filters and their biases; f32, `(n, out, h, w)`.
pub fn convolve(
    x: Tensor<4>,
    (weight, bias): (Tensor<1>, Option<Tensor<1>>),
    out: usize,
    window: &Window,
    groups: usize,
    mixed: bool,
) -> Tensor<4> {
    let (kernel, stride, padding) = for_burn(window);
    let weight = weight.reshape([out, x.dims()[1] / groups, kernel[0], kernel[1]]);
    let options = ConvOptions::new_with_padding(stride, padding, [1, 1], groups);
    if !mixed {
        return conv2d(x, weight, bias, options);
    }
    let y = conv2d(short(x), short(weight), None, options).cast(FloatDType::F32);
    // Added in f32: rounding it would move a whole channel.
    if let Some(bias) = bias { y + bias.reshape([1, out, 1, 1]) } else { y }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::{Op, Window};

    #[test]
    fn agrees_with_burn() {
        let cases = [
            (Window::same(3), [3, 6, 5, 2], 4),
            // More windows than are worked on together, and blocks of one, two and three vectors.
            (Window::same(3), [3, 32, 32, 8], 2),
            (Window::same(5), [2, 16, 16, 8], 50),
            // By Winograd's algorithm: whole tiles and parts of them, a block of tiles over images and images over blocks.
            (Window::same(3), [3, 16, 16, 16], 32),
            (Window::same(3), [2, 7, 9, 20], 41),
            (Window { kernel: [3, 3], stride: [1, 1], pad: [0, 2, 1, 2] }, [5, 6, 5, 33], 16),
            (Window::same(3), [3, 8, 8, 5], 9),
            (Window::same(3), [2, 7, 21, 3], 26),
            (Window::valid(3, 1), [2, 7, 9, 3], 4),
            // What EfficientNet pads at stride 2.
            (Window { kernel: [3, 3], stride: [2, 2], pad: [0, 0, 1, 1] }, [2, 8, 8, 3], 5),
            (Window { kernel: [5, 3], stride: [2, 1], pad: [2, 1, 2, 1] }, [2, 9, 7, 3], 2),
            // Taps of some inputs only, and inputs under none.
            (Window { kernel: [2, 1], stride: [3, 2], pad: [1, 0, 0, 1] }, [2, 9, 7, 3], 2),
            // The last column is under no window.
            (Window::valid(2, 2), [1, 4, 5, 1], 1),
            (Window::valid(1, 1), [2, 4, 4, 3], 6),
            // More pixels than are worked on together.
            (Window::valid(1, 1), [5, 24, 24, 100], 17),
            (Window::valid(1, 2), [2, 5, 6, 16], 16),
            // Some taps never meet the image.
            (Window { kernel: [3, 3], stride: [1, 1], pad: [2, 2, 2, 2] }, [1, 1, 1, 2], 2),
            (Window { kernel: [1, 1], stride: [1, 1], pad: [1, 0, 0, 2] }, [1, 3, 2, 2], 2),
        ];
        for (window, input, out_channels) in cases {
            for bias in [false, true] {
                assert_agrees(LayerKind::Op { op: Op::Conv { window, out_channels }, bias }, &[input]);
            }
        }
    }
}
