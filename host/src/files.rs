//! Every file that Ocellus writes, and the folders that it writes them into.
//!
//! A file is written into a temporary one beside it, flushed to the disk, and renamed: whatever happens, a reader sees the
//! old file or the new one. What is there already and is no regular file, as a pipe or a terminal, is written into, and a
//! link stays a link, whose target is replaced.
//!
//! The temporary file is locked as long as it is being written, and the lock ends with its process: what a killed command
//! left behind is what nobody holds a lock of.

mod appended;
mod lock;
mod numbered;
mod place;
mod reserve;
mod unfinished;

pub use appended::Appended;
pub use lock::{FolderLock, Purpose, lock_file, try_lock_file};
pub use numbered::Numbered;
pub use reserve::{Reserved, reserve};
pub use unfinished::remove_unfinished;

use anyhow::{Context, Result, ensure};
use place::Place;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use unfinished::Unfinished;

/// Replaces the file at `path` by `bytes`, all or nothing, even if the machine stops in the middle.
///
/// # Errors
/// The folder cannot be written or the disk is full; whatever was at `path` is still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_together(&[(path.to_path_buf(), bytes)])
}

/// As [`write()`] for several files: all of them are complete on the disk before the first one is replaced.
///
/// # Errors
/// As for [`write()`].
pub fn write_together(files: &[(PathBuf, &[u8])]) -> Result<()> {
    let (mut ready, mut streams) = (Vec::new(), Vec::new());
    for (path, bytes) in files {
        match Place::of(path).with_context(|| unwritable(path))? {
            Place::File(target) => {
                remove_unfinished(folder_of(&target));
                let file = Unfinished::beside(&target, bytes).with_context(|| unwritable(path))?;
                ready.push((file, target, path));
            }
            stream => streams.push((stream, path, bytes)),
        }
    }
    for (stream, path, bytes) in streams {
        stream.write(bytes).with_context(|| unwritable(path))?;
    }
    for (file, target, path) in ready {
        let renamed = file.replace(&target).and_then(|()| sync_folder(folder_of(&target)));
        renamed.with_context(|| unwritable(path))?;
    }
    Ok(())
}

/// Makes sure that a file can be written at `path`, before the work whose result it is. Nothing is made.
///
/// # Errors
/// `path` is a folder, or its folder is missing or may not be written to.
pub fn check_file(path: &Path) -> Result<()> {
    match Place::of(path).with_context(|| unwritable(path))? {
        // Gone again as soon as it is there.
        Place::File(target) => Unfinished::beside(&target, b"").map(drop).with_context(|| unwritable(path)),
        // To open a pipe would be to tell its reader of an end.
        _ => Ok(()),
    }
}

/// Makes sure that the folder `path` can be made, where it is not there yet, and written into. Nothing is made.
///
/// # Errors
/// `path` or what it is in is a file, or may not be written to.
pub fn check_folder(path: &Path) -> Result<()> {
    let whole = std::path::absolute(path).with_context(|| unwritable(path))?;
    let there = whole.ancestors().find(|folder| folder.exists()).unwrap_or(&whole);
    ensure!(there.is_dir(), "cannot write into {}: {} is no folder", path.display(), there.display());
    Unfinished::beside(&there.join("any"), b"").map(drop).with_context(|| unwritable(path))
}

/// Makes the folder `path` and those that it lies in, where they are not there yet.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Removes the folder `path` with everything in it, all of which this program made.
///
/// # Errors
/// It cannot be removed.
pub fn remove_folder(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("cannot remove the folder {}", path.display()))
}

/// Moves what is complete at `from` to `to`, on the same disk, where nothing is or a file.
///
/// # Errors
/// It cannot be moved.
pub fn move_into_place(from: &Path, to: &Path) -> Result<()> {
    let moved = fs::rename(from, to).and_then(|()| sync_folder(folder_of(to)));
    moved.with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// The folder that `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A rename is on the disk only when the folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        // It may be written to, but not read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}; is there space, and may you write there?", path.display())
}

#[cfg(test)]
mod tests;
