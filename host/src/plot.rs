//! Pictures of figures: charts as SVG or PNG files, for browsers, READMEs and editors, in dark and in light.
//!
//! A chart ([`lines`], [`bars`], [`heatmap`], [`scatter`], [`memory`], [`parallel`]) becomes a [`Drawing`], a list of marks whose colours are
//! named by what they are for; `render` turns it into a file. An SVG file has the colours of both themes, and shows those
//! that its viewer prefers; a PNG file has the light ones.
//!
//! Nothing that a chart is made of makes it fail: what is no number leaves a gap, and texts are cut to the room that they have.

mod axes;
pub mod bars;
pub mod heatmap;
mod ink;
pub mod lines;
pub mod memory;
pub mod parallel;
mod render;
pub mod scatter;
mod text;

pub use axes::{Axis, Unit};
pub use ink::Ink;
pub use text::Anchor;

use std::path::Path;

use anyhow::Result;

use crate::files;
use text::{LINE, SMALL, TITLE};

/// Space around a drawing and between its parts, in pixels.
const GAP: f64 = 12.0;

/// Something that is drawn. Lengths are in pixels, `y` grows downwards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mark {
    /// A filled rectangle.
    Rect { x: f64, y: f64, w: f64, h: f64, ink: Ink },
    /// A line through all points.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64 },
    /// A filled circle.
    Dot { x: f64, y: f64, radius: f64, ink: Ink },
    /// Text, whose middle line is at `y`; read from below to above where it is `up`.
    Text { x: f64, y: f64, text: String, ink: Ink, size: f64, anchor: Anchor, bold: bool, up: bool },
}

/// A picture as a list of marks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    title: String,
    width: f64,
    height: f64,
    marks: Vec<Mark>,
}

impl Drawing {
    /// An empty drawing of this width, in pixels, below a title.
    fn new(title: &str, width: f64) -> Self {
        let mut drawing = Self { title: title.to_owned(), width, height: GAP, marks: Vec::new() };
        if !title.is_empty() {
            let title = text::fitting(title, TITLE, width - 2.0 * GAP);
            drawing.text((GAP, GAP + TITLE / 2.0), &title, Ink::Text, TITLE, Anchor::Start);
            if let Some(Mark::Text { bold, .. }) = drawing.marks.last_mut() {
                *bold = true;
            }
            drawing.height += TITLE + GAP;
        }
        drawing
    }

    /// What it shows, in a few words.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (f64, f64) {
        (self.width, self.height)
    }

    fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), ink: Ink) {
        self.marks.push(Mark::Rect { x, y, w, h, ink });
    }

    fn line(&mut self, points: &[(f64, f64)], ink: Ink, width: f64) {
        self.marks.push(Mark::Line { points: points.to_vec(), ink, width });
    }

    /// A line of dashes.
    fn dashes(&mut self, points: &[(f64, f64)], ink: Ink, width: f64) {
        const DASH: f64 = 5.0;
        let mut at = 0.0;
        for pair in points.windows(2) {
            let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
            let length = (to_x - x).hypot(to_y - y);
            let point = |s: f64| (x + (to_x - x) * s / length, y + (to_y - y) * s / length);
            let mut from = 0.0;
            while from < length {
                let phase = at % (2.0 * DASH);
                let is_drawn = phase < DASH;
                let to = (from + if is_drawn { DASH - phase } else { 2.0 * DASH - phase }.max(0.1)).min(length);
                if is_drawn {
                    self.line(&[point(from), point(to)], ink, width);
                }
                at += to - from;
                from = to;
            }
        }
    }

    fn dot(&mut self, (x, y): (f64, f64), radius: f64, ink: Ink) {
        self.marks.push(Mark::Dot { x, y, radius, ink });
    }

    fn text(&mut self, (x, y): (f64, f64), text: &str, ink: Ink, size: f64, anchor: Anchor) {
        let text = text::shown(text);
        self.marks.push(Mark::Text { x, y, text, ink, size, anchor, bold: false, up: false });
    }

    /// Text that is read from below to above.
    fn text_up(&mut self, at: (f64, f64), text: &str, ink: Ink, size: f64, anchor: Anchor) {
        self.text(at, text, ink, size, anchor);
        if let Some(Mark::Text { up, .. }) = self.marks.last_mut() {
            *up = true;
        }
    }

    /// A row of coloured names, in as many lines as they take, below what is there.
    fn legend(&mut self, names: &[(&str, Ink)]) {
        let (swatch, gap) = (16.0, 14.0);
        let mut x = GAP;
        for (name, ink) in names {
            let name = text::fitting(name, SMALL, self.width - 2.0 * GAP - swatch);
            let wide = swatch + text::width(&name, SMALL) + gap;
            if x > GAP && x + wide > self.width {
                (x, self.height) = (GAP, self.height + LINE);
            }
            let y = self.height + LINE / 2.0;
            self.rect((x, y - 4.0), (10.0, 8.0), *ink);
            self.text((x + swatch, y), &name, Ink::Muted, SMALL, Anchor::Start);
            x += wide;
        }
        self.height += LINE + GAP / 2.0;
    }

    /// A line of small text below what is there.
    fn note(&mut self, text: &str) {
        let text = text::fitting(text, SMALL, self.width - 2.0 * GAP);
        self.text((GAP, self.height + LINE / 2.0), &text, Ink::Muted, SMALL, Anchor::Start);
        self.height += LINE + GAP / 2.0;
    }

    /// Adds the marks of `other` with its upper left corner at `(x, y)`.
    fn paste(&mut self, other: Self, (dx, dy): (f64, f64)) {
        let moved = |mark| match mark {
            Mark::Rect { x, y, w, h, ink } => Mark::Rect { x: x + dx, y: y + dy, w, h, ink },
            Mark::Line { points, ink, width } => {
                Mark::Line { points: points.into_iter().map(|(x, y)| (x + dx, y + dy)).collect(), ink, width }
            }
            Mark::Dot { x, y, radius, ink } => Mark::Dot { x: x + dx, y: y + dy, radius, ink },
            Mark::Text { x, y, text, ink, size, anchor, bold, up } => {
                Mark::Text { x: x + dx, y: y + dy, text, ink, size, anchor, bold, up }
            }
        };
        self.marks.extend(other.marks.into_iter().map(moved));
    }

    /// Several drawings below each other, under one title.
    pub fn stacked(title: &str, parts: Vec<Self>) -> Self {
        let width = parts.iter().map(|part| part.width).fold(2.0 * GAP, f64::max);
        let mut all = Self::new(title, width);
        for part in parts {
            let (at, height) = ((0.0, all.height), part.height);
            all.paste(part, at);
            all.height += height;
        }
        all
    }

    /// The SVG file.
    ///
    /// # Errors
    /// None that is to be expected: it is written to memory.
    pub fn to_svg(&self) -> Result<String> {
        render::svg(self)
    }

    /// The PNG file, in light colours, with two pixels for one.
    ///
    /// # Errors
    /// As for [`Drawing::to_svg`].
    pub fn to_png(&self) -> Result<Vec<u8>> {
        render::png(self)
    }

    /// Writes it to `path`: as PNG where that ends so, else as SVG.
    ///
    /// # Errors
    /// The file cannot be written; what was there stays.
    pub fn write(&self, path: &Path) -> Result<()> {
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if is_png { files::write(path, &self.to_png()?) } else { files::write(path, self.to_svg()?.as_bytes()) }
    }
}

/// What a chart says that has nothing to show.
const NOTHING: &str = "nothing to show";

#[cfg(test)]
mod tests;
