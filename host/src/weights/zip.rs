//! ZIP archives whose entries are not compressed, as `torch.save` writes them: PKWARE's APPNOTE.TXT, sections 4.3.7
//! (local headers), 4.3.12 (the directory) and 4.3.16 (its end). Archives of 4 GB or more are not supported.

use anyhow::{Context, Result, bail, ensure};
use crc::{CRC_32_ISO_HDLC, Crc};
use std::borrow::Cow;
use std::ops::Range;

const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// Bytes of each header before its names.
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;

/// The entries of an archive in the order of its directory: name and content. Each byte belongs to at most one of them.
///
/// # Errors
/// The archive is cut off or damaged, an entry is compressed or encrypted, two entries overlap, or two have one name; names
/// the entry.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    // The end may have a comment behind it, of as many bytes as its last field says.
    let newest = bytes.len().checked_sub(END_BYTES).context("the archive was cut off")?;
    let is_end = |&at: &usize| bytes[at..].starts_with(END) && at + END_BYTES + field(bytes, at + 20, 2) == bytes.len();
    let end = (newest.saturating_sub(1 << 16)..=newest).rev().find(is_end);
    let end = end.context("the archive has no directory: it was cut off; fetch or copy it again")?;
    let entries = directory(&bytes[..end], field(bytes, end + 16, 4), field(bytes, end + 10, 2))?;
    check_apart(&entries)?;
    entries.into_iter().map(|entry| Ok((entry.checked()?, entry.content))).collect()
}

/// What the directory says of an entry, and where that lies.
struct Entry<'a> {
    name: Cow<'a, str>,
    /// From its header on to the end of its content.
    extent: Range<usize>,
    content: &'a [u8],
    checksum: u32,
}

impl Entry<'_> {
    /// Its name, if its content has the checksum that the directory says.
    fn checked(&self) -> Result<String> {
        let name = &self.name;
        let damaged = "has a wrong checksum: the archive is damaged; fetch it again";
        ensure!(CHECKSUM.checksum(self.content) == self.checksum, "the archive's entry {name:?} {damaged}");
        Ok(name.to_string())
    }
}

/// Reads the `count` entries of the directory that begins at byte `at`.
fn directory(bytes: &[u8], mut at: usize, count: usize) -> Result<Vec<Entry<'_>>> {
    const DAMAGED: &str = "the archive's directory is damaged";
    let mut entries = Vec::new();
    // What the entries hold lies before the directory.
    let before = bytes.get(..at).context(DAMAGED)?;
    for _ in 0..count {
        let header = at.checked_add(CENTRAL_BYTES).and_then(|to| bytes.get(at..to));
        let header = header.filter(|header| header.starts_with(CENTRAL)).context(DAMAGED)?;
        let [name, extra, comment] = [28, 30, 32].map(|place| field(header, place, 2));
        at += CENTRAL_BYTES;
        let name = bytes.get(at..at + name).context(DAMAGED)?;
        at += name.len() + extra + comment;
        entries.push(entry(before, header, name).with_context(|| {
            let name = String::from_utf8_lossy(name);
            format!("the archive's entry {name:?}")
        })?);
    }
    Ok(entries)
}

/// The entry that a header of the directory describes.
fn entry<'a>(bytes: &'a [u8], header: &[u8], name: &'a [u8]) -> Result<Entry<'a>> {
    ensure!(field(header, 8, 2) & 1 == 0, "is encrypted");
    ensure!(
        field(header, 10, 2) == 0,
        "is compressed, and torch.save compresses nothing: where the archive holds a file of weights, unpack that first"
    );
    let (len, at) = (field(header, 24, 4), field(header, 42, 4));
    ensure!(at < u32::MAX as usize && len < u32::MAX as usize, "belongs to an archive of more than 4 GB");
    let local = at.checked_add(LOCAL_BYTES).and_then(|to| bytes.get(at..to));
    let local = local.filter(|local| local.starts_with(LOCAL)).context("has no header: the archive is damaged")?;
    let behind = at + LOCAL_BYTES;
    let from = behind + field(local, 26, 2) + field(local, 28, 2);
    let same = bytes.get(behind..behind + field(local, 26, 2)) == Some(name);
    ensure!(same, "has another name in its own header: the archive is damaged");
    let content = bytes.get(from..from + len).context("is cut off: fetch or copy the file again")?;
    let checksum = field(header, 16, 4) as u32;
    Ok(Entry { name: String::from_utf8_lossy(name), extent: at..from + len, content, checksum })
}

