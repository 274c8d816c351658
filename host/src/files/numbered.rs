//! A folder of pictures with numbers for names, none of which is ever overwritten.

use super::unfinished::Unfinished;
use super::{check_folder, make_folder, remove_unfinished};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The folder.
#[derive(Debug)]
pub struct Numbered {
    folder: PathBuf,
    next: u32,
}

impl Numbered {
    /// The folder at `path`, which is made where there is none. What killed commands left half-written in it is removed.
    ///
    /// # Errors
    /// It cannot be made or written into.
    pub fn open(path: &Path) -> Result<Self> {
        check_folder(path)?;
        make_folder(path)?;
        remove_unfinished(path);
        Ok(Self { folder: path.to_owned(), next: 1 })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a PNG file under the first number that is free: 0001.png, 0002.png, ... It appears whole, or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self, png: &[u8]) -> Result<PathBuf> {
        let what = || format!("cannot write into {}", self.folder.display());
        let mut file = Unfinished::beside(&self.numbered(), png).with_context(what)?;
        loop {
            let path = self.numbered();
            self.next += 1;
            match file.take_free(&path).with_context(|| format!("cannot write {}", path.display()))? {
                None => return Ok(path),
                Some(unmoved) => file = unmoved,
            }
        }
    }

    fn numbered(&self) -> PathBuf {
        self.folder.join(format!("{:04}.png", self.next))
    }
}
