//! A camera board's model region: what is run, and what is refused by which words.

use embedded_hal::digital::{ErrorType, OutputPin};
use ocellus_firmware::app::camera_loop::CameraLoopError;
use ocellus_firmware::app::smooth::Smoothing;
use ocellus_firmware::app::{HostContext, HostHandler};
use ocellus_firmware::boot::{self, CameraBoard, CameraParts, ModelError};
use ocellus_firmware::camera::ov2640::Ov2640;
use ocellus_firmware::camera::sensor::Settings;
use ocellus_firmware::camera::simulated::Simulated;
use ocellus_firmware::time::{Clock, Pause, Watchdog};
use ocellus_shared::PixelFormat;
use ocellus_shared::plan::encode;
use ocellus_shared::plan::{Plan, PlanError, StepFault, VERSION};
use ocellus_shared::wire::{FrameCounts, Refusal, Reply};
use ocellus_tests::plans;
use std::cell::Cell;

/// Bytes of the region.
const REGION: usize = 1 << 20;

/// Flash with `bytes` at its start.
fn flash(bytes: &[u8]) -> Vec<u8> {
    let mut flash = vec![0xff; REGION];
    flash[..bytes.len()].copy_from_slice(bytes);
    flash
}

fn plan() -> Vec<u8> {
    encode::encode(&plans::watched(1)).unwrap()
}

/// What the board says of a region, with `arena_bytes` to work in.
fn refusal(region: &[u8], arena_bytes: usize) -> (ModelError, Refusal, [u32; 2], String) {
    let mut arena = vec![0; arena_bytes];
    let error = boot::engine(region, &mut arena).map(|_| ()).unwrap_err();
    let denial = error.denial();
    (error, denial.refusal, [denial.needed, denial.available], denial.detail.to_string())
}

#[test]
fn a_model_is_run_whatever_lies_behind_it() {
    let bytes = plan();
    let mut arena = vec![0; 1 << 18];
    let mut engine = boot::engine(&bytes, &mut arena).unwrap();
    engine.input_mut().fill(3);
    let expected = engine.run().to_vec();
    for rest in [0, 0xff, 0x5a] {
        let mut region = flash(&bytes);
        region[bytes.len()..].fill(rest);
        let mut engine = boot::engine(&region, &mut arena).unwrap();
        engine.input_mut().fill(3);
        assert_eq!(engine.run(), expected);
    }
}

#[test]
fn an_empty_region_is_told_from_a_damaged_one() {
    let (error, refusal, _, detail) = refusal(&flash(&[]), 1 << 18);
    assert_eq!((error, refusal), (ModelError::Empty, Refusal::NoPlan));
    assert!(detail.contains("ocellus flash --model"), "{detail}");
    // The region of a table that names none at all.
    assert_eq!(boot::engine(&[], &mut []).map(|_| ()).unwrap_err(), ModelError::Empty);
}

#[test]
fn every_damage_is_refused_by_its_reason() {
    let good = plan();
    let (last, half) = (good.len() - 1, good.len() / 2);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        flash(&bytes)
    };
    // Programming broke off: the rest is erased.
    let torn = flash(&good[..half]);
    let is_crc = |error: &PlanError| matches!(error, PlanError::Crc { .. });
    for (region, reason) in [
        (changed(0, b'X'), &(|e: &PlanError| *e == PlanError::Magic) as &dyn Fn(&PlanError) -> bool),
        (changed(4, VERSION as u8 + 1), &|e| matches!(e, PlanError::Version { found } if *found == VERSION + 1)),
        (changed(11, 0x7f), &|e| matches!(e, PlanError::Truncated { .. })),
        (changed(half, good[half] ^ 1), &is_crc),
        (changed(last, good[last] ^ 0x80), &is_crc),
        (torn, &is_crc),
        (good[..half].to_vec(), &|e| matches!(e, PlanError::Truncated { needed } if *needed as usize == good.len())),
    ] {
        let (error, refusal, _, detail) = refusal(&region, 1 << 18);
        let ModelError::Plan(error) = error else { panic!("{error:?}") };
        assert!(reason(&error), "{error:?}");
        assert_eq!(refusal, Refusal::BadPlan);
        let remedy = match error {
            PlanError::Version { .. } => "write both without --model",
            _ => "write it again",
        };
        assert!(detail.contains(remedy), "{detail}");
    }
}

