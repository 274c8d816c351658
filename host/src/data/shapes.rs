//! The built-in dataset: pictures of ten simple figures, drawn on the spot, for a machine without a network.
//!
//! Pose, colours, light, shadow, clutter, blur and noise are random and say nothing about the class; a figure may be
//! lighter or darker than its ground. So no single pixel tells the class, and a linear classifier fails where a small
//! convolutional network succeeds.
//!
//! Picture `i` of a seed is a function of the two alone. It is computed with f32 additions, multiplications, divisions
//! and square roots only, which IEEE 754 rounds the same everywhere: the pixels are identical on every platform.

mod canvas;
mod figure;

use super::split::{Part, carve};
use super::{Dataset, Inventory, Progress, Split};
use crate::recipe::DataRecipe;
use anyhow::{Result, ensure};
use canvas::Canvas;
use figure::Figure;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::Range;

/// What the dataset is called, in recipes too.
pub const NAME: &str = "shapes";

/// Rows and columns where a recipe names no size.
pub const SIDE: usize = 32;

/// Pictures for training and validation; those of the test set come after them.
pub const TRAINING: usize = 10_000;

/// Pictures of the test set.
pub const TEST: usize = 2_000;

/// Draws the dataset: the recipe decides the size of the pictures, the seed, and the part that is for validation.
///
/// # Errors
/// Pictures so small that nobody could tell the figures.
pub(super) fn load(recipe: &DataRecipe, most: usize, progress: Progress) -> Result<Dataset> {
    let side = recipe.img_size.map_or(SIDE, usize::from);
    ensure!(side >= 16, "the built-in dataset needs pictures of at least 16x16, not {side}x{side}: change --img-size");
    let labels: Vec<u16> = (0..TRAINING + TEST).map(label).collect();
    let mut parts = vec![Part::Train; TRAINING];
    carve(&mut parts, &labels[..TRAINING], Part::Val, recipe.val_fraction, recipe.seed);
    parts.resize(TRAINING + TEST, Part::Test);
    let inventory = Inventory { name: NAME.to_owned(), classes: classes(), labels, parts };
    inventory.collect(side, most, progress, |i, image| picture(i, side, recipe.seed, image))
}

/// Names of the classes, in label order.
pub fn classes() -> Vec<String> {
    Figure::ALL.map(|figure| figure.name().to_owned()).into()
}

/// Pictures `range` of `seed`, `side` pixels high and wide, with classes in turn.
pub fn pictures(range: Range<usize>, side: usize, seed: u64) -> Split {
    let mut images = vec![0; range.len() * side * side * 3];
    images
        .par_chunks_exact_mut(side * side * 3)
        .zip(range.clone())
        .for_each(|(image, i)| picture(i, side, seed, image));
    Split { images, labels: range.map(label).collect(), height: side, width: side }
}

fn label(index: usize) -> u16 {
    (index % Figure::ALL.len()) as u16
}

/// Draws picture `index` into `image`, `(side, side, 3)`: ground, clutter, shadow, figure, more clutter, light, lens.
fn picture(index: usize, side: usize, seed: u64, image: &mut [u8]) {
    let mut random = Random::new(seed, index as u64);
    let figure = Figure::ALL[index % Figure::ALL.len()];
    let (ground, paint) = random.contrasting_colours();
    let pose = Pose::random(&mut random);
    let mut canvas = Canvas::new(side, ground);

    canvas.grade(random.direction(), random.between(0.0, 0.25));
    clutter(&mut canvas, &mut random, 3);
    if random.chance(0.5) {
        let (dx, dy) = random.direction();
        let shadow = Pose { x: pose.x + 0.12 * dx, y: pose.y + 0.12 * dy, ..pose };
        canvas.darken(random.between(0.5, 0.8), |p| shadow.distance(figure, p));
    }
    canvas.fill(paint, |p| pose.distance(figure, p));
    clutter(&mut canvas, &mut random, 1);
    canvas.grade(random.direction(), random.between(0.0, 0.35));
    canvas.blur(random.between(0.0, 0.8));
    let noise = random.between(0.01, 0.04);
    canvas.emit(image, || noise * random.bell());
}

/// Up to `most` spots and as many lines, thinner than any part of a figure.
fn clutter(canvas: &mut Canvas, random: &mut Random, most: u32) {
    for _ in 0..random.below(most + 1) {
        let (colour, centre, radius) = (random.colour(), random.point(), random.between(0.04, 0.14));
        canvas.fill(colour, |p| figure::disc((p.0 - centre.0, p.1 - centre.1), radius));
    }
    for _ in 0..random.below(most + 1) {
        let (colour, a, b, half) = (random.colour(), random.point(), random.point(), random.between(0.02, 0.05));
        canvas.fill(colour, |p| figure::segment(a, b, p) - half);
    }
}

