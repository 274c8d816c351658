//! The sizes of a program, and the board that it is for, from its ELF file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile32;
use object::{LittleEndian, Object, ObjectSegment, ObjectSymbol, SegmentFlags, elf};
use serde::{Deserialize, Serialize};

/// What the name of the symbol begins with by which a program says its board: `firmware/build.rs` defines it.
const BOARD: &str = "_ocellus_board_";

/// What a board's program takes of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProgramSize {
    /// Bytes of flash: the file contents of everything that is loaded. The debug information, by far the most of the file,
    /// stays on the workstation.
    pub flash_bytes: u64,
    /// Bytes of RAM for variables with a place of their own.
    pub static_bytes: u64,
}

impl ProgramSize {
    /// Of the program in the file `elf`.
    ///
    /// # Errors
    /// The file cannot be read, or is no 32-bit little-endian ELF file for ARM, or a damaged one.
    pub fn of(elf: &Path) -> Result<Self> {
        let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is no program for a Cortex-M", elf.display()))
    }

    /// Of the program of the board called `board`, as it was when `firmware/sizes.toml` was last written: for machines that
    /// cannot build it.
    ///
    /// # Errors
    /// The table does not parse, or lacks the board.
    pub fn recorded(board: &str) -> Result<Self> {
        let sizes: BTreeMap<String, Self> =
            toml::from_str(include_str!("../../../firmware/sizes.toml")).context("in firmware/sizes.toml")?;
        sizes.get(board).copied().with_context(|| format!("firmware/sizes.toml has no size of the program of {board}"))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let file = ElfFile32::<LittleEndian>::parse(bytes)?;
        if file.architecture() != object::Architecture::Arm {
            bail!("it is for {:?}", file.architecture());
        }
        let mut size = Self { flash_bytes: 0, static_bytes: 0 };
        for segment in file.segments() {
            size.flash_bytes += segment.data()?.len() as u64;
            if matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & elf::PF_W != 0) {
                size.static_bytes += segment.size();
            }
        }
        Ok(size)
    }
}

/// Refuses a program that says that it is for another board than the one called `board`. Boards with the same chip would run
/// it, with other pins.
///
/// # Errors
/// It is another board's. One that does not say whose it is, since Ocellus did not build it, is taken.
pub fn check_board(elf: &[u8], board: &str) -> Result<()> {
    match board_of(elf) {
        Some(name) if name != board.replace('-', "_") => {
            let other = name.replace('_', "-");
            bail!(
                "the program is that of {other}, not of {board}: build the right one with `ocellus firmware --board {board}`, \
                 or name the board that is connected with --board"
            )
        }
        _ => Ok(()),
    }
}

/// The board in the name of a program's symbol, with `_` for `-`.
fn board_of(elf: &[u8]) -> Option<&str> {
    let file = ElfFile32::<LittleEndian>::parse(elf).ok()?;
    file.symbols().find_map(|symbol| symbol.name().ok()?.strip_prefix(BOARD))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with headers of `segments`: type, size in the file, size in memory and flags; and the contents of the first.
    fn elf(segments: &[[u32; 4]]) -> Vec<u8> {
        const HEADER: usize = 52;
        const ENTRY: usize = 32;
        let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
        bytes.resize(HEADER, 0);
        [bytes[16], bytes[18], bytes[20]] = [2, 40, 1]; // executable, ARM, version
        [bytes[28], bytes[40], bytes[42], bytes[44]] = [HEADER as u8, HEADER as u8, ENTRY as u8, segments.len() as u8];
        let contents = (HEADER + ENTRY * segments.len()) as u32;
        for [kind, in_file, in_memory, flags] in segments {
            for field in [*kind, contents, 0, 0, *in_file, *in_memory, *flags, 4] {
                bytes.extend(field.to_le_bytes());
            }
        }
        bytes.extend(vec![0; segments.first().map_or(0, |segment| segment[1] as usize)]);
        bytes
    }

    #[test]
    fn loaded_segments_count_and_others_do_not() {
        let size = ProgramSize::parse(&elf(&[[1, 1000, 1000, 5], [6, 77, 77, 6], [1, 24, 100, 6]])).unwrap();
        assert_eq!(size, ProgramSize { flash_bytes: 1024, static_bytes: 100 });
        assert_eq!(ProgramSize::parse(&elf(&[])).unwrap(), ProgramSize { flash_bytes: 0, static_bytes: 0 });
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let good = elf(&[[1, 1000, 1000, 5], [1, 24, 24, 6]]);
        assert!((0..good.len()).all(|len| ProgramSize::parse(&good[..len]).is_err()));
        assert!(ProgramSize::parse(b"not a program").is_err());
        let mut x86 = good.clone();
        x86[18] = 3;
        let error = ProgramSize::parse(&x86).unwrap_err().to_string();
        assert!(error.contains("I386"), "{error}");
        assert_eq!(board_of(b"not a program"), None);
    }
}
