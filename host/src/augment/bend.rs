//! Displacements that no matrix expresses: a stretched grid, and an elastic sheet.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Columns and rows of the grid, as in albumentations' `GridDistortion`.
const CELLS: usize = 5;

/// Columns and rows that were stretched or squeezed; the borders stay where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Where each output column comes from.
    pub columns: Vec<f32>,
    /// Where each output row comes from.
    pub rows: Vec<f32>,
}

impl Grid {
    /// Every cell takes a share of the source that `U(1 - limit, 1 + limit)` is its weight in.
    pub fn draw(limit: f64, height: usize, width: usize, random: &mut ChaCha8Rng) -> Self {
        let mut axis = |size| {
            let weights = [(); CELLS].map(|()| random.random_range(1.0 - limit..=1.0 + limit) as f32);
            stretched(weights, size)
        };
        Self { columns: axis(width), rows: axis(height) }
    }
}

/// Source coordinates of `size` pixels whose axis is cut into equal cells that show sources as long as their weights.
fn stretched(weights: [f32; CELLS], size: usize) -> Vec<f32> {
    let total: f32 = weights.iter().sum();
    let source = |at: usize| {
        let place = (at as f32 + 0.5) / size as f32 * CELLS as f32;
        let cell = (place as usize).min(CELLS - 1);
        let before: f32 = weights[..cell].iter().sum();
        (before + (place - cell as f32) * weights[cell]) / total * size as f32 - 0.5
    };
    (0..size).map(source).collect()
}

/// A smooth random displacement of every pixel, after Simard, Steinkraus and Platt, "Best Practices for Convolutional
/// Neural Networks" (2003): even noise, smoothed by a Gaussian. They scale it by a factor that means little without the
/// Gaussian's width; here the displacement's standard deviation is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Elastic {
    /// Pixels to the right, `(h, w)`.
    pub dx: Vec<f32>,
    /// Pixels down, `(h, w)`.
    pub dy: Vec<f32>,
}

impl Elastic {
    /// A displacement with standard deviation `strength`, from noise smoothed with standard deviation `smoothness`, both in
    /// pixels.
    pub fn draw(strength: f64, smoothness: f64, height: usize, width: usize, random: &mut ChaCha8Rng) -> Self {
        let kernels = [height, width].map(|size| gaussian(smoothness, size));
        // The variance of U(-1, 1) is 1/3, and each axis' smoothing multiplies it by the sum of the squared weights.
        let squares: f32 = kernels.iter().map(|kernel| kernel.iter().map(|k| k * k).sum::<f32>()).product();
        let scale = strength as f32 / (squares / 3.0).sqrt();
        let mut field = || {
            let noise: Vec<f32> = (0..height * width).map(|_| random.random_range(-scale..=scale)).collect();
            smooth(&noise, height, width, &kernels)
        };
        Self { dx: field(), dy: field() }
    }
}

/// Weights of a Gaussian over three standard deviations either way, or as far as an axis of `size` allows; their sum is 1.
fn gaussian(deviation: f64, size: usize) -> Vec<f32> {
    let radius = ((3.0 * deviation).ceil() as usize).min((size - 1) / 2) as i32;
    let weight = |at: i32| (-0.5 * (f64::from(at) / deviation).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    (-radius..=radius).map(|at| (weight(at) / total) as f32).collect()
}

/// `field`, `(height, width)`, smoothed along both axes by the kernels for rows and columns. It is taken to repeat in both
/// directions, so that it is as strong at the borders as in the middle.
fn smooth(field: &[f32], height: usize, width: usize, kernels: &[Vec<f32>; 2]) -> Vec<f32> {
    let [vertical, horizontal] = kernels;
    let radius = horizontal.len() / 2;
    let mut across = vec![0.0; field.len()];
    for (row, out) in field.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        let padded = [&row[width - radius..], row, &row[..radius]].concat();
        for (k, weight) in horizontal.iter().enumerate() {
            add(out, &padded[k..k + width], *weight);
        }
    }
    let mut both = vec![0.0; field.len()];
    for (y, out) in both.chunks_exact_mut(width).enumerate() {
        for (k, weight) in vertical.iter().enumerate() {
            let from = (y + k + height - vertical.len() / 2) % height;
            add(out, &across[from * width..][..width], *weight);
        }
    }
    both
}

fn add(out: &mut [f32], row: &[f32], weight: f32) {
    out.iter_mut().zip(row).for_each(|(out, value)| *out += weight * value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn an_even_grid_moves_nothing_and_any_grid_keeps_the_order_and_the_borders() {
        assert!(stretched([1.0; CELLS], 32).iter().enumerate().all(|(i, at)| (at - i as f32).abs() < 1e-4));
        let grid = Grid::draw(0.9, 7, 32, &mut stream(0, Purpose::Augment, 5));
        for (axis, size) in [(&grid.columns, 32), (&grid.rows, 7)] {
            assert!(axis.is_sorted() && axis[0] >= -0.5 && axis[size - 1] <= size as f32 - 0.5, "{axis:?}");
        }
        // The first cell shows three parts of seven of the source, the four others one each.
        let wide = stretched([3.0, 1.0, 1.0, 1.0, 1.0], 35);
        assert!((wide[6] + 0.5 - 6.5 / 7.0 * 15.0).abs() < 1e-4, "{}", wide[6]);
    }

    #[test]
    fn elastic_is_as_strong_and_as_smooth_as_asked() {
        let (height, width) = (40, 48);
        for (strength, smoothness) in [(1.5, 2.0), (3.0, 4.0), (0.5, 0.5)] {
            let (mut square, mut step, mut n) = (0.0, 0.0, 0.0);
            for i in 0..60 {
                let Elastic { dx, dy } =
                    Elastic::draw(strength, smoothness, height, width, &mut stream(1, Purpose::Augment, i));
                for field in [dx, dy] {
                    square += field.iter().map(|d| d * d).sum::<f32>();
                    step += field.chunks_exact(width).map(|row| (row[1] - row[0]).powi(2)).sum::<f32>()
                        * (field.len() / height) as f32;
                    n += field.len() as f32;
                }
            }
            let deviation = f64::from((square / n).sqrt());
            assert!((deviation / strength - 1.0).abs() < 0.1, "{deviation} instead of {strength}");
            // Smoothed white noise has the correlation exp(-d^2 / 4 sigma^2), so neighbours differ by this much.
            let neighbours = f64::from((step / n).sqrt()) / strength;
            let expected = (2.0 - 2.0 * (-1.0 / (4.0 * smoothness * smoothness)).exp()).sqrt();
            assert!((neighbours / expected - 1.0).abs() < 0.2, "{neighbours} instead of {expected}");
        }
    }

    #[test]
    fn tiny_images_bend_too() {
        for (height, width) in [(1, 1), (2, 3), (1, 8)] {
            let random = &mut stream(2, Purpose::Augment, 0);
            let elastic = Elastic::draw(2.0, 4.0, height, width, random);
            assert!(elastic.dx.iter().chain(&elastic.dy).all(|d| d.is_finite()));
            assert_eq!(Grid::draw(0.5, height, width, random).columns.len(), width);
        }
    }
}