/// Refuses entries that share bytes, which a small archive unfolds to much with, and two of one name, of which readers choose
/// different ones.
fn check_apart(entries: &[Entry<'_>]) -> Result<()> {
    let mut sorted: Vec<&Entry<'_>> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.extent.start);
    for pair in sorted.windows(2) {
        let apart = pair[0].extent.end <= pair[1].extent.start;
        ensure!(apart, "the archive's entries {:?} and {:?} overlap: it is refused", pair[0].name, pair[1].name);
    }
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = sorted.windows(2).find(|pair| pair[0].name == pair[1].name);
    twice.map_or(Ok(()), |pair| bail!("the archive has two entries {:?}: it is refused", pair[0].name))
}

/// A number of at most 4 bytes, the least significant one first.
fn field(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |number, &byte| (number << 8) | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &[u8] = include_bytes!("../../../tests/golden/state.pth");

    #[test]
    fn entries_are_found_by_the_directory() {
        let names: Vec<String> = entries(ARCHIVE).unwrap().into_iter().map(|(name, _)| name).collect();
        assert!(
            names.contains(&"state/data.pkl".to_owned()) && names.contains(&"state/data/0".to_owned()),
            "{names:?}"
        );
        // A comment behind the end.
        let mut commented = ARCHIVE.to_vec();
        let len = commented.len();
        commented[len - 2] = 3;
        commented.extend(b"abc");
        assert_eq!(entries(&commented).unwrap().len(), names.len());
    }

    #[test]
    fn what_torch_does_not_write_is_refused() {
        let place = ARCHIVE.windows(4).position(|bytes| bytes == CENTRAL).unwrap();
        for (field, word) in [(8, "encrypted"), (10, "compressed"), (16, "checksum"), (27, "cut off")] {
            let mut damaged = ARCHIVE.to_vec();
            damaged[place + field] ^= 1;
            assert!(format!("{:#}", entries(&damaged).unwrap_err()).contains(word), "{word}");
        }
        assert!(entries(b"PK\x05\x06").unwrap_err().to_string().contains("cut off"));
    }

    /// An archive of entries with these names and contents, in the order of its directory. The content of an entry without
    /// one is that of the entry before it.
    fn archive(entries: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
        let (mut bytes, mut directory, mut at, mut content) = (Vec::new(), Vec::new(), 0, &[][..]);
        for (name, own) in entries {
            let len = (name.len() as u16).to_le_bytes();
            if let Some(own) = own {
                (at, content) = (bytes.len() as u32, own);
                bytes.extend([LOCAL, &[0; 22], &len, &[0; 2], name.as_bytes(), own].concat());
            }
            let sizes = [(content.len() as u32).to_le_bytes(); 2].concat();
            let checksum = CHECKSUM.checksum(content).to_le_bytes();
            let head = [CENTRAL, &[0; 12], &checksum, &sizes, &len, &[0; 12], &at.to_le_bytes(), name.as_bytes()];
            directory.extend(head.concat());
        }
        let count = (entries.len() as u16).to_le_bytes();
        let [size, start] = [directory.len() as u32, bytes.len() as u32].map(u32::to_le_bytes);
        [&bytes[..], &directory, END, &[0; 4], &count, &count, &size, &start, &[0; 2]].concat()
    }

    #[test]
    fn entries_that_share_bytes_or_names_are_refused() {
        let message = |entries_: &[(&str, Option<&[u8]>)]| entries(&archive(entries_)).unwrap_err().to_string();
        let good = archive(&[("a", Some(b"1")), ("b", Some(b""))]);
        assert_eq!(entries(&good).unwrap(), [("a".to_owned(), &b"1"[..]), ("b".to_owned(), b"")]);
        assert!(message(&[("a", Some(b"1")), ("a", None)]).contains("overlap"));
        assert!(
            message(&[("x/data.pkl", Some(b"1")), ("x/data.pkl", Some(b"2"))]).contains("two entries \"x/data.pkl\"")
        );
        // The directory gives another name to an entry than that has itself.
        let liar = archive(&[("a", Some(b"1")), ("c", None)]);
        assert!(format!("{:#}", entries(&liar).unwrap_err()).contains("another name in its own header"));
        // An entry within another one's content.
        let inner = [LOCAL, &[0; 22], &1u16.to_le_bytes(), &[0; 2], b"b"].concat();
        let mut nested = archive(&[("a", Some(&inner)), ("b", Some(b""))]);
        let at = nested.windows(4).rposition(|bytes| bytes == CENTRAL).unwrap() + 42;
        nested[at] = LOCAL_BYTES as u8 + 1;
        assert!(entries(&nested).unwrap_err().to_string().contains("\"a\" and \"b\" overlap"));
        // Entries in the directory itself.
        let mut behind = good;
        let place = behind.windows(4).position(|bytes| bytes == CENTRAL).unwrap();
        let end = behind.len() - END_BYTES + 16;
        behind[end] = place as u8 - 1;
        assert!(entries(&behind).is_err());
    }
}
