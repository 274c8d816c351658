//! How long a camera board takes from power-up to its first label, by calculation: what its table says of the first frame is
//! what the sensor's own driver takes on a bus of 100 kHz.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, Operation};
use ocellus::board::Board;
use ocellus_firmware::camera::ov2640::Ov2640;
use ocellus_firmware::camera::ov7670::Ov7670;
use ocellus_firmware::camera::ov7725::Ov7725;
use ocellus_firmware::camera::sccb::Bus;
use ocellus_firmware::camera::sensor::Sensor;
use ocellus_firmware::camera::simulated::SETTINGS;
use ocellus_tests::program::ocellus;
use serde_json::Value;
use std::cell::Cell;

/// From power to the program's first line: the supply's and the chip's own start, a boot program, crystal and PLL, and
/// clearing 0.5 MB. Data sheets say 1 to 5 ms; this is for those of them that come together.
const START_US: u64 = 10_000;
/// What every board's program waits after the sensor has power and a clock (`POWER_UP` there).
const POWER_UP_US: u64 = 10_000;
/// A frame that has begun, and the one that is taken: 30 a second in good light.
const TWO_FRAMES_US: u64 = 2 * 33_333;
/// A bit on the bus.
const BIT_US: u64 = 10;

/// A sensor that acknowledges everything and has the right number, and the time that talking to it takes.
struct Timed {
    product: u8,
    now_ns: Cell<u64>,
}

impl ErrorType for &Timed {
    type Error = ErrorKind;
}

impl I2c for &Timed {
    fn transaction(&mut self, _: u8, operations: &mut [Operation]) -> Result<(), ErrorKind> {
        for operation in operations {
            let bytes = match operation {
                Operation::Write(bytes) => bytes.len(),
                Operation::Read(buffer) => {
                    buffer.fill(self.product);
                    buffer.len()
                }
            };
            // Start, stop, and nine bits for the address and for every byte.
            self.pass_us(BIT_US * (2 + 9 * (1 + bytes as u64)));
        }
        Ok(())
    }
}

impl Bus for &Timed {
    fn clear(&mut self) {
        panic!("the bus is free");
    }
}

impl DelayNs for &Timed {
    fn delay_ns(&mut self, time_ns: u32) {
        self.now_ns.set(self.now_ns.get() + u64::from(time_ns));
    }
}

impl Timed {
    fn pass_us(&self, time_us: u64) {
        self.now_ns.set(self.now_ns.get() + 1000 * time_us);
    }
}

/// What bringing up the sensor of the board called `name` takes.
fn bring_up_us(name: &str) -> u64 {
    let timed = |product| Timed { product, now_ns: Cell::new(0) };
    let (sensor, outcome) = match name {
        "weact-h743" => {
            let timed = timed(0x26);
            let outcome = Ov2640::new(&timed, &timed).bring_up(&SETTINGS);
            (timed, outcome)
        }
        "openmv-h7" => {
            let timed = timed(0x77);
            let outcome = Ov7725::new(&timed, &timed).bring_up(&SETTINGS);
            (timed, outcome)
        }
        "pico2" => {
            let timed = timed(0x76);
            let outcome = Ov7670::new(&timed, &timed).bring_up(&SETTINGS);
            (timed, outcome)
        }
        other => panic!("which sensor has {other}?"),
    };
    outcome.unwrap();
    sensor.now_ns.get() / 1000
}

#[test]
fn tables_say_when_the_first_frame_is_there() {
    let mut wrong = Vec::new();
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_none()) {
        let needed = (START_US + POWER_UP_US + bring_up_us(&board.name) + TWO_FRAMES_US).div_ceil(1000);
        let said = u64::from(board.first_frame_ms.unwrap());
        println!("{}: {needed} ms, its table says {said}", board.name);
        if !(needed..=needed + 10).contains(&said) {
            wrong.push((board.name, needed, said));
        }
    }
    assert!(wrong.is_empty(), "board, milliseconds, in its table: {wrong:?}");
}

#[test]
fn trained_models_fit_the_boards_and_give_their_first_label_within_half_a_second() {
    for (model, board) in
        ["cnn-cifar10", "resnet8-cifar10"].into_iter().flat_map(|m| [(m, "weact-h743"), (m, "openmv-h7")])
    {
        let folder = format!("{}/../models/{model}", env!("CARGO_MANIFEST_DIR"));
        let output = ocellus().args(["analyze", &folder, "--board", board, "--json"]).output().unwrap();
        let analysis: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(analysis["fits"], true, "{model} on {board}");
        let milliseconds = |key: &str| [0, 1].map(|i| analysis[key][i].as_f64().unwrap());
        let ([shortest, longest], [_, run]) = (milliseconds("first_label_ms"), milliseconds("time_ms"));
        let first_frame = f64::from(Board::load(board).unwrap().first_frame_ms.unwrap());
        assert!(shortest < longest && longest < 500.0, "{model} on {board}: {shortest} to {longest} ms");
        // The plan's checksum takes time, too.
        assert!(longest > first_frame + run + 1.0, "{model} on {board}: {longest} ms");
    }
}
