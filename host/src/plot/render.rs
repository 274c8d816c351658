//! Drawings as files, by plotters' backends: the only place that knows them.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Result, anyhow, ensure};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::ink::Ink;
use super::text::{Anchor, FAMILY, IS_KNOWN, PLOTTERS};
use super::{Drawing, Mark};
use crate::data::picture::Picture;

/// Backends take whole numbers: units of an SVG file to a pixel.
const SVG_UNITS: f64 = 4.0;
/// Pixels of a PNG file to one of the drawing.
const PNG_PIXELS: f64 = 2.0;
/// Drawings that are higher, in pixels, have one.
const HIGH: f64 = 8000.0;

/// The SVG file.
pub(super) fn svg(drawing: &Drawing) -> Result<String> {
    let mut text = String::new();
    let size = size(drawing, SVG_UNITS);
    {
        let mut backend = SVGBackend::with_string(&mut text, size);
        draw(&mut backend, drawing, SVG_UNITS)?;
        backend.present().map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    let body = text.split_once('\n').map_or("", |(_, body)| body);
    // What all marks have in common stands once.
    let body = body.replace(" opacity=\"1\"", "").replace(&format!(" font-family=\"{FAMILY}\""), "");
    let (title, style) = (escaped(&super::text::shown(&drawing.title)), style(drawing));
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" \
         font-family=\"{FAMILY}\" stroke-linejoin=\"round\">\n<title>{title}</title>\n{style}{body}",
        drawing.width.ceil(),
        drawing.height.ceil(),
        size.0,
        size.1
    ))
}

/// The PNG file.
pub(super) fn png(drawing: &Drawing) -> Result<Vec<u8>> {
    let scale = if drawing.height > HIGH { 1.0 } else { PNG_PIXELS };
    let (width, height) = size(drawing, scale);
    let sides = (u16::try_from(width), u16::try_from(height));
    let (Ok(columns), Ok(rows)) = sides else {
        return Err(anyhow!("a picture of {width}x{height} pixels is too large for a PNG file: write an SVG file"));
    };
    let mut pixels = vec![255; width as usize * height as usize * 3];
    {
        let mut backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
        draw(&mut backend, drawing, scale)?;
        backend.present().map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Picture { width: columns, height: rows, pixels }.to_png()
}

/// Width and height in a backend's units.
fn size(drawing: &Drawing, scale: f64) -> (u32, u32) {
    ((scale * drawing.width.ceil()) as u32, (scale * drawing.height.ceil()) as u32)
}

/// The rules by which the dark colours take the place of the light ones, in viewers that prefer them.
fn style(drawing: &Drawing) -> String {
    let of_mark = |mark: &Mark| match mark {
        Mark::Rect { ink, .. } | Mark::Line { ink, .. } | Mark::Dot { ink, .. } | Mark::Text { ink, .. } => *ink,
    };
    let inks: BTreeSet<Ink> = drawing.marks.iter().map(of_mark).chain([Ink::Ground]).collect();
    let mut rules = String::new();
    for ink in inks {
        let ([r, g, b], [dark_r, dark_g, dark_b]) = (ink.light(), ink.dark());
        let light = format!("#{r:02X}{g:02X}{b:02X}");
        let dark = format!("#{dark_r:02x}{dark_g:02x}{dark_b:02x}");
        let _ = write!(rules, "[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}");
    }
    format!("<style>@media(prefers-color-scheme:dark){{{rules}}}</style>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn draw<B: DrawingBackend>(backend: &mut B, drawing: &Drawing, scale: f64) -> Result<()> {
    ensure!(*IS_KNOWN, "the font of plots is damaged");
    let (width, height) = (drawing.width.ceil(), drawing.height.ceil());
    let ground = Mark::Rect { x: 0.0, y: 0.0, w: width, h: height, ink: Ink::Ground };
    for mark in [&ground].into_iter().chain(&drawing.marks) {
        draw_mark(backend, mark, scale)?;
    }
    Ok(())
}

fn draw_mark<B: DrawingBackend>(backend: &mut B, mark: &Mark, scale: f64) -> Result<()> {
    let at = |(x, y): (f64, f64)| ((scale * x).round() as i32, (scale * y).round() as i32);
    let drawn = match mark {
        Mark::Rect { x, y, w, h, ink } => backend.draw_rect(at((*x, *y)), at((x + w, y + h)), &shape(*ink, 1), true),
        Mark::Line { points, ink, width } => {
            let mut points: Vec<(i32, i32)> = points.iter().copied().map(at).collect();
            points.dedup();
            let width = (scale * width).round().max(1.0) as u32;
            if points.len() < 2 { Ok(()) } else { backend.draw_path(points, &shape(*ink, width)) }
        }
        Mark::Dot { x, y, radius, ink } => {
            backend.draw_circle(at((*x, *y)), (scale * radius).round().max(1.0) as u32, &shape(*ink, 1), true)
        }
        Mark::Text { x, y, text, ink, size, anchor, bold, up } => {
            let h_pos = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let style = if *bold { FontStyle::Bold } else { FontStyle::Normal };
            let turn = if *up { FontTransform::Rotate270 } else { FontTransform::None };
            let font = (FAMILY, scale * size * PLOTTERS, style).into_font().transform(turn);
            let style = TextStyle { font, color: colour(*ink).to_backend_color(), pos: Pos::new(h_pos, VPos::Center) };
            backend.draw_text(text, &style, at((*x, *y)))
        }
    };
    drawn.map_err(|error| anyhow!("cannot draw: {error}"))
}

fn colour(ink: Ink) -> RGBColor {
    let [r, g, b] = ink.light();
    RGBColor(r, g, b)
}

fn shape(ink: Ink, stroke_width: u32) -> ShapeStyle {
    ShapeStyle { color: colour(ink).to_rgba(), filled: true, stroke_width }
}
