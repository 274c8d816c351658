//! Convolution with 3x3 windows at stride 1, computed from the images themselves: no patch is ever written down.
//!
//! A vector holds neighbouring outputs of a row. What a tap of the window adds to it is a weight times the vector of
//! pixels that begins at that tap, so both passes only ever load rows of images with their padding around them. The
//! gradient of the input is a convolution of the gradient of the output, with the window turned by half a turn and input
//! and output channels exchanged.

use pulp::{Arch, Simd, WithSimd};

/// Rows and columns of the window.
pub(super) const TAPS: usize = 3;
/// Output channels that are computed together. With [`VECTORS`] vectors of each, the sums, a vector of pixels for each
/// and a weight fill the sixteen registers of AVX2.
const CHANNELS: usize = 4;
/// Vectors of outputs that are computed together.
const VECTORS: usize = 3;
/// Values of the widest vector, that of AVX-512.
const WIDEST: usize = 16;
/// Bytes of padded images that are worked on together: they should stay in a core's own cache.
const GROUP_BYTES: usize = 256 << 10;

/// The weights of four output channels for a row of taps.
type Taps = [[f32; CHANNELS]; TAPS];

/// The sizes of a convolution with 3x3 windows at stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Direct {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Rows and columns of the input.
    pub size: [usize; 2],
    /// Padding above, left, below and right, each at most 2.
    pub pad: [usize; 4],
}

impl Direct {
    /// Output maps, `(n, o, oh, ow)`, of the maps `x`, `(n, c, h, w)`, and `weight`, `(o, c, 3, 3)`.
    pub fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let [channels, outputs] = self.channels;
        let weights = pack(outputs, channels, |o, c, tap| weight[(o * channels + c) * TAPS * TAPS + tap]);
        let mut y = vec![0.0; x.len() / self.image() * outputs * self.places()];
        Arch::new().dispatch(Convolve { sizes: self, x, weights: &weights, y: &mut y });
        y
    }

    /// The gradient of the input, `(n, c, h, w)`, for the gradient `dy` of the output.
    pub fn input_gradient(&self, dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let [channels, outputs] = self.channels;
        let last = TAPS * TAPS - 1;
        let weights = pack(channels, outputs, |c, o, tap| weight[(o * channels + c) * TAPS * TAPS + last - tap]);
        let turned =
            Self { channels: [outputs, channels], size: self.output_size(), pad: self.pad.map(|pad| TAPS - 1 - pad) };
        let mut dx = vec![0.0; dy.len() / turned.image() * self.image()];
        Arch::new().dispatch(Convolve { sizes: &turned, x: dy, weights: &weights, y: &mut dx });
        dx
    }

    /// The gradient of the weights, `(o, c, 3, 3)`, for the gradient `dy` of the output.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        Arch::new().dispatch(Correlate { sizes: self, x, dy })
    }

    fn output_size(&self) -> [usize; 2] {
        [0, 1].map(|i| self.size[i] + self.pad[i] + self.pad[i + 2] + 1 - TAPS)
    }

    /// Values of an input image.
    fn image(&self) -> usize {
        self.channels[0] * self.size[0] * self.size[1]
    }

    /// Outputs of a channel.
    fn places(&self) -> usize {
        self.output_size().iter().product()
    }

    /// How the input is laid out with its padding.
    fn padded(&self) -> Padded {
        let [oh, ow] = self.output_size();
        let (rows, pitch) = (oh + TAPS - 1, ow + TAPS - 1);
        Padded { channels: self.channels[0], size: self.size, origin: [self.pad[0], self.pad[1]], rows, pitch }
    }

    /// How the gradient of the output is laid out for its products with the padded input: as many values from row to
    /// row, and zeros where there is no output. Channels that fill up the last block are zero.
    fn padded_gradient(&self) -> Padded {
        let channels = self.channels[1].next_multiple_of(CHANNELS);
        Padded { channels, size: self.output_size(), origin: [0, 0], ..self.padded() }
    }

    /// Images that are worked on together.
    fn group(&self) -> usize {
        (GROUP_BYTES / (4 * self.padded().image())).max(1)
    }
}

/// Images with space around every plane.
struct Padded {
    channels: usize,
    /// Rows and columns of an image.
    size: [usize; 2],
    /// Where its first row and column lie.
    origin: [usize; 2],
    /// Rows of a plane.
    rows: usize,
    /// Values from one row to the next.
    pitch: usize,
}

impl Padded {
    /// Values from one plane to the next: more than its own by a vector, which may begin with its last value.
    fn plane(&self) -> usize {
        self.rows * self.pitch + WIDEST
    }

