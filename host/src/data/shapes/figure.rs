//! The ten figures, as signed distances.
//!
//! Coordinates have x to the right and y downwards. A figure is centred on the origin and fits into the unit circle.
//! Only operations that IEEE 754 rounds exactly are used (no sine, no exponential), so that a figure has the same
//! pixels on every machine.

/// A point or a vector, `(x, y)`.
pub type Point = (f32, f32);

/// The classes, in label order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A filled circle.
    Disc,
    /// An annulus.
    Ring,
    /// A filled square.
    Square,
    /// An equilateral triangle.
    Triangle,
    /// A pentagram's outline, filled.
    Star,
    /// Two bars across each other.
    Cross,
    /// A disc with a bite taken out of it.
    Crescent,
    /// Two lobes and a tip.
    Heart,
    /// A shaft with a head.
    Arrow,
    /// The letter H.
    Aitch,
}

const TRIANGLE: [Point; 3] = [(0.0, -0.95), (0.822_724, 0.475), (-0.822_724, 0.475)];

/// Tips at a radius of 1, notches at 0.42, every 36 degrees.
const STAR: [Point; 10] = [
    (0.0, -1.0),
    (0.246_870, -0.339_787),
    (0.951_057, -0.309_017),
    (0.399_444, 0.129_787),
    (0.587_785, 0.809_017),
    (0.0, 0.42),
    (-0.587_785, 0.809_017),
    (-0.399_444, 0.129_787),
    (-0.951_057, -0.309_017),
    (-0.246_870, -0.339_787),
];

/// From the tip along the tangents to the lobes, and through the lobes' centres.
const HEART_BODY: [Point; 5] = [(0.0, 0.9), (0.768, -0.034), (0.42, -0.32), (-0.42, -0.32), (-0.768, -0.034)];

const ARROW_HEAD: [Point; 3] = [(0.0, -0.95), (0.7, -0.05), (-0.7, -0.05)];

impl Figure {
    /// Every figure, in label order.
    pub const ALL: [Self; 10] = [
        Self::Disc,
        Self::Ring,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Cross,
        Self::Crescent,
        Self::Heart,
        Self::Arrow,
        Self::Aitch,
    ];

    /// The class's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Cross => "cross",
            Self::Crescent => "crescent",
            Self::Heart => "heart",
            Self::Arrow => "arrow",
            Self::Aitch => "letter-h",
        }
    }

    /// How far `p` is outside the figure, negative inside; exact enough near the outline to blend its pixels.
    pub fn distance(self, p: Point) -> f32 {
        let (x, y) = p;
        match self {
            Self::Disc => disc(p, 0.85),
            Self::Ring => (length(p) - 0.7).abs() - 0.2,
            Self::Square => bar(p, 0.7, 0.7),
            Self::Triangle => polygon(&TRIANGLE, p),
            Self::Star => polygon(&STAR, p),
            Self::Cross => bar(p, 0.25, 0.92).min(bar(p, 0.92, 0.25)),
            Self::Crescent => disc(p, 0.9).max(-disc((x - 0.42, y), 0.72)),
            Self::Heart => disc((x.abs() - 0.42, y + 0.32), 0.45).min(polygon(&HEART_BODY, p)),
            Self::Arrow => polygon(&ARROW_HEAD, p).min(bar((x, y - 0.4), 0.22, 0.52)),
            Self::Aitch => bar((x.abs() - 0.46, y), 0.18, 0.78).min(bar(p, 0.46, 0.19)),
        }
    }
}

/// Distance of `p` to a disc about the origin.
pub fn disc(p: Point, radius: f32) -> f32 {
    length(p) - radius
}

/// Distance of `p` to the line from `a` to `b`.
pub fn segment(a: Point, b: Point, p: Point) -> f32 {
    let along = (b.0 - a.0, b.1 - a.1);
    let to = (p.0 - a.0, p.1 - a.1);
    let part = ((to.0 * along.0 + to.1 * along.1) / (along.0 * along.0 + along.1 * along.1)).clamp(0.0, 1.0);
    length((to.0 - part * along.0, to.1 - part * along.1))
}

fn length((x, y): Point) -> f32 {
    (x * x + y * y).sqrt()
}

/// Distance to a rectangle of half-widths `half_x` and `half_y` about the origin.
fn bar((x, y): Point, half_x: f32, half_y: f32) -> f32 {
    (x.abs() - half_x).max(y.abs() - half_y)
}

/// Distance to a polygon: the nearest edge decides the size, the number of edges to the right the sign.
fn polygon(corners: &[Point], p: Point) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let mut a = corners[corners.len() - 1];
    for &b in corners {
        nearest = nearest.min(segment(a, b, p));
        if (a.1 > p.1) != (b.1 > p.1) && p.0 < a.0 + (p.1 - a.1) / (b.1 - a.1) * (b.0 - a.0) {
            inside = !inside;
        }
        a = b;
    }
    if inside { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_fit_into_the_unit_circle() {
        for figure in Figure::ALL {
            for i in 0..400 {
                let p = ((i % 20) as f32 / 8.0 - 1.25, (i / 20) as f32 / 8.0 - 1.25);
                assert!(length(p) <= 1.001 || figure.distance(p) > 0.0, "{figure:?} at {p:?}");
            }
        }
    }

    #[test]
    fn known_points_are_inside_and_outside() {
        let cases = [
            (Figure::Ring, (0.0, 0.0), false), // the hole
            (Figure::Ring, (0.7, 0.0), true),
            (Figure::Square, (0.69, -0.69), true), // a corner
            (Figure::Disc, (0.69, -0.69), false),
            (Figure::Star, (0.0, -0.9), true), // a tip
            (Figure::Star, (0.0, 0.5), false), // a notch
            (Figure::Cross, (0.6, 0.6), false),
            (Figure::Crescent, (0.2, 0.0), false), // the bite
            (Figure::Crescent, (-0.6, 0.0), true),
            (Figure::Heart, (0.0, -0.7), false), // between the lobes
            (Figure::Heart, (0.0, -0.32), true),
            (Figure::Arrow, (0.0, 0.8), true),  // the shaft's end
            (Figure::Aitch, (0.0, 0.5), false), // between the legs
            (Figure::Aitch, (0.0, 0.1), true),
        ];
        for (figure, p, inside) in cases {
            assert_eq!(figure.distance(p) < 0.0, inside, "{figure:?} at {p:?}");
        }
    }
}
