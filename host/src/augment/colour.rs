//! Colour: whatever is changed about it is one matrix and one power for every pixel.

use crate::recipe::AugmentRecipe;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;

/// Parts of red, green and blue in luma (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Weight of blue - luma in the colour difference U (ITU-R BT.470).
const U: f32 = 0.492;
/// Weight of red - luma in the colour difference V.
const V: f32 = 0.877;

type Matrix = [[f32; 3]; 3];
const IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// How an image's colours change: in the order of the fields, and clamped to `[0, 1]` once, before the power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// In turns.
    pub hue: f32,
    pub exponent: f32,
    /// Which channel each of the three becomes.
    pub order: [usize; 3],
}

impl Colour {
    const PLAIN: Self =
        Self { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0, exponent: 1.0, order: [0, 1, 2] };

    /// A random change; none where nothing was drawn.
    pub fn draw(recipe: &AugmentRecipe, random: &mut ChaCha8Rng) -> Option<Self> {
        let mut strength = |most: f64, probability: f64| {
            let drawn = most > 0.0 && random.random_bool(probability);
            drawn.then(|| random.random_range(-most..=most) as f32)
        };
        let brightness = strength(recipe.brightness, recipe.brightness_probability);
        let contrast = strength(recipe.contrast, recipe.contrast_probability);
        let saturation = strength(recipe.saturation, recipe.saturation_probability);
        let hue = strength(recipe.hue, recipe.hue_probability);
        let log_gamma = strength((1.0 + recipe.gamma).ln(), recipe.gamma_probability);
        let mut order = Self::PLAIN.order;
        if recipe.channel_shuffle > 0.0 && random.random_bool(recipe.channel_shuffle) {
            order.shuffle(random);
        }
        let colour = Self {
            brightness: 1.0 + brightness.unwrap_or_default(),
            contrast: 1.0 + contrast.unwrap_or_default(),
            saturation: 1.0 + saturation.unwrap_or_default(),
            hue: hue.unwrap_or_default(),
            exponent: log_gamma.unwrap_or_default().exp(),
            order,
        };
        (colour != Self::PLAIN).then_some(colour)
    }

    /// Changes `image`, `(3, h, w)` in `[0, 1]`.
    pub fn apply(&self, image: &mut [f32]) {
        let (matrix, offset) = self.linear(image);
        let (red, rest) = image.split_at_mut(image.len() / 3);
        let (green, blue) = rest.split_at_mut(red.len());
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let [x, y, z] = [*r, *g, *b];
            let channel = |row: [f32; 3]| {
                let value = (row[0] * x + row[1] * y + row[2] * z + offset).clamp(0.0, 1.0);
                if self.exponent == 1.0 { value } else { value.powf(self.exponent) }
            };
            [*r, *g, *b] = self.order.map(|from| channel(matrix[from]));
        }
    }

    /// Brightness, contrast, saturation and hue as a matrix, and a number that is added to every channel.
    fn linear(&self, image: &[f32]) -> (Matrix, f32) {
        let mut matrix = scaled(self.brightness * self.contrast);
        let mut offset = 0.0;
        if self.contrast != 1.0 {
            offset = (1.0 - self.contrast) * self.brightness * mean_luma(image);
        }
        // What follows leaves greys alone, and so the offset.
        if self.saturation != 1.0 {
            matrix = product(saturate(self.saturation), matrix);
        }
        if self.hue != 0.0 {
            matrix = product(turn_hue(self.hue), matrix);
        }
        (matrix, offset)
    }
}

fn mean_luma(image: &[f32]) -> f32 {
    let plane = image.len() / 3;
    let mean = |channel: &[f32]| channel.iter().map(|&x| f64::from(x)).sum::<f64>() as f32 / plane as f32;
    image.chunks_exact(plane).zip(LUMA).map(|(channel, part)| part * mean(channel)).sum()
}

fn scaled(factor: f32) -> Matrix {
    IDENTITY.map(|row| row.map(|x| factor * x))
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    a.map(|row| [0, 1, 2].map(|c| row[0] * b[0][c] + row[1] * b[1][c] + row[2] * b[2][c]))
}

/// Each channel moves away from the luma, or towards it.
fn saturate(factor: f32) -> Matrix {
    let mut matrix = scaled(factor);
    matrix.iter_mut().for_each(|row| row.iter_mut().zip(LUMA).for_each(|(x, luma)| *x += (1.0 - factor) * luma));
    matrix
}

