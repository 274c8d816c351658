//! Horizontal bars: one row for each thing that has a name.

use super::axes::{Axis, Scale};
use super::text::{self, Anchor, LABEL, LINE, SMALL};
use super::{Drawing, GAP, Ink, NOTHING};

/// Most room for a name, in pixels.
const NAME: f64 = 200.0;
/// Rows above which they are drawn narrow.
const MANY: usize = 40;

/// A chart of bars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// What the bars measure.
    pub axis: Axis,
    /// Names of the bars of a row, for the legend; one where rows have one.
    pub series: Vec<String>,
    /// Each row: its name, and a value for each series; nothing where there is none to show.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Bars {
    /// The chart, `width` pixels wide; its height follows from the number of rows.
    pub fn drawing(&self, width: f64) -> Drawing {
        let mut drawing = Drawing::new(&self.title, width);
        if self.series.len() > 1 {
            let names = self.series.iter().enumerate().map(|(i, name)| (name.as_str(), Ink::series(i)));
            drawing.legend(&names.collect::<Vec<_>>());
        }
        if self.rows.is_empty() {
            drawing.note(NOTHING);
            return drawing;
        }
        let values = self.rows.iter().flat_map(|(_, values)| values.iter().copied().flatten());
        let scale = Scale::new(&self.axis.clone().from_zero(), values, 5);
        let bar = if self.rows.len() > MANY { 5.0 } else { 10.0 };
        let row = (bar * self.series.len().max(1) as f64 + 6.0).max(SMALL + 2.0);
        let names = self.rows.iter().map(|(name, _)| text::width(&text::shown(name), SMALL)).fold(0.0, f64::max);
        let left = GAP + names.min(NAME).min(0.4 * width) + 9.0;
        // Behind a bar stands its value.
        let right = width - GAP - 56.0;
        let (top, bottom) = (drawing.height, drawing.height + row * self.rows.len() as f64);
        for tick in &scale.ticks {
            let x = left + (right - left) * scale.part(*tick);
            drawing.line(&[(x, top), (x, bottom)], Ink::Grid, 1.0);
            let label = self.axis.unit.show(*tick, scale.step);
            drawing.text((x, bottom + LINE / 2.0), &label, Ink::Muted, SMALL, Anchor::Middle);
        }
        for (i, (name, values)) in self.rows.iter().enumerate() {
            let y = top + row * i as f64;
            let name = text::fitting(name, SMALL, left - GAP - 8.0);
            drawing.text((left - 6.0, y + row / 2.0), &name, Ink::Text, SMALL, Anchor::End);
            self.draw_row(&mut drawing, &scale, (left, right), (y + 3.0, bar), values);
        }
        let middle = ((left + right) / 2.0, bottom + 1.6 * LINE);
        drawing.text(middle, &self.axis.label, Ink::Muted, LABEL, Anchor::Middle);
        drawing.height = bottom + 2.2 * LINE + GAP / 2.0;
        drawing
    }

    fn draw_row(
        &self,
        drawing: &mut Drawing,
        scale: &Scale,
        (left, right): (f64, f64),
        (top, bar): (f64, f64),
        values: &[Option<f64>],
    ) {
        let zero = left + (right - left) * scale.part(0.0);
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let (y, end) = (top + bar * i as f64, left + (right - left) * scale.part(value));
            drawing.rect((zero.min(end), y), ((end - zero).abs().max(0.5), bar - 1.0), Ink::series(i));
            if bar >= 10.0 {
                let at = (end.max(zero) + 4.0, y + bar / 2.0 - 0.5);
                drawing.text(at, &self.axis.unit.short(value), Ink::Muted, 0.85 * SMALL, Anchor::Start);
            }
        }
    }
}
