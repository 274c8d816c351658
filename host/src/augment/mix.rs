//! Several images of a batch as one, with the labels of all: mixup, cutmix and RICAP.

use crate::recipe::AugmentRecipe;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};
use std::ops::Range;

/// Most other images that one takes something from.
pub const OTHERS: usize = 3;

/// What an image takes from others of its batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// Every pixel becomes `keep` of its own and `1 - keep` of another's.
    Up {
        /// Share of its own.
        keep: f32,
    },
    /// A rectangle shows another image.
    Cut {
        /// Its rows.
        rows: Range<usize>,
        /// Its columns.
        columns: Range<usize>,
    },
    /// Four patches, one of its own and three of others, meet in a point.
    Patches([Patch; 1 + OTHERS]),
}

/// A rectangle, and where in its image it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Rows that it fills.
    rows: Range<usize>,
    /// Columns that it fills.
    columns: Range<usize>,
    /// Row and column of its first pixel in the image that it comes from.
    from: [usize; 2],
}

impl Mix {
    /// What an image of `height` rows and `width` columns takes; nothing where nothing was drawn.
    pub fn draw(recipe: &AugmentRecipe, height: usize, width: usize, random: &mut ChaCha8Rng) -> Option<Self> {
        let kinds = [
            (recipe.mixup, recipe.mixup_probability),
            (recipe.cutmix, recipe.cutmix_probability),
            (recipe.ricap, recipe.ricap_probability),
        ];
        let wanted: Vec<usize> = (0..kinds.len()).filter(|&kind| kinds[kind].0 > 0.0).collect();
        let kind = match wanted[..] {
            [] => return None,
            [only] => only,
            // As it was drawn before there was a third.
            [first, second] => {
                if random.random_bool(0.5) {
                    second
                } else {
                    first
                }
            }
            _ => wanted[random.random_range(0..wanted.len())],
        };
        let (alpha, probability) = kinds[kind];
        if !random.random_bool(probability) {
            return None;
        }
        let beta = Beta::new(alpha, alpha).expect("the recipe is validated");
        match kind {
            0 => Some(Self::Up { keep: beta.sample(random) as f32 }),
            1 => {
                let part = (1.0 - beta.sample(random)).sqrt();
                let [rows, columns] = [height, width].map(|size| side(part, size, random));
                (!rows.is_empty() && !columns.is_empty()).then_some(Self::Cut { rows, columns })
            }
            _ => {
                let [y, x] = [height, width].map(|size| (beta.sample(random) * size as f64).round() as usize);
                Some(Self::Patches([(0..y, 0..x), (0..y, x..width), (y..height, 0..x), (y..height, x..width)].map(
                    |(rows, columns)| {
                        let mut from = |size: usize, taken: usize| random.random_range(0..=size - taken);
                        let from = [from(height, rows.len()), from(width, columns.len())];
                        Patch { rows, columns, from }
                    },
                )))
            }
        }
    }

    /// Mixes `others` into `image`, all of them `(3, h, width)`, and returns the shares of the image itself and of each other.
    pub fn apply(&self, image: &mut [f32], others: [&[f32]; OTHERS], width: usize) -> [f32; 1 + OTHERS] {
        let height = image.len() / 3 / width;
        match self {
            Self::Up { keep } => {
                image.iter_mut().zip(others[0]).for_each(|(own, other)| *own = keep * *own + (1.0 - keep) * other);
                [*keep, 1.0 - keep, 0.0, 0.0]
            }
            Self::Cut { rows, columns } => {
                let from = [rows.start, columns.start];
                let patch = Patch { rows: rows.clone(), columns: columns.clone(), from };
                let keep = 1.0 - patch.copy(others[0], image, height, width);
                [keep, 1.0 - keep, 0.0, 0.0]
            }
            Self::Patches(patches) => {
                let own = image.to_vec();
                let [first, second, third] = others;
                let sources = [&own[..], first, second, third];
                std::array::from_fn(|i| patches[i].copy(sources[i], image, height, width))
            }
        }
    }
}

impl Patch {
    /// Copies it from the image `source` to `image`, both `(3, height, width)`, and returns its share of the area.
    fn copy(&self, source: &[f32], image: &mut [f32], height: usize, width: usize) -> f32 {
        let columns = self.columns.len();
        for c in 0..3 {
            for (y, row) in self.rows.clone().enumerate() {
                let to = (c * height + row) * width + self.columns.start;
                let from = (c * height + self.from[0] + y) * width + self.from[1];
                image[to..to + columns].copy_from_slice(&source[from..from + columns]);
            }
        }
        (self.rows.len() * columns) as f32 / (height * width) as f32
    }
}

