//! Downloads datasets, and single files, into the cache.
//!
//! The archive is collected in `<archive>.part`, which a later call goes on with. Once complete it is checked against
//! its SHA-256, unpacked beside its place, read through, and only then moved there: the dataset's folder either does
//! not exist or is whole.

mod download;
mod file;
mod unpack;

pub use file::RemoteFile;

use super::cifar;
use crate::files;
use crate::recipe::DataRecipe;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Called now and then while bytes arrive: bytes so far, bytes in all where the server says so.
pub type ByteProgress<'a> = &'a dyn Fn(u64, Option<u64>);

/// A dataset that can be downloaded.
pub struct Source {
    variant: &'static cifar::Variant,
    url: &'static str,
    /// SHA-256 of the archive in hex, where somebody trustworthy published it.
    sha256: Option<&'static str>,
}

/// Every dataset that can be downloaded. The checksums are those that TensorFlow Datasets publishes
/// (`url_checksums/cifar10.txt`, `cifar100.txt`); the datasets' own page gives MD5 sums only.
pub static SOURCES: [Source; 2] = [
    Source {
        variant: &cifar::TEN,
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256: Some("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    },
    Source {
        variant: &cifar::HUNDRED,
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256: Some("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    },
];

/// What a caller may choose about a download.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folder to put the dataset's folder into; nothing for [`cache_dir`].
    pub to: Option<PathBuf>,
    /// Address of the archive, where it is not the official one.
    pub url: Option<String>,
    /// Whole SHA-256 of the file in hex, where it is not the published one.
    pub sha256: Option<String>,
    /// Whether a checksum of which only the first digits are published will do.
    pub accept_short: bool,
}

impl Options {
    /// Refuses an address of the user's own without a checksum of its own: whoever answers there may be anybody.
    ///
    /// # Errors
    /// It is one.
    fn check(&self) -> Result<()> {
        let is_checked = self.url.is_none() || self.sha256.is_some();
        ensure!(is_checked, "--url needs --sha256, the whole SHA-256 of the file, to compare what comes with");
        Ok(())
    }
}

/// Where downloads go: `$OCELLUS_CACHE`, else `$XDG_CACHE_HOME/ocellus`, else `~/.cache/ocellus`.
///
/// # Errors
/// None of the three is known.
pub fn cache_dir() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable("OCELLUS_CACHE") {
        return Ok(dir);
    }
    // The XDG specification has relative paths ignored.
    let base = variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let base = base.or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(base.context("there is no cache folder: set OCELLUS_CACHE, or HOME")?.join("ocellus"))
}

impl Source {
    /// The dataset of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Self> {
        let known = || SOURCES.iter().map(Self::name).collect::<Vec<_>>().join(", ");
        let found = SOURCES.iter().find(|source| source.name() == name);
        found.with_context(|| format!("no dataset {name:?} can be fetched: choose one of {}", known()))
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.variant.name
    }

    /// Its folder in the cache, where it was fetched before.
    pub fn cached(&self) -> Option<PathBuf> {
        let dir = cache_dir().ok()?.join(self.variant.folder);
        dir.is_dir().then_some(dir)
    }

    /// Downloads the dataset unless it is there already; returns its folder.
    ///
    /// # Errors
    /// No checksum to compare with; the server does not answer, or not with the archive; the archive is not the
    /// expected one; a file cannot be written. What arrived over a connection that broke stays for the next call.
    pub fn fetch(&self, options: &Options, progress: ByteProgress) -> Result<PathBuf> {
        let dir = options.to.clone().map_or_else(cache_dir, Ok)?;
        let place = dir.join(self.variant.folder);
        if place.exists() {
            self.read_through(&place)
                .with_context(|| format!("{} is damaged: move it away and fetch again", place.display()))?;
            return Ok(place);
        }
        options.check()?;
        let checksum = self.checksum(options)?;
        let url = options.url.as_deref().unwrap_or(self.url);
        files::make_folder(&dir)?;
        let part = dir.join(format!("{}.tar.gz.part", self.variant.folder));
        complete(url, &part, &checksum, progress)?;
        let unpacked = self.unpack(&part, &place);
        // Where it holds something else, no later call could use it either.
        let removed = fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()));
        unpacked.and(removed)?;
        Ok(place)
    }

    /// The SHA-256 that the archive must have, in lower case.
    fn checksum(&self, options: &Options) -> Result<String> {
        checksum(options.sha256.as_deref().or(self.sha256).with_context(|| {
            format!("missing download checksum: none is known for {}; give the archive's with --sha256", self.name())
        })?)
    }

    /// Unpacks the archive `part` beside `place`, reads the dataset through, and moves it to `place`.
    fn unpack(&self, part: &Path, place: &Path) -> Result<()> {
        // The name is fixed so that what a killed run left behind is found; the archive's lock makes it ours.
        let staging = place.with_file_name(format!(".{}.unpacking", self.variant.folder));
        remove_if_there(&staging)?;
        let result = unpack::unpack(part, &staging)
            .with_context(|| format!("cannot unpack {}", part.display()))
            .and_then(|()| {
                let dir = staging.join(self.variant.folder);
                self.read_through(&dir).context("the archive holds something else than the dataset")?;
                files::move_into_place(&dir, place)
            });
        remove_if_there(&staging)?;
        result
    }

    /// Reads the dataset in `dir` and forgets it.
    fn read_through(&self, dir: &Path) -> Result<()> {
        cifar::Records::read(self.variant, dir, &DataRecipe::default()).map(drop)
    }
}

