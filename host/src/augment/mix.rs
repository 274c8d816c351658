//! Two images of a batch as one, with the labels of both: mixup and cutmix.

use crate::recipe::AugmentRecipe;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};
use std::ops::Range;

/// What an image takes from another one of its batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// Every pixel becomes `keep` of its own and `1 - keep` of the other's.
    Up {
        /// Share of its own.
        keep: f32,
    },
    /// A rectangle shows the other image.
    Cut {
        /// Its rows.
        rows: Range<usize>,
        /// Its columns.
        columns: Range<usize>,
    },
}

impl Mix {
    /// What an image of `height` rows and `width` columns takes; nothing where nothing was drawn.
    pub fn draw(recipe: &AugmentRecipe, height: usize, width: usize, random: &mut ChaCha8Rng) -> Option<Self> {
        let cut = match (recipe.mixup > 0.0, recipe.cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => random.random_bool(0.5),
            (_, cut) => cut,
        };
        let (alpha, probability) =
            if cut { (recipe.cutmix, recipe.cutmix_probability) } else { (recipe.mixup, recipe.mixup_probability) };
        if !random.random_bool(probability) {
            return None;
        }
        let keep = Beta::new(alpha, alpha).expect("the recipe is validated").sample(random);
        if !cut {
            return Some(Self::Up { keep: keep as f32 });
        }
        let [rows, columns] = [height, width].map(|size| side((1.0 - keep).sqrt(), size, random));
        (!rows.is_empty() && !columns.is_empty()).then_some(Self::Cut { rows, columns })
    }

    /// Mixes `other` into `image`, both `(3, h, width)`, and returns the share of the image that is its own.
    pub fn apply(&self, image: &mut [f32], other: &[f32], width: usize) -> f32 {
        match self {
            Self::Up { keep } => {
                image.iter_mut().zip(other).for_each(|(own, other)| *own = keep * *own + (1.0 - keep) * other);
                *keep
            }
            Self::Cut { rows, columns } => {
                let height = image.len() / 3 / width;
                for row in (0..3).flat_map(|c| rows.clone().map(move |y| c * height + y)) {
                    let part = row * width + columns.start..row * width + columns.end;
                    image[part.clone()].copy_from_slice(&other[part]);
                }
                1.0 - (rows.len() * columns.len()) as f32 / (height * width) as f32
            }
        }
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
        let keep = Mix::Cut { rows: 1..3, columns: 2..4 }.apply(&mut image, &other, 4);
        let plane = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        assert_eq!(image[..], [plane; 3].concat());
        assert_eq!(keep, 1.0 - 4.0 / 12.0);
    }

    #[test]
    fn mixup_is_a_weighted_mean() {
        let mut image = [0.0, 0.5, 1.0];
        assert_eq!(Mix::Up { keep: 0.75 }.apply(&mut image, &[1.0, 0.5, 0.0], 1), 0.75);
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
    fn with_both_each_has_its_own_probability() {
        let both = AugmentRecipe { mixup: 0.2, mixup_probability: 0.5, cutmix: 1.0, ..AugmentRecipe::none() };
        let mixes = drawn(&both);
        let up = mixes.iter().filter(|mix| matches!(mix, Some(Mix::Up { .. }))).count();
        let none = mixes.iter().filter(|mix| mix.is_none()).count();
        assert!((400..600).contains(&up) && (400..650).contains(&none), "{up} {none}");
        assert!(drawn(&AugmentRecipe::none()).iter().all(Option::is_none));
    }
}
