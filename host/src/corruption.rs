//! What can happen to a picture between the world and a network, in five strengths: the images that robustness is measured on.
//!
//! Twelve corruptions, defined here and nowhere else: figures can be compared with each other, not with those of ImageNet-C
//! (Hendrycks and Dietterich, 2019), whose kinds these follow. Lengths go with the image's side, so that images of every
//! size suffer alike. What is random is drawn from a stream of its own for each image: the same seed, the same pictures.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::data::Split;
use crate::data::picture::Picture;
use crate::random::{Purpose, stream};

/// Strengths of each corruption, the weakest being 1.
pub const STRENGTHS: usize = 5;

/// The side of a JPEG file may have as many pixels.
const MOST_PIXELS: usize = u16::MAX as usize;

/// A kind of corruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Gaussian noise.
    Noise,
    /// A Gaussian blur, as of a lens out of focus.
    Blur,
    /// Too light or too dark, by as much everywhere.
    Brightness,
    /// Nearer to the image's mean.
    Contrast,
    /// The losses of a JPEG file.
    Jpeg,
    /// Fewer and larger pixels.
    Pixelation,
    /// A light veil, thicker in places.
    Fog,
    /// Too warm or too cold.
    ColourCast,
    /// Turned to the left or to the right.
    Rotation,
    /// A grey square before it.
    Occlusion,
    /// Few photons: dark, with their noise.
    LowLight,
    /// Few bits a pixel, as in a camera's frame.
    Rgb565,
}

/// All of them.
pub const ALL: [Corruption; 12] = [
    Corruption::Noise,
    Corruption::Blur,
    Corruption::Brightness,
    Corruption::Contrast,
    Corruption::Jpeg,
    Corruption::Pixelation,
    Corruption::Fog,
    Corruption::ColourCast,
    Corruption::Rotation,
    Corruption::Occlusion,
    Corruption::LowLight,
    Corruption::Rgb565,
];