/// The colour differences U and V are rotated, the luma stays: the hue of an analogue television, which is linear.
fn turn_hue(turns: f32) -> Matrix {
    let (sin, cos) = (turns * TAU).sin_cos();
    let mut matrix = IDENTITY;
    for c in 0..3 {
        let luma = LUMA[c];
        let (u, v) = (U * (IDENTITY[2][c] - luma), V * (IDENTITY[0][c] - luma));
        let (u, v) = (cos * u - sin * v, sin * u + cos * v);
        let (red, blue) = (luma + v / V, luma + u / U);
        let green = (luma - LUMA[0] * red - LUMA[2] * blue) / LUMA[1];
        (matrix[0][c], matrix[1][c], matrix[2][c]) = (red, green, blue);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    /// Two pixels: orange, and a grey of 0.6.
    const IMAGE: [f32; 6] = [0.8, 0.6, 0.4, 0.6, 0.1, 0.6];

    #[track_caller]
    fn becomes(colour: Colour, expected: [f32; 6]) {
        let mut image = IMAGE;
        colour.apply(&mut image);
        assert!(image.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{image:?} instead of {expected:?}");
    }

    fn luma(image: &[f32], pixel: usize) -> f32 {
        (0..3).map(|c| LUMA[c] * image[2 * c + pixel]).sum()
    }

    #[test]
    fn each_change_is_what_its_formula_says() {
        let plain = Colour::PLAIN;
        becomes(plain, IMAGE);
        becomes(Colour { brightness: 1.5, ..plain }, [1.0, 0.9, 0.6, 0.9, 0.15, 0.9]);
        becomes(Colour { exponent: 2.0, ..plain }, [0.64, 0.36, 0.16, 0.36, 0.01, 0.36]);
        becomes(Colour { order: [2, 0, 1], ..plain }, [0.1, 0.6, 0.8, 0.6, 0.4, 0.6]);
        let mean = (luma(&IMAGE, 0) + luma(&IMAGE, 1)) / 2.0;
        becomes(Colour { contrast: 0.5, ..plain }, IMAGE.map(|x| mean + 0.5 * (x - mean)));
        becomes(Colour { contrast: 0.0, brightness: 0.5, ..plain }, [0.5 * mean; 6]);
        let grey = luma(&IMAGE, 0);
        becomes(Colour { saturation: 0.0, ..plain }, [grey, 0.6, grey, 0.6, grey, 0.6]);
    }

    #[test]
    fn a_turned_hue_keeps_luma_and_greys_and_comes_round() {
        for turns in [0.05, -0.2, 0.5] {
            let matrix = turn_hue(turns);
            let turn = |rgb: [f32; 3]| matrix.map(|row| (0..3).map(|c| row[c] * rgb[c]).sum::<f32>());
            let (orange, grey) = (turn([0.8, 0.4, 0.1]), turn([0.6; 3]));
            assert!(grey.iter().all(|x| (x - 0.6).abs() < 1e-6), "{grey:?}");
            let after: f32 = (0..3).map(|c| LUMA[c] * orange[c]).sum();
            assert!((after - luma(&IMAGE, 0)).abs() < 1e-6);
            let back = product(turn_hue(1.0 - turns), matrix);
            assert!(back.iter().flatten().zip(IDENTITY.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        // A third of a turn makes red mostly green, or mostly blue the other way.
        let [red, green, blue] = turn_hue(1.0 / 3.0).map(|row| row[0]);
        let [red_back, green_back, blue_back] = turn_hue(-1.0 / 3.0).map(|row| row[0]);
        assert!((green > red && green > blue) != (green_back > red_back && green_back > blue_back));
    }

    #[test]
    fn draws_are_within_the_strengths() {
        let recipe = AugmentRecipe {
            brightness: 0.4,
            contrast: 1.0,
            hue: 0.1,
            hue_probability: 1.0,
            gamma: 1.0,
            channel_shuffle: 0.5,
            ..AugmentRecipe::none()
        };
        let drawn: Vec<Colour> =
            (0..1000).filter_map(|i| Colour::draw(&recipe, &mut stream(0, Purpose::Augment, i))).collect();
        assert_eq!(drawn.len(), 1000, "the hue always changes");
        let within = |of: fn(&Colour) -> f32, least: f32, most: f32| {
            let (low, high) = drawn.iter().map(of).fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(x), h.max(x)));
            assert!(low >= least && high <= most && low < least + 0.02 && high > most - 0.02, "{low} to {high}");
        };
        within(|c| c.brightness, 0.6, 1.4);
        within(|c| c.contrast, 0.0, 2.0);
        within(|c| c.hue, -0.1, 0.1);
        within(|c| c.exponent, 0.5, 2.0);
        within(|c| c.saturation, 1.0, 1.0);
        let share = |what: &dyn Fn(&Colour) -> bool| drawn.iter().filter(|c| what(c)).count() as f64 / 1000.0;
        assert!((share(&|c| c.brightness == 1.0) - 0.5).abs() < 0.05);
        assert!((share(&|c| c.order == [0, 1, 2]) - (0.5 + 0.5 / 6.0)).abs() < 0.05);
        assert_eq!(Colour::draw(&AugmentRecipe::none(), &mut stream(0, Purpose::Augment, 0)), None);
    }
}
