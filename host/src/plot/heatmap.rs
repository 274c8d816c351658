//! Confusion matrices: which class is taken for which.

use super::text::{self, Anchor, LABEL, LINE, SMALL};
use super::{Drawing, GAP, Ink, NOTHING};

/// Most room for the name of a class, in pixels.
const NAME: f64 = 120.0;
/// Width of a matrix of many classes, in pixels.
const WIDTH: f64 = 900.0;
/// Cells that are smaller have no numbers, in pixels.
const WITH_NUMBERS: f64 = 26.0;
/// Rows that are lower share a name.
const WITH_NAMES: f64 = 10.0;

/// A square of numbers: `cells[label][prediction]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// What it shows.
    pub title: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images, or differences of them.
    pub cells: Vec<Vec<f64>>,
    /// Whether the numbers are differences: above 0 is one colour, below another.
    pub is_difference: bool,
}

impl Heatmap {
    /// The confusion matrix of `counts[label][prediction]` images.
    pub fn confusion(title: &str, classes: &[String], counts: &[Vec<usize>]) -> Self {
        let cells = counts.iter().map(|row| row.iter().map(|&images| images as f64).collect()).collect();
        Self { title: title.to_owned(), classes: classes.to_vec(), cells, is_difference: false }
    }

    /// How many more images `second` has in each cell than `first`.
    pub fn difference(title: &str, classes: &[String], first: &[Vec<usize>], second: &[Vec<usize>]) -> Self {
        let row = |(a, b): (&Vec<usize>, &Vec<usize>)| a.iter().zip(b).map(|(&a, &b)| b as f64 - a as f64).collect();
        let cells = first.iter().zip(second).map(row).collect();
        Self { title: title.to_owned(), classes: classes.to_vec(), cells, is_difference: true }
    }

    /// The chart; its size follows from the number of classes.
    pub fn drawing(&self) -> Drawing {
        let count = self.classes.len();
        if count == 0 {
            let mut empty = Drawing::new(&self.title, 300.0);
            empty.note(NOTHING);
            return empty;
        }
        let side = match count {
            0..=12 => 44.0,
            13..=24 => 32.0,
            _ => (WIDTH / count as f64).max(1.0),
        };
        let names = self.classes.iter().map(|name| text::width(&text::shown(name), SMALL)).fold(0.0, f64::max);
        // A pixel more than the longest name takes, lest rounding cuts it.
        let room = names.min(NAME) + 9.0;
        let left = GAP + LINE + room;
        let matrix = side * count as f64;
        let mut drawing = Drawing::new(&self.title, left + matrix + 2.0 * GAP);
        let top = drawing.height;
        self.draw_cells(&mut drawing, (left, top), side);
        self.draw_names(&mut drawing, (left, top), side, room);
        let below = top + matrix + room;
        let middle = (left + matrix / 2.0, below + LINE / 2.0);
        drawing.text(middle, "predicted class", Ink::Muted, LABEL, Anchor::Middle);
        drawing.text_up((GAP + 4.0, top + matrix / 2.0), "true class", Ink::Muted, LABEL, Anchor::Middle);
        drawing.height = below + LINE + GAP;
        drawing
    }

    fn draw_cells(&self, drawing: &mut Drawing, (left, top): (f64, f64), side: f64) {
        let all =
            || self.cells.iter().enumerate().flat_map(|(y, row)| row.iter().enumerate().map(move |(x, &n)| (y, x, n)));
        let largest = |cells: &mut dyn Iterator<Item = f64>| cells.filter(|n| n.is_finite()).fold(0.0, f64::max);
        let most = largest(&mut all().map(|(.., n)| n.abs()));
        let mistakes = largest(&mut self.parts().filter(|(y, x, _)| y != x).map(|(.., part)| part));
        let gap = if side >= 8.0 { 1.0 } else { 0.0 };
        for ((y, x, n), (.., part)) in all().zip(self.parts()) {
            let ink = match (self.is_difference, y == x) {
                (true, _) if n < 0.0 => Ink::bad(-n / most),
                (true, _) => Ink::good(n / most),
                (false, true) => Ink::good(part),
                // Mistakes are few: the most frequent one has the full colour.
                (false, false) => Ink::bad(0.85 * (part / mistakes).sqrt()),
            };
            let at = (left + side * x as f64, top + side * y as f64);
            if n == 0.0 && (self.is_difference || side < 8.0 || y != x) {
                continue;
            }
            drawing.rect(at, (side - gap, side - gap), ink);
            if side >= WITH_NUMBERS {
                let number = if self.is_difference { format!("{n:+}") } else { n.to_string() };
                let size = if text::width(&number, SMALL) > side - 4.0 { SMALL * 0.75 } else { SMALL };
                drawing.text((at.0 + side / 2.0, at.1 + side / 2.0), &number, ink.text_on(), size, Anchor::Middle);
            }
        }
        let (right, bottom) = (left + side * self.classes.len() as f64, top + side * self.classes.len() as f64);
        let frame = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        drawing.line(&frame, Ink::Grid, 1.0);
    }

    /// Each cell as a part of its row.
    fn parts(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        self.cells.iter().enumerate().flat_map(|(y, row)| {
            let sum: f64 = row.iter().sum();
            row.iter().enumerate().map(move |(x, &n)| (y, x, if sum > 0.0 { n / sum } else { 0.0 }))
        })
    }

    /// The classes to the left and below; where rows are low, every second, third, ...
    fn draw_names(&self, drawing: &mut Drawing, (left, top): (f64, f64), side: f64, room: f64) {
        let count = self.classes.len();
        let every = (WITH_NAMES / side).ceil().max(1.0) as usize;
        let size = SMALL.min(side.max(WITH_NAMES) - 1.0);
        let bottom = top + side * count as f64;
        for (i, name) in self.classes.iter().enumerate().step_by(every) {
            let (name, middle) = (text::fitting(name, size, room - 8.0), side * (i as f64 + 0.5));
            drawing.text((left - 5.0, top + middle), &name, Ink::Text, size, Anchor::End);
            drawing.text_up((left + middle, bottom + 5.0), &name, Ink::Text, size, Anchor::End);
        }
    }
}
