//! Geometry: however an image is moved, turned, stretched and bent, it is sampled once.
//!
//! Every transformation says where in the source an output pixel comes from. Coordinates count pixels from the centre of
//! the top left one, `x` to the right and `y` down.

use super::bend::{Elastic, Grid};

/// `(x, y)` becomes `(xx * x + xy * y + x0, yx * x + yy * y + y0)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub xx: f32,
    pub xy: f32,
    pub x0: f32,
    pub yx: f32,
    pub yy: f32,
    pub y0: f32,
}

impl Affine {
    pub const IDENTITY: Self = Self::scale_and_move([1.0, 1.0], [0.0, 0.0]);

    /// Factors and then offsets along `x` and `y`.
    pub const fn scale_and_move(scale: [f32; 2], by: [f32; 2]) -> Self {
        Self { xx: scale[0], xy: 0.0, x0: by[0], yx: 0.0, yy: scale[1], y0: by[1] }
    }

    /// The source of a picture that is turned by `radians`, clockwise, and enlarged by `zoom` about the centre of
    /// `height` rows and `width` columns.
    pub fn turn(radians: f32, zoom: f32, height: usize, width: usize) -> Self {
        let (sin, cos) = (radians.sin() / zoom, radians.cos() / zoom);
        let (cx, cy) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
        Self { xx: cos, xy: sin, x0: cx - cos * cx - sin * cy, yx: -sin, yy: cos, y0: cy + sin * cx - cos * cy }
    }

    /// The source of a picture of `size` pixels along an axis that shows `part` of it from `from`, both in parts of 1;
    /// factor and offset of that axis.
    pub fn crop_axis(from: f32, part: f32, size: usize) -> (f32, f32) {
        // Output pixel i covers i..i+1 of `size`, that is from + part * (i..i+1) / size of the whole.
        (part, from * size as f32 + 0.5 * part - 0.5)
    }

    /// This one first, then `next`.
    pub fn then(self, next: Self) -> Self {
        let x = |xx: f32, xy: f32, x0: f32| {
            [xx * self.xx + xy * self.yx, xx * self.xy + xy * self.yy, xx * self.x0 + xy * self.y0 + x0]
        };
        let ([xx, xy, x0], [yx, yy, y0]) = (x(next.xx, next.xy, next.x0), x(next.yx, next.yy, next.y0));
        Self { xx, xy, x0, yx, yy, y0 }
    }

    pub fn apply(self, x: f32, y: f32) -> [f32; 2] {
        [self.xx * x + self.xy * y + self.x0, self.yx * x + self.yy * y + self.y0]
    }
}

/// Where an image's pixels come from: an output pixel is first displaced by grid and elastic, then mapped by `affine`.
#[derive(Clone, Debug, PartialEq)]
pub struct Warp {
    pub affine: Affine,
    pub grid: Option<Grid>,
    pub elastic: Option<Elastic>,
}

impl Warp {
    fn source(&self, x: usize, y: usize, width: usize) -> [f32; 2] {
        let [mut at_x, mut at_y] = [x as f32, y as f32];
        if let Some(grid) = &self.grid {
            (at_x, at_y) = (grid.columns[x], grid.rows[y]);
        }
        if let Some(elastic) = &self.elastic {
            at_x += elastic.dx[y * width + x];
            at_y += elastic.dy[y * width + x];
        }
        self.affine.apply(at_x, at_y)
    }

    /// Samples `image`, `(h, width, 3)` bytes, into `out`, `(3, h, width)` in `[0, 1]`: bilinear between pixels,
    /// reflected at the border.
    pub fn sample(&self, image: &[u8], width: usize, out: &mut [f32]) {
        let height = image.len() / 3 / width;
        let plane = height * width;
        for y in 0..height {
            for x in 0..width {
                let [from_x, from_y] = self.source(x, y, width);
                let (left, right, share_x) = neighbours(from_x, width);
                let (upper, lower, share_y) = neighbours(from_y, height);
                let pixel = |row: usize, column: usize| &image[3 * (row * width + column)..][..3];
                let corners = [pixel(upper, left), pixel(upper, right), pixel(lower, left), pixel(lower, right)];
                for c in 0..3 {
                    let [a, b, d, e] = corners.map(|corner| f32::from(corner[c]));
                    let (above, below) = (a + share_x * (b - a), d + share_x * (e - d));
                    out[c * plane + y * width + x] = (above + share_y * (below - above)) / 255.0;
                }
            }
        }
    }
}

