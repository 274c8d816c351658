//! The size of a program, from its ELF file.

use std::path::Path;

use anyhow::{Context, Result};

/// Bytes that the program in `elf` takes in flash: the file contents of everything that is loaded. The debug
/// information, by far the most of the file, stays on the workstation.
///
/// # Errors
/// The file cannot be read, or is no 32-bit little-endian ELF file.
pub fn program_bytes(elf: &Path) -> Result<u64> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    loaded_bytes(&bytes).with_context(|| format!("{} is no program for a Cortex-M", elf.display()))
}

/// Sum of `p_filesz` over the program headers of type `PT_LOAD` (ELF specification, 32-bit layout).
fn loaded_bytes(elf: &[u8]) -> Option<u64> {
    const PT_LOAD: u32 = 1;
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?)));
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    // Magic, 32-bit class, little-endian.
    elf.starts_with(b"\x7fELF\x01\x01").then_some(())?;
    let (table, entry, count) = (word(28)? as usize, half(42)?, half(44)?);
    (0..count).try_fold(0, |sum, index| {
        let header = table.checked_add(index * entry)?;
        let size = if word(header)? == PT_LOAD { word(header.checked_add(16)?)? } else { 0 };
        Some(sum + u64::from(size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with `segments` of type and size behind it.
    fn elf(segments: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x01\x01".to_vec();
        bytes.resize(52, 0);
        bytes[28] = 52;
        bytes[42] = 32;
        bytes[44] = segments.len() as u8;
        for (kind, size) in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 12]);
            bytes.extend(size.to_le_bytes());
            bytes.extend([0; 12]);
        }
        bytes
    }

    #[test]
    fn loaded_segments_count_and_others_do_not() {
        assert_eq!(loaded_bytes(&elf(&[(1, 1000), (6, 77), (1, 24)])), Some(1024));
        assert_eq!(loaded_bytes(&elf(&[])), Some(0));
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = elf(&[(1, 1000), (1, 24)]);
        assert!((0..good.len() - 16).all(|len| loaded_bytes(&good[..len]).is_none_or(|sum| sum < 1024)));
        assert_eq!(loaded_bytes(b"not a program"), None);
    }
}
