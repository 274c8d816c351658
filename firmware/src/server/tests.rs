//! A server over RTT's rings, as on a real board.

use super::*;
use crate::time::{Clock, Watchdog};
use crate::transport::rtt::{Rtt, RttReader, RttWriter};
use ocellus_shared::PixelFormat;
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
use ocellus_shared::plan::{Crop, Operand, Plan};
use ocellus_shared::wire::{HEADER_LEN, packet};
use ocellus_shared::{Op, Shape};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Time that goes on where somebody waits; feedings are counted.
#[derive(Default)]
struct Timer {
    now_us: Cell<u64>,
    fed_us: Cell<u64>,
    /// Longest time between two feedings.
    hungry_us: Cell<u64>,
}

impl Clock for Timer {
    fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    fn wait_until_us(&self, time_us: u64) {
        self.now_us.set(time_us.max(self.now_us.get()));
    }
}

impl Watchdog for Timer {
    fn start(&self, _: u32) {}

    fn feed(&self) {
        let now = self.now_us.get();
        self.hungry_us.set(self.hungry_us.get().max(now - self.fed_us.get()));
        self.fed_us.set(now);
    }
}

/// A probe's ends of the two rings, which have `room` bytes.
struct Probe {
    down: RefCell<VecDeque<u8>>,
    up: RefCell<Vec<u8>>,
    room: usize,
}

impl RttReader for &Probe {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        // Few at a time, as a slow probe brings them.
        let mut down = self.down.borrow_mut();
        let count = buffer.len().min(down.len()).min(7);
        buffer.iter_mut().zip(down.drain(..count)).for_each(|(to, from)| *to = from);
        count
    }
}

impl RttWriter for &Probe {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut up = self.up.borrow_mut();
        let count = bytes.len().min(self.room - up.len());
        up.extend(&bytes[..count]);
        count
    }
}

struct Ones(u64);

