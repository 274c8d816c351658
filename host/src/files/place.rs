//! Where a path leads to.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Links that may lead from one to the next, as many as Linux follows.
const MOST_LINKS: usize = 40;

/// Where what is written to a path goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A regular file, or nothing yet, behind all links.
    File(PathBuf),
    /// This process's standard output.
    Stdout,
    /// This process's standard error.
    Stderr,
    /// What is there and is no regular file: a pipe, a terminal, another device.
    Stream(PathBuf),
}

impl Place {
    /// Where `path` leads to.
    ///
    /// # Errors
    /// To a folder, to a disk as a whole, in a circle, or to where nobody may look.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut path = path.to_path_buf();
        for _ in 0..MOST_LINKS {
            if let Some(place) = descriptor(&path) {
                return Ok(place);
            }
            match fs::read_link(&path) {
                Ok(target) => path = super::folder_of(&path).join(target),
                // No link, or nothing at all.
                Err(_) => return Self::without_links(path),
            }
        }
        Err(io::Error::other("its links lead in a circle"))
    }

    fn without_links(path: PathBuf) -> io::Result<Self> {
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::File(path)),
            Err(error) => return Err(error),
        };
        if kind.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        #[cfg(unix)]
        if std::os::unix::fs::FileTypeExt::is_block_device(&kind) {
            return Err(io::Error::other("it is a disk as a whole, whose content would be lost"));
        }
        Ok(if kind.is_file() { Self::File(path) } else { Self::Stream(path) })
    }

    /// Writes `bytes` into what is there.
    ///
    /// # Errors
    /// It cannot be written. A reader of standard output or standard error that has seen enough is not an error.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let is_shared = matches!(self, Self::Stdout | Self::Stderr);
        match self.write_all(bytes) {
            Err(error) if is_shared && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let write = |out: &mut dyn Write| out.write_all(bytes).and_then(|()| out.flush());
        match self {
            Self::Stdout => write(&mut io::stdout().lock()),
            Self::Stderr => write(&mut io::stderr().lock()),
            // Where a shell sent a descriptor to a file, what is in it stays.
            Self::File(path) | Self::Stream(path) => write(&mut fs::OpenOptions::new().append(true).open(path)?),
        }
    }
}

/// What `path` means if it is one of `/dev/fd/N`, or what a system calls the same. Opened by name, standard output would have
/// a place of its own to write to, and overwrite what was said before.
fn descriptor(path: &Path) -> Option<Place> {
    let folder = super::folder_of(path).canonicalize().ok()?;
    let is_own =
        ["/dev/fd", "/proc/self/fd"].iter().any(|own| Path::new(own).canonicalize().is_ok_and(|own| own == folder));
    match path.file_name()?.to_str()? {
        "1" if is_own => Some(Place::Stdout),
        "2" if is_own => Some(Place::Stderr),
        // What such names link to is no path: `pipe:[4711]`.
        _ if is_own || folder.starts_with("/proc") => Some(Place::Stream(path.to_path_buf())),
        _ => None,
    }
}