/// A whole SHA-256 in lower case.
fn checksum(text: &str) -> Result<String> {
    ensure!(
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{text:?} is no SHA-256: give 64 hexadecimal digits"
    );
    Ok(text.to_ascii_lowercase())
}

/// Completes the file at `part` from `url`, and checks that its SHA-256 begins with `checksum`.
fn complete(url: &str, part: &Path, checksum: &str, progress: ByteProgress) -> Result<()> {
    let mut file = files::lock_file(part)?;
    let result = download::download(url, &mut file, progress).with_context(|| format!("cannot fetch {url}"));
    if result.is_err() && file.metadata().is_ok_and(|file| file.len() == 0) {
        // There is nothing to go on from. Whoever cannot remove it is told of what went wrong before.
        let _ = fs::remove_file(part);
    }
    result?;
    verify(part, checksum, url)
}

/// Compares the SHA-256 of the file at `path` with its `expected` first digits; removes a file that has others, because
/// no later call could use it.
fn verify(path: &Path, expected: &str, url: &str) -> Result<()> {
    let found = sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !found.starts_with(expected) {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        bail!(
            "{url} has the wrong checksum and was thrown away: its SHA-256 is {found}, expected {expected}; try again, or \
             if you trust the source give its checksum with --sha256"
        );
    }
    Ok(())
}

/// SHA-256 of a file in hex.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sha.finalize())),
            count => sha.update(&buffer[..count]),
        }
    }
}

fn remove_if_there(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_without_a_checksum_is_not_fetched() {
        let source = Source { sha256: None, ..SOURCES[0] };
        let options = Options { to: Some("/nowhere".into()), ..Options::default() };
        let message = source.fetch(&options, &|_, _| ()).unwrap_err().to_string();
        assert!(message.contains("missing download checksum") && message.contains("cifar10"), "{message}");
        assert!(message.contains("--sha256"), "{message}");
    }

    #[test]
    fn a_checksum_is_64_hexadecimal_digits() {
        let checksum = |text: &str| {
            let options = Options { sha256: Some(text.to_owned()), ..Options::default() };
            SOURCES[0].checksum(&options).map_err(|error| error.to_string())
        };
        assert_eq!(checksum(&"AB".repeat(32)).unwrap(), "ab".repeat(32));
        for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            assert!(checksum(wrong).unwrap_err().contains("no SHA-256"), "{wrong:?}");
        }
    }

    #[test]
    fn a_wrong_file_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        fs::write(&path, "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, sum, "url").unwrap();
        assert!(verify(&path, &"0".repeat(64), "url").unwrap_err().to_string().contains(sum));
        assert!(!path.exists());
    }
}