impl Corruption {
    /// Its name, and what the numbers of [`Corruption::amounts`] are.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Noise => ("noise", "standard deviation, parts of full scale"),
            Self::Blur => ("blur", "standard deviation, parts of the side"),
            Self::Brightness => ("brightness", "added or taken away, parts of full scale"),
            Self::Contrast => ("contrast", "factor"),
            Self::Jpeg => ("JPEG", "quality"),
            Self::Pixelation => ("pixelation", "pixels that are left of a side, parts"),
            Self::Fog => ("fog", "share of the veil"),
            Self::ColourCast => ("colour cast", "stops of red against blue, half to each"),
            Self::Rotation => ("rotation", "degrees"),
            Self::Occlusion => ("occlusion", "side of the square, parts of the image's"),
            Self::LowLight => ("low light", "light that is left, parts"),
            Self::Rgb565 => ("RGB565", "bits of red and blue; green has one more"),
        }
    }

    /// How much of it the five strengths are.
    pub fn amounts(self) -> [f32; STRENGTHS] {
        match self {
            Self::Noise => [0.02, 0.04, 0.08, 0.12, 0.18],
            Self::Blur => [0.01, 0.02, 0.03, 0.045, 0.06],
            Self::Brightness => [0.05, 0.1, 0.15, 0.2, 0.3],
            Self::Contrast => [0.75, 0.6, 0.45, 0.3, 0.2],
            Self::Jpeg => [60.0, 40.0, 25.0, 15.0, 8.0],
            Self::Pixelation => [0.75, 0.6, 0.5, 0.4, 0.3],
            Self::Fog => [0.2, 0.35, 0.5, 0.65, 0.8],
            Self::ColourCast => [0.3, 0.6, 0.9, 1.2, 1.6],
            Self::Rotation => [5.0, 10.0, 15.0, 20.0, 30.0],
            Self::Occlusion => [0.2, 0.3, 0.4, 0.5, 0.6],
            Self::LowLight => [0.6, 0.4, 0.25, 0.15, 0.08],
            Self::Rgb565 => [5.0, 4.0, 3.0, 2.0, 1.0],
        }
    }

    /// All images of `split` with this corruption in a `strength` from 1 to [`STRENGTHS`]; others count as the nearest.
    pub fn apply(self, split: &Split, strength: usize, seed: u64) -> Split {
        let amount = self.amounts()[strength.clamp(1, STRENGTHS) - 1];
        let images = (0..split.len()).into_par_iter().map(|i| {
            let index = (self as u64) << 40 | (strength as u64) << 36 | i as u64;
            let mut random = stream(seed, Purpose::Corrupt, index);
            self.corrupt(split.image(i), (split.height, split.width), amount, &mut random)
        });
        let images = images.collect::<Vec<_>>().concat();
        Split { images, labels: split.labels.clone(), ..*split }
    }

    /// One image, `(h, w, 3)`.
    fn corrupt(self, pixels: &[u8], (height, width): (usize, usize), amount: f32, random: &mut ChaCha8Rng) -> Vec<u8> {
        if self == Self::Jpeg {
            return jpeg(pixels, (height, width), amount as u8);
        }
        let mut image = Image { values: pixels.iter().map(|&p| f32::from(p) / 255.0).collect(), height, width };
        let sign = if random.random_bool(0.5) { 1.0 } else { -1.0 };
        match self {
            Self::Noise => image.add_noise(random, |_| amount),
            Self::Blur => image.blur(amount * width.min(height) as f32),
            Self::Brightness => image.each(|_, value| value + sign * amount),
            Self::Contrast => {
                let mean = image.values.iter().sum::<f32>() / image.values.len().max(1) as f32;
                image.each(|_, value| mean + amount * (value - mean));
            }
            Self::Jpeg => {}
            Self::Pixelation => image.pixelate(amount),
            Self::Fog => image.veil(amount, random),
            Self::ColourCast => {
                let gains = [(sign * amount / 2.0).exp2(), 1.0, (-sign * amount / 2.0).exp2()];
                image.each(|channel, value| value * gains[channel]);
            }
            Self::Rotation => image.rotate(sign * amount),
            Self::Occlusion => image.cover(amount, random),
            Self::LowLight => {
                image.each(|_, value| amount * value);
                // Photons follow Poisson's law: of 400 at full scale. The sensor adds two levels of 255.
                image.add_noise(random, |value| (value / 400.0 + (2f32 / 255.0).powi(2)).sqrt());
            }
            Self::Rgb565 => image.each(|channel, value| {
                let most = (amount + if channel == 1 { 1.0 } else { 0.0 }).exp2() - 1.0;
                (value * most).round() / most
            }),
        }
        image.values.into_iter().map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8).collect()
    }
}

/// `pixels` as a JPEG file shows them; as they are where none could hold them.
fn jpeg(pixels: &[u8], (height, width): (usize, usize), quality: u8) -> Vec<u8> {
    let mut file = Vec::new();
    if height > MOST_PIXELS || width > MOST_PIXELS {
        return pixels.to_vec();
    }
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let encoded = encoder.encode(pixels, width as u32, height as u32, ExtendedColorType::Rgb8);
    let decoded = encoded.ok().and_then(|()| Picture::decode(&file).ok());
    decoded.map_or_else(|| pixels.to_vec(), |picture| picture.pixels)
}

/// An image, `(h, w, 3)`, with values in `[0, 1]` once it is done.
struct Image {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl Image {
    /// Replaces every value by that of `f`, of its channel and itself.
    fn each(&mut self, f: impl Fn(usize, f32) -> f32) {
        self.values.iter_mut().enumerate().for_each(|(i, value)| *value = f(i % 3, *value));
    }

    /// Adds Gaussian noise, whose deviation may go with the value.
    fn add_noise(&mut self, random: &mut ChaCha8Rng, deviation: impl Fn(f32) -> f32) {
        for value in &mut self.values {
            let noise: f32 = StandardNormal.sample(random);
            *value += deviation(*value) * noise;
        }
    }

