//! Downloads of one file, which need no unpacking.

use super::{ByteProgress, Options, cache_dir, checksum, complete, sha256};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

/// A file that can be downloaded.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile {
    /// What it is called in the cache.
    pub name: &'static str,
    /// Where it is.
    pub url: &'static str,
    /// First digits of its SHA-256 in hex, as many as whoever publishes it tells.
    pub sha256: &'static str,
}

impl RemoteFile {
    /// Downloads the file into `folder` of the cache, or into the options' folder, unless it is there already; returns
    /// its path. A file that is there is checked like one that has just arrived.
    ///
    /// # Errors
    /// The server does not answer, or not with the file; the file has another checksum; it cannot be written. What
    /// arrived stays for the next call, unless it is wrong.
    pub fn fetch(&self, folder: &str, options: &Options, progress: ByteProgress) -> Result<PathBuf> {
        let dir = match &options.to {
            Some(dir) => dir.clone(),
            None => cache_dir()?.join(folder),
        };
        let expected = match &options.sha256 {
            Some(whole) => checksum(whole)?,
            None => self.sha256.to_owned(),
        };
        let place = dir.join(self.name);
        if place.exists() {
            let found = sha256(&place).with_context(|| format!("cannot read {}", place.display()))?;
            if !found.starts_with(&expected) {
                bail!("{} is damaged: its SHA-256 is {found}; move it away and fetch again", place.display());
            }
            return Ok(place);
        }
        let url = options.url.as_deref().unwrap_or(self.url);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create the folder {}", dir.display()))?;
        let part = dir.join(format!("{}.part", self.name));
        complete(url, &part, &expected, progress)?;
        fs::rename(&part, &place).with_context(|| format!("cannot move the download to {}", place.display()))?;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_checked_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("abc.pth");
        fs::write(&place, "abc").unwrap();
        let options = Options { to: Some(dir.path().to_owned()), ..Options::default() };
        // Nobody listens there: it must not be asked.
        let file = RemoteFile { name: "abc.pth", url: "http://127.0.0.1:9/abc.pth", sha256: "ba7816bf" };
        assert_eq!(file.fetch("weights", &options, &|_, _| ()).unwrap(), place);
        let other = RemoteFile { sha256: "ba7816be", ..file };
        assert!(other.fetch("weights", &options, &|_, _| ()).unwrap_err().to_string().contains("damaged"));
        let short = Options { sha256: Some("ba7816bf".into()), ..options };
        assert!(file.fetch("weights", &short, &|_, _| ()).unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