impl Counter for Ones {
    fn instructions(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn watch_stack(&mut self) {}

    fn stack_bytes(&mut self) -> u32 {
        40
    }
}

/// A network that says how red, green and blue a picture of 4x4 is.
fn plan() -> Vec<u8> {
    let (shape, means) = (Shape::new(4, 4, 3), Shape::vector(3));
    let at = |offset, shape| Operand { offset, shape, zero: 0 };
    let mean = StepSpec {
        op: Op::GlobalAvgPool,
        inputs: vec![at(0, shape)],
        output: at(shape.len(), means),
        scratch: (0, 0),
        strip_rows: 0,
        weights: vec![],
        biases: vec![0],
        multipliers: vec![0.0625],
    };
    let spec = PlanSpec {
        digest: [1, 2, 3, 4, 5, 6, 7, 8],
        arena_bytes: shape.len() + means.len(),
        input: at(0, shape),
        crop: Crop::Centre,
        output: at(shape.len(), means),
        output_scale: 0.125,
        labels: ["red", "green", "blue"].map(String::from).to_vec(),
        steps: vec![mean],
    };
    encode(&spec).unwrap()
}

const NO_MODEL: Denial = Denial { refusal: Refusal::NoPlan, needed: 0, available: 0, detail: &"no model" };

/// A server at the other ends.
fn server<'d>(probe: &'d Probe, timer: &'d Timer) -> Server<Rtt<&'d Probe, &'d Probe, &'d Timer>, Ones> {
    let info = BoardInfo { name: "desk", plan_bytes: 8, arena_bytes: 9, plan_slot: false, live_camera: true };
    Server::new(Rtt::new(probe, probe, timer), Ones(0), info)
}

fn message(kind: Kind, sequence: u32, payload: &[u8]) -> Vec<u8> {
    [&Header::new(kind, sequence, payload.len() as u32).emit()[..], payload].concat()
}

/// What came of some messages.
struct Call {
    /// How often somebody was there when the board polled `polls` times.
    calls: usize,
    replies: Vec<String>,
    took_us: u64,
    hungry_us: u64,
}

fn call(bytes: &[u8], room: usize, model: Option<&[u8]>, frame: Option<Frame>, polls: usize) -> Call {
    let (timer, up) = (Timer::default(), RefCell::default());
    let probe = Probe { down: RefCell::new(bytes.iter().copied().collect()), up, room };
    let mut server = server(&probe, &timer);
    let mut arena = vec![0; 64];
    let mut engine = model.map(|bytes| Engine::new(Plan::parse(bytes).unwrap(), &mut arena).unwrap());
    let mut room = [0; 64];
    let mut calls = 0;
    for _ in 0..polls {
        let engine = engine.as_mut().ok_or(NO_MODEL);
        calls += usize::from(server.poll(HostContext { engine, frame, buffer: &mut room }));
    }
    let up = probe.up.borrow();
    let (mut replies, mut rest) = (Vec::new(), &up[..]);
    while let Ok(Some((reply, length))) = packet::parse(rest) {
        replies.push(format!("{reply:?}"));
        rest = &rest[length..];
    }
    Call { calls, replies, took_us: timer.now_us.get(), hungry_us: timer.hungry_us.get() }
}

fn red() -> Vec<u8> {
    (0..16).flat_map(|_| [100, 20, 0xf6]).collect()
}

const PLENTY: usize = 1 << 16;

#[test]
fn nobody_is_not_waited_for() {
    let Call { calls, replies, took_us, .. } = call(&[], PLENTY, Some(&plan()), None, 5);
    assert_eq!((calls, replies.len(), took_us), (0, 0, 0));
}

#[test]
fn a_host_learns_who_it_is_and_gets_the_engines_scores() {
    let messages = [
        message(Kind::Hello, 1, &[]),
        message(Kind::Tensor, 2, &red()),
        message(Kind::Trace, 3, &red()),
        message(Kind::Profile, 4, &red()),
        message(Kind::End, 5, &[]),
    ];
    let answered = call(&messages.concat(), PLENTY, Some(&plan()), None, 2);
    assert_eq!((answered.calls, answered.replies.len()), (1, 9), "{:?}", answered.replies);
    assert!(answered.replies[0].contains(r#"board: "desk", plan_bytes: 8, arena_bytes: 9"#));
    assert!(answered.replies[1].contains("digest: [1, 2, 3, 4, 5, 6, 7, 8], steps: 1"));
    assert!(answered.replies[2].contains("Scores { sequence: 2,") && answered.replies[2].contains("[100, 20, -10]"));
    assert!(answered.replies[3].starts_with("Step { sequence: 3, index: 0"));
    assert!(answered.replies[5].starts_with("Cost { sequence: 4, index: 0, instructions: 1"));
    assert_eq!(answered.replies[8], "End { messages: 5 }");
    // The end is not waited for.
    assert!(answered.took_us < 10_000, "{}", answered.took_us);
}

#[test]
fn a_frame_of_the_host_goes_through_the_boards_own_preprocessing() {
    let grey = [77; 16];
    let header = Header::frame(PixelFormat::Grey8, 4, 4, 6, 16);
    let bytes = [&header.emit()[..], &grey, &message(Kind::End, 7, &[])].concat();
    let answered = call(&bytes, PLENTY, Some(&plan()), None, 1);
    assert!(answered.replies[0].contains("[-51, -51, -51]"), "{:?}", answered.replies);
    assert!(answered.replies[1].contains(r#"class: 0, margin: 0.0, name: "red""#), "{:?}", answered.replies);
    // Larger than the room.
    let header = Header::frame(PixelFormat::Grey8, 10, 10, 6, 100);
    let answered = call(&[&header.emit()[..], &[0; 100]].concat(), PLENTY, Some(&plan()), None, 1);
    assert!(answered.replies[0].contains("FrameTooLarge, needed: 100, available: 64"), "{:?}", answered.replies);
}

#[test]
fn the_newest_frame_comes_in_whole_rows() {
    let pixels: Vec<u8> = (0..300u32 * 2 * 5).map(|i| (i * 7 % 251) as u8).collect();
    let frame = Frame::new(PixelFormat::Rgb565Le, 300, 5, &pixels).unwrap();
    let show = [message(Kind::NewestFrame, 1, &[]), message(Kind::End, 2, &[])].concat();
    let answered = call(&show, PLENTY, Some(&plan()), Some(frame), 1);
    assert_eq!(answered.replies[0], "Frame { sequence: 1, format: Rgb565Le, width: 300, height: 5 }");
    let rows: Vec<String> = (0..5)
        .map(|y| format!("Rows {{ sequence: 1, first: {y}, bytes: {:?} }}", &pixels[600 * y..600 * (y + 1)]))
        .collect();
    assert_eq!(answered.replies[1..6], rows);
    let without = call(&show, PLENTY, Some(&plan()), None, 1);
    assert!(without.replies[0].contains("NoFrame"), "{:?}", without.replies);
}

#[test]
fn a_board_without_a_model_answers_all_the_same() {
    let messages = [message(Kind::Hello, 1, &[]), message(Kind::Tensor, 2, &[0; 48]), message(Kind::End, 3, &[])];
    let answered = call(&messages.concat(), PLENTY, None, None, 1);
    assert!(answered.replies[0].starts_with("Ready"));
    assert!(answered.replies[1].starts_with("Error { sequence: 1, refusal: NoPlan"), "{:?}", answered.replies);
    assert!(answered.replies[2].starts_with("Error { sequence: 2, refusal: NoPlan"), "{:?}", answered.replies);
    assert_eq!(answered.replies[3], "End { messages: 3 }");
}

#[test]
fn what_a_board_does_not_take_is_refused_and_the_next_message_is_read() {
    let messages = [
        message(Kind::Plan, 1, &[0; 500]),
        message(Kind::Simulate, 2, &[0; 12]),
        message(Kind::Tensor, 3, &[0; 47]),
        message(Kind::Tensor, 4, &red()),
        message(Kind::End, 5, &[]),
    ];
    let answered = call(&messages.concat(), PLENTY, Some(&plan()), None, 1);
    for (reply, start) in answered.replies.iter().zip(["PlanTooLarge", "CameraLoop", "BadTensor"]) {
        assert!(reply.contains(start), "{reply}");
    }
    assert!(answered.replies[3].contains("[100, 20, -10]"), "{:?}", answered.replies);
}

#[test]
fn a_host_that_goes_away_costs_some_time_and_no_more() {
    let tensor = message(Kind::Tensor, 1, &red());
    for length in [1, HEADER_LEN - 1, HEADER_LEN, tensor.len() - 1] {
        let answered = call(&tensor[..length], PLENTY, Some(&plan()), None, 3);
        assert_eq!(answered.calls, 1, "{length} bytes");
        assert!(answered.replies[0].contains("Truncated"), "{:?}", answered.replies);
        assert!(answered.took_us < 1_500_000, "{} us", answered.took_us);
        assert!(answered.hungry_us < 1_000, "the watchdog waited for {} us", answered.hungry_us);
    }
    // It asks and does not listen: the ring is full, and stays so.
    let many: Vec<u8> = (0..40).flat_map(|i| message(Kind::Tensor, i, &red())).collect();
    let answered = call(&many, 100, Some(&plan()), None, 3);
    assert!(answered.took_us < 2_000_000 && answered.hungry_us < 1_000, "{} us", answered.took_us);
}

#[test]
fn a_lost_stream_is_waited_out_and_the_next_message_answered() {
    let (timer, up) = (Timer::default(), RefCell::default());
    let probe = Probe { down: RefCell::new(vec![0x55; 300].into()), up, room: PLENTY };
    let mut server = server(&probe, &timer);
    let mut call = || server.poll(HostContext { engine: Err(NO_MODEL), frame: None, buffer: &mut [] });
    assert!(call() && !call());
    probe.down.borrow_mut().extend(message(Kind::Hello, 9, &[]));
    assert!(call());
    let up = probe.up.borrow();
    let (first, length) = packet::parse(&up).unwrap().unwrap();
    assert!(matches!(first, Reply::Error { refusal: Refusal::BadHeader, .. }), "{first:?}");
    let (second, _) = packet::parse(&up[length..]).unwrap().unwrap();
    assert!(matches!(second, Reply::Ready { .. }), "{second:?}");
}

#[test]
fn a_host_that_follows_hears_the_loop_until_it_ends_or_no_longer_listens() {
    let (timer, report) = (Timer::default(), Reply::Step { sequence: 1, index: 2, crc: 3 });
    let model = plan();
    let mut arena = vec![0; 64];
    let mut engine = Engine::new(Plan::parse(&model).unwrap(), &mut arena).unwrap();
    // A report is 25 bytes.
    for (room, after, heard) in [(PLENTY, &[][..], 9), (PLENTY, &message(Kind::End, 2, &[])[..], 4), (110, &[][..], 4)]
    {
        let probe = Probe { down: RefCell::default(), up: RefCell::default(), room };
        let mut server = server(&probe, &timer);
        server.report(&report);
        assert!(probe.up.borrow().is_empty(), "nobody follows yet");
        for bytes in [&message(Kind::Follow, 1, &[])[..], after] {
            probe.down.borrow_mut().extend(bytes);
            server.poll(HostContext { engine: Ok(&mut engine), frame: None, buffer: &mut [] });
            let now = timer.now_us();
            (0..4).for_each(|_| server.report(&report));
            assert!(timer.now_us() - now < 1_200_000, "it is waited for once");
        }
        server.report(&report);
        let up = probe.up.borrow();
        assert_eq!(up.chunks(25).filter(|part| part.len() == 25 && part.starts_with(b"OCR2")).count(), heard);
    }
}
