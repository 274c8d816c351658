//! Files that are not whole yet.

use super::folder_of;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// How their names begin.
const PREFIX: &str = ".ocellus-unfinished-";
/// Letters and digits behind that.
const RANDOM: usize = 6;

/// A complete file under a name of its own, which is locked as long as this lives and then gone, unless it is moved to its
/// place.
#[derive(Debug)]
pub(super) struct Unfinished(NamedTempFile);

impl Unfinished {
    /// One with these bytes in the folder of `path`, with the rights of the file there, or of an ordinary new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn beside(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut file = locked(folder_of(path))?;
        if let Ok(there) = fs::metadata(path) {
            // Whoever may not set them writes a file with ordinary ones.
            let _ = file.as_file().set_permissions(there.permissions());
        }
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(Self(file))
    }

    /// Moves it to `path`, over what is there.
    ///
    /// # Errors
    /// A folder is there, or the folder cannot be written.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        self.0.persist(path).map(drop).map_err(|error| error.error)
    }

    /// Moves it to `path` if nothing is there; else gives it back.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn take_free(self, path: &Path) -> io::Result<Option<Self>> {
        match self.0.persist_noclobber(path) {
            Ok(_) => Ok(None),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Some(Self(error.file))),
            Err(error) => Err(error.error),
        }
    }
}

/// A new file in `folder` that this process has locked.
fn locked(folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        // Not every file system has locks: there, another command may take it for left behind.
        let _ = file.as_file().lock();
        // Another command may have done so before it was locked.
        if is_there(file.as_file())? {
            return Ok(file);
        }
    }
}

/// Whether the open `file` still has a name.
#[cfg(unix)]
pub(super) fn is_there(file: &File) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0)
}

/// Whether the open `file` still has a name: nobody can take it from a file that is open.
#[cfg(not(unix))]
pub(super) fn is_there(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Removes what killed commands left half-written in `folder`; what others are writing right now stays.
pub fn remove_unfinished(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_name(&entry.file_name())) {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // It is only in the way: where it cannot be removed, it stays.
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_name(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
