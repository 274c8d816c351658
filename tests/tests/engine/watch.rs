//! The loop of a camera board, with a simulated sensor on a simulated bus and a clock that only goes on where it must.

use embedded_hal::digital::{ErrorType, OutputPin};
use ocellus_firmware::Engine;
use ocellus_firmware::app::camera_loop::{CameraLoop, CameraLoopError, LoopConfig, LoopParts};
use ocellus_firmware::app::smooth::{MAX_CLASSES, Smoothing, TooManyClasses};
use ocellus_firmware::app::{HostContext, HostHandler};
use ocellus_firmware::camera::live::{Camera, NoRoom};
use ocellus_firmware::camera::ov2640::Ov2640;
use ocellus_firmware::camera::sensor::Settings;
use ocellus_firmware::camera::simulated::{FRAME_US, Simulated};
use ocellus_firmware::time::{self, Clock, Pause, Watchdog};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode;
use ocellus_shared::wire::{CameraFault, Event, FrameCounts, Reply};
use ocellus_shared::{Frame, Op, PixelFormat, Shape, Window};
use ocellus_tests::plans::{self, Sketch};
use ocellus_tests::random::Random;
use std::cell::{Cell, RefCell};

/// A clock that goes on when somebody waits, and a watchdog that bites at once.
#[derive(Debug, Default)]
struct Timer {
    now_us: Cell<u64>,
    fed_us: Cell<u64>,
    deadline_us: Cell<u32>,
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
    fn start(&self, deadline_us: u32) {
        self.deadline_us.set(deadline_us);
        self.fed_us.set(self.now_us.get());
    }

    fn feed(&self) {
        let since = self.now_us.get() - self.fed_us.replace(self.now_us.get());
        assert!(since <= u64::from(self.deadline_us.get()), "the watchdog was fed after {since} us");
    }
}

/// The output: remembers its states, and takes the time that a network would.
struct Output<'t> {
    timer: &'t Timer,
    run_us: u64,
    states: RefCell<Vec<bool>>,
}

impl Output<'_> {
    fn set(&self, state: bool) {
        self.states.borrow_mut().push(state);
        self.timer.wait_until_us(self.timer.now_us() + self.run_us);
    }
}

impl ErrorType for &Output<'_> {
    type Error = core::convert::Infallible;
}

impl OutputPin for &Output<'_> {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        self.set(true);
        Ok(())
    }
}

/// What the loop reported.
#[derive(Default)]
struct Recorder {
    scores: Vec<(u32, Vec<i8>)>,
    /// Class, whether it is settled, latency and interval.
    seen: Vec<(u32, bool, u32, u32)>,
    faults: Vec<(u32, String)>,
}

impl HostHandler for Recorder {
    fn poll(&mut self, _: HostContext) -> bool {
        false
    }

    fn report(&mut self, reply: &Reply) {
        match *reply {
            Reply::Scores { sequence, values, .. } => self.scores.push((sequence, values.to_vec())),
            Reply::Classified { class, settled, latency_us, interval_us, .. } => {
                self.seen.push((class, settled, latency_us, interval_us));
            }
            Reply::Fault { sequence, what, .. } => self.faults.push((sequence, what.to_owned())),
            other => panic!("not a loop's reply: {other:?}"),
        }
    }
}

/// The smallest frame that shows all eight bars.
const SMALL: Settings = Settings::new(PixelFormat::Rgb565Be, 32, 24);

/// A small network for images of 8x8.
fn network() -> Vec<u8> {
    let mut sketch = Sketch::new(Random::new(3), Shape::new(8, 8, 3));
    sketch.push(Op::Conv { window: Window::same(3), out_channels: 4 }, &[0]).unwrap();
    sketch.push(Op::Dense { out_channels: 5 }, &[1]).unwrap();
    encode::encode(&sketch.finish()).unwrap()
}

/// What came of a watch.
struct Outcome {
    counts: FrameCounts,
    recorder: Recorder,
    output: Vec<bool>,
    /// When it was over.
    end_us: u64,
}