    /// Values of an image.
    fn image(&self) -> usize {
        self.channels * self.plane()
    }

    /// Writes `images` to the beginning of `memory`, whose padding is zero and stays it.
    fn copy(&self, images: &[f32], memory: &mut [f32]) {
        let [h, w] = self.size;
        let [top, left] = self.origin;
        for (plane, padded) in images.chunks_exact(h * w).zip(memory.chunks_exact_mut(self.plane())) {
            let rows = padded.chunks_exact_mut(self.pitch).skip(top);
            rows.zip(plane.chunks_exact(w)).for_each(|(to, from)| to[left..left + w].copy_from_slice(from));
        }
    }
}

/// Weights in the order that [`tile`] reads them: for each four output channels each input channel's rows of taps.
/// Channels beyond `outputs` are zero.
fn pack(outputs: usize, inputs: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Vec<[Taps; TAPS]> {
    let at = |o: usize, c: usize, tap: usize| if o < outputs { weight(o, c, tap) } else { 0.0 };
    let blocks = (0..outputs).step_by(CHANNELS).flat_map(|o| (0..inputs).map(move |c| (o, c)));
    let rows = |(o, c)| [0, 1, 2].map(|ky| [0, 1, 2].map(|kx| [0, 1, 2, 3].map(|i| at(o + i, c, ky * TAPS + kx))));
    blocks.map(rows).collect()
}

/// Where a vector of outputs comes from and goes to.
#[derive(Clone, Copy)]
struct Start {
    /// Where its first window begins, in the first plane of the padded images.
    x: usize,
    /// Where its first output lies, in the first plane of the output maps.
    y: usize,
    /// Its outputs: fewer than a vector holds at the end of a row.
    len: usize,
}

/// The forward pass.
struct Convolve<'a> {
    sizes: &'a Direct,
    /// The input maps.
    x: &'a [f32],
    /// Of [`pack`].
    weights: &'a [[Taps; TAPS]],
    /// The output maps.
    y: &'a mut [f32],
}

impl Convolve<'_> {
    /// The vectors of the output maps of `images` images.
    fn starts(&self, images: usize, lanes: usize) -> Vec<Start> {
        let (padded, [oh, ow]) = (self.sizes.padded(), self.sizes.output_size());
        let map = self.sizes.channels[1] * oh * ow;
        let rows = (0..images).flat_map(|image| (0..oh).map(move |row| (image, row)));
        let vectors = rows.flat_map(|(image, row)| (0..ow).step_by(lanes).map(move |column| (image, row, column)));
        let start = |(image, row, column)| Start {
            x: image * padded.image() + row * padded.pitch + column,
            y: image * map + row * ow + column,
            len: lanes.min(ow - column),
        };
        vectors.map(start).collect()
    }
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (padded, group, places) = (self.sizes.padded(), self.sizes.group(), self.sizes.places());
        let ([channels, outputs], image) = (self.sizes.channels, self.sizes.image());
        let mut memory = vec![0.0; group * padded.image()];
        let starts = self.starts(group, S::F32_LANES);
        let groups = self.x.chunks(group * image).zip(self.y.chunks_mut(group * outputs * places));
        for (images, y) in groups {
            padded.copy(images, &mut memory);
            let count = starts.len() / group * (images.len() / image);
            for vectors in starts[..count].chunks(VECTORS) {
                // The last stands in for those that are missing.
                let vectors = [0, 1, 2].map(|i| vectors[i.min(vectors.len() - 1)]);
                let x = vectors.map(|vector| &memory[vector.x..]);
                for (block, weights) in self.weights.chunks_exact(channels).enumerate() {
                    let sums = tile(simd, x, &padded, weights);
                    for (o, sums) in (block * CHANNELS..outputs).zip(&sums) {
                        for (vector, sum) in vectors.iter().zip(sums) {
                            let values: &[f32] = bytemuck::cast_slice(std::slice::from_ref(sum));
                            y[o * places + vector.y..][..vector.len].copy_from_slice(&values[..vector.len]);
                        }
                    }
                }
            }
        }
    }
}

