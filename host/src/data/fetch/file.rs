//! Downloads of one file, which need no unpacking.

use super::{ByteProgress, Options, cache_dir, checksum, complete, sha256};
use crate::{files, view};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Digits of its SHA-256 in the name of a file that is not the published one.
const DIGITS: usize = 8;
/// Digits of a whole SHA-256.
const WHOLE: usize = 64;

/// A file that can be downloaded.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile {
    /// What it is called in the cache.
    pub name: &'static str,
    /// Where it is.
    pub url: &'static str,
    /// First digits of its SHA-256 in hex, as many as are published.
    pub sha256: &'static str,
}

impl RemoteFile {
    /// Downloads the file into `folder` of the cache, or into the options' folder, unless it is there already; returns
    /// its path. A file that is there is checked like one that has just arrived. One with another checksum than the
    /// published one has the first digits of its own in its name, so that neither is taken for the other.
    ///
    /// # Errors
    /// Only a part of its checksum is published, and the options accept none; the server does not answer, or not with the file; the file has another checksum; it cannot be written. What
    /// arrived stays for the next call, unless it is wrong.
    pub fn fetch(&self, folder: &str, options: &Options, progress: ByteProgress) -> Result<PathBuf> {
        let dir = match &options.to {
            Some(dir) => dir.clone(),
            None => cache_dir()?.join(folder),
        };
        options.check()?;
        let expected = match &options.sha256 {
            Some(whole) => checksum(whole)?,
            None => self.published(options)?,
        };
        let place = dir.join(self.name_of(&expected));
        if place.exists() {
            let found = sha256(&place).with_context(|| format!("cannot read {}", place.display()))?;
            if !found.starts_with(&expected) {
                bail!("{} is damaged: its SHA-256 is {found}; move it away and fetch again", place.display());
            }
            self.report_digest(options, &found);
            return Ok(place);
        }
        let url = options.url.as_deref().unwrap_or(self.url);
        files::make_folder(&dir)?;
        let part = place.with_added_extension("part");
        complete(url, &part, &expected, progress)?;
        files::move_into_place(&part, &place)?;
        if self.is_short(options) {
            self.report_digest(options, &sha256(&place).with_context(|| format!("cannot read {}", place.display()))?);
        }
        Ok(place)
    }

    /// What is published of its checksum, if that is all of it, or will do.
    fn published(&self, options: &Options) -> Result<String> {
        ensure!(
            self.sha256.len() == WHOLE || options.accept_short,
            "only the first {} digits of the SHA-256 of {} are published ({}), and a file that has the same can be made in \
             minutes: give the whole one with --sha256, from somebody you trust, or say --accept-short-checksum",
            self.sha256.len(),
            self.name,
            self.sha256
        );
        Ok(self.sha256.to_owned())
    }

    fn is_short(&self, options: &Options) -> bool {
        options.sha256.is_none() && self.sha256.len() < WHOLE
    }

    /// Says what `found`, the whole checksum, is good for, where only a part of it was compared.
    fn report_digest(&self, options: &Options, found: &str) {
        if self.is_short(options) {
            view::note(&format!(
                "only {} digits of the checksum of {} were compared; to get this very file from now on: --sha256 {found}",
                self.sha256.len(),
                self.name
            ));
        }
    }

    /// What a file with the checksum `expected` is called: the published one by its name, another one by its own digits.
    fn name_of(&self, expected: &str) -> String {
        if expected.starts_with(self.sha256) {
            return self.name.to_owned();
        }
        let (name, own) = (Path::new(self.name), &expected[..DIGITS]);
        let stem = name.file_stem().unwrap_or_default().to_string_lossy();
        let stem = stem.strip_suffix(self.sha256).map_or(&*stem, |stem| stem.trim_end_matches('-'));
        match name.extension() {
            Some(extension) => format!("{stem}-{own}.{}", extension.display()),
            None => format!("{stem}-{own}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_there_is_checked_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("abc.pth");
        fs::write(&place, "abc").unwrap();
        let options = Options { to: Some(dir.path().to_owned()), accept_short: true, ..Options::default() };
        // Nobody listens there: it must not be asked.
        let file = RemoteFile { name: "abc.pth", url: "http://127.0.0.1:9/abc.pth", sha256: "ba7816bf" };
        assert_eq!(file.fetch("weights", &options, &|_, _| ()).unwrap(), place);
        let other = RemoteFile { sha256: "ba7816be", ..file };
        assert!(other.fetch("weights", &options, &|_, _| ()).unwrap_err().to_string().contains("damaged"));
        let refused =
            file.fetch("weights", &Options { accept_short: false, ..options.clone() }, &|_, _| ()).unwrap_err();
        assert!(refused.to_string().contains("(ba7816bf)") && refused.to_string().contains("--accept-short-checksum"));
        let short = Options { sha256: Some("ba7816bf".into()), ..options };
        assert!(file.fetch("weights", &short, &|_, _| ()).unwrap_err().to_string().contains("64 hexadecimal"));
    }
    #[test]
    fn another_file_has_another_name() {
        let file = RemoteFile { name: "net-ba7816bf.pth", url: "http://127.0.0.1:9/x.pth", sha256: "ba7816bf" };
        let published = format!("ba7816bf{}", "0".repeat(56));
        assert_eq!(file.name_of("ba7816bf"), "net-ba7816bf.pth");
        assert_eq!(file.name_of(&published), "net-ba7816bf.pth");
        assert_eq!(file.name_of(&"12".repeat(32)), "net-12121212.pth");
        let plain = RemoteFile { name: "net", ..file };
        assert_eq!(plain.name_of(&"12".repeat(32)), "net-12121212");
        // It is found again, and leaves the published one alone.
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("net-88d4266f.pth");
        fs::write(&place, "abcd").unwrap();
        let sha256 = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";
        let to = Some(dir.path().to_owned());
        let options = Options { to, sha256: Some(sha256.to_uppercase()), ..Options::default() };
        assert_eq!(file.fetch("weights", &options, &|_, _| ()).unwrap(), place);
    }

    #[test]
    fn a_download_that_never_began_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = RemoteFile { name: "x.pth", url: "file:///x.pth", sha256: "ba7816bf" };
        let options = Options { to: Some(dir.path().to_owned()), accept_short: true, ..Options::default() };
        let message = format!("{:#}", file.fetch("weights", &options, &|_, _| ()).unwrap_err());
        assert!(message.contains("file:///x.pth") && message.contains("neither http:// nor https://"), "{message}");
        let unchecked = Options { url: Some("http://127.0.0.1:9/x".into()), ..options.clone() };
        let message_of = |options: &Options| format!("{:#}", file.fetch("weights", options, &|_, _| ()).unwrap_err());
        assert!(message_of(&unchecked).contains("--url needs --sha256"));
        let malformed = Options { url: Some("http://".into()), sha256: Some("0".repeat(64)), ..options };
        let message = format!("{:#}", file.fetch("weights", &malformed, &|_, _| ()).unwrap_err());
        assert!(message.contains("the address is malformed"), "{message}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
