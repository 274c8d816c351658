//! Locks, so that two processes do not write the same at once. They are the system's, and end with their process.

use super::unfinished::is_there;
use crate::view;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a folder is being written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A training run, as long as it goes on.
    Training,
    /// An exported model.
    Export,
}

impl Purpose {
    /// The name of the file that is locked. Listings pass over it.
    fn file(self) -> &'static str {
        match self {
            Self::Training => ".ocellus-train.lock",
            Self::Export => ".ocellus-export.lock",
        }
    }
}

/// The right to write into a folder, which one process has at a time.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    /// Locked. Nothing where the file system has no locks.
    file: Option<File>,
}

impl FolderLock {
    /// Takes the right to write into `folder`, which is there.
    ///
    /// # Errors
    /// Another process has it: the message says which, since when, and `instead`, what else can be done. Or the folder
    /// cannot be written.
    pub fn take(folder: &Path, purpose: Purpose, instead: &str) -> Result<Self> {
        let path = folder.join(purpose.file());
        loop {
            let mut file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => bail!(
                    "{} is being written by {}: wait until that is done, or {instead}",
                    folder.display(),
                    holder(&mut file)
                ),
                Err(TryLockError::Error(error)) => {
                    view::warn(&format!(
                        "{} cannot be locked ({error}): do not start another command that writes there",
                        folder.display()
                    ));
                    return Ok(Self { path, file: None });
                }
            }
            // The last holder may have removed it before it was locked.
            if is_there(&file)? {
                let said = file.set_len(0).and_then(|()| file.write_all(describe().as_bytes()));
                said.with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(Self { path, file: Some(file) });
            }
        }
    }

    /// Makes sure that nobody is writing into `folder`, which need not be there.
    ///
    /// # Errors
    /// As for [`FolderLock::take`].
    pub fn check_free(folder: &Path, purpose: Purpose, instead: &str) -> Result<()> {
        if folder.join(purpose.file()).exists() { Self::take(folder, purpose, instead).map(drop) } else { Ok(()) }
    }

    /// Whether another process has the right to write into `folder` now. Leaves everything as it is.
    pub fn is_taken(folder: &Path, purpose: Purpose) -> bool {
        let file = File::open(folder.join(purpose.file()));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody else's is removed. Where that fails, an unlocked file is in nobody's way.
        let _ = fs::remove_file(&self.path);
        drop(self.file.take());
    }
}

/// Opens or creates the file at `path`, which no other process may have open for writing.
///
/// # Errors
/// Another process has, or it cannot be written.
pub fn lock_file(path: &Path) -> Result<File> {
    let busy = || format!("{} is being written by another process: wait until it is done", path.display());
    try_lock_file(path)?.with_context(busy)
}

/// As [`lock_file`]; nothing where another process has locked it. The lock ends with the file that is returned, or with the process.
///
/// # Errors
/// It cannot be written, or the file system has no locks.
pub fn try_lock_file(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn open(path: &Path) -> Result<File> {
    let is_other = fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
    ensure!(!is_other, "{} is no regular file: move it away", path.display());
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.with_context(|| format!("cannot write {}; may you write there?", path.display()))
}

/// What the holder of a lock says of itself: process, seconds since 1970, command.
fn describe() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let command: Vec<String> = std::env::args_os().map(|word| view::name(&word)).collect();
    format!("{}\n{since}\n{}\n", std::process::id(), command.join(" "))
}

/// Who holds the lock of `file`.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(4096).read_to_string(&mut text));
    let mut lines = text.lines();
    let (process, since, command) = (lines.next(), lines.next().and_then(|since| since.parse().ok()), lines.next());
    match (read, process, since, command) {
        (Ok(_), Some(process), Some(since), Some(command)) => {
            format!("process {} (`{}`) since {}", view::plain(process), view::plain(command), utc(since))
        }
        _ => "another process".to_owned(),
    }
}

/// A date and a time of day from the seconds since 1970. The calendar is counted from a first of March, behind which the leap
/// days lie (Edward Richards, *Explanatory Supplement to the Astronomical Almanac*, 3rd edition, 2013, 15.11).
fn utc(seconds: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    // From the first of March of the year 0, in cycles of 400 years.
    let days = seconds / DAY + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute) = (seconds % DAY / 3600, seconds / 60 % 60);
    format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC", 400 * cycle + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_second_holder_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let take = |purpose| FolderLock::take(folder.path(), purpose, "choose another folder");
        let first = take(Purpose::Training).unwrap();
        let message = take(Purpose::Training).unwrap_err().to_string();
        let process = format!("process {} (`", std::process::id());
        for part in [&*process, "UTC", "choose another folder"] {
            assert!(message.contains(part), "{message}");
        }
        FolderLock::check_free(folder.path(), Purpose::Training, "").unwrap_err();
        let taken = |purpose| FolderLock::is_taken(folder.path(), purpose);
        assert!(taken(Purpose::Training) && !taken(Purpose::Export));
        take(Purpose::Export).unwrap();
        drop(first);
        assert!(!taken(Purpose::Training));
        FolderLock::check_free(folder.path(), Purpose::Training, "").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn the_lock_of_a_dead_process_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(Purpose::Training.file()), "1\n0\nocellus train\nand more than it was\n").unwrap();
        let lock = FolderLock::take(folder.path(), Purpose::Training, "").unwrap();
        assert_eq!(fs::read_to_string(&lock.path).unwrap().lines().count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_writes_into_nobodys_file() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        fs::write(&mine, "content").unwrap();
        std::os::unix::fs::symlink(&mine, folder.path().join(Purpose::Export.file())).unwrap();
        let error = FolderLock::take(folder.path(), Purpose::Export, "").unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "content");
    }

    #[test]
    fn only_one_process_writes_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let _first = lock_file(&path).unwrap();
        assert!(lock_file(&path).unwrap_err().to_string().contains("another process"));
    }
}
