//! The log of a real board: found in the RAM of the simulated one, decoded, and lost in every way it can be.

use std::ops::ControlFlow;

use ocellus::board::Board;
use ocellus::probe::simulated::{Bench, Memory, Program};
use ocellus::probe::{Heard, Image, Link, Settings};
use ocellus_tests::elf;

const PROGRAM: u32 = 0x0800_0000;
const LOG: u32 = 0x2400_1000;
const BUFFER: u32 = LOG + 0x100;
const BUFFER_LEN: u32 = 64;
/// Offsets in the control block of the first channel's write and read positions and its mode.
const WRITE: u32 = LOG + 36;
const READ: u32 = LOG + 40;
const MODE: u32 = LOG + 44;

/// A program that does nothing but talk.
struct Talker {
    lines: Vec<&'static str>,
    /// What is to come.
    bytes: Vec<u8>,
    /// Bytes after which it starts anew, once.
    restart_after: Option<usize>,
    said: usize,
}

impl Talker {
    fn new(lines: &[&'static str]) -> Self {
        Self { lines: lines.to_vec(), bytes: Vec::new(), restart_after: None, said: 0 }
    }
}

impl Program for Talker {
    fn start(&mut self, memory: &mut Memory) {
        self.bytes = self.lines.iter().flat_map(|line| elf::log_frame(line)).collect();
        let words = [1, 0, 0, BUFFER, BUFFER_LEN, 0, 0, 0].map(u32::to_le_bytes).concat();
        memory.write(LOG, b"SEGGER RTT\0\0\0\0\0\0").unwrap();
        memory.write(LOG + 16, &words).unwrap();
    }

    fn go_on(&mut self, memory: &mut Memory) {
        if self.restart_after.is_some_and(|after| self.said >= after) {
            self.restart_after = None;
            return self.start(memory);
        }
        let (mut write, read) = (memory.word(WRITE).unwrap(), memory.word(READ).unwrap());
        while !self.bytes.is_empty() && (write + 1) % BUFFER_LEN != read {
            memory.write(BUFFER + write, &[self.bytes.remove(0)]).unwrap();
            write = (write + 1) % BUFFER_LEN;
            self.said += 1;
        }
        memory.write(WRITE, &write.to_le_bytes()).unwrap();
    }
}

fn board() -> Board {
    Board::load("weact-h743").unwrap()
}

fn firmware() -> Vec<u8> {
    let vectors = [0x2002_0000u32, PROGRAM + 0x299].map(u32::to_le_bytes).concat();
    elf::program_with_log(PROGRAM, &vectors, LOG)
}

/// A board with the firmware, which `talker` acts for.
fn talking(talker: Option<Talker>) -> (Bench, Link) {
    let bench = Bench::of(&board(), None).unwrap();
    let mut link = Link::attach_to(&bench, &board(), &Settings::default()).unwrap();
    link.flash(&Image { elf: Some(&firmware()), plan: &[0; 32] }, &mut |_, _, _| {}).unwrap();
    if let Some(talker) = talker {
        bench.with_chip(|chip| chip.load(Box::new(talker)));
    }
    (bench, link)
}

/// What is heard until `count` lines or restarts, or one of nothing new after a line.
fn heard(link: &mut Link, count: usize) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    link.listen(&firmware(), &mut |heard| {
        match heard {
            Heard::Line(line) => all.push(line.to_owned()),
            Heard::Restart => all.push("(restart)".to_owned()),
            Heard::Silence => {}
        }
        if all.len() >= count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(all)
}

#[test]
fn lines_longer_than_the_buffer_arrive_whole_and_in_order() {
    let lines = ["ready", "scores seq=1 crc=00000000 values=[1, 2, 3, -4, 5, 6, 7, 8, 9, 10, 11, 12]", "", "größer"];
    let (bench, mut link) = talking(Some(Talker::new(&lines)));
    assert_eq!(heard(&mut link, lines.len()).unwrap(), lines);
    // The program must not wait for a listener that is gone.
    bench.with_chip(|chip| assert_eq!(chip.memory.word(MODE), Ok(0)));
    assert_eq!(heard(&mut link, lines.len()).unwrap(), lines, "and again");
    drop(link);
    bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
}

#[test]
fn a_program_without_a_log_is_told_and_a_stale_one_is_not_believed() {
    let (bench, mut link) = talking(None);
    // What an earlier program left in RAM looks like a log with something in it.
    let mut earlier = Talker::new(&["what was said yesterday"]);
    bench.with_chip(|chip| {
        earlier.start(&mut chip.memory);
        earlier.go_on(&mut chip.memory);
    });
    let message = format!("{:#}", heard(&mut link, 1).unwrap_err());
    for part in ["no log at 0x24001000 of weact-h743 after 3 s", "another one", "ocellus flash"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_restart_in_the_middle_is_noticed_and_survived() {
    let lines = [
        "a line of some length, number one",
        "a line of some length, number two",
        "a line of some length, number three",
        "a line of some length, number four",
    ];
    let (_, mut link) = talking(Some(Talker { restart_after: Some(100), ..Talker::new(&lines) }));
    let all = heard(&mut link, 5).unwrap();
    let again = all.iter().position(|line| line == "(restart)").expect("the restart is heard");
    assert_eq!(all[again + 1..], lines[..all.len() - again - 1]);
    assert_eq!(all[..again], lines[..again]);
}

#[test]
fn firmware_that_has_no_log_is_refused() {
    let (_, mut link) = talking(None);
    let message =
        |elf: &[u8], link: &mut Link| format!("{:#}", link.listen(elf, &mut |_| ControlFlow::Break(())).unwrap_err());
    let silent = elf::program(PROGRAM, &[0; 8]);
    assert!(message(&silent, &mut link).contains("not firmware of Ocellus"), "{}", message(&silent, &mut link));
    assert!(message(b"no program", &mut link).contains("not firmware of Ocellus"));
}
