//! Draws the moving picture of the README: what `ocellus monitor` shows of an emulated board that looks at pictures of the
//! built-in dataset.
//!
//! `cargo test --release --package ocellus-tests --test cli live_view:: -- --ignored` trains a network for it and draws it
//! anew, in a few minutes. The terminal is `script` of util-linux.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ocellus::data::picture::Picture;
use ocellus::data::shapes;
use ocellus_tests::program::ocellus;

/// Frames that are shown, and for how long each, in seconds.
const FRAMES: usize = 12;
const SECONDS: usize = 1;
/// Rows and columns of the pictures that the board's camera looks at.
const SIDE: usize = 120;
/// Most bytes of the picture: a README is read on a phone, too.
const MOST_BYTES: usize = 500_000;
/// Width and height of a character.
const CELL_W: usize = 8;
const CELL_H: usize = 16;
/// Around the text.
const MARGIN: usize = 12;
/// The upper half of a cell in the colour of the text, its lower half in that of the ground.
const UPPER_HALF: char = '\u{2580}';

type Colour = [u8; 3];

/// A character as the terminal shows it.
#[derive(Clone, Copy)]
struct Cell {
    text: char,
    colour: Option<Colour>,
    ground: Option<Colour>,
}

/// The lines of one drawing of the view: plain text, and the sequences that choose 24-bit colours or none.
fn cells(drawing: &str) -> Vec<Vec<Cell>> {
    drawing.lines().map(|line| line_cells(line.trim_end_matches('\r'))).collect()
}

fn line_cells(line: &str) -> Vec<Cell> {
    let (mut cells, mut colour, mut ground) = (Vec::new(), None, None);
    let mut parts = line.split('\u{1b}');
    let mut take = |text: &str, colour, ground| cells.extend(text.chars().map(|text| Cell { text, colour, ground }));
    take(parts.next().unwrap_or_default(), None, None);
    for part in parts {
        let (sequence, text) = part.split_once('m').unwrap_or_else(|| panic!("an unknown sequence: {part:?}"));
        let numbers: Vec<&str> = sequence.trim_start_matches('[').split(';').collect();
        match numbers.as_slice() {
            ["38", "2", rgb @ ..] => colour = Some(parse(rgb)),
            ["48", "2", rgb @ ..] => ground = Some(parse(rgb)),
            ["0"] => (colour, ground) = (None, None),
            _ => panic!("an unknown sequence: {sequence:?}"),
        }
        take(text, colour, ground);
    }
    cells
}

fn parse(rgb: &[&str]) -> Colour {
    let numbers: Vec<u8> = rgb.iter().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

/// The colour with four bits per channel, as SVG writes it: fewer are hardly told apart from more, and take less room.
fn short(colour: Colour) -> String {
    colour.iter().fold("#".to_owned(), |text, channel| format!("{text}{:x}", (u16::from(*channel) * 15 + 127) / 255))
}

/// One drawing as SVG: a path for each colour of the frame, and the text below it.
fn group(lines: &[Vec<Cell>]) -> String {
    let mut svg = String::new();
    let mut paths: Vec<(String, String)> = Vec::new();
    for (row, line) in lines.iter().enumerate() {
        let halves = |upper: bool| {
            line.iter().enumerate().filter(|(_, cell)| cell.text == UPPER_HALF).map(move |(column, cell)| {
                (column, short(if upper { cell.colour } else { cell.ground }.expect("a picture has colours")))
            })
        };
        for upper in [true, false] {
            let mut cells = halves(upper).peekable();
            while let Some((start, colour)) = cells.next() {
                let mut length = 1;
                while cells.next_if(|(column, next)| *column == start + length && *next == colour).is_some() {
                    length += 1;
                }
                let run = format!("M{start} {}h{length}", 2 * row + usize::from(!upper));
                match paths.iter_mut().find(|(known, _)| *known == colour) {
                    Some((_, path)) => path.push_str(&run),
                    None => paths.push((colour, run)),
                }
            }
        }
    }
    if !paths.is_empty() {
        // Pixels are as wide as a character and half as high; runs are drawn along the middle of their rows.
        let _ = write!(svg, "<g transform=\"translate({MARGIN} {})scale({CELL_W})\">", MARGIN + CELL_W / 2);
        for (colour, path) in paths {
            let _ = write!(svg, "<path stroke=\"{colour}\" d=\"{path}\"/>");
        }
        svg += "</g>";
    }
    for (row, line) in lines.iter().enumerate() {
        svg += &text(line, row);
    }
    svg
}

/// The characters of a line: bars as rectangles, which no font draws apart, and words as text.
fn text(line: &[Cell], row: usize) -> String {
    let y = MARGIN + row * CELL_H;
    let mut svg = String::new();
    let mut start = 0;
    while start < line.len() {
        let kind = |cell: &Cell| match cell.text {
            '\u{2588}' | '\u{2591}' | UPPER_HALF | ' ' => cell.text,
            _ => 'a',
        };
        let first = kind(&line[start]);
        let end = (start..line.len()).find(|&at| kind(&line[at]) != first).unwrap_or(line.len());
        let (x, width) = (MARGIN + start * CELL_W, (end - start) * CELL_W);
        let rectangle =
            |class| format!("<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"12\"/>", y + 2);
        svg += &match first {
            '\u{2588}' => rectangle("full"),
            '\u{2591}' => rectangle("rest"),
            'a' => {
                let words: String = line[start..end].iter().map(|cell| cell.text).collect();
                let words = words.replace('&', "&amp;").replace('<', "&lt;");
                format!("<text x=\"{x}\" y=\"{}\" textLength=\"{width}\">{words}</text>", y + 12)
            }
            _ => String::new(),
        };
        start = end;
    }
    svg
}

/// The animation: each drawing is visible for its turn.
fn svg(drawings: &[Vec<Vec<Cell>>]) -> String {
    let columns = drawings.iter().flatten().map(Vec::len).max().unwrap_or_default();
    let rows = drawings.iter().map(Vec::len).max().unwrap_or_default();
    let (width, height) = (2 * MARGIN + columns * CELL_W, 2 * MARGIN + rows * CELL_H);
    let all = drawings.len() * SECONDS;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"The live view of ocellus monitor\"><style>\
         text{{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#d8dee9}}\
         path{{fill:none;stroke-width:1.02}}.full{{fill:#88c0d0}}.rest{{fill:#3b4252}}\
         .f{{visibility:hidden;animation:turn {all}s step-end infinite}}\
         @keyframes turn{{0%{{visibility:visible}}{:.3}%{{visibility:hidden}}}}\
         </style><rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#20242c\"/>\n",
        100.0 / drawings.len() as f64
    );
    for (turn, drawing) in drawings.iter().enumerate() {
        // What shows no animations shows the first.
        let first = if turn == 0 { "visibility:visible;" } else { "" };
        let style = format!("{first}animation-delay:{}s", turn * SECONDS);
        let _ = writeln!(svg, "<g class=\"f\" style=\"{style}\">{}</g>", group(drawing));
    }
    svg + "</svg>\n"
}

