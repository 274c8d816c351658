//! Axes: ranges, the round numbers on them, and how those are written.

use super::text::{self, Anchor, LABEL, LINE, SMALL};
use super::{Drawing, GAP, Ink};

/// Values beyond this are drawn at the edge.
const LARGEST: f64 = 1e30;

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// As they are.
    #[default]
    Number,
    /// Whole numbers.
    Whole,
    /// Parts of 1 as percentages.
    Percent,
    /// Bytes.
    Bytes,
    /// Large counts.
    Count,
}

impl Unit {
    /// `value` with as many decimals as tell it from one that is `step` away.
    pub fn show(self, value: f64, step: f64) -> String {
        let (factor, suffix) = match self {
            Self::Number | Self::Whole => (1.0, ""),
            Self::Percent => (100.0, " %"),
            Self::Bytes => [(1e-9, " GB"), (1e-6, " MB"), (1e-3, " kB")]
                .into_iter()
                .find(|(factor, _)| value.abs() * factor >= 1.0)
                .unwrap_or((1.0, " B")),
            Self::Count => [(1e-9, " G"), (1e-6, " M"), (1e-3, " k")]
                .into_iter()
                .find(|(factor, _)| value.abs() * factor >= 1.0)
                .unwrap_or((1.0, "")),
        };
        let (value, step) = (value * factor, (step * factor).abs());
        if value != 0.0 && (value.abs() >= 1e6 || step < 1e-5) {
            return format!("{value:.1e}{suffix}");
        }
        let decimals = if step > 0.0 { (-(step * 1.001).log10().floor()).clamp(0.0, 6.0) as usize } else { 0 };
        // No minus before a zero.
        format!("{:.decimals$}{suffix}", if value == 0.0 { 0.0 } else { value })
    }

    /// `value` in three digits or so.
    pub fn short(self, value: f64) -> String {
        if !value.is_finite() {
            return "-".to_owned();
        }
        let step = if value == 0.0 { 1.0 } else { 10f64.powf(value.abs().log10().floor() - 2.0) };
        self.show(value, if self == Self::Percent { step.max(0.001) } else { step })
    }
}

/// One direction of a plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What is counted, with its unit where the values have none.
    pub label: String,
    /// How values are written.
    pub unit: Unit,
    /// Where it begins, at the latest; the smallest value where this is nothing.
    pub from: Option<f64>,
    /// Where it ends, at the earliest.
    pub to: Option<f64>,
}

impl Axis {
    /// An axis that ends where its values do.
    pub fn new(label: &str, unit: Unit) -> Self {
        Self { label: label.to_owned(), unit, from: None, to: None }
    }

    /// The same, beginning at 0.
    pub fn from_zero(self) -> Self {
        Self { from: Some(0.0), ..self }
    }
}

/// A range with the round numbers in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
    pub step: f64,
}

impl Scale {
    /// The range of `axis` for `values`, with about `count` round numbers.
    pub fn new(axis: &Axis, values: impl Iterator<Item = f64>, count: usize) -> Self {
        let values = values.filter(|value| value.is_finite()).chain(axis.from).chain(axis.to);
        let (mut low, mut high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            let value = value.clamp(-LARGEST, LARGEST);
            (low.min(value), high.max(value))
        });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // One value alone is in the middle.
        let least = 1e-9 * low.abs().max(high.abs()).max(1e-9);
        if high - low < least {
            let room = if low == 0.0 { 1.0 } else { 0.5 * low.abs() };
            (low, high) = (if axis.from.is_some() { low } else { low - room }, high + room);
        }
        let step = round_step((high - low) / count.max(1) as f64);
        let step = if axis.unit == Unit::Whole { step.max(1.0) } else { step };
        let whole = |value: f64| (value / step).round() * step;
        let first = if axis.from == Some(low) { low } else { (low / step - 1e-6).floor() * step };
        let last = if axis.to == Some(high) { high } else { (high / step - 1e-6).ceil() * step };
        let numbers = (((last - first) / step) + 1e-6).floor() as usize;
        let ticks = (0..=numbers.min(200)).map(|i| whole((first / step).ceil() * step + i as f64 * step));
        let ticks = ticks.filter(|tick| *tick >= first - 1e-6 * step && *tick <= last + 1e-6 * step).collect();
        Self { low: first, high: last, ticks, step }
    }

    /// Where `value` is, as a part of 1.
    pub fn part(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2 and 5 with any power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|round| *round >= step * 0.999).unwrap_or(step)
}

