//! Texts of drawings: what is shown of them, and how wide that is.

use plotters::style::{FontStyle, IntoFont, register_font};
use std::sync::LazyLock;

use crate::view;

/// Size of a title, in pixels.
pub(super) const TITLE: f64 = 15.0;
/// Size of an axis' name.
pub(super) const LABEL: f64 = 12.0;
/// Size of everything else.
pub(super) const SMALL: f64 = 11.0;
/// Height of a line of text.
pub(super) const LINE: f64 = 16.0;
/// The name that the font has in SVG files: the viewer's own.
pub(super) const FAMILY: &str = "sans-serif";
/// What plotters calls the size of a font that is one pixel high: it divides again in SVG files.
pub(super) const PLOTTERS: f64 = 1.24;

/// See `font/README.md`.
static FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Whether the font is known to plotters, which it is from the first time on.
pub(super) static IS_KNOWN: LazyLock<bool> = LazyLock::new(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok());

/// Which point of a text is where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// `text` in one line, without what XML cannot hold.
pub(super) fn shown(text: &str) -> String {
    view::plain(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// How wide `text` is, in pixels.
pub(super) fn width(text: &str, size: f64) -> f64 {
    // Signs of East Asia and pictograms, which viewers take from other fonts, are squares.
    let (wide, narrow): (Vec<char>, Vec<char>) =
        text.chars().partition(|&c| c >= '\u{1100}' && !('\u{2000}'..'\u{2300}').contains(&c));
    let narrow: String = narrow.into_iter().collect();
    let measured = IS_KNOWN.then(|| (FAMILY, 1000.0).into_font().box_size(&narrow).ok()).flatten();
    let narrow =
        measured.map_or(0.6 * narrow.chars().count() as f64, |(width, _)| f64::from(width) / 1000.0 * PLOTTERS / 1.164);
    size * (narrow + wide.len() as f64)
}

/// As much of `text` as has room in `room` pixels; three points stand for the rest.
pub(super) fn fitting(text: &str, size: f64, room: f64) -> String {
    let text = shown(text);
    if width(&text, size) <= room {
        return text;
    }
    let mut cut = String::new();
    let mut used = width("…", size);
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]), size);
        if used > room {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_width() {
        assert!(*IS_KNOWN);
        let (one, ten) = (width("m", 10.0), width("mmmmmmmmmm", 10.0));
        assert!((8.0..11.0).contains(&one) && (ten - 10.0 * one).abs() < 2.0, "{one} and {ten}");
        assert!(width("i", 10.0) < 0.5 * one);
        assert_eq!(width("", 10.0), 0.0);
        assert_eq!(width("猫🐈", 10.0), 20.0);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fitting("cat", 10.0, 100.0), "cat");
        let cut = fitting(&"a very long name ".repeat(9), 10.0, 100.0);
        assert!(cut.ends_with('…') && (80.0..=100.0).contains(&width(&cut, 10.0)), "{cut} {}", width(&cut, 10.0));
        assert_eq!(fitting("猫猫猫猫", 10.0, 32.0), "猫猫…");
        assert_eq!(fitting("cat", 10.0, 0.0), "…");
    }

    #[test]
    fn what_xml_cannot_hold_is_told() {
        assert_eq!(shown("a\0b\n\u{ffff}\u{202e}<&"), "a\\u{0}b\\n\u{fffd}\\u{202e}<&");
    }
}
