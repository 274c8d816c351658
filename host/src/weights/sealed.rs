//! The SHA-256 over the whole of a safetensors file, in its own metadata: no bit of a checkpoint changes unnoticed.
//!
//! It stands under the key `sha256`, 64 lower-case hex digits, and is taken over the file with zeros (`0`) in their place.

use anyhow::{Context, Result, ensure};
use safetensors::tensor::SafeTensors;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// The metadata's `format` of files that are sealed.
pub const FORMAT: &str = "ocellus-checkpoint-2";
/// The metadata's key of the digest.
pub const KEY: &str = "sha256";
/// What stands in place of the digest while it is taken.
pub const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What to do about a damaged file.
pub const REMEDY: &str = "the file is damaged; take another copy, or train again";

/// Puts the digest into a `file` that has [`UNSEALED`] in its place.
///
/// # Errors
/// There is no such place.
pub fn seal(file: &mut [u8]) -> Result<()> {
    let place = place(file).context("the file has no place for its SHA-256")?;
    ensure!(&file[place.clone()] == UNSEALED.as_bytes(), "the file is sealed already");
    let digest = digest(file, &place);
    file[place].copy_from_slice(digest.as_bytes());
    Ok(())
}

/// Checks a file that says of itself that it is sealed.
///
/// # Errors
/// It is damaged.
pub fn verify(file: &[u8]) -> Result<()> {
    let header = SafeTensors::read_metadata(file).ok().and_then(|(_, header)| header.metadata().clone());
    if header.is_none_or(|metadata| metadata.get("format").is_none_or(|format| format != FORMAT)) {
        return Ok(());
    }
    let place = place(file).context(REMEDY)?;
    ensure!(file[place.clone()] == *digest(file, &place).as_bytes(), REMEDY);
    Ok(())
}

/// Where the digest stands. Quotes within JSON's texts are escaped, so that nothing else looks like its key.
fn place(file: &[u8]) -> Option<Range<usize>> {
    let header = u64::from_le_bytes(file.get(..8)?.try_into().ok()?);
    let header = file.get(8..usize::try_from(header).ok()?.checked_add(8)?)?;
    let key = format!("\"{KEY}\":\"");
    let from = 8 + header.windows(key.len()).position(|bytes| bytes == key.as_bytes())? + key.len();
    let to = from + UNSEALED.len();
    (file.get(to) == Some(&b'"')).then_some(from..to)
}

fn digest(file: &[u8], place: &Range<usize>) -> String {
    let sha = Sha256::new_with_prefix(&file[..place.start]).chain_update(UNSEALED).chain_update(&file[place.end..]);
    hex::encode(sha.finalize())
}
