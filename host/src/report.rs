//! Results: text for people and one JSON object for programs on standard output; [`page`] is a whole report.

pub mod figures;
pub mod page;

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::eval::{ClassMetrics, Metrics};
use crate::view;

/// Prints `text` and a line break, with everything escaped that a terminal would obey.
///
/// # Errors
/// Standard output cannot be written. A reader that has seen enough (`| head`) is not an error.
pub fn print(text: &str) -> Result<()> {
    write(view::shown(text).as_bytes())
}

/// Prints a path exactly as it is, for a shell's `$(...)`.
///
/// # Errors
/// As for [`print()`].
pub fn print_path(path: &Path) -> Result<()> {
    write(path.as_os_str().as_encoded_bytes())
}

fn write(line: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Prints `value` as the one JSON object of a `--json` run.
///
/// # Errors
/// As for [`print()`].
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&json(value)?)
}

/// `value` as JSON in one line, in which a terminal obeys nothing either.
///
/// # Errors
/// It has no such form.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).context("the result has no JSON form")?;
    if !text.contains(view::is_obeyed) {
        return Ok(text);
    }
    // They stand in strings only, and serde escapes none above ASCII.
    let escaped = |c: char| if view::is_obeyed(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Ok(text.chars().map(escaped).collect())
}

/// A name as spreadsheets show it: they take what begins with one of these signs for a formula (OWASP, *CSV Injection*).
pub fn cell(name: &str) -> String {
    let quote = if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{quote}{}", view::plain(name))
}

/// The machine that figures were measured on: usable cores, and the processor as far as the system names it.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    format!("{cores} cores of {} ({})", model.map_or("a processor", |(_, name)| name.trim()), std::env::consts::ARCH)
}

/// The columns of a terminal that `text` takes: Chinese characters and emoji take two each (Unicode Standard Annex 11).
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` filled up with spaces to `columns` of a terminal.
pub fn pad(text: &str, columns: usize) -> String {
    text.to_owned() + &" ".repeat(columns.saturating_sub(width(text)))
}

/// Lines of cells under a header, the first column left-aligned and the others right-aligned, by columns of a terminal.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
        cells.chain([width(header[column])]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &w))| if i == 0 { pad(cell, w) } else { pad("", w.saturating_sub(width(cell))) + cell })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(line(&header)).chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

/// Above [`class_row`]s.
pub const CLASS_HEADER: [&str; 5] = ["class", "precision", "recall", "F1", "support"];

/// The figures of one class as cells.
pub fn class_row(c: &ClassMetrics) -> Vec<String> {
    vec![c.label.clone(), percent(c.precision), percent(c.recall), percent(c.f1), c.support.to_string()]
}

/// A Markdown table, the first column left-aligned and the others right-aligned.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule = (0..header.len()).map(|i| if i == 0 { "---" } else { "---:" });
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    let lines: Vec<String> = [line(&mut header.iter().copied()), line(&mut { rule })].into_iter().chain(rows).collect();
    lines.join("\n")
}

/// Accuracy and the table of classes.
pub fn metrics(metrics: &Metrics) -> String {
    let rows: Vec<Vec<String>> = metrics.per_class.iter().map(class_row).collect();
    format!(
        "accuracy {}   top-5 {}   on {} images\n\n{}",
        percent(metrics.accuracy),
        percent(metrics.top5),
        metrics.images,
        table(&CLASS_HEADER, &rows)
    )
}

/// A part of 1 as a percentage with two decimals.
pub fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}

/// A whole number with spaces between its thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_what_a_terminal_would_obey() {
        let evil = "a\u{202e}\u{9b}\x1b\n\"b";
        let text = json(&evil).unwrap();
        assert!(!text.contains(view::is_obeyed), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), evil);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["größer".to_owned(), "12345".to_owned()]];
        assert_eq!(table(&["x", "n"], &rows), "x           n\na           1\ngrößer  12345");
        let rows = ["杯子", "🦋", "cup"].map(|label| vec![label.to_owned(), "1".to_owned()]);
        assert_eq!(table(&["x", "n"], &rows), "x     n\n杯子  1\n🦋    1\ncup   1");
    }

    #[test]
    fn bars_do_not_break_a_markdown_table() {
        let rows = [vec!["a|b".to_owned(), "1".to_owned()]];
        assert_eq!(markdown(&["x", "n"], &rows), "| x | n |\n| --- | ---: |\n| a\\|b | 1 |");
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (22_600_123, "22 600 123")] {
            assert_eq!(thousands(number), text);
        }
    }
}
