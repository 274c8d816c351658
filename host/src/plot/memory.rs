//! Buffers in memory over time: which bytes are taken while which step runs.

use super::axes::{Axis, Plane, Scale, Unit};
use super::text::{self, Anchor, LABEL, SMALL};
use super::{Drawing, Ink, NOTHING};

/// Something that takes memory for some of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// What it is.
    pub name: String,
    /// The first step that needs it.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// Its first byte.
    pub offset: usize,
    /// Its length in bytes.
    pub bytes: usize,
    /// Whether it is memory that a step only works with.
    pub is_scratch: bool,
}

/// A chart of memory over steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// What it shows.
    pub title: String,
    /// Number of steps.
    pub steps: usize,
    /// What takes memory.
    pub blocks: Vec<Block>,
    /// Bytes that there are, if that is known.
    pub room: Option<usize>,
}

impl Memory {
    /// The chart, `width` pixels wide, with a plane of `height` pixels.
    pub fn drawing(&self, width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing::new(&self.title, width);
        drawing.note("coloured: feature maps; grey: scratch memory");
        let steps = Axis { from: Some(0.0), to: Some(self.steps.max(1) as f64), ..Axis::new("step", Unit::Whole) };
        let bytes = Axis::new("arena", Unit::Bytes).from_zero();
        let ends = self.blocks.iter().map(|block| (block.offset + block.bytes) as f64);
        let (x, y) = (Scale::new(&steps, std::iter::empty(), 10), Scale::new(&bytes, ends, 5));
        let plane = Plane::draw(&mut drawing, (&steps, x), (&bytes, y), height);
        if self.blocks.is_empty() {
            let [left, top, right, bottom] = plane.sides();
            drawing.text(((left + right) / 2.0, (top + bottom) / 2.0), NOTHING, Ink::Muted, LABEL, Anchor::Middle);
        }
        for (i, block) in self.blocks.iter().enumerate() {
            // Neighbours differ in colour.
            let ink = if block.is_scratch { Ink::Muted } else { Ink::series([0, 2, 5, 4][i % 4]) };
            draw(&mut drawing, &plane, block, ink);
        }
        if let Some(room) = self.room {
            drawing.note(&format!("room on the board: {}", Unit::Bytes.short(room as f64)));
        }
        drawing
    }
}

fn draw(drawing: &mut Drawing, plane: &Plane, block: &Block, ink: Ink) {
    let (left, bottom) = plane.at(block.first as f64, block.offset as f64);
    let (right, top) = plane.at(block.last as f64 + 1.0, (block.offset + block.bytes) as f64);
    let size = ((right - left - 1.0).max(0.5), (bottom - top - 1.0).max(0.5));
    drawing.rect((left + 0.5, top + 0.5), size, ink);
    let name = text::fitting(&block.name, SMALL, size.0 - 6.0);
    if size.1 >= SMALL + 3.0 && name.chars().count() > 2 {
        drawing.text(((left + right) / 2.0, (top + bottom) / 2.0), &name, Ink::Ground, SMALL, Anchor::Middle);
    }
}
