//! Random variation of training images, drawn anew for every image in every epoch and never stored.
//!
//! ```text
//! crop, rotate, zoom, shift, flip, grid, elastic -> one sampling pass   (warp, bend)
//! brightness, contrast, saturation, hue, gamma   -> one pass over the pixels   (colour)
//! camera                                         -> what a small sensor would deliver   (sensor)
//! cutout                                         -> painted
//! mixup, cutmix, RICAP                           -> with other images of the batch, varied themselves   (mix)
//! ```
//!
//! What an image undergoes is drawn first, then done. A transformation that a recipe switches off draws no number, and
//! flip, shift and cutout come first: a recipe without the others trains the same weights as before there were any.

mod bend;
mod colour;
pub mod mix;
mod sensor;
mod warp;

pub use mix::Mix;

use crate::recipe::AugmentRecipe;
use bend::{Elastic, Grid};
use colour::Colour;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sensor::Sensor;
use warp::{Affine, Warp};

/// How one image is varied.
#[derive(Clone, Debug, Default, PartialEq)]
struct Variation {
    flip: bool,
    /// Rows and columns that the picture moves down and right.
    shift: [i32; 2],
    /// Top left corner and side of a painted square; it may reach over the border.
    cutout: Option<([i32; 2], i32)>,
    /// Where pixels come from, flip and shift included, unless these two are all.
    warp: Option<Warp>,
    colour: Option<Colour>,
    sensor: Option<Sensor>,
}

/// What [`Variation::cutout`] paints: grey.
const CUTOUT: f32 = 0.5;
/// Most that a random crop's aspect ratio differs from the image's, either way.
const CROP_ASPECT: f64 = 4.0 / 3.0;

/// Writes a random variation of `image`, `(h, w, 3)` bytes, into `out`, `(3, h, w)` with pixels in `[0, 1]`.
pub fn vary(image: &[u8], width: usize, recipe: &AugmentRecipe, random: &mut ChaCha8Rng, out: &mut [f32]) {
    let height = image.len() / 3 / width;
    apply(image, width, &draw(recipe, height, width, random), out);
}

/// Writes `image`, `(h, w, 3)` bytes, as it is into `out`, `(3, h, w)` with pixels in `[0, 1]`.
pub fn plain(image: &[u8], width: usize, out: &mut [f32]) {
    place(image, width, false, [0, 0], out);
}

fn draw(recipe: &AugmentRecipe, height: usize, width: usize, random: &mut ChaCha8Rng) -> Variation {
    let flip = random.random_bool(recipe.flip);
    let shift = [height, width].map(|size| {
        // A reflection reaches no further than the opposite border.
        let most = usize::from(recipe.shift).min(size - 1) as i32;
        random.random_range(-most..=most)
    });
    let painted = recipe.cutout > 0 && random.random_bool(recipe.cutout_probability);
    let cutout = painted.then(|| {
        let side = recipe.cutout as i32;
        let corner = [height, width].map(|size| random.random_range(0..size as i32) - side / 2);
        (corner, side)
    });
    let warp = draw_warp(recipe, height, width, random).map(|warp| {
        let by = [-shift[1] as f32, -shift[0] as f32];
        let affine = warp.affine.then(Affine::scale_and_move([1.0, 1.0], by));
        let mirrored = Affine::scale_and_move([-1.0, 1.0], [(width - 1) as f32, 0.0]);
        Warp { affine: if flip { affine.then(mirrored) } else { affine }, ..warp }
    });
    let colour = Colour::draw(recipe, random);
    Variation { flip, shift, cutout, warp, colour, sensor: Sensor::draw(recipe, width, random) }
}

/// All of the geometry but flip and shift; nothing where nothing was drawn.
fn draw_warp(recipe: &AugmentRecipe, height: usize, width: usize, random: &mut ChaCha8Rng) -> Option<Warp> {
    let mut affine = Affine::IDENTITY;
    let drawn = |on: bool, probability: f64, random: &mut ChaCha8Rng| on && random.random_bool(probability);
    let crops = drawn(recipe.crop < 1.0, recipe.crop_probability, random);
    if crops {
        affine = draw_crop(recipe.crop, height, width, random);
    }
    let mut strength = |most: f64, probability: f64| {
        let drawn = drawn(most > 0.0, probability, random);
        drawn.then(|| random.random_range(-most..=most) as f32)
    };
    let turn = strength(recipe.rotate, recipe.rotate_probability);
    let zoom = strength(recipe.zoom, recipe.zoom_probability);
    if turn.is_some() || zoom.is_some() {
        let (degrees, zoom) = (turn.unwrap_or_default(), 1.0 + zoom.unwrap_or_default());
        affine = Affine::turn(degrees.to_radians(), zoom, height, width).then(affine);
    }
    let grid = drawn(recipe.grid > 0.0, recipe.grid_probability, random)
        .then(|| Grid::draw(recipe.grid, height, width, random));
    let elastic = drawn(recipe.elastic > 0.0, recipe.elastic_probability, random)
        .then(|| Elastic::draw(recipe.elastic, recipe.elastic_smoothness, height, width, random));
    let moved = crops || turn.is_some() || zoom.is_some() || grid.is_some() || elastic.is_some();
    moved.then_some(Warp { affine, grid, elastic })
}