/// Two axes and the rectangle between them.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub x: Scale,
    pub y: Scale,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Plane {
    /// Draws axes below what `drawing` has, with a rectangle of `height` pixels between them.
    pub fn draw(drawing: &mut Drawing, (x_axis, x): (&Axis, Scale), (y_axis, y): (&Axis, Scale), height: f64) -> Self {
        let labels: Vec<String> = y.ticks.iter().map(|tick| y_axis.unit.show(*tick, y.step)).collect();
        let widest = labels.iter().map(|label| text::width(label, SMALL)).fold(0.0, f64::max);
        let left = GAP + LINE + widest + 6.0;
        let (top, width) = (drawing.height + 4.0, drawing.width - left - 2.0 * GAP);
        let plane = Self { x, y, left, top, width, height };
        for (tick, label) in plane.y.ticks.iter().zip(&labels) {
            let at = plane.at(plane.x.low, *tick).1;
            drawing.line(&[(left, at), (left + width, at)], Ink::Grid, 1.0);
            drawing.text((left - 6.0, at), label, Ink::Muted, SMALL, Anchor::End);
        }
        let bottom = top + height;
        for tick in &plane.x.ticks {
            let at = plane.at(*tick, plane.y.low).0;
            drawing.line(&[(at, bottom), (at, bottom + 4.0)], Ink::Muted, 1.0);
            let label = x_axis.unit.show(*tick, plane.x.step);
            drawing.text((at, bottom + 4.0 + LINE / 2.0), &label, Ink::Muted, SMALL, Anchor::Middle);
        }
        drawing.line(&[(left, bottom), (left + width, bottom)], Ink::Muted, 1.0);
        let name = text::fitting(&y_axis.label, LABEL, height);
        drawing.text_up((GAP + LINE / 2.0 - 4.0, top + height / 2.0), &name, Ink::Muted, LABEL, Anchor::Middle);
        let name = text::fitting(&x_axis.label, LABEL, width);
        drawing.text((left + width / 2.0, bottom + 1.6 * LINE + 4.0), &name, Ink::Muted, LABEL, Anchor::Middle);
        drawing.height = bottom + 2.2 * LINE + GAP / 2.0;
        plane
    }

    /// The pixel of a value.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.left + self.width * self.x.part(x), self.top + self.height * (1.0 - self.y.part(y)))
    }

    /// Its left, top, right and bottom side.
    pub fn sides(&self) -> [f64; 4] {
        [self.left, self.top, self.left + self.width, self.top + self.height]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64]) -> Scale {
        Scale::new(&Axis::default(), values.iter().copied(), 5)
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        assert_eq!(scale(&[0.13, 0.97]).ticks, [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(scale(&[1.0, 50.0]).ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        let fixed = Axis { from: Some(1.0), to: Some(50.0), ..Axis::default() };
        let scale = Scale::new(&fixed, std::iter::empty(), 5);
        assert_eq!((scale.low, scale.high, scale.ticks), (1.0, 50.0, vec![10.0, 20.0, 30.0, 40.0, 50.0]));
    }

    #[test]
    fn any_values_make_a_range() {
        let values =
            [0.0, -0.0, 1.0, -3.5, 1e-300, 1e300, f64::MIN, f64::MAX, f64::NAN, f64::INFINITY, 1e-12, 12345.678];
        let mut lists = vec![vec![]];
        for a in values {
            lists.push(vec![a]);
            lists.extend(values.map(|b| vec![a, b]));
        }
        for from in [None, Some(0.0)] {
            for list in &lists {
                let axis = Axis { from, ..Axis::default() };
                let scale = Scale::new(&axis, list.iter().copied(), 5);
                assert!(scale.low < scale.high && scale.ticks.len() < 30, "{list:?}: {scale:?}");
                for value in list.iter().filter(|value| value.is_finite()) {
                    assert!((0.0..=1.0).contains(&scale.part(*value)), "{list:?}: {scale:?}");
                }
            }
        }
    }

    #[test]
    fn values_are_written_with_what_tells_them_apart() {
        for (unit, value, step, text) in [
            (Unit::Number, 0.25, 0.05, "0.25"),
            (Unit::Number, 3.0, 1.0, "3"),
            (Unit::Number, 0.0002, 0.0001, "0.0002"),
            (Unit::Number, 2e-7, 1e-7, "2.0e-7"),
            (Unit::Number, -0.0, 1.0, "0"),
            (Unit::Percent, 0.875, 0.005, "87.5 %"),
            (Unit::Percent, 0.8, 0.1, "80 %"),
            (Unit::Bytes, 616_656.0, 1e5, "617 kB"),
            (Unit::Bytes, 0.0, 1e5, "0 B"),
            (Unit::Count, 23_100_000.0, 1e6, "23 M"),
        ] {
            assert_eq!(unit.show(value, step), text);
        }
        assert_eq!(Unit::Count.short(23_118_569.0), "23.1 M");
        assert_eq!(Unit::Percent.short(0.88978), "89.0 %");
        assert_eq!(Unit::Number.short(f64::NAN), "-");
    }
}
