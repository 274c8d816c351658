//! Files that several processes append lines to, one at a time.

use super::{folder_of, make_folder};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Such a file, locked: nobody else reads it by [`Appended::lock`] or appends to it as long as this lives. The lock is the system's, and
/// ends with its process.
#[derive(Debug)]
pub struct Appended {
    path: PathBuf,
    file: File,
    /// Whether the last line has an end. A process that was killed while it wrote may have left one without.
    is_whole: bool,
}

impl Appended {
    /// Waits until nobody has the file at `path` locked, and locks it; it is made where it is not there yet. Its bytes come with it.
    ///
    /// # Errors
    /// It cannot be read or written, or its file system has no locks.
    pub fn lock(path: &Path) -> Result<(Self, Vec<u8>)> {
        make_folder(folder_of(path))?;
        let what = || format!("cannot write {}; may you write there?", path.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).with_context(what)?;
        file.lock()
            .with_context(|| format!("cannot lock {}: its file system has no locks that work", path.display()))?;
        let mut bytes = Vec::new();
        let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read {}", path.display()))?;
        let is_whole = bytes.last().is_none_or(|last| *last == b'\n');
        Ok((Self { path: path.to_owned(), file, is_whole }, bytes))
    }

    /// Appends `line`, which is on the disk when this returns. It begins on a line of its own, whatever was there.
    ///
    /// # Errors
    /// It cannot be written; then there may be a part of it without an end.
    pub fn append(&mut self, line: &str) -> Result<()> {
        let start = if self.is_whole { "" } else { "\n" };
        self.is_whole = false;
        let written = self.file.write_all(format!("{start}{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}; is there space on the disk?", self.path.display()))?;
        self.is_whole = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn lines_of_many_writers_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/lines");
        thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..25 {
                        let (mut file, bytes) = Appended::lock(path).unwrap();
                        let line = format!("{} {writer}", bytes.iter().filter(|byte| **byte == b'\n').count());
                        file.append(&line).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_cut_off_stays_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "one\ntw").unwrap();
        let (mut file, bytes) = Appended::lock(&path).unwrap();
        assert_eq!(bytes, b"one\ntw");
        file.append("three").unwrap();
        file.append("four").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
    }
}