/// A random part of the image, enlarged to the whole. Area and aspect ratio are drawn as in torchvision's
/// `RandomResizedCrop`, with the area at least `least` of the image's; a side that would be longer than the image's is as
/// long.
fn draw_crop(least: f64, height: usize, width: usize, random: &mut ChaCha8Rng) -> Affine {
    let area: f64 = random.random_range(least..=1.0);
    let most = CROP_ASPECT.ln();
    let aspect = random.random_range(-most..=most).exp();
    let parts = [(area * aspect).sqrt().min(1.0), (area / aspect).sqrt().min(1.0)];
    let [(xx, x0), (yy, y0)] = [(parts[0], width), (parts[1], height)].map(|(part, size)| {
        let from = random.random_range(0.0..=1.0 - part);
        Affine::crop_axis(from as f32, part as f32, size)
    });
    Affine::scale_and_move([xx, yy], [x0, y0])
}

fn apply(image: &[u8], width: usize, variation: &Variation, out: &mut [f32]) {
    match &variation.warp {
        Some(warp) => warp.sample(image, width, out),
        None => place(image, width, variation.flip, variation.shift, out),
    }
    if let Some(colour) = variation.colour {
        colour.apply(out);
    }
    if let Some(sensor) = variation.sensor {
        sensor.apply(out, width);
    }
    if let Some((corner, side)) = variation.cutout {
        paint(out, width, corner, side);
    }
}

/// Flip and shift move whole pixels: nothing is interpolated.
fn place(image: &[u8], width: usize, flip: bool, shift: [i32; 2], out: &mut [f32]) {
    let height = image.len() / 3 / width;
    let plane = height * width;
    for y in 0..height {
        let row = reflect(y as i32 - shift[0], height) * width;
        for x in 0..width {
            let column = reflect(x as i32 - shift[1], width);
            let column = if flip { width - 1 - column } else { column };
            let pixel = &image[3 * (row + column)..][..3];
            for (c, &value) in pixel.iter().enumerate() {
                out[c * plane + y * width + x] = f32::from(value) / 255.0;
            }
        }
    }
}

/// Paints a square into `image`, `(3, h, width)`, as far as it lies within.
fn paint(image: &mut [f32], width: usize, corner: [i32; 2], side: i32) {
    let height = image.len() / 3 / width;
    let within = |from: i32, size: usize| from.max(0) as usize..(from + side).clamp(0, size as i32) as usize;
    for row in (0..3).flat_map(|c| within(corner[0], height).map(move |y| c * height + y)) {
        image[row * width..][..width][within(corner[1], width)].fill(CUTOUT);
    }
}