/// Where a figure stands in the picture, whose sides run from -1 to 1.
#[derive(Clone, Copy)]
struct Pose {
    x: f32,
    y: f32,
    /// The figure's radius.
    scale: f32,
    /// Cosine and sine of its rotation, at most 25 degrees from upright: with every rotation a small network needs far
    /// more pictures than these.
    turn: (f32, f32),
    /// Stretch along its own x axis.
    stretch: f32,
}

impl Pose {
    fn random(random: &mut Random) -> Self {
        let scale = random.between(0.6, 0.85);
        let room = 0.8 * (1.0 - scale);
        Self {
            x: random.between(-room, room),
            y: random.between(-room, room),
            scale,
            turn: turn(random.between(-0.22, 0.22)),
            stretch: random.between(0.9, 1.1),
        }
    }

    /// Distance of the picture's point `p` to `figure` in this pose.
    fn distance(&self, figure: Figure, p: figure::Point) -> f32 {
        let (x, y) = ((p.0 - self.x) / self.scale, (p.1 - self.y) / self.scale);
        if x * x + y * y > 1.5 {
            return 1.0; // stretched by at most 1.1, it cannot reach this far
        }
        let (cos, sin) = self.turn;
        self.scale * figure.distance(((x * cos + y * sin) / self.stretch, y * cos - x * sin))
    }
}

/// Cosine and sine of the angle whose half has the tangent `t`.
fn turn(t: f32) -> (f32, f32) {
    ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t))
}

/// Random quantities that are exact functions of the generator's bits.
struct Random(ChaCha8Rng);

impl Random {
    /// The generator of one picture.
    fn new(seed: u64, picture: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(picture);
        Self(generator)
    }

    /// In `[0, 1)`, 24 bits.
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 16_777_216.0
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as u32
    }

    fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    fn point(&mut self) -> figure::Point {
        (self.between(-1.0, 1.0), self.between(-1.0, 1.0))
    }

    /// A vector of length 1.
    fn direction(&mut self) -> figure::Point {
        let (cos, sin) = turn(self.unit());
        match self.below(4) {
            0 => (cos, sin),
            1 => (-sin, cos),
            2 => (-cos, -sin),
            _ => (sin, -cos),
        }
    }

    /// About normal, with a mean of 0 and a variance of 1: the sum of four uniform bytes.
    fn bell(&mut self) -> f32 {
        let sum: u16 = self.0.next_u32().to_le_bytes().map(u16::from).iter().sum();
        (f32::from(sum) - 510.0) / 147.8
    }

    fn colour(&mut self) -> [f32; 3] {
        let brightness = self.between(0.1, 0.9);
        self.tint(brightness)
    }

    fn tint(&mut self, brightness: f32) -> [f32; 3] {
        [(); 3].map(|()| (brightness + self.between(-0.2, 0.2)).clamp(0.0, 1.0))
    }

    /// Colours of ground and figure, one brighter than the other by at least a quarter of the range.
    fn contrasting_colours(&mut self) -> ([f32; 3], [f32; 3]) {
        let dark = self.between(0.1, 0.5);
        let bright = dark + self.between(0.3, 0.5);
        let (ground, paint) = if self.chance(0.5) { (dark, bright) } else { (bright, dark) };
        (self.tint(ground), self.tint(paint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digest;

    #[test]
    fn pixels_are_the_same_on_every_machine() {
        let split = pictures(0..50, SIDE, 7);
        let empty = Split::default();
        assert_eq!(
            digest(&[], [&split, &empty, &empty]),
            "f0c9e7d6b37015f3ffca0b96b4dc0cbc2ebef3b8e71c214ef300322609563880"
        );
    }

    #[test]
    fn a_picture_depends_on_its_index_and_the_seed_only() {
        let many = pictures(0..30, SIDE, 1);
        assert_eq!(pictures(17..18, SIDE, 1).image(0), many.image(17));
        assert_ne!(pictures(17..18, SIDE, 2).image(0), many.image(17));
        assert_ne!(many.image(7), many.image(17), "two of one class");
    }

    #[test]
    fn sizes_follow_the_recipe() {
        let recipe = DataRecipe { img_size: Some(15), ..DataRecipe::default() };
        assert!(load(&recipe, usize::MAX, &|_, _| ()).unwrap_err().to_string().contains("at least 16x16"));
        assert_eq!(pictures(0..3, 48, 0).images.len(), 3 * 48 * 48 * 3);
    }

    #[test]
    fn random_directions_have_length_one() {
        let mut random = Random::new(0, 0);
        for _ in 0..100 {
            let (x, y) = random.direction();
            assert!((x * x + y * y - 1.0).abs() < 1e-6);
        }
    }
}
