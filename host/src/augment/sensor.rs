//! The way through a small camera: lens, exposure, white balance, noise, and a pixel format of few bits.
//!
//! What a board sees is no photo of a dataset. Each step here has a range that covers cheap sensors in rooms and in
//! daylight; together they are drawn or left out, as one camera has all of them.

use crate::camera;
use crate::recipe::AugmentRecipe;
use ocellus_shared::frame::{Frame, PixelFormat};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Widest blur: standard deviation of a Gaussian, in pixels of the training image. A lens that is screwed to within a
/// turn of its focus, seen at a network's resolution.
const BLUR: f32 = 0.8;
/// Pixels to either side that the blur reaches: 2.5 standard deviations at its widest.
const REACH: usize = 2;
/// Most that the exposure is off, in stops either way: what automatic exposure leaves.
const EXPOSURE: f32 = 0.5;
/// Most that red and blue are each off, in stops either way: automatic white balance under lamps and sky.
const WHITE_BALANCE: f32 = 0.2;
/// Most noise: standard deviation of a Gaussian, in parts of the full scale; 5 of 255 levels, as in poor light.
const NOISE: f32 = 5.0 / 255.0;

/// What one camera makes of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensor {
    /// Standard deviation of the blur, in pixels.
    pub blur: f32,
    /// Factor of each channel.
    pub gains: [f32; 3],
    /// Standard deviation of the noise.
    pub noise: f32,
    /// What the noise is drawn from.
    pub seed: u64,
    /// How pixels are stored.
    pub format: PixelFormat,
}

impl Sensor {
    /// A random camera; none where nothing was drawn. Two pixels that share their colour need an even width.
    pub fn draw(recipe: &AugmentRecipe, width: usize, random: &mut ChaCha8Rng) -> Option<Self> {
        if recipe.camera == 0.0 || !random.random_bool(recipe.camera) {
            return None;
        }
        let blur = random.random_range(0.0..=BLUR);
        let mut stops = |most: f32| random.random_range(-most..=most);
        let (exposure, red, blue) = (stops(EXPOSURE), stops(WHITE_BALANCE), stops(WHITE_BALANCE));
        let gains = [exposure + red, exposure, exposure + blue].map(f32::exp2);
        let (noise, seed) = (random.random_range(0.0..=NOISE), random.random());
        let shares_colour = random.random_bool(0.5) && width.is_multiple_of(2);
        let format = if shares_colour { PixelFormat::Yuv422 } else { PixelFormat::Rgb565Be };
        Some(Self { blur, gains, noise, seed, format })
    }

    /// Takes `image`, `(3, h, width)` with pixels in `[0, 1]`, through it.
    pub fn apply(&self, image: &mut [f32], width: usize) {
        let plane = image.len() / 3;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        for (channel, gain) in image.chunks_exact_mut(plane).zip(self.gains) {
            blur(channel, width, self.blur);
            for pixel in channel {
                let noise: f32 = StandardNormal.sample(&mut random);
                *pixel = (*pixel * gain + self.noise * noise).clamp(0.0, 1.0);
            }
        }
        self.store(image, width);
    }

    /// Rounds to what the format holds, by the very functions that make a frame and read it.
    fn store(&self, image: &mut [f32], width: usize) {
        let plane = image.len() / 3;
        let level = |value: f32| (255.0 * value).round() as u8;
        let rgb: Vec<u8> = (0..plane).flat_map(|i| [0, 1, 2].map(|c| level(image[c * plane + i]))).collect();
        let data = camera::encode(self.format, &rgb);
        let sides = (u16::try_from(width), u16::try_from(plane / width));
        let (Ok(columns), Ok(rows)) = sides else { return };
        // The width suits the format: it was drawn so.
        let Ok(frame) = Frame::new(self.format, columns, rows, &data) else { return };
        let Ok(seen) = camera::rgb(&frame) else { return };
        for (i, pixel) in seen.pixels.as_chunks::<3>().0.iter().enumerate() {
            (0..3).for_each(|c| image[c * plane + i] = f32::from(pixel[c]) / 255.0);
        }
    }
}