/// Outputs of four channels for the windows that begin with each of `x`.
#[inline(always)]
fn tile<S: Simd>(
    simd: S,
    x: [&[f32]; VECTORS],
    padded: &Padded,
    weights: &[[Taps; TAPS]],
) -> [[S::f32s; VECTORS]; CHANNELS] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; CHANNELS];
    for (channel, weights) in weights.iter().enumerate() {
        for (ky, taps) in weights.iter().enumerate() {
            let at = channel * padded.plane() + ky * padded.pitch;
            let rows = at..at + S::F32_LANES + TAPS - 1;
            let [a, b, c] = [&x[0][rows.clone()], &x[1][rows.clone()], &x[2][rows]];
            for (kx, weights) in taps.iter().enumerate() {
                let x = [load::<S>(&a[kx..]), load::<S>(&b[kx..]), load::<S>(&c[kx..])];
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(weight);
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = simd.mul_add_e_f32s(weight, x, *sum);
                    }
                }
            }
        }
    }
    sums
}

/// The vector at the beginning of `values`.
#[inline(always)]
fn load<S: Simd>(values: &[f32]) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..S::F32_LANES]))
}

/// The gradient of the weights.
struct Correlate<'a> {
    sizes: &'a Direct,
    /// The input maps.
    x: &'a [f32],
    /// The gradient of the output maps.
    dy: &'a [f32],
}

/// Sums of the products of four output channels with a row of taps, lane by lane.
type Sums<V> = [[V; TAPS]; CHANNELS];

impl WithSimd for Correlate<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let (padded, padded_dy) = (self.sizes.padded(), self.sizes.padded_gradient());
        let ([channels, outputs], group) = (self.sizes.channels, self.sizes.group());
        let (image, map) = (self.sizes.image(), outputs * self.sizes.places());
        let blocks = padded_dy.channels / CHANNELS;
        let mut sums = vec![[[simd.splat_f32s(0.0); TAPS]; CHANNELS]; blocks * channels * TAPS];
        let (mut x, mut dy) = (vec![0.0; group * padded.image()], vec![0.0; group * padded_dy.image()]);
        for (images, maps) in self.x.chunks(group * image).zip(self.dy.chunks(group * map)) {
            padded.copy(images, &mut x);
            let gradients = dy.chunks_exact_mut(padded_dy.image());
            maps.chunks_exact(map).zip(gradients).for_each(|(map, dy)| padded_dy.copy(map, dy));
            for (i, sums) in sums.iter_mut().enumerate() {
                let (block, channel, ky) = (i / (channels * TAPS), i / TAPS % channels, i % TAPS);
                for image in 0..images.len() / image {
                    let x = &x[image * padded.image() + channel * padded.plane() + ky * padded.pitch..];
                    let dy = &dy[image * padded_dy.image() + block * CHANNELS * padded_dy.plane()..];
                    correlate(simd, x, dy, &padded_dy, sums);
                }
            }
        }
        unpack(simd, &sums, self.sizes.channels)
    }
}

/// Adds the products of four planes of `dy` with `x` and what lies one and two values further.
#[inline(always)]
fn correlate<S: Simd>(simd: S, x: &[f32], dy: &[f32], padded: &Padded, sums: &mut Sums<S::f32s>) {
    let len = (padded.size[0] * padded.pitch).next_multiple_of(S::F32_LANES);
    let plane = padded.plane();
    let [x0, x1, x2] = [&x[..len], &x[1..len + 1], &x[2..len + 2]];
    let [d0, d1, d2, d3] =
        [&dy[..len], &dy[plane..plane + len], &dy[2 * plane..2 * plane + len], &dy[3 * plane..3 * plane + len]];
    let mut local = *sums;
    for at in (0..len).step_by(S::F32_LANES) {
        let x = [load::<S>(&x0[at..]), load::<S>(&x1[at..]), load::<S>(&x2[at..])];
        let dy = [load::<S>(&d0[at..]), load::<S>(&d1[at..]), load::<S>(&d2[at..]), load::<S>(&d3[at..])];
        for (sums, dy) in local.iter_mut().zip(dy) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = simd.mul_add_e_f32s(dy, x, *sum);
            }
        }
    }
    *sums = local;
}

/// The gradient `(o, c, 3, 3)` that `sums`, by block of output channels, input channel and row of taps, add up to.
#[inline(always)]
fn unpack<S: Simd>(simd: S, sums: &[Sums<S::f32s>], [channels, outputs]: [usize; 2]) -> Vec<f32> {
    let mut dw = vec![0.0; outputs * channels * TAPS * TAPS];
    for (i, sums) in sums.iter().enumerate() {
        let (block, channel, ky) = (i / (channels * TAPS), i / TAPS % channels, i % TAPS);
        for (o, sums) in (block * CHANNELS..outputs).zip(sums) {
            let to = &mut dw[((o * channels + channel) * TAPS + ky) * TAPS..][..TAPS];
            to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = simd.reduce_sum_f32s(sum));
        }
    }
    dw
}
