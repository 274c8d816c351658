//! What a real board says by itself: its log, and what its camera loop does, of the simulated one; and how both are lost.

use std::time::{Duration, Instant};

use ocellus::board::Board;
use ocellus::client::{Client, LiveEvent, LiveFrame};
use ocellus::probe::simulated::{Fault, Memory, Program, TestBench};
use ocellus::probe::{Image, Link, Restarted, Settings};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::encode;
use ocellus_tests::{elf, plans};

const PROGRAM: u32 = 0x0800_0000;
const BLOCK: u32 = 0x2400_1000;
/// Where the rings and a name are, from the control block on, and how long a ring is: shorter than a line.
const RING: u32 = BLOCK + 0x100;
const NAME: u32 = BLOCK + 0x80;
const RING_LEN: u32 = 64;
/// Offsets in the control block of the log's write and read positions.
const WRITE: u32 = BLOCK + 36;
const READ: u32 = BLOCK + 40;

/// A program that does nothing but log.
struct Logger {
    /// What it logs, anew after each start.
    log: Vec<u8>,
    /// What is to come.
    bytes: Vec<u8>,
    /// Bytes after which it starts anew, once.
    restart_after: Option<usize>,
    logged: usize,
}

impl Logger {
    fn new(log: Vec<u8>) -> Self {
        Self { log, bytes: Vec::new(), restart_after: None, logged: 0 }
    }

    fn of(lines: &[&str]) -> Self {
        Self::new(lines.iter().flat_map(|line| elf::log_frame(line)).collect())
    }
}

impl Program for Logger {
    fn start(&mut self, memory: &mut Memory) {
        self.bytes.clone_from(&self.log);
        let channel = |number| [NAME, RING + number * RING_LEN, RING_LEN, 0, 0, 0];
        let words = [&[2, 1][..], &channel(0), &channel(1), &channel(2)].concat();
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(NAME, b"ocellus\0").unwrap();
        memory.write(BLOCK + 16, &words).unwrap();
        memory.write(BLOCK, b"SEGGER RTT\0\0\0\0\0\0").unwrap();
    }

    fn go_on(&mut self, memory: &mut Memory) {
        if self.restart_after.is_some_and(|after| self.logged >= after) {
            self.restart_after = None;
            return self.start(memory);
        }
        let (mut write, read) = (memory.word(WRITE).unwrap(), memory.word(READ).unwrap());
        while !self.bytes.is_empty() && (write + 1) % RING_LEN != read {
            memory.write(RING + write, &[self.bytes.remove(0)]).unwrap();
            write = (write + 1) % RING_LEN;
            self.logged += 1;
        }
        memory.write(WRITE, &write.to_le_bytes()).unwrap();
    }
}

fn board() -> Board {
    Board::load("weact-h743").unwrap()
}

fn firmware() -> Vec<u8> {
    let vectors = [0x2002_0000u32, PROGRAM + 0x299].map(u32::to_le_bytes).concat();
    elf::program_with_log(PROGRAM, &vectors, BLOCK)
}

/// A board with the firmware and `plan` in its flash.
fn flashed(fault: Option<Fault>, plan: &[u8]) -> (TestBench, Link) {
    let bench = TestBench::of(&board(), fault).unwrap();
    let mut link = Link::attach_to(&bench, &board(), &Settings::default()).unwrap();
    link.flash(&Image { elf: Some(&firmware()), plan }, &mut |_, _, _| {}).unwrap();
    (bench, link)
}

/// A board on which `logger` runs in place of the firmware.
fn logging(logger: Logger) -> (TestBench, Client) {
    let (bench, link) = flashed(None, &[0; 32]);
    bench.with_chip(|chip| chip.load(Box::new(logger)));
    let client = Client::restart(&board(), link, &firmware()).unwrap();
    (bench, client)
}