/// What `ocellus` with these arguments, which have no spaces, writes to a terminal in `folder`.
fn on_a_terminal(folder: &Path, arguments: &str) -> String {
    let program = PathBuf::from(ocellus().get_program());
    let mut script = std::process::Command::new("script");
    script
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{} {arguments}", program.display()))
        .arg("/dev/null");
    let output = script.current_dir(folder).stdin(Stdio::null()).output().expect("script of util-linux is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

#[test]
#[ignore = "trains a network for some minutes, and draws the README's picture of the live view anew"]
fn the_live_view_is_drawn_anew() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/cnn-shapes/recipe.toml");
    on_a_terminal(folder.path(), &format!("train --recipe {} --out run", recipe.canonicalize().unwrap().display()));
    on_a_terminal(folder.path(), "export run");
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    // Of the test set's: training does not see them.
    let split = shapes::pictures(shapes::TRAINING..shapes::TRAINING + FRAMES, SIDE, 0);
    for i in 0..FRAMES {
        let picture = Picture { width: SIDE as u16, height: SIDE as u16, pixels: split.image(i).to_vec() };
        fs::write(pictures.join(format!("{i:02}.png")), picture.to_png().unwrap()).unwrap();
    }
    let shown =
        on_a_terminal(folder.path(), &format!("monitor run --on sim --source pictures --picture --frames {FRAMES}"));
    let drawings: Vec<_> =
        shown.split("\u{1b}[?7l").skip(1).map(|rest| cells(rest.split("\u{1b}[?7h").next().unwrap())).collect();
    assert_eq!(drawings.len(), FRAMES, "{shown:?}");
    let svg = svg(&drawings);
    assert!(svg.len() < MOST_BYTES, "{} bytes", svg.len());
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/live-view.svg"), svg).unwrap();
}

#[test]
fn a_drawing_becomes_pixels_bars_and_text() {
    let drawing = "  \u{1b}[38;2;255;0;0m\u{1b}[48;2;0;0;255m\u{2580}\u{1b}[38;2;255;0;0m\u{1b}[48;2;0;255;0m\u{2580}\u{1b}[0m\r\n a<b  \u{2588}\u{2588}\u{2591}";
    let svg = group(&cells(drawing));
    for part in [
        "<path stroke=\"#f00\" d=\"M2 0h2\"/>",
        "<path stroke=\"#00f\" d=\"M2 1h1\"/>",
        "<path stroke=\"#0f0\" d=\"M3 1h1\"/>",
        ">a&lt;b</text>",
        "<rect class=\"full\" x=\"60\" y=\"30\" width=\"16\"",
        "<rect class=\"rest\" x=\"76\" y=\"30\" width=\"8\"",
    ] {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
}
