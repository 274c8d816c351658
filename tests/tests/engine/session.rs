//! The board's side of the conversation, with the workstation's memory in place of semihosting.

use embedded_hal::digital::{ErrorType, OutputPin};
use ocellus_firmware::Engine;
use ocellus_firmware::emulated::{self, Memory};
use ocellus_firmware::profile::Counter;
use ocellus_firmware::server::StreamError;
use ocellus_firmware::time::{Clock, Watchdog};
use ocellus_firmware::transport::{EndOfStream, Transport};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::{self, PlanSpec};
use ocellus_shared::wire::{
    CameraFault, Event, FrameCounts, Header, Kind, MAX_EVENTS, MAX_PAYLOAD_LEN, Refusal, Reply, packet, tensor_crc,
};
use ocellus_shared::{Frame, PixelFormat};
use ocellus_tests::plans;
use ocellus_tests::random::Random;
use std::cell::{Cell, RefCell};

/// Messages that come at once, and the bytes of the replies.
struct Stream<'a>(&'a [u8], &'a RefCell<Vec<u8>>);

impl Transport for Stream<'_> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let (now, later) = self.0.split_at_checked(buffer.len()).ok_or(EndOfStream)?;
        buffer.copy_from_slice(now);
        self.0 = later;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        self.1.borrow_mut().extend_from_slice(bytes);
    }
}

/// An output that nobody looks at.
struct NoOutput;

impl ErrorType for NoOutput {
    type Error = core::convert::Infallible;
}

impl OutputPin for NoOutput {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Every look at the counter costs one instruction. Time goes on where somebody waits.
#[derive(Default)]
struct Ticks(Cell<u64>, Cell<u64>);

impl Counter for &Ticks {
    fn instructions(&mut self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    fn watch_stack(&mut self) {}

    fn stack_bytes(&mut self) -> u32 {
        7
    }
}

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        self.1.get()
    }

    fn wait_until_us(&self, time_us: u64) {
        self.1.set(time_us.max(self.1.get()));
    }
}

impl Watchdog for Ticks {
    fn start(&self, _: u32) {}

    fn feed(&self) {}
}

const FRAME_BYTES: usize = 4096;

/// Plays `messages` to a board and returns how it ended and its replies, as text.
fn play(messages: &[u8]) -> (Result<(), StreamError>, Vec<String>) {
    play_with(FRAME_BYTES, messages)
}

