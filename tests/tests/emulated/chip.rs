//! The flashed programs of boards with an STM32H743 on their chip in software: what they see and say, and what they do when
//! something is wrong.

use std::path::PathBuf;
use std::time::Instant;

use ocellus::board::Board;
use ocellus::chip::boards::{self, Layout};
use ocellus::chip::bus::Time;
use ocellus::chip::rings::Rings;
use ocellus::chip::sensor::{Sensor, Trouble};
use ocellus::chip::stm32h743::Cause;
use ocellus::chip::{Machine, Stop, program};
use ocellus::client::Client;
use ocellus::data::picture::Picture;
use ocellus::eval::engine::EngineModel;
use ocellus::toolchain;
use ocellus::transport::log::Log;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::encode::encode;
use ocellus_tests::plans;
use ocellus_tests::random::Random;

const NAMES: [&str; 2] = ["weact-h743", "openmv-h7"];
/// What the stack's memory is painted with, and where that memory is.
const PAINT: u8 = 0xA5;
const STACK: std::ops::Range<u32> = 0x2000_0000..0x2001_0000;

fn built(name: &str) -> (Board, PathBuf) {
    let board = Board::load(name).unwrap();
    let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    (board, built.elf)
}

fn plan() -> Vec<u8> {
    encode(&plans::watched(1)).unwrap()
}

/// A frame of no pattern, as the boards' sensors have them.
fn noise(seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(2 * 160 * 120)
}

/// A chip with a program and the plan, and what it logged.
struct Bench {
    board: Board,
    machine: Machine,
    block: u32,
    log: Log,
}

impl Bench {
    /// The board called `name`, wired and with a sensor as `change` leaves them, before power comes.
    fn new(name: &str, trouble: Trouble, change: impl FnOnce(&mut Layout)) -> Self {
        let (board, elf) = built(name);
        let elf = std::fs::read(elf).unwrap();
        let mut layout = boards::layout(name).unwrap();
        change(&mut layout);
        let scene = Picture { width: 2, height: 1, pixels: vec![255, 0, 0, 0, 0, 255] };
        let mut machine = Machine::stm32h743(layout.wiring, Sensor::new(layout.sensor, scene, trouble)).unwrap();
        program::load(&elf, machine.memory()).unwrap();
        machine.memory().store(board.model.unwrap().start, &plan()).unwrap();
        machine.memory().store(STACK.start, &vec![PAINT; STACK.len()]).unwrap();
        machine.start();
        let (block, log) = (program::channels(&elf).unwrap(), Log::of(&elf).expect("the program has a log"));
        Self { board, machine, block, log }
    }

    /// Runs for `duration`, resets included, and takes the log meanwhile.
    fn run(&mut self, duration: Time) {
        let end = self.machine.now() + duration;
        while self.machine.now() < end {
            assert_ne!(self.machine.run(Time::us(500)), Stop::LockedUp);
            if let Some(rings) = Rings::find(self.machine.memory(), self.block) {
                self.log.feed(&rings.take(self.machine.memory(), 0).unwrap());
            }
        }
    }

    fn findings(&mut self) -> Vec<String> {
        self.machine.with_chip(|chip| chip.findings().to_vec())
    }

    /// What it logged, and that it did nothing that silicon does not promise.
    fn end(mut self) -> Vec<String> {
        assert_eq!(self.findings(), [""; 0]);
        self.log.finish()
    }

    /// Whether the program takes frames in, whole ones.
    fn takes_frames(&mut self) -> bool {
        let before = self.machine.with_chip(|chip| chip.frames_taken());
        self.run(Time::ms(200));
        self.machine.with_chip(|chip| chip.frames_taken()) >= before + 3
    }
}

#[track_caller]
fn says(log: &[String], parts: &[&str]) {
    for part in parts {
        assert!(log.iter().any(|line| line.contains(part)), "{part:?} is not in {log:#?}");
    }
}

#[test]
fn pixels_on_the_camera_pins_become_the_engines_scores() {
    for name in NAMES {
        let ((board, elf), plan) = (built(name), plan());
        let engine = EngineModel::new(&plan).unwrap();
        let mut client = Client::boot_with(&board, &elf, ClockMode::Free, &plan).unwrap();
        let mut all = Vec::new();
        for seed in 0..3 {
            let bytes = noise(seed);
            let frame = Frame::new(PixelFormat::Rgb565Be, 160, 120, &bytes).unwrap();
            let seen = client.frame(&frame).unwrap();
            assert_eq!(seen.scores, engine.classify(&frame).unwrap(), "{name}, frame {seed}");
            all.push(seen.scores);
        }
        assert!(all.iter().any(|scores| *scores != all[0]), "equal scores prove nothing");
        let image = Random::new(9).tensor(engine.plan().input().shape.len());
        assert_eq!(client.scores(&image).unwrap(), engine.scores(&image).unwrap(), "{name}");
        client.end().unwrap();
    }
}