#[test]
fn a_model_with_an_operator_that_the_program_lacks_is_no_damage() {
    let fault = StepFault::Operator;
    let lacking = ModelError::Plan(PlanError::Step { index: 3, fault }).to_string();
    assert!(lacking.contains("step 3") && lacking.contains("built without"), "{lacking}");
    assert!(lacking.contains("write both without --model") && !lacking.contains("write it again"), "{lacking}");
}

#[test]
fn a_model_that_needs_more_memory_is_refused_with_both_numbers() {
    let bytes = plan();
    let needed = Plan::parse(&bytes).unwrap().arena_bytes();
    let (_, refusal, sizes, _) = refusal(&flash(&bytes), needed - 1);
    assert_eq!((refusal, sizes), (Refusal::ArenaTooSmall, [needed as u32, needed as u32 - 1]));
    assert!(boot::engine(&flash(&bytes), &mut vec![0; needed]).is_ok());
}

/// Time that goes on where somebody waits, and how often a LED was lit.
#[derive(Default)]
struct Timer(Cell<u64>, Cell<u32>);

impl Clock for Timer {
    fn now_us(&self) -> u64 {
        self.0.get()
    }

    fn wait_until_us(&self, time_us: u64) {
        self.0.set(time_us.max(self.0.get()));
    }
}

impl Watchdog for Timer {
    fn start(&self, _: u32) {}

    fn feed(&self) {}
}

impl ErrorType for &Timer {
    type Error = core::convert::Infallible;
}

impl OutputPin for &Timer {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        self.1.set(self.1.get() + 1);
        Ok(())
    }
}

#[derive(Default)]
struct Words(Vec<String>);

impl HostHandler for Words {
    fn poll(&mut self, _: HostContext) -> bool {
        false
    }

    fn report(&mut self, reply: &Reply) {
        let text = format!("{reply:?}");
        self.0.push(text.split(' ').next().unwrap_or_default().to_owned());
    }
}

/// Boots a board whose frames have `room` bytes, for `turns` turns.
fn boots(region: &[u8], room: usize, turns: u32) -> (Result<FrameCounts, ModelError>, Vec<String>) {
    let (outcome, words, _) = boots_for(None, Smoothing::USUAL, region, room, turns);
    (outcome, words)
}

/// The same for a board that looks for a label; also how often its LED was lit.
fn boots_for(
    look_for: Option<&'static str>,
    smoothing: Smoothing,
    region: &[u8],
    room: usize,
    turns: u32,
) -> (Result<FrameCounts, ModelError>, Vec<String>, u32) {
    let (timer, mut words) = (Timer::default(), Words::default());
    let simulated = Simulated::new(&timer, &[]);
    let (mut arena, mut front, mut back) = (vec![0; 1 << 18], vec![0; room], vec![0; room]);
    let frames = [&mut front[..], &mut back[..]];
    let board = CameraBoard {
        name: "desk",
        hertz: 1_000_000,
        look_for,
        smoothing,
        region,
        unreadable: None,
        arena: &mut arena,
        frames,
    };
    let settings = Settings::new(PixelFormat::Rgb565Be, 64, 48);
    let camera = CameraParts { sensor: Ov2640::new(&simulated, Pause(&timer)), grabber: &simulated, settings };
    let outcome = boot::run(board, camera, &timer, &timer, &mut words, turns);
    (outcome, words.0, timer.1.get())
}

#[test]
fn a_board_greets_names_its_model_and_watches() {
    let (outcome, words) = boots(&flash(&plan()), 64 * 48 * 2, 3);
    assert_eq!(outcome, Ok(FrameCounts { turns: 3, frames: 3, ..FrameCounts::default() }));
    assert_eq!(words, ["Ready", "Plan", "Scores", "Classified", "Scores", "Classified", "Scores", "Classified"]);
}