/// The same with room for larger frames.
fn play_with(frame_bytes: usize, messages: &[u8]) -> (Result<(), StreamError>, Vec<String>) {
    let (sent, ticks) = (RefCell::default(), Ticks::default());
    let (mut plan, mut arena, mut frame) = (vec![0; 1 << 20], vec![0; 1 << 18], vec![0; frame_bytes]);
    let memory = Memory { plan: &mut plan, arena: &mut arena, frame: &mut frame };
    let end = emulated::run("desk", memory, Stream(messages, &sent), &ticks, &ticks, NoOutput);
    let (sent, mut replies) = (sent.take(), Vec::new());
    let mut rest = &sent[..];
    while let Some((reply, length)) = packet::parse(rest).unwrap() {
        replies.push(format!("{reply:?}"));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    (end, replies)
}

fn message(kind: Kind, sequence: u32, payload: &[u8]) -> Vec<u8> {
    [&Header::new(kind, sequence, payload.len() as u32).emit()[..], payload].concat()
}

fn frame(format: PixelFormat, width: u16, height: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header::frame(format, width, height, sequence, payload.len() as u32);
    [&header.emit()[..], payload].concat()
}

fn end() -> Vec<u8> {
    message(Kind::End, 9, &[])
}

fn cnn() -> PlanSpec {
    plans::cifar_cnn(1)
}

fn image(seed: u64) -> Vec<i8> {
    Random::new(seed).tensor(32 * 32 * 3)
}

fn bytes(image: &[i8]) -> Vec<u8> {
    image.iter().map(|v| *v as u8).collect()
}

fn scores_reply(sequence: u32, plan: &[u8], image: &[i8]) -> String {
    let plan = Plan::parse(plan).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    engine.input_mut().copy_from_slice(image);
    let values = engine.run();
    format!("{:?}", Reply::Scores { sequence, crc: tensor_crc(values), values })
}

fn refusal(sequence: u32, refusal: Refusal, needed: u32, available: u32, detail: &str) -> String {
    let reply = Reply::Error { sequence, refusal, needed, available, detail };
    format!("{reply:?}")
}

#[test]
fn tensors_give_the_engines_scores() {
    let plan = encode::encode(&cnn()).unwrap();
    let messages = [
        message(Kind::Plan, 0, &plan),
        message(Kind::Tensor, 1, &bytes(&image(1))),
        message(Kind::Tensor, 2, &bytes(&image(2))),
        end(),
    ];
    let (ended, replies) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert!(replies[0].starts_with("Plan"));
    assert_eq!(replies[1..3], [scores_reply(1, &plan, &image(1)), scores_reply(2, &plan, &image(2))]);
    assert_eq!(replies[3], "End { messages: 4 }");
}

#[test]
fn frames_are_preprocessed_as_here() {
    let plan = encode::encode(&cnn()).unwrap();
    let pixels = Random::new(3).bytes(40 * 36 * 2);
    let shown = Frame::new(PixelFormat::Rgb565Be, 40, 36, &pixels).unwrap();
    let messages = [message(Kind::Plan, 0, &plan), frame(PixelFormat::Rgb565Be, 40, 36, 3, &pixels), end()];
    let (ended, replies) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    let mut arena = vec![0; 1 << 18];
    let mut engine = Engine::new(Plan::parse(&plan).unwrap(), &mut arena).unwrap();
    let values = engine.classify(&shown).unwrap();
    let expected = Reply::Scores { sequence: 3, crc: tensor_crc(values), values };
    assert_eq!(replies[1], format!("{expected:?}"));
    assert!(replies[2].starts_with("Label { sequence: 3,") && replies[2].contains("name: \"class "), "{}", replies[2]);
}

#[test]
fn a_trace_names_every_step_and_a_profile_counts_only_the_run() {
    let plan = encode::encode(&cnn()).unwrap();
    let image = bytes(&image(1));
    let messages = [message(Kind::Plan, 0, &plan), message(Kind::Trace, 1, &image), message(Kind::Profile, 2, &image)];
    let (_, replies) = play(&[messages.concat(), end()].concat());
    assert!((0..10).all(|i| replies[1 + i].starts_with(&format!("Step {{ sequence: 1, index: {i},"))));
    assert!(replies[11].starts_with("Scores"));
    assert!((0..10).all(|i| replies[12 + i] == format!("Cost {{ sequence: 2, index: {i}, instructions: 1 }}")));
    assert_eq!(replies[22], "Profile { sequence: 2, instructions: 10, stack_bytes: 7 }");
    assert!(replies[23].starts_with("Scores"));
}

#[test]
fn what_cannot_be_done_is_refused_and_the_next_message_is_read() {
    let plan = encode::encode(&cnn()).unwrap();
    let mut damaged = plan.clone();
    damaged[500] ^= 1;
    let mut greedy = cnn();
    greedy.arena_bytes = 1 << 19;
    let greedy = encode::encode(&greedy).unwrap();
    let messages = [
        message(Kind::Tensor, 1, &[0; 3072]),
        message(Kind::Plan, 2, &vec![0; (1 << 20) + 1]),
        message(Kind::Plan, 3, &greedy),
        message(Kind::Plan, 4, &plan),
        message(Kind::Tensor, 5, &[0; 3071]),
        frame(PixelFormat::Yuv422, 3, 2, 6, &[0; 12]),
        frame(PixelFormat::Grey8, 64, 65, 7, &[0; 64 * 65]),
        message(Kind::Plan, 8, &damaged),
        frame(PixelFormat::Grey8, 1, 1, 9, &[0]),
        end(),
    ];
    let (ended, replies) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert_eq!(replies[0], refusal(1, Refusal::NoPlan, 0, 0, "send a plan first"));
    assert_eq!(replies[1], refusal(2, Refusal::PlanTooLarge, (1 << 20) + 1, 1 << 20, ""));
    let detail = "the plan needs 524288 bytes of working memory, there are 262144";
    assert_eq!(replies[2], refusal(3, Refusal::ArenaTooSmall, 1 << 19, 1 << 18, detail));
    assert!(replies[3].starts_with("Plan"));
    assert_eq!(replies[4], refusal(5, Refusal::BadTensor, 3072, 3071, ""));
    let detail = "width and height must be at least 1, and the width even in YUV 4:2:2";
    assert_eq!(replies[5], refusal(6, Refusal::BadFrame, 0, 12, detail));
    assert_eq!(replies[6], refusal(7, Refusal::FrameTooLarge, 64 * 65, FRAME_BYTES as u32, ""));
    assert!(replies[7].contains("BadPlan") && replies[7].contains("checksum"), "{}", replies[7]);
    assert_eq!(replies[8], refusal(9, Refusal::NoPlan, 0, 0, "send a plan first"));
    assert_eq!(replies[9], "End { messages: 10 }");
}

#[test]
fn a_board_introduces_itself_and_has_no_camera() {
    let plan = encode::encode(&cnn()).unwrap();
    let messages = [
        message(Kind::Hello, 1, &[]),
        message(Kind::Plan, 2, &plan),
        message(Kind::Hello, 3, &[]),
        message(Kind::NewestFrame, 4, &[]),
        message(Kind::Follow, 5, &[]),
        end(),
    ];
    let (ended, replies) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert_eq!(replies[0], r#"Ready { board: "desk", plan_bytes: 1048576, arena_bytes: 262144 }"#);
    assert_eq!(replies[1], refusal(1, Refusal::NoPlan, 0, 0, "send a plan first"));
    assert_eq!(replies[3], replies[0], "the greeting");
    assert_eq!(replies[4], replies[2].replace("sequence: 2", "sequence: 3"), "the plan");
    assert!(replies[5].starts_with("Error { sequence: 4, refusal: NoFrame"), "{}", replies[5]);
    assert_eq!(replies[6], refusal(5, Refusal::CameraLoop, 0, 0, "this board has no such camera"));
}

#[test]
fn a_simulation_runs_the_camera_loop_and_the_next_message_is_read() {
    let plan = encode::encode(&cnn()).unwrap();
    let event = Event { turn: 2, fault: CameraFault::Overrun, turns: 1 };
    let payload = [&5u32.to_le_bytes()[..], &event.emit()].concat();
    let messages = [
        message(Kind::Plan, 0, &plan),
        message(Kind::Simulate, 1, &payload),
        message(Kind::Tensor, 2, &bytes(&image(1))),
        end(),
    ];
    let (ended, replies) = play_with(2 * 160 * 120 * 2, &messages.concat());
    assert_eq!(ended, Ok(()));
    let count = |word: &str| replies.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("Classified"), count("Fault"), count("Scores")), (4, 1, 5));
    let counts = FrameCounts { turns: 5, frames: 4, overruns: 1, ..FrameCounts::default() };
    assert!(replies.contains(&format!("Simulated {{ sequence: 1, counts: {counts:?} }}")), "{replies:?}");
    assert_eq!(replies[replies.len() - 2], scores_reply(2, &plan, &image(1)));
}

