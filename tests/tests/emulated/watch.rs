//! The camera loop on the emulated boards: the very program of a camera board, on a simulated sensor.
//!
//! QEMU and a compiler for the boards are needed; where they are missing this test fails and says how to get them.

use ocellus::board::Board;
use ocellus::camera::{self, Sensor};
use ocellus::client::{Client, Simulation};
use ocellus::eval::engine::EngineModel;
use ocellus::toolchain;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::encode;
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::wire::{CameraFault, Event, FrameCounts};
use ocellus_tests::plans;

/// Columns and rows of the simulated sensor.
const SIZE: (u16, u16) = (160, 120);

/// A board that has `plan`.
fn booted(board: &str, plan: &[u8]) -> Client {
    let board = Board::load(board).unwrap();
    let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    let mut client = Client::boot(&board, &built.elf, ClockMode::Free).unwrap_or_else(|error| panic!("{error:#}"));
    client.set_plan(plan).unwrap();
    client
}

/// What the engine here says of the bars that the sensor shows in a turn.
fn expected(model: &EngineModel, turn: u32) -> Vec<i8> {
    let colours =
        [[255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [255, 0, 0], [0, 0, 255], [0; 3]];
    let (width, height) = (usize::from(SIZE.0), usize::from(SIZE.1));
    let row: Vec<u8> = (0..width).flat_map(|x| colours[(x + turn as usize) % width * 8 / width]).collect();
    let sensor = Sensor { format: PixelFormat::Rgb565Be, width: SIZE.0, height: SIZE.1 };
    let plan = model.plan();
    let data = camera::shoot(sensor, plan.crop(), SIZE.0, SIZE.1, &row.repeat(height)).unwrap();
    let frame = Frame::new(PixelFormat::Rgb565Be, SIZE.0, SIZE.1, &data).unwrap();
    let mut image = vec![0; plan.input().shape.len()];
    preprocess(&frame, plan.crop(), plan.input().shape, &mut image).unwrap();
    model.scores(&image).unwrap()
}

/// Every frame's scores are the engine's here, bit for bit.
fn assert_same(plan: &[u8], simulation: &Simulation) {
    let model = EngineModel::new(plan).unwrap();
    for seen in &simulation.frames {
        assert_eq!(seen.scores, expected(&model, seen.turn), "turn {}", seen.turn);
        assert!(!seen.latency.is_zero() && !seen.label.is_empty());
    }
    assert!(
        simulation.frames.iter().any(|seen| seen.scores != simulation.frames[0].scores),
        "equal scores prove nothing"
    );
}

#[test]
fn a_soak_on_the_cortex_m7_counts_every_mishap_and_ends_well() {
    let plan = encode::encode(&plans::watched(1)).unwrap();
    let mut client = booted("mps2-an500", &plan);
    let at = |turn, fault, turns| Event { turn, fault, turns };
    let events = [
        at(20, CameraFault::Slow, 3),
        at(40, CameraFault::Missing, 2),
        at(60, CameraFault::Missing, 3),
        at(80, CameraFault::Overrun, 2),
        at(100, CameraFault::Unplugged, 4),
        at(120, CameraFault::Forgetful, 1),
        at(140, CameraFault::Stuck, 1),
    ];
    // Twice: the second simulation begins with a new sensor and new counts.
    for _ in 0..2 {
        let simulation = client.simulate(160, &events).unwrap();
        let [missing, overruns, losses, restarts] = [2 + 3 + 1 + 3, 2, 4 + 1, 4];
        let frames = 160 - missing - overruns - losses;
        assert_eq!(simulation.counts, FrameCounts { turns: 160, frames, missing, overruns, losses, restarts });
        assert_eq!(simulation.frames.len(), frames as usize);
        assert_same(&plan, &simulation);
    }
    client.end().unwrap();
}

#[test]
fn every_core_sees_what_this_machine_sees() {
    let plan = encode::encode(&plans::watched(2)).unwrap();
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_some()) {
        let mut client = booted(&board.name, &plan);
        let simulation = client.simulate(12, &[]).unwrap();
        assert_eq!(
            simulation.counts,
            FrameCounts { turns: 12, frames: 12, ..FrameCounts::default() },
            "{}",
            board.name
        );
        assert_same(&plan, &simulation);
        client.end().unwrap();
    }
}