    /// The value at a place, or at the border next to it.
    fn at(&self, y: isize, x: isize, channel: usize) -> f32 {
        let inside = |at: isize, count: usize| at.clamp(0, count as isize - 1) as usize;
        self.values[(inside(y, self.height) * self.width + inside(x, self.width)) * 3 + channel]
    }

    /// Fills the image anew with `f` of row, column and channel, which may look at what there was.
    fn redraw(&mut self, f: impl Fn(&Self, usize, usize, usize) -> f32) {
        let place = |i: usize| (i / 3 / self.width, i / 3 % self.width, i % 3);
        let drawn = (0..self.values.len()).map(|i| {
            let (y, x, channel) = place(i);
            f(self, y, x, channel)
        });
        self.values = drawn.collect();
    }

    /// A Gaussian blur along both axes; the deviation is in pixels.
    fn blur(&mut self, deviation: f32) {
        let reach = (3.0 * deviation).ceil() as isize;
        let weight = |by: isize| (-0.5 * (by as f32 / deviation).powi(2)).exp();
        let sum: f32 = (-reach..=reach).map(weight).sum();
        let mean = |at: &dyn Fn(isize) -> f32| (-reach..=reach).map(|by| weight(by) * at(by)).sum::<f32>() / sum;
        self.redraw(|image, y, x, c| mean(&|by| image.at(y as isize, x as isize + by, c)));
        self.redraw(|image, y, x, c| mean(&|by| image.at(y as isize + by, x as isize, c)));
    }

    /// Means over blocks, of which there are `part` as many along each side as pixels.
    fn pixelate(&mut self, part: f32) {
        let blocks = |count: usize| ((count as f32 * part).round() as usize).clamp(1, count.max(1));
        let (rows, columns) = (blocks(self.height), blocks(self.width));
        let span = |at: usize, count: usize, blocks: usize| {
            let block = at * blocks / count;
            (block * count).div_ceil(blocks)..((block + 1) * count).div_ceil(blocks)
        };
        self.redraw(|image, y, x, channel| {
            let (ys, xs) = (span(y, image.height, rows), span(x, image.width, columns));
            let count = ys.len() * xs.len();
            let all = ys.flat_map(|y| xs.clone().map(move |x| (y, x)));
            all.map(|(y, x)| image.at(y as isize, x as isize, channel)).sum::<f32>() / count as f32
        });
    }

    /// A light grey before it, whose share is `amount` where it is thickest and half of that where it is thinnest.
    fn veil(&mut self, amount: f32, random: &mut ChaCha8Rng) {
        const GRID: usize = 5;
        const LIGHT: f32 = 0.85;
        let knots: Vec<f32> = (0..GRID * GRID).map(|_| random.random_range(0.5..=1.0)).collect();
        let (height, width) = (self.height, self.width);
        let thickness = move |y: usize, x: usize| {
            let place = |at: usize, count: usize| at as f32 / count as f32 * (GRID - 1) as f32;
            let (y, x) = (place(y, height), place(x, width));
            let (row, column) = (y as usize, x as usize);
            let knot = |dy: usize, dx: usize| knots[(row + dy).min(GRID - 1) * GRID + (column + dx).min(GRID - 1)];
            let (v, u) = (y.fract(), x.fract());
            let (top, bottom) = (knot(0, 0) * (1.0 - u) + knot(0, 1) * u, knot(1, 0) * (1.0 - u) + knot(1, 1) * u);
            top * (1.0 - v) + bottom * v
        };
        self.redraw(|image, y, x, channel| {
            let share = amount * thickness(y, x);
            (1.0 - share) * image.at(y as isize, x as isize, channel) + share * LIGHT
        });
    }

