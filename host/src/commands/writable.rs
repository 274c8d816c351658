//! Whether results will have a place: asked before the work whose results they are.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::checkpoint::write_beside;

/// Makes sure that a file can be written at `path`.
///
/// # Errors
/// `path` is a folder, or its folder is missing or may not be written to.
pub fn file(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a folder", path.display());
    // Gone again as soon as it is there.
    write_beside(path, b"").map(drop).with_context(|| unwritable(path))
}

/// Makes sure that the folder `path` can be made, where it is not there yet, and written into. Nothing is made.
///
/// # Errors
/// `path` or what it is in is a file, or may not be written to.
pub fn folder(path: &Path) -> Result<()> {
    let whole = std::path::absolute(path).with_context(|| unwritable(path))?;
    let there = whole.ancestors().find(|folder| folder.exists()).unwrap_or(&whole);
    ensure!(there.is_dir(), "cannot write into {}: {} is no folder", path.display(), there.display());
    write_beside(&there.join("any"), b"").map(drop).with_context(|| unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}; is there space, and may you write there?", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_without_a_trace() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        std::fs::write(at("a"), "file").unwrap();
        file(&at("a")).unwrap();
        file(&at("b")).unwrap();
        folder(&at("new/er")).unwrap();
        folder(room.path()).unwrap();
        assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(at("a")).unwrap(), b"file");
        for (error, parts) in [
            (file(&at("no/b")).unwrap_err(), ["no/b", "may you write there?"]),
            (file(room.path()).unwrap_err(), ["cannot write", "is a folder"]),
            (folder(&at("a/b/c")).unwrap_err(), ["a/b/c", "/a is no folder"]),
            (folder(Path::new("/proc/none")).unwrap_err(), ["/proc/none", "may you write there?"]),
        ] {
            let error = format!("{error:#}");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
