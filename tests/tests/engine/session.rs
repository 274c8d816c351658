//! The board's side of the conversation, with the workstation's memory in place of semihosting.

use embedded_hal::digital::{ErrorType, OutputPin};
use ocellus_firmware::Engine;
use ocellus_firmware::link::{EndOfStream, Lost, Report, Source};
use ocellus_firmware::profile::Counter;
use ocellus_firmware::session::{Board, Session};
use ocellus_firmware::time::{Clock, Watchdog};
use ocellus_shared::plan::encode::{self, PlanSpec};
use ocellus_shared::plan::{Crop, Plan};
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::wire::{Event, Header, Kind, MAX_EVENTS, Mishap, Refusal, Reply, Tally, tensor_crc};
use ocellus_shared::{Frame, PixelFormat};
use ocellus_tests::plans;
use ocellus_tests::random::Random;
use std::cell::{Cell, RefCell};

struct Stream<'a>(&'a [u8]);

impl Source for Stream<'_> {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream> {
        let (now, later) = self.0.split_at_checked(buffer.len()).ok_or(EndOfStream)?;
        buffer.copy_from_slice(now);
        self.0 = later;
        Ok(())
    }
}

/// What a test looks at: replies and LED states, as text in the order they came.
#[derive(Default)]
struct Diary(RefCell<Vec<String>>);

impl Report for &Diary {
    fn reply(&mut self, reply: Reply<'_, &[i8]>) {
        self.0.borrow_mut().push(format!("{reply:?}"));
    }
}

impl ErrorType for &Diary {
    type Error = core::convert::Infallible;
}

impl OutputPin for &Diary {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        self.0.borrow_mut().push(String::from("led off"));
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        self.0.borrow_mut().push(String::from("led on"));
        Ok(())
    }
}

/// Every look at the counter costs one instruction. Time goes on where somebody waits.
#[derive(Default)]
struct Ticks(u64, Cell<u64>);

impl Counter for Ticks {
    fn instructions(&mut self) -> u64 {
        self.0 += 1;
        self.0
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

/// Plays `messages` to a board and returns how it ended and its diary.
fn play(messages: &[u8]) -> (Result<(), Lost>, Vec<String>) {
    play_with(FRAME_BYTES, messages)
}

/// The same with room for larger frames.
fn play_with(frame_bytes: usize, messages: &[u8]) -> (Result<(), Lost>, Vec<String>) {
    let diary = Diary::default();
    let (mut plan, mut arena, mut frame) = (vec![0; 1 << 20], vec![0; 1 << 18], vec![0; frame_bytes]);
    let board = Board { name: "desk", plan: &mut plan, arena: &mut arena, frame: &mut frame };
    let end = Session::new(Stream(messages), &diary, Ticks::default(), &diary).run(board);
    (end, diary.0.into_inner())
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
    let reply: Reply<&[i8]> = Reply::Error { sequence, refusal, needed, available, detail };
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
    let (ended, diary) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert!(diary[0].starts_with("Ready") && diary[1].starts_with("Plan"));
    assert_eq!(diary[2..4], [scores_reply(1, &plan, &image(1)), scores_reply(2, &plan, &image(2))]);
    assert_eq!(diary[4], "End { messages: 4 }");
}

#[test]
fn frames_are_preprocessed_and_light_the_led_once_steady() {
    let plan = encode::encode(&cnn()).unwrap();
    let pixels = Random::new(3).bytes(40 * 36 * 2);
    let shown = Frame::new(PixelFormat::Rgb565Be, 40, 36, &pixels).unwrap();
    let mut seen = vec![0; 32 * 32 * 3];
    preprocess(&shown, Crop::Centre, Plan::parse(&plan).unwrap().input().shape, &mut seen).unwrap();
    let look = |sequence| frame(PixelFormat::Rgb565Be, 40, 36, sequence, &pixels);
    let (ended, diary) = play(&[message(Kind::Plan, 0, &plan), look(1), look(2), look(3), end()].concat());
    assert_eq!(ended, Ok(()));
    // Of each frame: the LED, the scores, the label.
    assert_eq!([&diary[2], &diary[5], &diary[8]], ["led off", "led off", "led on"]);
    assert_eq!(diary[9], scores_reply(3, &plan, &seen));
    assert!(diary[10].contains("steady: true") && diary[10].contains("name: \"class "), "{}", diary[10]);
}

#[test]
fn a_trace_names_every_step_and_a_profile_counts_only_the_run() {
    let plan = encode::encode(&cnn()).unwrap();
    let image = bytes(&image(1));
    let messages = [message(Kind::Plan, 0, &plan), message(Kind::Trace, 1, &image), message(Kind::Profile, 2, &image)];
    let (_, diary) = play(&[messages.concat(), end()].concat());
    assert!((0..10).all(|i| diary[2 + i].starts_with(&format!("Step {{ sequence: 1, index: {i},"))));
    assert!(diary[12].starts_with("Scores"));
    assert!((0..10).all(|i| diary[13 + i] == format!("Cost {{ sequence: 2, index: {i}, instructions: 1 }}")));
    assert_eq!(diary[23], "Profile { sequence: 2, instructions: 10, stack_bytes: 7 }");
    assert!(diary[24].starts_with("Scores"));
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
    let (ended, diary) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert_eq!(diary[1], refusal(1, Refusal::NoPlan, 3072, 0, ""));
    assert_eq!(diary[2], refusal(2, Refusal::PlanTooLarge, (1 << 20) + 1, 1 << 20, ""));
    let detail = "the plan needs 524288 bytes of working memory, there are 262144";
    assert_eq!(diary[3], refusal(3, Refusal::ArenaTooSmall, 1 << 19, 1 << 18, detail));
    assert!(diary[4].starts_with("Plan"));
    assert_eq!(diary[5], refusal(5, Refusal::BadTensor, 3072, 3071, ""));
    let detail = "width and height must be at least 1, and the width even in YUV 4:2:2";
    assert_eq!(diary[6], refusal(6, Refusal::BadFrame, 0, 12, detail));
    assert_eq!(diary[7], refusal(7, Refusal::FrameTooLarge, 64 * 65, FRAME_BYTES as u32, ""));
    assert!(diary[8].contains("BadPlan") && diary[8].contains("checksum"), "{}", diary[8]);
    assert_eq!(diary[9], refusal(9, Refusal::NoPlan, 1, 0, ""));
    assert_eq!(diary[10], "End { messages: 10 }");
}

#[test]
fn a_board_introduces_itself_and_has_no_picture_to_show() {
    let plan = encode::encode(&cnn()).unwrap();
    let messages = [
        message(Kind::Hello, 1, &[]),
        message(Kind::Plan, 2, &plan),
        message(Kind::Hello, 3, &[]),
        message(Kind::Show, 4, &[]),
        end(),
    ];
    let (ended, diary) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    assert_eq!(diary[1], refusal(1, Refusal::NoPlan, 0, 0, ""));
    assert_eq!(diary[3], diary[0], "the greeting");
    assert_eq!(diary[4], diary[2].replace("sequence: 2", "sequence: 3"), "the plan");
    assert_eq!(diary[5], refusal(4, Refusal::NoFrame, 0, 0, ""));
}

#[test]
fn a_watch_runs_the_camera_loop_and_the_next_message_is_read() {
    let plan = encode::encode(&cnn()).unwrap();
    let event = Event { turn: 2, mishap: Mishap::Overrun, turns: 1 };
    let payload = [&5u32.to_le_bytes()[..], &event.emit()].concat();
    let messages = [
        message(Kind::Plan, 0, &plan),
        message(Kind::Watch, 1, &payload),
        message(Kind::Tensor, 2, &bytes(&image(1))),
        end(),
    ];
    let (ended, diary) = play_with(2 * 160 * 120 * 2, &messages.concat());
    assert_eq!(ended, Ok(()));
    let count = |word: &str| diary.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("Seen"), count("Fault"), count("Scores")), (4, 1, 5));
    let tally = Tally { turns: 5, frames: 4, overruns: 1, ..Tally::default() };
    assert!(diary.contains(&format!("Watched {{ sequence: 1, tally: {tally:?} }}")), "{diary:?}");
    assert_eq!(diary[diary.len() - 2], scores_reply(2, &plan, &image(1)));
}

