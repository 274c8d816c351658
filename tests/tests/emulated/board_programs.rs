//! The programs of the real boards: they build without warnings, and lie in memory as their boards need.
//!
//! A compiler for the boards is needed; where it is missing this test fails and says how to get it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use object::elf::{PT_LOAD, ProgramHeader32};
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{LittleEndian as LE, Object, ObjectSymbol};
use ocellus::board::Board;
use ocellus::client::{Client, LiveEvent};
use ocellus::probe::{self, Selector, Settings};
use ocellus::toolchain::{self, Built, Program, ProgramSize};
use ocellus_shared::plan::encode::encode;
use ocellus_tests::plans;

/// Most bytes of flash that a program may take: it has 1 MB, and its model as much again.
const MOST_FLASH: u64 = 112 * 1024;
/// Fewer would mean that the loop and its kernels were left out.
const LEAST_FLASH: u64 = 20 * 1024;

/// A program of a board.
struct Elf<'d>(ElfFile32<'d, LE>);

/// A loaded part: addresses at run time and in flash, and how many bytes of it flash holds.
struct Segment {
    memory: Range<u64>,
    flash: Range<u64>,
}

impl Elf<'_> {
    fn segments(&self) -> Vec<Segment> {
        let range = |start, length| u64::from(start)..u64::from(start) + u64::from(length);
        let loaded = self.0.elf_program_headers().iter().filter(|header| header.p_type(LE) == PT_LOAD);
        let segment = |header: &ProgramHeader32<LE>| Segment {
            memory: range(header.p_vaddr(LE), header.p_memsz(LE)),
            flash: range(header.p_paddr(LE), header.p_filesz(LE)),
        };
        loaded.map(segment).collect()
    }

    /// Value of the symbol `name`.
    fn symbol(&self, name: &str) -> u64 {
        self.0.symbol_by_name(name).unwrap_or_else(|| panic!("no symbol {name}")).address()
    }

    /// The 32-bit word that flash holds at `address`.
    fn loaded_word(&self, address: u64) -> u64 {
        let bytes =
            self.0.elf_program_headers().iter().filter(|header| header.p_type(LE) == PT_LOAD).find_map(|header| {
                let from = address.checked_sub(header.p_paddr(LE).into())? as usize;
                header.data(LE, self.0.data()).ok()?.get(from..from + 4)
            });
        u32::from_le_bytes(bytes.expect("the address is loaded").try_into().unwrap()).into()
    }
}

/// The regions of a board's memory map.
fn regions(board: &str) -> HashMap<String, Range<u64>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/boards");
    let text = std::fs::read_to_string(folder.join(format!("{board}.x"))).unwrap();
    let region = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let (origin, length) = rest.split_once("ORIGIN = 0x")?.1.split_once(", LENGTH = ")?;
        let start = u64::from_str_radix(origin, 16).ok()?;
        let (number, unit) = length.trim().split_at(length.trim().len() - 1);
        let bytes = number.parse::<u64>().ok()? * if unit == "M" { 1 << 20 } else { 1 << 10 };
        Some((name.trim().to_owned(), start..start + bytes))
    };
    text.lines().filter_map(region).collect()
}

fn within(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    inner.is_empty() || (outer.start <= inner.start && inner.end <= outer.end)
}

/// Builds the program of a real board and checks where it lies.
fn check(board: &Board) {
    let Built { elf, warnings } = toolchain::build_firmware(board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(warnings, 0, "{}", board.name);
    let others = ["openmv-h7", "pico2", "weact-h743"].into_iter().filter(|name| *name != board.name);
    let bytes = std::fs::read(&elf).unwrap();
    assert!(toolchain::check_board(&bytes, &board.name).is_ok(), "{}", board.name);
    others.for_each(|name| assert!(toolchain::check_board(&bytes, name).is_err(), "{} passes for {name}", board.name));
    let bytes = ProgramSize::of(&elf).unwrap().flash_bytes;
    assert!((LEAST_FLASH..=MOST_FLASH).contains(&bytes), "{} takes {bytes} bytes of flash", board.name);
    let elf = std::fs::read(elf).unwrap();
    if board.chip.starts_with("STM32H7") {
        rehearse(board, &elf);
    }
    let (elf, regions) = (Elf(ElfFile32::parse(&*elf).unwrap()), regions(&board.name));
    for segment in elf.segments() {
        assert!(within(&segment.flash, &regions["FLASH"]), "{}: {:x?} is not flash", board.name, segment.flash);
        let room = regions.values().any(|region| within(&segment.memory, region));
        assert!(room, "{}: {:x?} is no memory", board.name, segment.memory);
        assert!(!within(&segment.memory, &regions["STACK"]) || segment.memory.is_empty(), "the stack is shared");
    }
    // Processors start with the word in front of the vectors as their stack pointer.
    assert_eq!(elf.loaded_word(regions["FLASH"].start), regions["STACK"].end, "{}", board.name);
    // What the start-up code clears must be memory from end to end.
    let cleared = elf.symbol("__sbss")..elf.symbol("__ebss");
    assert!(within(&cleared, &regions["RAM"]), "{}: {cleared:x?} is cleared at the start", board.name);
    // A probe reads and fills the channels behind the core's back: no cache may lie between. Two go up and one down.
    let block = elf.symbol("_SEGGER_RTT");
    assert!(within(&(block..block + 24 + 3 * 24), &cleared), "{}: {block:#x} is no place for channels", board.name);
    let large = regions.get("AXISRAM").unwrap_or(&regions["RAM"]);
    let arena = elf.segments().into_iter().filter(|s| within(&s.memory, large));
    let arena: u64 = arena.map(|s| s.memory.end - s.memory.start).sum();
    assert!(arena > board.arena_bytes as u64, "{}: {arena} bytes hold feature maps and frames", board.name);
}

/// Rehearses with the program on the simulated board, which answers where the program has its channels.
fn rehearse(board: &Board, elf: &[u8]) {
    let plan = encode(&plans::watched(1)).unwrap();
    let settings = Settings { probe: Selector::Simulated(None), ..Settings::default() };
    let link = probe::reach(board, &settings, elf, &plan).unwrap();
    let mut client = Client::restart(board, link, elf).unwrap();
    client.set_plan(&plan).unwrap();
    client.follow().unwrap();
    for turn in 0..9 {
        let event = client.poll_event(Duration::from_secs(8)).unwrap();
        assert!(matches!(&event, Some(LiveEvent::Frame(frame)) if frame.scores.len() == 10), "{turn}: {event:?}");
    }
    client.end().unwrap();
}

/// Whether the program of `board` that is built with these variables holds `text`.
fn holds(board: &Board, env: &[(&'static str, String)], text: &str) -> bool {
    let program = Program { name: &board.name, ops: &[], env };
    let built = toolchain::build_program(board, program, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    let elf = std::fs::read(built.elf).unwrap();
    elf.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn programs_of_real_boards_lie_in_memory_as_they_must() {
    let boards: Vec<Board> = Board::all().unwrap().into_iter().filter(|board| board.machine.is_none()).collect();
    let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
    assert_eq!(names, ["openmv-h7", "pico2", "weact-h743"]);
    // One test for both: they build the same file.
    let label = "a label like no other".to_owned();
    assert!(holds(&boards[2], &[("OCELLUS_LOOK_FOR", label.clone())], &label));
    assert!(!holds(&boards[2], &[], &label));
    boards.iter().for_each(check);
}
