//! What people see while they wait. All of it goes to stderr: stdout is for results.
//!
//! Nothing of it may end a command: what cannot be shown, because the terminal is gone or nobody reads on, is not shown.

use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

/// A progress bar of `len` steps with the time that is left; invisible where stderr is not a terminal.
pub fn bar(len: u64, message: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} ETA {eta}")
        .expect("the template is correct");
    ProgressBar::new(len).with_style(style).with_message(message.to_owned())
}

/// A progress bar of bytes with the time that is left; how many there will be may become known later.
pub fn bytes_bar(message: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}")
        .expect("the template is correct");
    ProgressBar::no_length().with_style(style).with_message(message.to_owned())
}

/// A sign of life for work of unknown length; invisible where stderr is not a terminal.
pub fn spinner(message: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}").expect("the template is correct");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(message.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// One line that deserves attention but stops nothing.
pub fn warn(message: &str) {
    write_line(&format!("warning: {message}"));
}

/// One line about what is being done.
pub fn note(message: &str) {
    write_line(message);
}

/// Why a command failed.
pub fn error(error: &anyhow::Error) {
    write_line(&format!("error: {error:#}"));
}

/// `text` with everything escaped that a terminal would obey instead of showing it: control characters, and those that turn the
/// direction of writing. Line breaks and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| is_obeyed(c) && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if obeyed(c) { c.escape_default().to_string() } else { c.to_string() }).collect())
}

/// `text` as [`shown()`], in one line.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars().map(|c| if is_obeyed(c) { c.escape_default().to_string() } else { c.to_string() }).collect(),
    )
}

/// A file's or a folder's name in one line: as [`plain`], and each byte that is not UTF-8 as `\xNN`.
pub fn name(name: impl AsRef<OsStr>) -> String {
    let chunks = name.as_ref().as_encoded_bytes().utf8_chunks();
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let invalid: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        plain(chunk.valid()).into_owned() + &invalid
    };
    chunks.map(chunk).collect()
}

/// `word` as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A path in JSON, which is a text: as it is, or as [`name`] where it is not UTF-8.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_path<S: serde::Serializer>(
    path: impl AsRef<std::path::Path>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&json_path(path.as_ref()))
}

/// The text of [`serialize_path`].
pub fn json_path(path: &std::path::Path) -> String {
    path.to_str().map_or_else(|| name(path), str::to_owned)
}

/// Whether a terminal obeys `c`: a control character, a line separator, or one that turns the direction of writing (Unicode
/// Standard Annex 9).
pub fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

fn write_line(text: &str) {
    write_whole(&format!("{}\n", shown(text)));
}

/// A picture and a line of text that are drawn over each other again and again, on a terminal's standard error.
#[derive(Debug)]
pub struct Panel {
    frames: usize,
    drawn: usize,
    /// Lines to go up before drawing.
    height: usize,
}

impl Panel {
    /// A panel for `frames` pictures.
    pub fn new(frames: usize) -> Self {
        Self { frames, drawn: 0, height: 0 }
    }

    /// Draws RGB pixels, `(h, width, 3)`, two rows per line of text, over the last picture.
    pub fn draw(&mut self, rgb: &[u8], width: usize, caption: &str) {
        self.drawn += 1;
        let up = if self.height > 0 { format!("\x1b[{}A", self.height) } else { String::new() };
        let mut lines = half_blocks(rgb, width);
        lines.push(format!("  \x1b[2K{}/{}  {}", self.drawn, self.frames, plain(caption)));
        self.height = lines.len();
        write_whole(&(up + &clipped(&lines)));
    }
}

/// RGB pixels, `(h, width, 3)`, as coloured lines of text, each of which shows two rows.
pub fn half_blocks(rgb: &[u8], width: usize) -> Vec<String> {
    let rows: Vec<&[u8]> = rgb.chunks_exact(3 * width).collect();
    let line = |pair: &[&[u8]]| {
        let mut text = "  ".to_owned();
        for (upper, lower) in pair[0].chunks_exact(3).zip(pair[pair.len() - 1].chunks_exact(3)) {
            // An upper half block: its colour above, the ground's below.
            text += &format!("\x1b[38;2;{};{};{}m", upper[0], upper[1], upper[2]);
            text += &format!("\x1b[48;2;{};{};{}m\u{2580}", lower[0], lower[1], lower[2]);
        }
        text + "\x1b[0m"
    };
    rows.chunks(2).map(line).collect()
}

/// Lines of text that are drawn over each other again and again, on a terminal's standard error.
#[derive(Debug, Default)]
pub struct Lines {
    /// Lines to go up before drawing.
    height: usize,
}

impl Lines {
    /// Draws `lines` over the last ones.
    pub fn draw(&mut self, lines: &[String]) {
        write_whole(&(wipe(self.height) + &clipped(lines)));
        self.height = lines.len();
    }

    /// Wipes the last ones off.
    pub fn clear(&mut self) {
        write_whole(&wipe(self.height));
        self.height = 0;
    }
}

/// Writes `text` in one go: in between, a terminal may show the `^C` of whoever presses it, and take it for a part of a sequence.
fn write_whole(text: &str) {
    let mut err = std::io::stderr().lock();
    // There is nobody left to tell.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Takes away the last `height` lines, and what was typed below them.
fn wipe(height: usize) -> String {
    if height == 0 { String::new() } else { format!("\r\x1b[{height}A\x1b[0J") }
}

/// `lines` as a terminal draws them in exactly as many of its own: without wrapping (DECAWM), which lets it cut each off at
/// its right edge, wherever that is by now. What is drawn again goes up by as many lines as it drew.
fn clipped(lines: &[String]) -> String {
    format!("\x1b[?7l{}\n\x1b[?7h", lines.join("\n"))
}

/// One line above a progress bar, which stays below it; also where the bar is invisible.
pub fn above(bar: &ProgressBar, line: &str) {
    bar.suspend(|| write_line(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_show_names_and_do_not_obey_them() {
        let evil = "a\x1b]0;title\x07b\r\nc\u{202e}d";
        assert_eq!(shown(evil), "a\\u{1b}]0;title\\u{7}b\\r\nc\\u{202e}d");
        assert_eq!(plain(evil), "a\\u{1b}]0;title\\u{7}b\\r\\nc\\u{202e}d");
        assert!(matches!(shown("größer\tals\n"), Cow::Borrowed("größer\tals\n")));
        #[cfg(unix)]
        assert_eq!(
            name(std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9\n\xc3\xa9.png") as &OsStr),
            "caf\\xe9\\né.png"
        );
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(["runs/a-1", "my runs", "it's", ""].map(quoted), ["runs/a-1", "'my runs'", "'it'\\''s'", "''"]);
    }

    #[test]
    fn lines_that_are_drawn_again_do_not_wrap() {
        let lines = ["a line".repeat(50), "another".to_owned()];
        let text = clipped(&lines);
        let drawn = text.strip_prefix("\x1b[?7l").and_then(|text| text.strip_suffix("\x1b[?7h")).unwrap();
        assert_eq!(drawn.lines().collect::<Vec<_>>(), lines);
        assert!(drawn.ends_with('\n'));
        assert_eq!((wipe(0), wipe(2)), (String::new(), "\r\x1b[2A\x1b[0J".to_owned()));
    }
}
