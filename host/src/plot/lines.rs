//! Line charts: values over a common axis.

use super::axes::{Axis, Plane, Scale};
use super::text::{Anchor, LABEL};
use super::{Drawing, Ink, NOTHING};

/// With more points than this, a line shows none of them.
const DOTS: usize = 30;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// A line.
    #[default]
    Solid,
    /// A dashed line without points, which others are compared with.
    Reference,
    /// Points alone.
    Dots,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points; one that is no number interrupts it.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// A line chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// What it shows.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

impl Lines {
    /// The chart, `width` pixels wide, with a plane of `height` pixels.
    pub fn drawing(&self, width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing::new(&self.title, width);
        let names: Vec<(&str, Ink)> =
            self.series.iter().enumerate().map(|(i, series)| (series.name.as_str(), ink(i, series))).collect();
        if names.len() > 1 {
            drawing.legend(&names);
        }
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::new(&self.x, points().map(|point| point.0), 8);
        let y = Scale::new(&self.y, points().map(|point| point.1), 5);
        let plane = Plane::draw(&mut drawing, (&self.x, x), (&self.y, y), height);
        if !points().any(|(x, y)| x.is_finite() && y.is_finite()) {
            let [left, top, right, bottom] = plane.sides();
            let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
            drawing.text(middle, NOTHING, Ink::Muted, LABEL, Anchor::Middle);
        }
        for (i, series) in self.series.iter().enumerate() {
            draw(&mut drawing, &plane, series, ink(i, series));
        }
        drawing
    }
}

fn ink(number: usize, series: &Series) -> Ink {
    if series.stroke == Stroke::Reference { Ink::Muted } else { Ink::series(number) }
}

fn draw(drawing: &mut Drawing, plane: &Plane, series: &Series, ink: Ink) {
    let is_number = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
    for part in series.points.split(|point| !is_number(point)).filter(|part| !part.is_empty()) {
        let at: Vec<(f64, f64)> = part.iter().map(|&(x, y)| plane.at(x, y)).collect();
        match series.stroke {
            Stroke::Reference => drawing.dashes(&at, ink, 1.25),
            Stroke::Solid => drawing.line(&at, ink, 2.0),
            Stroke::Dots => {}
        }
        let has_dots = series.points.len() <= DOTS || at.len() == 1 || series.stroke == Stroke::Dots;
        if has_dots && series.stroke != Stroke::Reference {
            at.into_iter().for_each(|point| drawing.dot(point, 3.0, ink));
        }
    }
}