#[test]
fn a_watch_that_cannot_be_is_refused_and_the_next_message_is_read() {
    let plan = encode::encode(&cnn()).unwrap();
    let strange = Event { turn: 2, mishap: Mishap::Overrun, turns: 1 }.emit().map(|byte| byte | 0x80);
    let messages = [
        message(Kind::Plan, 0, &plan),
        message(Kind::Watch, 1, &[0; 3]),
        message(Kind::Watch, 2, &[0; 11]),
        message(Kind::Watch, 3, &[0; 4 + 8 * (MAX_EVENTS + 1)]),
        message(Kind::Watch, 4, &[&[5, 0, 0, 0], &strange[..]].concat()),
        // The frame buffer has room for no frame, let alone two.
        message(Kind::Watch, 5, &[5, 0, 0, 0]),
        end(),
    ];
    let (ended, diary) = play(&messages.concat());
    assert_eq!(ended, Ok(()));
    let refused =
        |sequence: u32| diary.iter().any(|line| line.contains(&format!("sequence: {sequence}, refusal: BadWatch")));
    assert!((1..=5).all(refused), "{diary:?}");
}

#[test]
fn a_stream_that_is_out_of_step_ends_the_session() {
    let plan = encode::encode(&cnn()).unwrap();
    let start = message(Kind::Plan, 0, &plan);
    for (tail, why) in [
        (&b""[..], "Truncated"),
        (&b"OCMS"[..], "Truncated"),
        (&[0; 20][..], "BadHeader"),
        (&Header::new(Kind::Tensor, 3, 3072).emit()[..], "Truncated"),
        (&Header::new(Kind::Plan, 3, 10_000).emit()[..], "Truncated"),
        // Even what is passed over must be there.
        (&Header::new(Kind::Tensor, 3, u32::MAX).emit()[..], "Truncated"),
    ] {
        let (ended, diary) = play(&[&start[..], tail].concat());
        assert_eq!(ended, Err(Lost));
        assert!(diary[diary.len() - 1].contains(why), "{diary:?}");
    }
}
