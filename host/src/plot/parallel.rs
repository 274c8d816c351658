//! Parallel coordinates: a line for each thing, which crosses an axis for each of its values.

use super::text::{self, Anchor, LABEL, LINE, SMALL};
use super::{Drawing, GAP, Ink, NOTHING};

/// The faintest line, as a part of the strongest.
const FAINT: f64 = 0.2;
/// Most labels of an axis.
const LABELS: usize = 12;

/// An axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upright {
    /// What it counts.
    pub name: String,
    /// Texts beside it, each at a part of 1 from its lower end.
    pub labels: Vec<(f64, String)>,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thread {
    /// Where it crosses each axis, as a part of 1; one that is no number interrupts it.
    pub parts: Vec<f64>,
    /// How strongly it is drawn, from 0 to 1.
    pub strength: f64,
    /// Whether it is drawn above all others, in a colour of its own.
    pub stands_out: bool,
}

/// The chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parallel {
    /// What it shows.
    pub title: String,
    /// The axes, from left to right.
    pub axes: Vec<Upright>,
    /// The lines.
    pub threads: Vec<Thread>,
}

impl Parallel {
    /// The chart, `width` pixels wide, with axes of `height` pixels.
    pub fn drawing(&self, width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing::new(&self.title, width);
        if self.axes.is_empty() {
            drawing.note(NOTHING);
            return drawing;
        }
        // Names of neighbours stand in two lines, so that each has twice the room.
        let (top, step) = (drawing.height + 2.0 * LINE + 6.0, (width - 2.0 * GAP) / self.axes.len() as f64);
        let x = |axis: usize| GAP + step * (axis as f64 + 0.25);
        let y = |part: f64| top + height * (1.0 - part.clamp(0.0, 1.0));
        for (i, axis) in self.axes.iter().enumerate() {
            let name = text::fitting(&axis.name, LABEL, 1.9 * step);
            let line = drawing.height + LINE * (0.5 + (i % 2) as f64);
            let (wide, most) = (text::width(&name, LABEL), width - GAP);
            let left = (x(i) - 0.25 * step).min(most - wide).max(GAP);
            drawing.text((left, line), &name, Ink::Muted, LABEL, Anchor::Start);
            drawing.line(&[(x(i), top), (x(i), top + height)], Ink::Muted, 1.0);
        }
        let (best, others): (Vec<&Thread>, Vec<&Thread>) = self.threads.iter().partition(|thread| thread.stands_out);
        for thread in others.into_iter().chain(best) {
            let ink = match thread.stands_out {
                true => Ink::series(1),
                false => Ink::good(FAINT + (1.0 - FAINT) * thread.strength.clamp(0.0, 1.0)),
            };
            let points: Vec<(f64, f64)> =
                thread.parts.iter().take(self.axes.len()).enumerate().map(|(i, part)| (x(i), y(*part))).collect();
            for part in points.split(|point| !point.1.is_finite()).filter(|part| part.len() > 1) {
                drawing.line(part, ink, if thread.stands_out { 2.5 } else { 1.25 });
            }
        }
        for (i, axis) in self.axes.iter().enumerate() {
            for (part, label) in axis.labels.iter().take(LABELS).filter(|(part, _)| part.is_finite()) {
                let label = text::fitting(label, SMALL, 0.75 * step - 6.0);
                drawing.text((x(i) + 5.0, y(*part)), &label, Ink::Text, SMALL, Anchor::Start);
            }
        }
        drawing.height = top + height + LINE;
        drawing
    }
}
