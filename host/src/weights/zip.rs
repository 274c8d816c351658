//! ZIP archives whose entries are not compressed, as `torch.save` writes them: PKWARE's APPNOTE.TXT, sections 4.3.7
//! (local headers), 4.3.12 (the directory) and 4.3.16 (its end). Archives of 4 GB or more are not supported.

use anyhow::{Context, Result, ensure};
use crc::{CRC_32_ISO_HDLC, Crc};

const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// Bytes of each header before its names.
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;

/// The entries of an archive in the order of its directory: name and content.
///
/// # Errors
/// The archive is cut off or damaged, or an entry is compressed or encrypted; names it.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    // The end may have a comment behind it, of as many bytes as its last field says.
    let newest = bytes.len().checked_sub(END_BYTES).context("the archive was cut off")?;
    let is_end = |&at: &usize| bytes[at..].starts_with(END) && at + END_BYTES + field(bytes, at + 20, 2) == bytes.len();
    let end = (newest.saturating_sub(1 << 16)..=newest).rev().find(is_end);
    let end = end.context("the archive has no directory: it was cut off; fetch or copy it again")?;
    let mut at = field(bytes, end + 16, 4);
    let mut found = Vec::new();
    for _ in 0..field(bytes, end + 10, 2) {
        let header = at.checked_add(CENTRAL_BYTES).and_then(|to| bytes.get(at..to));
        let header =
            header.filter(|header| header.starts_with(CENTRAL)).context("the archive's directory is damaged")?;
        let [name, extra, comment] = [28, 30, 32].map(|place| field(header, place, 2));
        at += CENTRAL_BYTES;
        let name = bytes.get(at..at + name).context("the archive's directory is damaged")?;
        at += name.len() + extra + comment;
        let name = String::from_utf8_lossy(name).into_owned();
        let content = content(bytes, header).with_context(|| format!("the archive's entry {name:?}"))?;
        found.push((name, content));
    }
    Ok(found)
}

/// The content of the entry that a header of the directory describes.
fn content<'a>(bytes: &'a [u8], header: &[u8]) -> Result<&'a [u8]> {
    ensure!(field(header, 8, 2) & 1 == 0, "is encrypted");
    ensure!(field(header, 10, 2) == 0, "is compressed; torch.save compresses nothing");
    let (len, at) = (field(header, 24, 4), field(header, 42, 4));
    ensure!(at < u32::MAX as usize && len < u32::MAX as usize, "belongs to an archive of more than 4 GB");
    let local = at.checked_add(LOCAL_BYTES).and_then(|to| bytes.get(at..to));
    let local = local.filter(|local| local.starts_with(LOCAL)).context("has no header: the archive is damaged")?;
    let from = at + LOCAL_BYTES + field(local, 26, 2) + field(local, 28, 2);
    let content = bytes.get(from..from + len).context("is cut off: fetch or copy the file again")?;
    let checksum = field(header, 16, 4) as u32;
    ensure!(CHECKSUM.checksum(content) == checksum, "has a wrong checksum: the archive is damaged; fetch it again");
    Ok(content)
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
}
