//! A folder of pictures with numbers for names, none of which is ever overwritten.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::write_beside;
use anyhow::{Context, Result};

/// The folder.
pub struct Numbered {
    folder: PathBuf,
    next: u32,
}

impl Numbered {
    /// The folder at `path`, which is made where there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
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
        let mut file = write_beside(&self.numbered(), png).with_context(what)?;
        loop {
            let path = self.numbered();
            self.next += 1;
            match file.persist_noclobber(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => file = error.file,
                Err(error) => return Err(error.error).with_context(|| format!("cannot write {}", path.display())),
            }
        }
    }

    fn numbered(&self) -> PathBuf {
        self.folder.join(format!("{:04}.png", self.next))
    }
}