/// A `part` of `size` pixels about a random centre, as far as it lies within the image.
fn side(part: f64, size: usize, random: &mut ChaCha8Rng) -> Range<usize> {
    let (half, centre) = ((part * size as f64) as usize / 2, random.random_range(0..size));
    centre.saturating_sub(half)..(centre + half).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn drawn(recipe: &AugmentRecipe) -> Vec<Option<Mix>> {
        (0..2000).map(|i| Mix::draw(recipe, 20, 30, &mut stream(4, Purpose::Mix, i))).collect()
    }

    #[test]
    fn a_rectangle_is_replaced_and_counted() {
        let (mut image, other) = ([0.0; 3 * 12], [1.0; 3 * 12]);
        let shares = Mix::Cut { rows: 1..3, columns: 2..4 }.apply(&mut image, [&other; OTHERS], 4);
        let plane = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        assert_eq!(image[..], [plane; 3].concat());
        let keep = 1.0 - 4.0 / 12.0;
        assert_eq!(shares, [keep, 1.0 - keep, 0.0, 0.0]);
    }

    #[test]
    fn mixup_is_a_weighted_mean() {
        let mut image = [0.0, 0.5, 1.0];
        let shares = Mix::Up { keep: 0.75 }.apply(&mut image, [&[1.0, 0.5, 0.0]; OTHERS], 1);
        assert_eq!(shares, [0.75, 0.25, 0.0, 0.0]);
        assert_eq!(image, [0.25, 0.5, 0.75]);
    }

    #[test]
    fn the_kept_share_has_the_beta_distribution() {
        // Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)).
        for alpha in [0.2, 1.0, 4.0] {
            let recipe = AugmentRecipe { mixup: alpha, ..AugmentRecipe::none() };
            let shares: Vec<f64> = drawn(&recipe)
                .into_iter()
                .map(|mix| match mix {
                    Some(Mix::Up { keep }) => f64::from(keep),
                    other => panic!("{other:?}"),
                })
                .collect();
            let mean = shares.iter().sum::<f64>() / 2000.0;
            let variance = shares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.03 && (variance / expected - 1.0).abs() < 0.1, "{alpha}: {mean} {variance}");
        }
    }

    #[test]
    fn rectangles_lie_within_the_image_and_reach_everywhere() {
        let recipe = AugmentRecipe { cutmix: 1.0, ..AugmentRecipe::none() };
        let mut covered = vec![0; 20 * 30];
        for mix in drawn(&recipe).into_iter().flatten() {
            let Mix::Cut { rows, columns } = mix else { panic!("{mix:?}") };
            assert!(rows.end <= 20 && columns.end <= 30 && !rows.is_empty() && !columns.is_empty());
            rows.for_each(|y| columns.clone().for_each(|x| covered[y * 30 + x] += 1));
        }
        assert!(covered.iter().all(|&times| times > 100), "{covered:?}");
    }

    #[test]
    fn four_patches_meet_in_a_point_and_show_where_they_were() {
        let patch = |rows, columns, from| Patch { rows, columns, from };
        let mix = Mix::Patches([
            patch(0..1, 0..3, [2, 1]),
            patch(0..1, 3..4, [1, 0]),
            patch(1..3, 0..3, [0, 0]),
            patch(1..3, 3..4, [1, 3]),
        ]);
        // A pixel's value is its place, and a hundred for each image.
        let pictures: [Vec<f32>; 4] = std::array::from_fn(|i| (0..36).map(|at| (100 * i + at % 12) as f32).collect());
        let [mut image, others @ ..] = pictures;
        let shares = mix.apply(&mut image, others.each_ref().map(Vec::as_slice), 4);
        let plane = [9.0, 10.0, 11.0, 104.0, 200.0, 201.0, 202.0, 307.0, 204.0, 205.0, 206.0, 311.0];
        assert_eq!(image, [plane; 3].concat());
        assert_eq!(shares, [3.0, 1.0, 6.0, 2.0].map(|pixels: f32| pixels / 12.0));
    }

    #[test]
    fn patches_fill_the_image_and_come_from_everywhere() {
        let recipe = AugmentRecipe { ricap: 0.5, ..AugmentRecipe::none() };
        let mixes = drawn(&recipe);
        let mut read = vec![0; 20 * 30];
        for mix in &mixes {
            let Some(Mix::Patches(patches)) = mix else { panic!("{mix:?}") };
            let mut filled = vec![0; 20 * 30];
            for Patch { rows, columns, from } in patches {
                assert!(from[0] + rows.len() <= 20 && from[1] + columns.len() <= 30);
                for (y, row) in rows.clone().enumerate() {
                    for (x, column) in columns.clone().enumerate() {
                        filled[row * 30 + column] += 1;
                        read[(from[0] + y) * 30 + from[1] + x] += 1;
                    }
                }
            }
            assert!(filled.iter().all(|&times| times == 1), "{patches:?}");
        }
        assert!(read.iter().all(|&times| times > 200), "{read:?}");
        // Beta(1/2, 1/2) has a quarter of its mass below 0.1465: sides are mostly long or short.
        let Some(near) = mixes
            .iter()
            .flatten()
            .map(|mix| match mix {
                Mix::Patches([first, ..]) => usize::from(first.columns.len() <= 4),
                other => panic!("{other:?}"),
            })
            .reduce(|a, b| a + b)
        else {
            panic!()
        };
        assert!((420..580).contains(&near), "{near}");
    }

    #[test]
    fn with_both_each_has_its_own_probability() {
        let both = AugmentRecipe { mixup: 0.2, mixup_probability: 0.5, cutmix: 1.0, ..AugmentRecipe::none() };
        let mixes = drawn(&both);
        let up = mixes.iter().filter(|mix| matches!(mix, Some(Mix::Up { .. }))).count();
        let none = mixes.iter().filter(|mix| mix.is_none()).count();
        assert!((400..600).contains(&up) && (400..650).contains(&none), "{up} {none}");
        assert!(drawn(&AugmentRecipe::none()).iter().all(Option::is_none));
        let mixes = drawn(&AugmentRecipe { ricap: 0.3, ..both });
        let counts = [
            mixes.iter().filter(|mix| matches!(mix, Some(Mix::Up { .. }))).count(),
            mixes.iter().filter(|mix| matches!(mix, Some(Mix::Patches(_)))).count(),
        ];
        assert!((270..400).contains(&counts[0]) && (590..740).contains(&counts[1]), "{counts:?}");
    }
}