/// A Gaussian blur of a plane, `(h, width)`, whose border is repeated.
fn blur(plane: &mut [f32], width: usize, deviation: f32) {
    if deviation <= 0.0 {
        return;
    }
    let weight = |at: usize| (-0.5 * (at as f32 / deviation).powi(2)).exp();
    let weights: [f32; REACH + 1] = std::array::from_fn(weight);
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    let weights = weights.map(|weight| weight / sum);
    // Sums in one order along both axes, of many pixels at a time.
    let [w0, w1, w2] = weights;
    let sum = |far: f32, near: f32, at: f32, beyond: f32, end: f32| w0 * at + (w1 * (near + beyond) + w2 * (far + end));
    let mut line = vec![0.0; width + 2 * REACH];
    for row in plane.chunks_exact_mut(width) {
        line[..REACH].fill(row[0]);
        line[REACH..REACH + width].copy_from_slice(row);
        line[REACH + width..].fill(row[width - 1]);
        let windows = line.windows(2 * REACH + 1);
        row.iter_mut().zip(windows).for_each(|(pixel, seen)| *pixel = sum(seen[0], seen[1], seen[2], seen[3], seen[4]));
    }
    let before = plane.to_vec();
    let last = before.len() / width - 1;
    let row = |y: usize| &before[y.min(last) * width..][..width];
    for (y, out) in plane.chunks_exact_mut(width).enumerate() {
        let above = [2, 1].map(|by| row(y.saturating_sub(by)));
        let below = [0, 1, 2].map(|by| row(y + by));
        for (x, pixel) in out.iter_mut().enumerate() {
            *pixel = sum(above[0][x], above[1][x], below[0][x], below[1][x], below[2][x]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    const CLEAR: Sensor = Sensor { blur: 0.0, gains: [1.0; 3], noise: 0.0, seed: 1, format: PixelFormat::Rgb565Be };

    fn through(sensor: Sensor, image: &[f32], width: usize) -> Vec<f32> {
        let mut image = image.to_vec();
        sensor.apply(&mut image, width);
        image
    }

    fn mean(image: &[f32]) -> f32 {
        image.iter().sum::<f32>() / image.len() as f32
    }

    /// The plain definition, pixel by pixel, to the last bit.
    #[test]
    fn a_blur_is_the_weighted_mean_along_rows_and_then_columns() {
        for (height, width) in [(1, 1), (1, 7), (6, 1), (5, 9), (32, 32)] {
            let image: Vec<f32> = (0..height * width).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            let (mut fast, mut plain) = (image.clone(), image);
            blur(&mut fast, width, 0.7);
            let weight = |at: usize| (-0.5 * (at as f32 / 0.7).powi(2)).exp();
            let sum = weight(0) + 2.0 * (weight(1) + weight(2));
            let weights = [0, 1, 2].map(|at| weight(at) / sum);
            let mut along = |start: usize, step: usize, count: usize| {
                let line: Vec<f32> = (0..count).map(|i| plain[start + i * step]).collect();
                for i in 0..count {
                    let near = |by: usize| line[i.saturating_sub(by)] + line[(i + by).min(count - 1)];
                    plain[start + i * step] = weights[0] * line[i] + (weights[1] * near(1) + weights[2] * near(2));
                }
            };
            (0..height).for_each(|y| along(y * width, 1, width));
            (0..width).for_each(|x| along(x, width, height));
            assert_eq!(fast, plain, "{height}x{width}");
        }
    }

    #[test]
    fn pixels_become_what_their_format_holds() {
        let image: Vec<f32> = (0..3 * 64).map(|i| (i * 37 % 256) as f32 / 255.0).collect();
        let stored = through(CLEAR, &image, 8);
        for (i, (before, after)) in image.iter().zip(&stored).enumerate() {
            let bits = if (64..128).contains(&i) { 6 } else { 5 };
            let level = (after * 255.0).round() as u32;
            assert_eq!(level, level >> (8 - bits) << (8 - bits) | level >> bits, "value {i}");
            assert!((before - after).abs() <= 0.6 / ((1 << bits) - 1) as f32, "{before} became {after}");
        }
        assert_eq!(through(CLEAR, &stored, 8), stored, "a second time changes nothing");
        // Two neighbours share their colour, and keep their brightness.
        let pair = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]; // red and blue
        let shared = through(Sensor { format: PixelFormat::Yuv422, ..CLEAR }, &pair, 2);
        let luma = |image: &[f32], i: usize| 0.299 * image[i] + 0.587 * image[2 + i] + 0.114 * image[4 + i];
        assert!((shared[0] - pair[0]).abs() > 0.2, "{shared:?}");
        assert!((luma(&shared, 0) - luma(&pair, 0)).abs() < 0.05, "{shared:?}");
    }

    #[test]
    fn exposure_and_white_balance_are_factors() {
        let grey = vec![0.4; 3 * 64];
        let seen = through(Sensor { gains: [1.5, 1.0, 0.5], ..CLEAR }, &grey, 8);
        for (channel, expected) in seen.chunks(64).zip([0.6, 0.4, 0.2]) {
            assert!(channel.iter().all(|x| (x - expected).abs() < 0.02), "{} instead of {expected}", channel[0]);
        }
    }

    #[test]
    fn a_blur_spreads_a_point_and_keeps_the_sum() {
        let mut plane = [0.0; 49];
        plane[24] = 1.0;
        blur(&mut plane, 7, 0.8);
        assert!((plane.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((0.2..0.3).contains(&plane[24]) && (plane[23] - plane[31]).abs() < 1e-6, "{plane:?}");
        assert!(plane[23] > plane[22] && plane[22] > 0.0 && plane[21] == 0.0);
        let mut flat = [0.7; 49];
        blur(&mut flat, 7, 0.5);
        assert!(flat.iter().all(|x| (x - 0.7).abs() < 1e-6), "the border is repeated");
    }

    #[test]
    fn noise_has_its_strength_and_repeats_itself() {
        let grey = vec![0.5; 3 * 64 * 64];
        let noisy = Sensor { noise: 0.08, ..CLEAR };
        let seen = through(noisy, &grey, 64);
        let deviation = mean(&seen.iter().map(|x| (x - 0.5).powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((0.075..0.085).contains(&deviation) && (mean(&seen) - 0.5).abs() < 0.01, "{deviation}");
        assert_eq!(through(noisy, &grey, 64), seen);
        assert_ne!(through(Sensor { seed: 2, ..noisy }, &grey, 64), seen);
    }

    #[test]
    fn draws_are_within_their_ranges_and_off_draws_nothing() {
        let recipe = AugmentRecipe { camera: 0.5, ..AugmentRecipe::none() };
        let draw = |i, width| Sensor::draw(&recipe, width, &mut stream(3, Purpose::Augment, i));
        let drawn: Vec<Sensor> = (0..2000).filter_map(|i| draw(i, 32)).collect();
        assert!((900..1100).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().all(|s| (0.0..=BLUR).contains(&s.blur) && (0.0..=NOISE).contains(&s.noise)));
        let most = (EXPOSURE + WHITE_BALANCE).exp2() + 1e-4;
        assert!(drawn.iter().flat_map(|s| s.gains).all(|gain| (1.0 / most..most).contains(&gain)));
        let shared = drawn.iter().filter(|s| s.format == PixelFormat::Yuv422).count();
        assert!((400..600).contains(&shared), "{shared}");
        assert!((0..200).filter_map(|i| draw(i, 31)).all(|s| s.format == PixelFormat::Rgb565Be), "odd widths");
        let (mut used, mut fresh) = (stream(4, Purpose::Augment, 0), stream(4, Purpose::Augment, 0));
        assert_eq!(Sensor::draw(&AugmentRecipe::none(), 32, &mut used), None);
        assert_eq!(used.random::<u64>(), fresh.random::<u64>());
    }
}