/// The index inside `0..size` that `at`, less than `size` outside, is mirrored to; the border itself is not repeated.
fn reflect(at: i32, size: usize) -> usize {
    let last = size as i32 - 1;
    (last - (last - at.abs()).abs()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    /// Two rows of three pixels; red counts up, green and blue tell the channel.
    const IMAGE: [u8; 18] = [0, 100, 200, 1, 100, 200, 2, 100, 200, 3, 100, 200, 4, 100, 200, 5, 100, 200];

    fn red(variation: Variation) -> Vec<i32> {
        let mut out = [0.0; 18];
        apply(&IMAGE, 3, &variation, &mut out);
        out[..6].iter().map(|x| (x * 255.0).round() as i32).collect()
    }

    #[test]
    fn channels_become_planes() {
        let mut out = [0.0; 18];
        plain(&IMAGE, 3, &mut out);
        assert_eq!(out[6..], [[100.0 / 255.0; 6], [200.0 / 255.0; 6]].concat());
        assert_eq!(red(Variation::default()), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn flips_left_and_right() {
        assert_eq!(red(Variation { flip: true, ..Variation::default() }), [2, 1, 0, 5, 4, 3]);
    }

    #[test]
    fn shifts_and_reflects_without_repeating_the_border() {
        assert_eq!(red(Variation { shift: [0, 1], ..Variation::default() }), [1, 0, 1, 4, 3, 4]);
        assert_eq!(red(Variation { shift: [0, -2], ..Variation::default() }), [2, 1, 0, 5, 4, 3]);
        assert_eq!(red(Variation { shift: [1, 0], ..Variation::default() }), [3, 4, 5, 0, 1, 2]);
    }

    #[test]
    fn cutout_may_reach_over_the_border() {
        let grey = (CUTOUT * 255.0).round() as i32;
        let cutout = Some(([-1, 1], 2));
        assert_eq!(red(Variation { cutout, ..Variation::default() }), [0, grey, grey, 3, 4, 5]);
    }

    #[test]
    fn draws_stay_inside_the_recipe_and_use_all_of_it() {
        let recipe =
            AugmentRecipe { flip: 0.5, shift: 2, cutout: 3, cutout_probability: 0.25, ..AugmentRecipe::none() };
        let drawn: Vec<Variation> =
            (0..2000).map(|i| draw(&recipe, 2, 9, &mut stream(1, Purpose::Augment, i))).collect();
        let share = |what: &dyn Fn(&Variation) -> bool| drawn.iter().filter(|v| what(v)).count() as f64 / 2000.0;
        assert!((share(&|v| v.flip) - 0.5).abs() < 0.05);
        assert!((share(&|v| v.cutout.is_some()) - 0.25).abs() < 0.05);
        // Two rows leave room for a shift by one only.
        for (axis, most) in [(0, 1), (1, 2)] {
            assert!(drawn.iter().all(|v| v.shift[axis].abs() <= most));
            assert!((-most..=most).all(|shift| share(&|v| v.shift[axis] == shift) > 0.1));
        }
    }

    #[test]
    fn a_single_pixel_survives() {
        let mut out = [0.0; 3];
        vary(
            &[255, 0, 51],
            1,
            &AugmentRecipe { cutout: 0, ..AugmentRecipe::default() },
            &mut stream(0, Purpose::Augment, 0),
            &mut out,
        );
        assert_eq!(out, [1.0, 0.0, 0.2]);
    }

    /// Everything is switched on, at its strongest where `strong`.
    fn everything(strong: bool) -> AugmentRecipe {
        let value = |weak: f64, most: f64| if strong { most } else { weak };
        AugmentRecipe {
            flip: 0.5,
            shift: 3,
            cutout: 4,
            rotate: value(15.0, 180.0),
            zoom: value(0.2, 0.9),
            crop: value(0.5, 0.01),
            grid: value(0.3, 0.9),
            elastic: value(1.0, 64.0),
            brightness: value(0.4, 1.0),
            contrast: value(0.4, 1.0),
            saturation: value(0.4, 1.0),
            hue: value(0.1, 0.5),
            gamma: value(0.5, 4.0),
            channel_shuffle: 0.5,
            camera: 0.5,
            ..AugmentRecipe::none()
        }
    }

    #[test]
    fn images_stay_in_range_however_they_are_varied() {
        for (height, width) in [(12, 9), (1, 1), (1, 5), (2, 2)] {
            let image: Vec<u8> = (0..height * width * 3).map(|i| [0, 255, (i * 71 % 256) as u8][i % 3]).collect();
            for (i, strong) in (0..300).flat_map(|i| [(i, false), (i, true)]) {
                let mut out = vec![f32::NAN; image.len()];
                vary(&image, width, &everything(strong), &mut stream(5, Purpose::Augment, i), &mut out);
                assert!(out.iter().all(|x| (0.0..=1.0).contains(x)), "{height}x{width}, {i}: {out:?}");
            }
        }
    }

    #[test]
    fn a_warp_that_moves_nothing_more_is_flip_and_shift() {
        let (height, width) = (7, 6);
        let image: Vec<u8> = (0..height * width * 3).map(|i| (i * 71 % 256) as u8).collect();
        // A rotation by next to nothing takes the way through the matrix.
        let turned = AugmentRecipe { rotate: 1e-9, rotate_probability: 1.0, ..everything(false) };
        let turned = AugmentRecipe { crop: 1.0, zoom: 0.0, grid: 0.0, elastic: 0.0, camera: 0.0, ..turned };
        for i in 0..50 {
            let mut ways = [draw(&turned, height, width, &mut stream(6, Purpose::Augment, i)), Variation::default()];
            ways[1] = Variation { warp: None, ..ways[0].clone() };
            assert!(ways[0].warp.is_some());
            let [warped, placed] = ways.map(|variation| {
                let mut out = vec![0.0; image.len()];
                apply(&image, width, &variation, &mut out);
                out
            });
            assert!(warped.iter().zip(&placed).all(|(a, b)| (a - b).abs() < 1e-4), "{i}");
        }
    }

    #[test]
    fn crops_keep_their_part_of_the_image_and_lie_within_it() {
        let mut areas = Vec::new();
        for i in 0..2000 {
            let Affine { xx, yy, x0, y0, .. } = draw_crop(0.25, 20, 30, &mut stream(7, Purpose::Augment, i));
            let edges = |scale: f32, from: f32, size: f32| [-0.5, size - 0.5].map(|edge| scale * edge + from);
            for ([first, last], size) in [(edges(xx, x0, 30.0), 30.0), (edges(yy, y0, 20.0), 20.0)] {
                assert!(first > -0.501 && last < size - 0.499, "{first} to {last} of {size}");
            }
            assert!((0.74..1.34).contains(&(xx / yy)), "{xx} {yy}");
            areas.push(xx * yy);
        }
        areas.sort_by(f32::total_cmp);
        assert!(areas[0] >= 0.2499 && areas[0] < 0.26 && areas[1999] > 0.95 && areas[1999] <= 1.0);
        assert!((0.56..0.66).contains(&areas[1000]), "the median of an even draw, {}", areas[1000]);
    }
}
