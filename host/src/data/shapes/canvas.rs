//! A picture in the making: linear colours in f32, edges blended by how much of a pixel they cover.

use super::figure::Point;

/// Square RGB picture whose sides run from -1 to 1 in both directions.
pub struct Canvas {
    side: usize,
    /// `(side, side, 3)`, 0 black to 1 full.
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    /// A picture of one colour.
    pub fn new(side: usize, colour: [f32; 3]) -> Self {
        Self { side, pixels: vec![colour; side * side] }
    }

    /// Paints where `distance` is negative.
    pub fn fill(&mut self, colour: [f32; 3], distance: impl Fn(Point) -> f32) {
        self.blend(distance, |old, cover| {
            for (old, new) in old.iter_mut().zip(colour) {
                *old += (new - *old) * cover;
            }
        });
    }

    /// Multiplies by `factor` where `distance` is negative.
    pub fn darken(&mut self, factor: f32, distance: impl Fn(Point) -> f32) {
        self.blend(distance, |old, cover| {
            for old in old {
                *old *= 1.0 + (factor - 1.0) * cover;
            }
        });
    }

    /// Light that grows along `direction`: multiplies by 1 - `strength` at one border and 1 + `strength` at the other.
    pub fn grade(&mut self, direction: Point, strength: f32) {
        for i in 0..self.pixels.len() {
            let (x, y) = self.centre(i);
            let light = 1.0 + strength * (x * direction.0 + y * direction.1).clamp(-1.0, 1.0);
            self.pixels[i] = self.pixels[i].map(|value| value * light);
        }
    }

    /// Mixes the picture with its 3x3 binomial average; `amount` 0 leaves it sharp.
    pub fn blur(&mut self, amount: f32) {
        let sharp = self.pixels.clone();
        let last = self.side - 1;
        for (i, pixel) in sharp.iter().enumerate() {
            let (row, column) = (i / self.side, i % self.side);
            for (channel, &own) in pixel.iter().enumerate() {
                let mut sum = 0.0;
                for (dy, weight_y) in [1.0, 2.0, 1.0].into_iter().enumerate() {
                    for (dx, weight_x) in [1.0, 2.0, 1.0].into_iter().enumerate() {
                        let y = (row + dy).saturating_sub(1).min(last);
                        let x = (column + dx).saturating_sub(1).min(last);
                        sum += weight_y * weight_x * sharp[y * self.side + x][channel];
                    }
                }
                self.pixels[i][channel] = own + amount * (sum / 16.0 - own);
            }
        }
    }

    /// Writes 8-bit pixels, `(side, side, 3)`, each value with some `noise` added.
    pub fn emit(&self, image: &mut [u8], mut noise: impl FnMut() -> f32) {
        for (byte, value) in image.iter_mut().zip(self.pixels.iter().flatten()) {
            // A cast truncates and saturates.
            *byte = ((value + noise()) * 255.0 + 0.5) as u8;
        }
    }

    fn blend(&mut self, distance: impl Fn(Point) -> f32, mix: impl Fn(&mut [f32; 3], f32)) {
        let pixels_per_unit = self.side as f32 / 2.0;
        for i in 0..self.pixels.len() {
            let cover = (0.5 - distance(self.centre(i)) * pixels_per_unit).clamp(0.0, 1.0);
            if cover > 0.0 {
                mix(&mut self.pixels[i], cover);
            }
        }
    }

    /// Centre of pixel `i`.
    fn centre(&self, i: usize) -> Point {
        let at = |index: usize| (2 * index + 1) as f32 / self.side as f32 - 1.0;
        (at(i % self.side), at(i / self.side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_through_a_pixel_covers_half_of_it() {
        let mut canvas = Canvas::new(4, [0.0; 3]);
        canvas.fill([1.0; 3], |(x, _)| x - 0.25); // pixel 2 runs from 0 to 0.5
        let row: Vec<f32> = canvas.pixels[..4].iter().map(|pixel| pixel[0]).collect();
        assert_eq!(row, [1.0, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn blur_keeps_an_even_picture() {
        let mut canvas = Canvas::new(5, [0.25, 0.5, 0.75]);
        canvas.blur(0.7);
        assert!(canvas.pixels.iter().all(|&pixel| pixel == [0.25, 0.5, 0.75]));
    }

    #[test]
    fn bytes_round_and_saturate() {
        let canvas = Canvas::new(1, [-0.5, 0.5, 1.5]);
        let mut image = [1; 3];
        canvas.emit(&mut image, || 0.0);
        assert_eq!(image, [0, 128, 255]);
    }
}
