//! Archives, which are not trusted even where their checksum is right: `--sha256` may have been given in good faith.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Component, Path};
use tar::{Archive, Entry, EntryType};

/// Most bytes that an archive may unpack to.
const MAX_BYTES: u64 = 2 << 30;
/// Most files and folders that an archive may hold.
const MAX_ENTRIES: usize = 100_000;

/// Unpacks the `.tar.gz` file `archive` into the new folder `into`: files and folders only, none outside of it.
///
/// # Errors
/// The archive is damaged, too large, or holds anything else; `into` is then in an unfinished state.
pub fn unpack(archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir(into).with_context(|| format!("cannot create the folder {}", into.display()))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(File::open(archive)?)));
    let mut bytes = 0;
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry.context("the archive is damaged")?;
        bytes += entry.size();
        ensure!(count < MAX_ENTRIES, "it holds more than {MAX_ENTRIES} files");
        ensure!(bytes <= MAX_BYTES, "it unpacks to more than {MAX_BYTES} bytes");
        let path = entry.path().context("the archive is damaged")?.into_owned();
        unpack_entry(&mut entry, &path, into).with_context(|| format!("at its entry {}", path.display()))?;
    }
    Ok(())
}

fn unpack_entry(entry: &mut Entry<impl io::Read>, path: &Path, into: &Path) -> Result<()> {
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(inside, "it leads out of the folder");
    let target = into.join(path);
    match entry.header().entry_type() {
        EntryType::Directory => fs::create_dir_all(&target)?,
        EntryType::Regular => {
            fs::create_dir_all(target.parent().context("it has no name")?)?;
            let mut file = File::create_new(&target)?;
            let written = io::copy(entry, &mut file)?;
            ensure!(written == entry.size(), "it is cut off");
            file.sync_all()?;
        }
        // Comments on the archive as a whole, which hold no file.
        EntryType::XGlobalHeader => {}
        kind => bail!("it is a {kind:?}, neither file nor folder"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A tar.gz with one entry, whose name is written as it is.
    fn archive(name: &str, kind: EntryType, content: &[u8]) -> (TempDir, PathBuf) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        tar.append(&header, content).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        fs::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
        (dir, path)
    }

    fn error(name: &str, kind: EntryType) -> String {
        let (dir, path) = archive(name, kind, b"");
        let error = unpack(&path, &dir.path().join("out")).unwrap_err();
        assert!(!dir.path().join("evil").exists());
        format!("{error:#}")
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let (dir, path) = archive("a/b/file.bin", EntryType::Regular, b"content");
        unpack(&path, &dir.path().join("out")).unwrap();
        assert_eq!(fs::read(dir.path().join("out/a/b/file.bin")).unwrap(), b"content");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        assert!(error("../evil", EntryType::Regular).contains("leads out"));
        assert!(error("a/../../evil", EntryType::Regular).contains("leads out"));
        assert!(error("/tmp/evil", EntryType::Regular).contains("leads out"));
        assert!(error("evil", EntryType::Symlink).contains("neither file nor folder"));
        assert!(error("evil", EntryType::Link).contains("neither file nor folder"));
        assert!(error("evil", EntryType::Fifo).contains("neither file nor folder"));
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let (dir, path) = archive("file", EntryType::Regular, &[7; 5000]);
        let whole = fs::read(&path).unwrap();
        File::create(&path).unwrap().write_all(&whole[..whole.len() - 20]).unwrap();
        assert!(unpack(&path, &dir.path().join("out")).is_err());
    }

    #[test]
    fn an_oversized_archive_is_refused_before_it_is_written() {
        let mut header = tar::Header::new_ustar();
        header.set_path("big").unwrap();
        header.set_size(MAX_BYTES + 1);
        header.set_cksum();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(header.as_bytes()).unwrap();
        fs::write(&path, packed.finish().unwrap()).unwrap();
        let message = format!("{:#}", unpack(&path, &dir.path().join("out")).unwrap_err());
        assert!(message.contains("more than 2147483648 bytes"), "{message}");
    }
}