/// The pixels before and after `at` along an axis of `size`, and how much the second one counts. Outside, the axis is
/// mirrored at its first and last pixel, which are not repeated.
fn neighbours(at: f32, size: usize) -> (usize, usize, f32) {
    let last = (size - 1) as f32;
    let inside = if (0.0..=last).contains(&at) {
        at
    } else if size == 1 {
        0.0
    } else {
        let folded = at.rem_euclid(2.0 * last);
        folded.min(2.0 * last - folded).max(0.0)
    };
    let before = inside as usize;
    (before, (before + 1).min(size - 1), inside - before as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize) -> Vec<u8> {
        (0..height * width * 3).map(|i| (i * 53 % 256) as u8).collect()
    }

    fn sampled(affine: Affine, image: &[u8], width: usize) -> Vec<f32> {
        let mut out = vec![0.0; image.len()];
        Warp { affine, grid: None, elastic: None }.sample(image, width, &mut out);
        out
    }

    /// Pixel `(y, x)` of channel 1.
    fn green(out: &[f32], width: usize, y: usize, x: usize) -> f32 {
        out[out.len() / 3 + y * width + x]
    }

    #[test]
    fn quarter_turns_move_whole_pixels() {
        let (side, image) = (5, image(5, 5));
        let plain = sampled(Affine::IDENTITY, &image, side);
        let turned = sampled(Affine::turn(std::f32::consts::FRAC_PI_2, 1.0, side, side), &image, side);
        for y in 0..side {
            for x in 0..side {
                // Clockwise: what was on the left is at the top.
                let (old, new) = (green(&plain, side, side - 1 - x, y), green(&turned, side, y, x));
                assert!((old - new).abs() < 1e-5, "({y}, {x}): {old} became {new}");
            }
        }
    }

    #[test]
    fn zooming_in_spreads_the_middle() {
        // A ramp stays a ramp: zoomed by two about the centre, it rises half as fast.
        let ramp: Vec<u8> = (0..9u8).flat_map(|x| [0, 20 * x, 0]).collect();
        let zoomed = sampled(Affine::turn(0.0, 2.0, 1, 9), &ramp, 9);
        for x in 0..9 {
            let expected = (80.0 + 10.0 * (x as f32 - 4.0)) / 255.0;
            assert!((green(&zoomed, 9, 0, x) - expected).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn a_crop_shows_its_part_edge_to_edge() {
        // Pixels 2 and 3 of 8, each four times as wide: their edges are where they should be.
        let (scale, from) = Affine::crop_axis(0.25, 0.25, 8);
        let edges = [-0.5f32, 7.5].map(|edge| scale * edge + from);
        assert_eq!(edges, [1.5, 3.5]);
    }

    #[test]
    fn composition_is_one_after_the_other() {
        let (a, b) = (Affine::turn(0.3, 1.2, 7, 9), Affine::scale_and_move([-1.0, 0.5], [3.0, 2.0]));
        let [x, y] = a.apply(2.0, 5.0);
        let (expected, both) = (b.apply(x, y), a.then(b).apply(2.0, 5.0));
        assert!(expected.iter().zip(both).all(|(e, b)| (e - b).abs() < 1e-5), "{expected:?} and {both:?}");
    }

    #[test]
    fn the_border_is_a_mirror_however_far_away() {
        // 0 1 2 3 2 1 0 1 2 3 ...
        let place = |at| {
            let (before, after, share) = neighbours(at, 4);
            before as f32 + share * (after as f32 - before as f32)
        };
        for (at, expected) in [(0.0, 0.0), (2.75, 2.75), (3.0, 3.0), (3.5, 2.5), (-1.25, 1.25), (-4.0, 2.0), (6.0, 0.0)]
        {
            assert_eq!(place(at), expected, "{at}");
        }
        assert_eq!(place(602.0), 2.0);
        assert_eq!(neighbours(-7.3, 1), (0, 0, 0.0));
    }
}
