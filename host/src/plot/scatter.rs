//! Points with names in a plane, and which of them none other beats.

use super::axes::{Axis, Plane, Scale};
use super::text::{self, Anchor, LABEL, SMALL};
use super::{Drawing, GAP, Ink, NOTHING};

/// Radius of a point, in pixels.
const RADIUS: f64 = 4.5;

/// A point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// What it is.
    pub name: String,
    /// What it costs: less is better.
    pub x: f64,
    /// What it gives: more is better.
    pub y: f64,
}

/// A chart of points, through those of which a line goes that no other one beats in both directions (Pareto's front).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scatter {
    /// What it shows.
    pub title: String,
    /// What the points cost.
    pub x: Axis,
    /// What they give.
    pub y: Axis,
    /// The points.
    pub points: Vec<Point>,
}

/// Which of the points no other one beats: none costs no more and gives no less, and is better in one of them.
pub fn front(points: &[Point]) -> Vec<bool> {
    let beats = |a: &Point, b: &Point| a.x <= b.x && a.y >= b.y && (a.x < b.x || a.y > b.y);
    let is_number = |p: &Point| p.x.is_finite() && p.y.is_finite();
    points.iter().map(|b| is_number(b) && !points.iter().any(|a| is_number(a) && beats(a, b))).collect()
}

impl Scatter {
    /// The chart, `width` pixels wide, with a plane of `height` pixels.
    pub fn drawing(&self, width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing::new(&self.title, width);
        let on_front = front(&self.points);
        let finite = || self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite());
        let x = Scale::new(&self.x, finite().map(|p| p.x), 6);
        let y = Scale::new(&self.y, finite().map(|p| p.y), 5);
        let plane = Plane::draw(&mut drawing, (&self.x, x), (&self.y, y), height);
        let [left, top, right, bottom] = plane.sides();
        if finite().next().is_none() {
            drawing.text(((left + right) / 2.0, (top + bottom) / 2.0), NOTHING, Ink::Muted, LABEL, Anchor::Middle);
            return drawing;
        }
        draw_front(&mut drawing, &plane, &self.points, &on_front);
        let mut taken = Vec::new();
        for point in finite() {
            let (x, y) = plane.at(point.x, point.y);
            taken.push([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS]);
        }
        for (point, best) in self.points.iter().zip(&on_front).filter(|(p, _)| p.x.is_finite() && p.y.is_finite()) {
            let at = plane.at(point.x, point.y);
            drawing.dot(at, RADIUS, if *best { Ink::series(0) } else { Ink::Muted });
            let name = text::fitting(&point.name, SMALL, 0.45 * (right - left));
            if let Some((at, place)) = place(at, text::width(&name, SMALL), [left, top, right, bottom], &taken) {
                drawing.text(at, &name, Ink::Text, SMALL, Anchor::Start);
                taken.push(place);
            }
        }
        drawing
    }
}

/// Steps from one best point to the next: what is the most that is had for a cost.
fn draw_front(drawing: &mut Drawing, plane: &Plane, points: &[Point], on_front: &[bool]) {
    let mut best: Vec<&Point> =
        points.iter().zip(on_front).filter(|(_, best)| **best).map(|(point, _)| point).collect();
    best.sort_by(|a, b| a.x.total_cmp(&b.x));
    let mut path: Vec<(f64, f64)> = Vec::new();
    for point in best {
        let at = plane.at(point.x, point.y);
        path.extend(path.last().map(|last| (at.0, last.1)));
        path.push(at);
    }
    let right = plane.sides()[2];
    path.extend(path.last().map(|last| (right, last.1)));
    drawing.dashes(&path, Ink::series(0), 1.25);
}

/// Where a name of this width stands beside a point, and the rectangle that it takes: the first free place of eight.
fn place(
    (x, y): (f64, f64),
    width: f64,
    [left, top, right, bottom]: [f64; 4],
    taken: &[[f64; 4]],
) -> Option<((f64, f64), [f64; 4])> {
    let (away, half) = (RADIUS + 4.0, 0.6 * SMALL);
    // Rather above and below than on the line through the points.
    let rows = [-(away + half), away + half, 0.0, -2.0 * (away + half), 2.0 * (away + half)];
    let columns = [x + away, x - away - width, x - width / 2.0];
    let places = rows.into_iter().flat_map(|row| columns.map(|column| (column, y + row)));
    let rectangle = |(x, y): (f64, f64)| [x, y - half, x + width, y + half];
    let is_free = |[x0, y0, x1, y1]: [f64; 4]| {
        let apart = taken.iter().all(|[a0, b0, a1, b1]| x1 <= *a0 || x0 >= *a1 || y1 <= *b0 || y0 >= *b1);
        apart && x0 >= left && x1 <= right + GAP && y0 >= top - half && y1 <= bottom
    };
    places.map(|at| (at, rectangle(at))).find(|(_, place)| is_free(*place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let point = |x: f64, y: f64| Point { name: String::new(), x, y };
        let points = [(1.0, 0.5), (2.0, 0.4), (2.0, 0.9), (3.0, 0.9), (4.0, 0.95), (f64::NAN, 1.0), (4.0, 0.95)];
        assert_eq!(front(&points.map(|(x, y)| point(x, y))), [true, false, true, false, true, false, true]);
    }

    #[test]
    fn names_lie_apart() {
        let mut taken = vec![];
        for _ in 0..9 {
            let (_, place) = place((100.0, 100.0), 40.0, [0.0, 0.0, 200.0, 200.0], &taken).unwrap();
            taken.push(place);
        }
        assert!(place((100.0, 100.0), 400.0, [0.0, 0.0, 200.0, 200.0], &taken).is_none());
    }
}
