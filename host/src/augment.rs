//! Random variation of training images, drawn anew for every image in every epoch.

use crate::recipe::AugmentRecipe;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How one image is varied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Variation {
    flip: bool,
    /// Rows and columns that the picture moves down and right.
    shift: [i32; 2],
    /// Top left corner and side of a painted square; it may reach over the border.
    cutout: Option<([i32; 2], i32)>,
}

/// What [`Variation::cutout`] paints: grey.
const CUTOUT: f32 = 0.5;

/// Writes a random variation of `image`, `(h, w, 3)` bytes, into `out`, `(3, h, w)` with pixels in `[0, 1]`.
pub fn vary(image: &[u8], width: usize, recipe: &AugmentRecipe, random: &mut ChaCha8Rng, out: &mut [f32]) {
    let height = image.len() / 3 / width;
    apply(image, width, draw(recipe, height, width, random), out);
}

/// Writes `image`, `(h, w, 3)` bytes, as it is into `out`, `(3, h, w)` with pixels in `[0, 1]`.
pub fn plain(image: &[u8], width: usize, out: &mut [f32]) {
    apply(image, width, Variation::default(), out);
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
    Variation { flip, shift, cutout }
}

fn apply(image: &[u8], width: usize, variation: Variation, out: &mut [f32]) {
    let height = image.len() / 3 / width;
    let plane = height * width;
    for y in 0..height {
        let row = reflect(y as i32 - variation.shift[0], height) * width;
        for x in 0..width {
            let column = reflect(x as i32 - variation.shift[1], width);
            let column = if variation.flip { width - 1 - column } else { column };
            let pixel = &image[3 * (row + column)..][..3];
            let hidden = variation.cutout.is_some_and(|(corner, side)| {
                let within = |at: usize, from: i32| (from..from + side).contains(&(at as i32));
                within(y, corner[0]) && within(x, corner[1])
            });
            for (c, &value) in pixel.iter().enumerate() {
                out[c * plane + y * width + x] = if hidden { CUTOUT } else { f32::from(value) / 255.0 };
            }
        }
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
        apply(&IMAGE, 3, variation, &mut out);
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
        let recipe = AugmentRecipe { flip: 0.5, shift: 2, cutout: 3, cutout_probability: 0.25 };
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
}