    /// Turns it about its centre; its border goes on outside.
    fn rotate(&mut self, degrees: f32) {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (middle_y, middle_x) = ((self.height as f32 - 1.0) / 2.0, (self.width as f32 - 1.0) / 2.0);
        self.redraw(|image, y, x, channel| {
            let (dy, dx) = (y as f32 - middle_y, x as f32 - middle_x);
            let (y, x) = (middle_y + cos * dy - sin * dx, middle_x + sin * dy + cos * dx);
            let (row, column, v, u) = (y.floor() as isize, x.floor() as isize, y - y.floor(), x - x.floor());
            let at = |dy: isize, dx: isize| image.at(row + dy, column + dx, channel);
            (1.0 - v) * ((1.0 - u) * at(0, 0) + u * at(0, 1)) + v * ((1.0 - u) * at(1, 0) + u * at(1, 1))
        });
    }

    /// Puts a grey square somewhere, whose side is `part` of the shorter one.
    fn cover(&mut self, part: f32, random: &mut ChaCha8Rng) {
        let side = ((part * self.height.min(self.width) as f32).round() as usize).max(1);
        let mut place = |count: usize| random.random_range(0..=count.saturating_sub(side));
        let (top, left) = (place(self.height), place(self.width));
        self.redraw(|image, y, x, channel| {
            let is_covered = (top..top + side).contains(&y) && (left..left + side).contains(&x);
            if is_covered { 0.5 } else { image.at(y as isize, x as isize, channel) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;

    fn distance(a: &[u8], b: &[u8]) -> f64 {
        let squares = a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
        (squares.sum::<f64>() / a.len() as f64).sqrt()
    }

    #[test]
    fn each_strength_changes_more_than_the_one_before() {
        let split = shapes::pictures(0..12, 32, 7);
        for corruption in ALL {
            let far: Vec<f64> =
                (1..=STRENGTHS).map(|s| distance(&split.images, &corruption.apply(&split, s, 1).images)).collect();
            assert!(far[0] > 0.3 && far.windows(2).all(|pair| pair[0] < pair[1]), "{corruption:?}: {far:?}");
        }
    }

    #[test]
    fn the_seed_decides_everything_that_is_random() {
        let split = shapes::pictures(0..6, 24, 7);
        for corruption in ALL {
            let with = |seed| corruption.apply(&split, 3, seed);
            assert_eq!(with(1), with(1), "{corruption:?}");
            let is_random = !matches!(
                corruption,
                Corruption::Blur
                    | Corruption::Contrast
                    | Corruption::Jpeg
                    | Corruption::Pixelation
                    | Corruption::Rgb565
            );
            assert_eq!(with(1) != with(2), is_random, "{corruption:?}");
            // An image does not depend on those beside it.
            let alone = corruption.apply(&split.only(&[0]), 3, 1);
            assert_eq!(alone.image(0), with(1).image(0), "{corruption:?}");
        }
    }

    #[test]
    fn images_of_any_size_stay_as_large() {
        for (height, width) in [(1, 1), (1, 9), (7, 3), (8, 8)] {
            let split = Split { images: vec![90; height * width * 6], labels: vec![0, 1], height, width };
            for corruption in ALL {
                let found = corruption.apply(&split, 5, 1);
                assert_eq!((found.images.len(), found.labels.len()), (split.images.len(), 2), "{corruption:?}");
            }
        }
        let none = Split { height: 8, width: 8, ..Split::default() };
        assert!(Corruption::Fog.apply(&none, 1, 1).is_empty());
    }

    #[test]
    fn rgb565_is_what_a_frame_holds() {
        use crate::camera;
        use ocellus_shared::frame::{Frame, PixelFormat};
        let split = shapes::pictures(0..2, 16, 3);
        let seen = Corruption::Rgb565.apply(&split, 1, 0);
        let data = camera::encode(PixelFormat::Rgb565Be, split.image(1));
        let frame = Frame::new(PixelFormat::Rgb565Be, 16, 16, &data).unwrap();
        // A level of six or five bits, written with eight by repeating its first ones or by rounding.
        let close = camera::rgb(&frame).unwrap().pixels;
        assert!(close.iter().zip(seen.image(1)).all(|(&a, &b)| a.abs_diff(b) <= 1));
    }
}
