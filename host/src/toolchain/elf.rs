//! The sizes of a program, and the board that it is for, from its ELF file.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// What the name of the symbol begins with by which a program says its board: `firmware/build.rs` defines it.
const BOARD: &[u8] = b"\0_ocellus_board_";

/// Bytes that the program in `elf` takes in flash: the file contents of everything that is loaded. The debug
/// information, by far the most of the file, stays on the workstation.
///
/// # Errors
/// The file cannot be read, or is no 32-bit little-endian ELF file.
pub fn program_bytes(elf: &Path) -> Result<u64> {
    Ok(segments(elf)?.iter().map(|segment| segment.in_file).sum())
}

/// Bytes of RAM that the program in `elf` takes for variables with a place of their own.
///
/// # Errors
/// As for [`program_bytes`].
pub fn static_bytes(elf: &Path) -> Result<u64> {
    Ok(segments(elf)?.iter().filter(|segment| segment.is_writable).map(|segment| segment.in_memory).sum())
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

/// The board in the name of a program's symbol, with `_` for `-`: looked for in the table of names, whichever that is.
fn board_of(elf: &[u8]) -> Option<&str> {
    let at = elf.windows(BOARD.len()).position(|window| window == BOARD)?;
    let name = elf[at + BOARD.len()..].split(|byte| *byte == 0).next()?;
    std::str::from_utf8(name).ok()
}

/// A part of a program that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    in_file: u64,
    in_memory: u64,
    is_writable: bool,
}

fn segments(elf: &Path) -> Result<Vec<Segment>> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    parse(&bytes).with_context(|| format!("{} is no program for a Cortex-M", elf.display()))
}

/// The program headers of type `PT_LOAD` (ELF specification, 32-bit layout).
fn parse(elf: &[u8]) -> Option<Vec<Segment>> {
    const PT_LOAD: u32 = 1;
    const PF_W: u32 = 2;
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?)));
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    // Magic, 32-bit class, little-endian.
    elf.starts_with(b"\x7fELF\x01\x01").then_some(())?;
    let (table, entry, count) = (word(28)? as usize, half(42)?, half(44)?);
    let header = |index: usize| {
        let at = table.checked_add(index * entry)?;
        let field = |offset: usize| word(at.checked_add(offset)?);
        let [kind, in_file, in_memory, flags] = [field(0)?, field(16)?, field(20)?, field(24)?];
        let segment = Segment { in_file: in_file.into(), in_memory: in_memory.into(), is_writable: flags & PF_W != 0 };
        Some((kind == PT_LOAD).then_some(segment))
    };
    let headers: Option<Vec<Option<Segment>>> = (0..count).map(header).collect();
    Some(headers?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with `segments` of type, size in the file, size in memory and flags behind it.
    fn elf(segments: &[[u32; 4]]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x01\x01".to_vec();
        bytes.resize(52, 0);
        bytes[28] = 52;
        bytes[42] = 32;
        bytes[44] = segments.len() as u8;
        for [kind, in_file, in_memory, flags] in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 12]);
            bytes.extend([in_file, in_memory, flags].map(|field| field.to_le_bytes()).as_flattened());
            bytes.extend([0; 4]);
        }
        bytes
    }

    #[test]
    fn loaded_segments_count_and_others_do_not() {
        let segments = parse(&elf(&[[1, 1000, 1000, 5], [6, 77, 77, 6], [1, 24, 100, 6]])).unwrap();
        let expected = [(1000, 1000, false), (24, 100, true)];
        assert_eq!(segments.iter().map(|s| (s.in_file, s.in_memory, s.is_writable)).collect::<Vec<_>>(), expected);
        assert_eq!(parse(&elf(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_program_for_another_board_is_told_by_its_symbol() {
        let named = |name: &str| [&elf(&[])[..], b"\0main\0_ocellus_board_", name.as_bytes(), b"\0memcpy\0"].concat();
        assert!(check_board(&named("weact_h743"), "weact-h743").is_ok());
        assert!(check_board(&elf(&[]), "weact-h743").is_ok(), "it does not say");
        let error = check_board(&named("weact_h743"), "openmv-h7").unwrap_err().to_string();
        assert!(error.contains("is that of weact-h743, not of openmv-h7"), "{error}");
        // A name that begins like another one.
        assert!(check_board(&named("weact_h743_plus"), "weact-h743").is_err());
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = elf(&[[1, 1000, 1000, 5], [1, 24, 24, 6]]);
        assert!((0..good.len() - 4).all(|len| parse(&good[..len]).is_none()));
        assert_eq!(parse(b"not a program"), None);
    }
}
