//! Names that are chosen for the user.

use super::{folder_of, make_folder};
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder to write into. One that was made when its name was chosen is gone again if nothing was put into it.
#[derive(Debug)]
pub struct Reserved {
    path: PathBuf,
    is_made: bool,
    /// The folder that it is in was made, too.
    is_first: bool,
}

/// Makes the first of these folders that is not there yet: no other process can choose the same.
///
/// # Errors
/// It cannot be made, or all are there: says `full`.
pub fn reserve(candidates: impl IntoIterator<Item = PathBuf>, full: &str) -> Result<Reserved> {
    for path in candidates {
        let parent = folder_of(&path);
        let is_first = !parent.exists();
        make_folder(parent)?;
        match fs::create_dir(&path) {
            Ok(()) => return Ok(Reserved { path, is_made: true, is_first }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make the folder {}", path.display())),
        }
    }
    anyhow::bail!("{full}")
}

impl Reserved {
    /// One that the user named, which may be there or not.
    pub fn named(path: &Path) -> Self {
        Self { path: path.to_owned(), is_made: false, is_first: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Fails where something is in it, which is the usual case.
        if self.is_made && fs::remove_dir(&self.path).is_ok() && self.is_first {
            let _ = fs::remove_dir(folder_of(&self.path));
        }
    }
}