#[test]
fn a_simulation_that_cannot_be_is_refused_and_the_next_message_is_read() {
    let plan = encode::encode(&cnn()).unwrap();
    let strange = Event { turn: 2, fault: CameraFault::Overrun, turns: 1 }.emit().map(|byte| byte | 0x80);
    let messages = [
        message(Kind::Plan, 0, &plan),
        message(Kind::Simulate, 1, &[0; 3]),
        message(Kind::Simulate, 2, &[0; 11]),
        message(Kind::Simulate, 3, &[0; 4 + 8 * (MAX_EVENTS + 1)]),
        message(Kind::Simulate, 4, &[&[5, 0, 0, 0], &strange[..]].concat()),
        // The frame buffer has room for no frame, let alone two.
        message(Kind::Simulate, 5, &[5, 0, 0, 0]),
        end(),
    ];
    let (ended, replies) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    let refused =
        |sequence: u32| replies.iter().any(|line| line.contains(&format!("sequence: {sequence}, refusal: CameraLoop")));
    assert!((1..=5).all(refused), "{replies:?}");
}

#[test]
fn a_stream_that_is_out_of_step_ends_the_session() {
    let plan = encode::encode(&cnn()).unwrap();
    let start = message(Kind::Plan, 0, &plan);
    for (tail, why) in [
        (&b""[..], "Truncated"),
        (&b"OCM2"[..], "Truncated"),
        (&[0; 20][..], "BadHeader"),
        (&Header::new(Kind::Tensor, 3, 3072).emit()[..], "Truncated"),
        (&Header::new(Kind::Plan, 3, 10_000).emit()[..], "Truncated"),
        // Even what is passed over must be there.
        (&Header::new(Kind::Tensor, 3, MAX_PAYLOAD_LEN).emit()[..], "Truncated"),
        (&Header::new(Kind::Tensor, 3, u32::MAX).emit()[..], "BadHeader"),
    ] {
        let (ended, replies) = play(&[&start[..], tail].concat());
        assert_eq!(ended, Err(StreamError));
        assert!(replies[replies.len() - 1].contains(why), "{replies:?}");
    }
}