#[test]
fn a_board_without_a_model_or_room_says_so_after_its_greeting() {
    let (outcome, words) = boots(&flash(&[]), 64 * 48 * 2, 3);
    assert_eq!((outcome, words), (Err(ModelError::Empty), vec!["Ready".to_owned()]));
    let (outcome, words) = boots(&flash(&plan()), 64 * 48 * 2 - 1, 3);
    assert_eq!(outcome, Err(ModelError::CameraLoop(CameraLoopError::NoRoom)));
    assert_eq!(words, ["Ready", "Plan"]);
}

#[test]
fn a_board_without_a_model_reports_it_once_a_second_and_stays_within_reach() {
    /// Somebody who calls all the time, and sees no engine and no frame.
    struct Host(u32, u32);
    impl HostHandler for Host {
        fn poll(&mut self, context: HostContext) -> bool {
            assert!(context.engine.is_err_and(|denial| denial.refusal == Refusal::NoPlan) && context.frame.is_none());
            self.0 += 1;
            true
        }

        fn report(&mut self, reply: &Reply) {
            assert!(matches!(reply, Reply::Error { sequence: 0, refusal: Refusal::NoPlan, .. }), "{reply:?}");
            self.1 += 1;
        }
    }
    /// A clock whose watchdog remembers when it was fed.
    #[derive(Default)]
    struct Fed(Timer, Cell<u64>, Cell<u64>);
    impl Clock for Fed {
        fn now_us(&self) -> u64 {
            self.0.now_us()
        }

        fn wait_until_us(&self, time_us: u64) {
            self.0.wait_until_us(time_us);
        }
    }
    impl Watchdog for Fed {
        fn start(&self, deadline_us: u32) {
            self.1.set(deadline_us.into());
        }

        fn feed(&self) {
            let now = self.now_us();
            assert!(now - self.2.get() < self.1.get(), "the watchdog bites at {now}");
            self.2.set(now);
        }
    }
    let (timer, mut host) = (Fed::default(), Host(0, 0));
    boot::report_error_loop(&ModelError::Empty, &mut host, &timer, 20);
    assert_eq!(host.1, 20);
    assert_eq!(timer.now_us(), 20_000_000);
    assert!(host.0 >= 20 * 500, "{}", host.0);
}

#[test]
fn a_board_lights_its_led_for_the_label_it_looks_for() {
    // A network that needs some frames to make up its mind.
    let decided = encode::encode(&plans::watched(19)).unwrap();
    let lit = |look_for| boots_for(look_for, Smoothing::USUAL, &flash(&decided), 64 * 48 * 2, 200).2;
    let labels =
        ["class 0", "class 1", "class 2", "class 3", "class 4", "class 5", "class 6", "class 7", "class 8", "class 9"];
    let each: Vec<u32> = labels.map(|label| lit(Some(label))).to_vec();
    // The label that stands is one of them, and no other lights the LED.
    assert!(lit(None) > 0);
    assert_eq!(each.iter().sum::<u32>(), lit(None), "{each:?}");
    assert_eq!(each.iter().filter(|count| **count > 0).count(), 1, "{each:?}");
    let (outcome, words, _) = boots_for(Some("class 10"), Smoothing::USUAL, &flash(&plan()), 64 * 48 * 2, 200);
    assert_eq!((outcome, words.last().map(String::as_str)), (Err(ModelError::NoSuchLabel("class 10")), Some("Plan")));
}

#[test]
fn a_board_smooths_labels_as_it_was_told() {
    let decided = encode::encode(&plans::watched(19)).unwrap();
    let lit = |smoothing| boots_for(None, smoothing, &flash(&decided), 64 * 48 * 2, 200).2;
    let never = Smoothing { lead: 255, hold: 255, ..Smoothing::USUAL };
    let counts = [never, Smoothing::USUAL, Smoothing::NONE].map(lit);
    assert!(counts[0] == 0 && counts[0] < counts[1] && counts[1] < counts[2], "{counts:?}");
}