/// Watches `turns` turns of `events` with a network that takes `run_us`.
fn watch_as(config: LoopConfig, turns: u32, run_us: u64, events: &[Event]) -> Outcome {
    let plan = network();
    let plan = Plan::parse(&plan).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    let timer = Timer::default();
    let output = Output { timer: &timer, run_us, states: RefCell::default() };
    let simulated = Simulated::new(&timer, events);
    let (mut front, mut back) = (vec![0; 32 * 24 * 2], vec![0; 32 * 24 * 2 + 1]);
    let sensor = Ov2640::new(&simulated, Pause(&timer));
    let camera = Camera::new(sensor, &simulated, SMALL, front.len()).unwrap();
    let mut camera_loop =
        CameraLoop::new(&mut engine, LoopParts { camera, output: &output, timer: &timer }, config).unwrap();
    let mut recorder = Recorder::default();
    camera_loop.run(&mut recorder, [&mut front, &mut back], turns);
    let counts = camera_loop.counts();
    let states = output.states.take();
    Outcome { counts, recorder, output: states, end_us: timer.now_us() }
}

fn watch(turns: u32, run_us: u64, events: &[Event]) -> Outcome {
    watch_as(LoopConfig::new(480_000_000), turns, run_us, events)
}

/// RGB565 bars, which are `shift` pixels further to the left.
fn bars(shift: usize) -> Vec<u8> {
    let colours = [0xffff, 0xffe0, 0x07ff, 0x07e0, 0xf81f, 0xf800, 0x001f, 0x0000u16];
    let row: Vec<u8> = (0..32).flat_map(|x| colours[(x + shift) % 32 / 4].to_be_bytes()).collect();
    row.repeat(24)
}