#[test]
fn a_board_starts_without_relying_on_luck_and_its_stack_is_what_its_table_says() {
    for name in NAMES {
        let mut bench = Bench::new(name, Trouble::None, |_| ());
        let begun = Instant::now();
        bench.run(Time::us(500));
        let [watched, slow] = bench.machine.with_chip(|chip| [chip.is_watched(), chip.core_hz() < 100_000_000]);
        assert!(watched && slow, "{name}: the watchdog comes after the clocks");
        bench.run(Time::ms(500));
        assert!(bench.takes_frames(), "{name}");
        assert_eq!(bench.machine.with_chip(|chip| chip.core_hz()), 480_000_000, "{name}");
        let speed = bench.machine.instructions() as f64 / begun.elapsed().as_secs_f64() / 1e6;
        println!("{name}: {speed:.1} M instructions a second");
        let mut stack = vec![0; STACK.len()];
        bench.machine.memory().load(STACK.start, &mut stack).unwrap();
        let used = stack.len() - stack.iter().position(|byte| *byte != PAINT).unwrap();
        println!("{name}: {used} bytes of stack, {} stated", bench.board.stack_bytes);
        assert!((used..=used * 5 / 4).contains(&bench.board.stack_bytes), "{name}: {used} bytes of stack");
        assert_eq!(bench.machine.resets(), []);
        assert_eq!(bench.end(), [""; 0], "{name}");
    }
}

#[test]
fn flash_that_cannot_be_read_is_reported_and_read_no_more() {
    let mut bench = Bench::new(NAMES[0], Trouble::None, |_| ());
    let address = bench.board.model.unwrap().start + 0x40;
    bench.machine.with_chip(|chip| chip.spoil_flash(address, true));
    bench.run(Time::ms(200));
    assert_eq!(bench.machine.resets(), [Cause::Software]);
    bench.run(Time::ms(5_000));
    assert_eq!(bench.machine.resets(), [Cause::Software], "it goes on");
    let place = format!("{address:#x}");
    says(&bench.end(), &["restarted after a fault at 0x", &place, "bad-plan", "cannot be read", "write it again"]);
}

#[test]
fn a_board_with_a_dead_crystal_says_so_and_watches_on() {
    for name in NAMES {
        let mut bench = Bench::new(name, Trouble::None, |layout| layout.wiring.crystal.dead = true);
        bench.run(Time::ms(350));
        assert!(bench.takes_frames(), "{name}");
        assert_eq!(bench.machine.with_chip(|chip| chip.core_hz()), 480_000_000, "{name}");
        assert_eq!(bench.machine.resets(), [], "{name}");
        says(&bench.end(), &["the crystal does not swing"]);
    }
}

#[test]
fn a_program_that_hangs_is_restarted_and_says_so() {
    let mut bench = Bench::new(NAMES[0], Trouble::None, |_| ());
    bench.run(Time::ms(400));
    // `wfi` and back to it, in memory that the program does not use.
    bench.machine.memory().store(0, &0xE7FD_BF30u32.to_le_bytes()).unwrap();
    bench.machine.set_register(15, 0);
    let seconds = (1..=20).find(|_| {
        bench.run(Time::ms(1_000));
        !bench.machine.resets().is_empty()
    });
    println!("restarted after {seconds:?} s");
    assert_eq!(bench.machine.resets(), [Cause::Watchdog]);
    bench.run(Time::ms(500));
    assert!(bench.takes_frames());
    says(&bench.end(), &["restarted by the watchdog"]);
}

#[test]
fn a_bus_that_a_sensor_holds_is_cleared_with_the_chips_own_pull_ups() {
    let mut bench = Bench::new(NAMES[0], Trouble::HoldsData(5), |layout| layout.wiring.pulls_bus_up = false);
    bench.run(Time::ms(800));
    assert!(bench.takes_frames());
    bench.end();
}

#[test]
fn a_sensor_that_fails_costs_no_restart_and_comes_back() {
    for trouble in [Trouble::Dead, Trouble::WrongId(0x42), Trouble::NoFrames, Trouble::ShortFrames(60)] {
        let mut bench = Bench::new(NAMES[0], trouble, |_| ());
        bench.run(Time::ms(600));
        assert!(!bench.takes_frames(), "{trouble:?}");
        bench.machine.with_chip(|chip| chip.sensor.set_trouble(Trouble::None));
        bench.run(Time::ms(1_500));
        assert!(bench.takes_frames(), "{trouble:?}");
        assert_eq!(bench.machine.resets(), [], "{trouble:?}");
        bench.end();
    }
}