/// What is logged until `count` lines, with restarts among them.
fn heard(client: &mut Client, count: usize) -> Vec<String> {
    let (mut all, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    while all.len() < count {
        assert!(Instant::now() < until, "{all:?}");
        match client.poll_event(Duration::from_millis(10)) {
            Ok(event) => assert_eq!(event, None),
            Err(error) if error.is::<Restarted>() => all.push("(restart)".to_owned()),
            Err(error) => panic!("{error:#}"),
        }
        all.extend(client.log());
    }
    all
}

#[test]
fn lines_longer_than_the_ring_arrive_whole_and_in_order() {
    let long = "a line of more bytes than the ring has room for at once, which is 64 bytes, and some more";
    let lines = ["ready", long, "", "größer"];
    let (bench, mut client) = logging(Logger::of(&lines));
    assert_eq!(heard(&mut client, lines.len()), lines);
    drop(client);
    bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
}

#[test]
fn a_restart_in_the_middle_is_noticed_and_survived() {
    let lines = ["a line of some length, number one", "a line of some length, number two", "number three", "four"];
    let (_bench, mut client) = logging(Logger { restart_after: Some(100), ..Logger::of(&lines) });
    let all = heard(&mut client, 4);
    let again = all.iter().position(|line| line == "(restart)").expect("the restart is noticed");
    assert!(all[..again].iter().zip(lines).all(|(line, expected)| line == expected), "{all:?}");
}

#[test]
fn a_log_of_another_program_is_told_once() {
    let (_bench, mut client) = logging(Logger::new(vec![0x77; 60]));
    assert_eq!(heard(&mut client, 1), ["the board's log is of another program than the given one"]);
}

/// A board that runs the firmware itself with `plan`, and is followed.
fn followed(fault: Option<Fault>, plan: &[u8]) -> anyhow::Result<(TestBench, Client)> {
    let (bench, link) = flashed(fault, plan);
    bench.run_firmware(&board(), &firmware())?;
    let mut client = Client::restart(&board(), link, &firmware())?;
    client.set_plan(&encode(&plans::watched(1))?)?;
    client.follow()?;
    Ok((bench, client))
}

/// The next `count` frames.
fn frames(client: &mut Client, count: usize) -> anyhow::Result<Vec<LiveFrame>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        match client.poll_event(Duration::from_secs(8))?.expect("the loop goes on") {
            LiveEvent::Frame(frame) => frames.push(frame),
            other => panic!("{other:?}"),
        }
    }
    Ok(frames)
}

#[test]
fn a_board_that_is_followed_tells_every_frame_until_it_is_released() {
    let bytes = encode(&plans::watched(1)).unwrap();
    let plan = Plan::parse(&bytes).unwrap();
    let (bench, mut client) = followed(None, &bytes).unwrap();
    let seen = frames(&mut client, 10).unwrap();
    for pair in seen.windows(2) {
        assert_eq!(pair[1].turn, pair[0].turn + 1);
        assert!(!pair[1].latency.is_zero(), "{pair:?}");
    }
    // The time in which a host was answered counts for none.
    assert!(seen[2..].iter().all(|frame| !frame.interval.is_zero()), "{seen:?}");
    let classes = plan.output().shape.len();
    let labels: Vec<&str> = (0..classes).filter_map(|class| plan.label(class)).collect();
    assert!(seen.iter().all(|frame| frame.scores.len() == classes && labels.contains(&frame.label.as_str())));
    // Others are answered meanwhile.
    assert!(client.newest_frame().unwrap().is_some());
    client.release().unwrap();
    assert_eq!(client.poll_event(Duration::from_millis(300)).unwrap(), None, "it is released");
    client.end().unwrap();
    bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
}

#[test]
fn a_board_without_a_model_cannot_be_followed() {
    let error = format!("{:#}", followed(None, &[0; 64]).err().expect("it has no model"));
    assert!(error.contains("bad-plan") && error.contains("ocellus flash"), "{error}");
}

#[test]
fn a_board_that_is_reset_or_out_of_reach_while_it_is_followed_is_noticed() {
    let bytes = encode(&plans::watched(1)).unwrap();
    let (_bench, mut client) = followed(Some(Fault::Resets), &bytes).unwrap();
    let error = frames(&mut client, 120).unwrap_err();
    assert!(error.is::<Restarted>(), "{error:#}");
    client.set_plan(&bytes).unwrap();
    client.follow().unwrap();
    assert!(frames(&mut client, 3).unwrap()[0].turn < 20, "the loop began anew");
    let (_bench, mut client) = followed(Some(Fault::UnpluggedLater), &bytes).unwrap();
    let message = format!("{:#}", frames(&mut client, 1000).unwrap_err());
    assert!(message.contains("connection to weact-h743 was lost"), "{message}");
}
