//! The log of a real board: found in the RAM of the simulated one, decoded, and lost in every way it can be.

use std::ops::ControlFlow;

use ocellus::board::Board;
use ocellus::probe::simulated::{Bench, Fault, Memory, Program};
use ocellus::probe::{Heard, Image, Link, Settings};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::encode;
use ocellus_shared::wire::{Refusal, Reply, tensor_crc};
use ocellus_tests::{elf, plans};

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

fn vectors() -> Vec<u8> {
    [0x2002_0000u32, PROGRAM + 0x299].map(u32::to_le_bytes).concat()
}

fn firmware() -> Vec<u8> {
    elf::program_with_log(PROGRAM, &vectors(), LOG)
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

/// What is heard until `count` lines or restarts.
fn heard(link: &mut Link, count: usize) -> anyhow::Result<Vec<String>> {
    heard_of(link, &firmware(), count)
}

/// The same of a board with the program `elf`.
fn heard_of(link: &mut Link, elf: &[u8], count: usize) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    link.listen(elf, &mut |heard| {
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

/// A board with `plan` in its flash on which the firmware itself runs, and its program.
fn running(fault: Option<Fault>, plan: &[u8], encoding: &str) -> (Bench, Link, Vec<u8>) {
    let elf = elf::firmware(PROGRAM, &vectors(), LOG, encoding);
    let bench = Bench::of(&board(), fault).unwrap();
    let mut link = Link::attach_to(&bench, &board(), &Settings::default()).unwrap();
    link.flash(&Image { elf: Some(&elf), plan }, &mut |_, _, _| {}).unwrap();
    bench.run_firmware(&board(), &elf).unwrap();
    (bench, link, elf)
}

#[test]
fn the_firmware_on_the_simulated_board_logs_what_it_sees() {
    let bytes = encode(&plans::watched(1)).unwrap();
    let plan = Plan::parse(&bytes).unwrap();
    for encoding in ["raw", "rzcobs"] {
        let (bench, mut link, elf) = running(None, &bytes, encoding);
        let lines = heard_of(&mut link, &elf, 22).unwrap();
        let board = board();
        let ready = format!("ready board=weact-h743 plan_bytes={} arena_bytes={}", board.plan_bytes, board.arena_bytes);
        assert_eq!(lines[0], ready);
        let Some(Reply::Plan { steps, .. }) = Reply::parse(&lines[1]) else { panic!("{lines:?}") };
        assert_eq!(steps as usize, plan.steps().count());
        for (turn, pair) in lines[2..].chunks_exact(2).enumerate() {
            let [Some(Reply::Scores { sequence, crc, values }), Some(seen)] =
                [&pair[0], &pair[1]].map(|l| Reply::parse(l))
            else {
                panic!("{pair:?}")
            };
            let values: Vec<i8> = values.iter().collect();
            assert_eq!((sequence as usize, crc, values.len()), (turn, tensor_crc(&values), plan.output().shape.len()));
            let Reply::Seen { sequence, class, latency_us, interval_us, name, .. } = seen else { panic!("{pair:?}") };
            assert_eq!((sequence as usize, Some(name)), (turn, plan.label(class as usize)));
            assert!(latency_us > 0 && (interval_us > 0) == (turn > 0), "{pair:?}");
        }
        drop(link);
        bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
    }
}

#[test]
fn a_board_without_a_model_says_so_in_its_log() {
    let (_bench, mut link, elf) = running(None, &[0; 64], "rzcobs");
    for line in &heard_of(&mut link, &elf, 3).unwrap()[1..] {
        assert!(matches!(Reply::parse(line), Some(Reply::Error { refusal: Refusal::BadPlan, .. })), "{line}");
    }
}

#[test]
fn a_firmware_that_is_reset_or_out_of_reach_while_it_logs_is_noticed() {
    let bytes = encode(&plans::watched(1)).unwrap();
    let (_bench, mut link, elf) = running(Some(Fault::Resets), &bytes, "rzcobs");
    let lines = heard_of(&mut link, &elf, 120).unwrap();
    let again = lines.iter().position(|line| line == "(restart)").expect("the restart is heard");
    assert!(again > 10 && lines[again + 1].starts_with("ready "), "{lines:?}");
    let (_bench, mut link, elf) = running(Some(Fault::UnpluggedLater), &bytes, "rzcobs");
    let message = format!("{:#}", heard_of(&mut link, &elf, 1000).unwrap_err());
    assert!(message.contains("connection to weact-h743 was lost"), "{message}");
}