#[test]
fn every_frame_is_seen_once_and_in_order() {
    let outcome = watch(40, 0, &[]);
    assert_eq!(outcome.counts, FrameCounts { turns: 40, frames: 40, ..FrameCounts::default() });
    assert!(outcome.recorder.faults.is_empty());
    let plan = network();
    let plan = Plan::parse(&plan).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    let expected = (0..40).map(|frame| {
        let data = bars(frame);
        let frame_data = Frame::new(PixelFormat::Rgb565Be, 32, 24, &data).unwrap();
        (frame as u32, engine.classify(&frame_data).unwrap().to_vec())
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(outcome.recorder.scores, expected);
    assert!(expected.iter().any(|(_, scores)| *scores != expected[0].1), "scores that are all equal prove nothing");
}

#[test]
fn a_frame_is_taken_in_while_another_is_worked_on() {
    let period = FRAME_US as u32;
    // A network that is faster than the sensor waits for it; a slower one never waits, and finds a frame when it is done.
    for (run_us, interval) in [(5_000, period), (30_000, period), (50_000, 50_000), (90_000, 90_000)] {
        let outcome = watch(20, run_us, &[]);
        for (_, _, latency, between) in &outcome.recorder.seen[3..19] {
            assert_eq!((u64::from(*latency), *between), (run_us, interval), "a run of {run_us} us");
        }
    }
}

/// A fault in the middle of 30 turns, and what is counted.
fn happens(fault: CameraFault, turns: u16) -> FrameCounts {
    let outcome = watch(30, 10_000, &[Event { turn: 10, fault, turns }]);
    let counts = outcome.counts;
    assert_eq!(counts.turns, 30, "{fault:?}");
    assert_eq!(counts.turns, counts.frames + counts.missing + counts.overruns + counts.losses, "{fault:?}");
    assert_eq!(outcome.recorder.seen.len(), counts.frames as usize, "{fault:?}");
    let (last, _) = outcome.recorder.scores[outcome.recorder.scores.len() - 1];
    assert_eq!(last, 29, "{fault:?}: the last frame was seen again");
    counts
}

#[test]
fn every_mishap_is_counted_and_recovered_from() {
    let counted = |[missing, overruns, losses, restarts]: [u32; 4]| FrameCounts {
        turns: 30,
        frames: 30 - missing - overruns - losses,
        missing,
        overruns,
        losses,
        restarts,
    };
    for (fault, turns, expected) in [
        (CameraFault::Slow, 4, [0, 0, 0, 0]),
        // The frame comes after the second wait for one.
        (CameraFault::Slow, 20, [2, 0, 0, 0]),
        (CameraFault::Missing, 2, [2, 0, 0, 0]),
        // Three in a row: the sensor is brought up again, though it answers.
        (CameraFault::Missing, 3, [3, 0, 0, 1]),
        (CameraFault::Missing, 7, [7, 0, 0, 2]),
        (CameraFault::Overrun, 2, [0, 2, 0, 0]),
        (CameraFault::Overrun, 3, [0, 3, 0, 1]),
        // Bringing it up fails until it is back; it is back without its registers, which costs one more frame.
        (CameraFault::Unplugged, 1, [1, 0, 1, 1]),
        (CameraFault::Unplugged, 9, [1, 0, 9, 1]),
        (CameraFault::Forgetful, 1, [3, 0, 0, 1]),
        (CameraFault::Stuck, 1, [0, 0, 1, 1]),
    ] {
        assert_eq!(happens(fault, turns), counted(expected), "{fault:?} for {turns}");
    }
}

#[test]
fn faults_are_told_by_name_and_turn() {
    let at = |turn, fault, turns| Event { turn, fault, turns };
    let events = [
        at(2, CameraFault::Missing, 1),
        at(4, CameraFault::Overrun, 1),
        at(6, CameraFault::Unplugged, 1),
        at(9, CameraFault::Stuck, 1),
    ];
    let outcome = watch(12, 0, &events);
    let told: Vec<(u32, &str)> = outcome.recorder.faults.iter().map(|(turn, what)| (*turn, what.as_str())).collect();
    // The unplugged sensor is told of twice: the frame did not come, and it could not be brought up.
    let unplugged = [(6, "no-acknowledge"), (7, "no-acknowledge"), (7, "missing")];
    let expected = [&[(2, "missing"), (4, "overrun")][..], &unplugged, &[(9, "stuck-bus")]].concat();
    assert_eq!(told, expected);
}

#[test]
fn the_first_label_comes_within_half_a_second() {
    // Every register of the sensor at 100 kHz, its reset and its settling, one frame, and a network of 60 ms.
    let outcome = watch(1, 60_000, &[]);
    assert_eq!(outcome.recorder.seen.len(), 1);
    assert!((200_000..400_000).contains(&outcome.end_us), "{} us", outcome.end_us);
}

#[test]
fn the_output_follows_the_label_that_stands() {
    let any = LoopConfig { smoothing: Smoothing { shift: 0, lead: 0, hold: 3 }, ..LoopConfig::new(480_000_000) };
    let outcome = watch_as(any, 10, 0, &[]);
    let settled: Vec<bool> = outcome.recorder.seen.iter().map(|(_, settled, ..)| *settled).collect();
    // The output is put out at the start, before the first frame.
    assert_eq!(outcome.output[1..], settled);
    assert!(!settled[0] && !settled[1] && settled[9], "{settled:?}");
    let class = outcome.recorder.seen[9].0;
    let for_target = |target| watch_as(LoopConfig { target: Some(target), ..any }, 10, 0, &[]).output;
    assert_eq!(for_target(class as u16)[1..].iter().filter(|on| **on).count(), {
        outcome.recorder.seen.iter().filter(|(c, settled, ..)| *settled && *c == class).count()
    });
    let never = (0..5).find(|c| outcome.recorder.seen.iter().all(|seen| seen.0 != u32::from(*c))).unwrap();
    assert!(for_target(never).iter().all(|on| !on));
}

#[test]
fn what_cannot_watch_is_refused() {
    let timer = Timer::default();
    let simulated = Simulated::new(&timer, &[]);
    let camera = |room| Camera::new(Ov2640::new(&simulated, Pause(&timer)), &simulated, SMALL, room);
    assert_eq!(camera(32 * 24 * 2 - 1).unwrap_err(), NoRoom);
    let refused = |input: Shape, classes| {
        let mut sketch = Sketch::new(Random::new(3), input);
        sketch.push(Op::Dense { out_channels: classes }, &[0]).unwrap();
        let plan = encode::encode(&sketch.finish()).unwrap();
        let plan = Plan::parse(&plan).unwrap();
        let mut arena = vec![0; plan.arena_bytes()];
        let mut engine = Engine::new(plan, &mut arena).unwrap();
        let output = Output { timer: &timer, run_us: 0, states: RefCell::default() };
        let parts = LoopParts { camera: camera(4096).unwrap(), output: &output, timer: &timer };
        CameraLoop::new(&mut engine, parts, LoopConfig::new(1)).err()
    };
    let classes = MAX_CLASSES as u16 + 1;
    assert_eq!(refused(Shape::new(4, 4, 3), classes), Some(CameraLoopError::Classes(TooManyClasses(classes.into()))));
    assert!(matches!(refused(Shape::new(4, 4, 1), 3), Some(CameraLoopError::Preprocess(_))));
    assert_eq!(refused(Shape::new(4, 4, 3), 3), None);
}

#[test]
fn the_watchdogs_deadline_follows_from_the_plan() {
    let plan = encode::encode(&plans::cifar_cnn(1)).unwrap();
    let plan = Plan::parse(&plan).unwrap();
    let longest = time::longest_run_us(&plan, 480_000_000);
    // 22.6 million multiply-accumulates of 16 cycles, and 120,000 values of 64.
    assert!((750_000..800_000).contains(&longest), "{longest}");
    assert_eq!(u64::from(time::deadline_us(&plan, 480_000_000)), 3_000_000 + 2 * longest);
    assert_eq!(time::deadline_us(&plan, 0), u32::MAX, "a clock that stands still is no division by zero");
}

#[test]
fn twenty_thousand_turns_do_not_drift() {
    const TURNS: u32 = 20_000;
    // Every hundred turns something happens, one after the other, as often each.
    let faults = [
        (CameraFault::Slow, 4),
        (CameraFault::Missing, 2),
        (CameraFault::Missing, 3),
        (CameraFault::Overrun, 2),
        (CameraFault::Unplugged, 9),
        (CameraFault::Forgetful, 1),
        (CameraFault::Stuck, 1),
        (CameraFault::Slow, 20),
    ];
    let rounds = TURNS / 100;
    let events: Vec<Event> = (0..rounds)
        .map(|i| (i, faults[i as usize % faults.len()]))
        .map(|(i, (fault, turns))| Event { turn: 100 * i + 50, fault, turns })
        .collect();
    let outcome = watch(TURNS, 10_000, &events);
    let each = rounds / faults.len() as u32;
    // The sums of what each alone is counted as.
    let [missing, overruns, losses, restarts] = [2 + 3 + 1 + 3 + 2, 2, 9 + 1, 1 + 1 + 1 + 1].map(|count| each * count);
    let frames = TURNS - missing - overruns - losses;
    assert_eq!(outcome.counts, FrameCounts { turns: TURNS, frames, missing, overruns, losses, restarts });
    assert_eq!(outcome.recorder.seen.len(), frames as usize);
    assert_eq!(outcome.recorder.scores.len(), frames as usize);
    // The last hundred turns see what the first hundred saw: bars move by 32 pixels and are where they were.
    let of = |from: u32| outcome.recorder.scores.iter().filter(move |(turn, _)| (from..from + 32).contains(turn));
    let first: Vec<&Vec<i8>> = of(0).map(|(_, scores)| scores).collect();
    let last: Vec<&Vec<i8>> = of(TURNS - 32).map(|(_, scores)| scores).collect();
    assert_eq!((first.len(), first), (32, last));
}
