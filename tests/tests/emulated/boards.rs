//! The engine on the four emulated boards, against the engine on this machine: same plan, same images, same bits.
//!
//! QEMU and a compiler for the boards are needed; where they are missing these tests fail and say how to get them.

use std::path::{Path, PathBuf};

use ocellus::board::{Board, DoesNotFit};
use ocellus::camera::{self, Sensor};
use ocellus::client::{self, Client};
use ocellus::data::shapes;
use ocellus::eval::engine::EngineModel;
use ocellus::eval::int8_images;
use ocellus::eval::tract::TractModel;
use ocellus::model::{INT8_ONNX, PLAN};
use ocellus::toolchain;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::Shape;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::encode::{PlanSpec, encode};
use ocellus_shared::plan::{Crop, Operand, Plan};
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::wire::tensor_crc;
use ocellus_tests::random::Random;

use crate::model::{SIDE, pictures, random_plan};

/// A board and its freshly built firmware.
fn built(name: &str) -> (Board, PathBuf) {
    let board = Board::load(name).unwrap();
    let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    (board, built.elf)
}

/// A booted board with `plan` in place.
fn booted(name: &str, plan: &[u8], clock: ClockMode) -> Client {
    let (board, elf) = built(name);
    let mut client = Client::boot(&board, &elf, clock).unwrap_or_else(|error| panic!("{error:#}"));
    client.set_plan(plan).unwrap();
    client
}

/// Every score of every image, here and there.
fn assert_same_scores(board: &str, plan: &[u8], images: &[i8]) {
    let (board, elf) = built(board);
    let here = EngineModel::new(plan).unwrap().scores_all(images, &|| ()).unwrap();
    let there = client::scores_of(&board, &elf, plan, images, &|| ()).unwrap_or_else(|error| panic!("{error:#}"));
    let different = here.iter().zip(&there).filter(|(a, b)| a != b).count();
    assert_eq!((there.len(), different), (here.len(), 0), "{}", board.name);
    assert!(here.iter().any(|score| *score != here[0]), "scores that are all equal prove nothing");
}

#[test]
fn cortex_m4_computes_the_same() {
    assert_same_scores("mps2-an386", &random_plan(), &int8_images(&pictures(200)));
}

#[test]
fn cortex_m7_computes_the_same() {
    assert_same_scores("mps2-an500", &random_plan(), &int8_images(&pictures(400)));
}

#[test]
fn cortex_m33_computes_the_same() {
    assert_same_scores("mps2-an505", &random_plan(), &int8_images(&pictures(200)));
}

#[test]
fn cortex_m55_computes_the_same() {
    assert_same_scores("mps3-an547", &random_plan(), &int8_images(&pictures(200)));
}

#[test]
fn the_committed_models_compute_the_same() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folders = std::fs::read_dir(models).unwrap().flatten().map(|entry| entry.path());
    let folders: Vec<_> = folders.filter(|folder| folder.join(PLAN).is_file()).collect();
    assert!(!folders.is_empty(), "there is no committed model");
    for folder in folders {
        let bytes = std::fs::read(folder.join(PLAN)).unwrap();
        let input = Plan::parse(&bytes).unwrap().input().shape;
        let images = int8_images(&shapes::pictures(0..300, input.h.into(), 7));
        assert_same_scores("mps2-an500", &bytes, &images);
        let judge = TractModel::load(&std::fs::read(folder.join(INT8_ONNX)).unwrap()).unwrap();
        let engine = EngineModel::new(&bytes).unwrap();
        assert_eq!(judge.digest(), engine.plan().digest(), "{}", folder.display());
        for image in images.chunks_exact(input.len()) {
            assert_eq!(judge.scores(image).unwrap(), engine.scores(image).unwrap(), "{}", folder.display());
        }
    }
}

#[test]
fn extreme_images_compute_the_same() {
    let mut random = Random::new(2);
    let constants = [-128, -127, -1, 0, 1, 127].map(|value| vec![value; SIDE * SIDE * 3]).concat();
    let noise = random.tensor(4 * SIDE * SIDE * 3);
    assert_same_scores("mps2-an500", &random_plan(), &[constants, noise].concat());
}

#[test]
fn every_step_of_a_trace_is_the_same() {
    let plan = random_plan();
    let image = int8_images(&pictures(1));
    let trace = booted("mps2-an500", &plan, ClockMode::Free).trace(&image).unwrap();
    let here = EngineModel::new(&plan).unwrap().trace(&image).unwrap();
    let here: Vec<u32> = here.iter().map(|output| tensor_crc(output)).collect();
    assert_eq!(trace.steps, here);
}

#[test]
fn camera_frames_of_every_format_are_seen_the_same() {
    let bytes = random_plan();
    let engine = EngineModel::new(&bytes).unwrap();
    let plan = engine.plan();
    let mut client = booted("mps2-an500", &bytes, ClockMode::Free);
    let picture = pictures(1);
    for format in PixelFormat::ALL {
        let sensor = Sensor { format, width: 160, height: 120 };
        let data = camera::shoot(sensor, plan.crop(), SIDE as u16, SIDE as u16, picture.image(0)).unwrap();
        let frame = Frame::new(format, 160, 120, &data).unwrap();
        let mut image = vec![0; plan.input().shape.len()];
        preprocess(&frame, plan.crop(), plan.input().shape, &mut image).unwrap();
        let here = engine.scores(&image).unwrap();
        let seen = client.frame(&frame).unwrap();
        assert_eq!(seen.scores, here, "{format:?}");
        let best = ocellus_shared::scores::best(&here);
        assert_eq!(Some(seen.label.as_str()), plan.label(best.class.into()), "{format:?}");
    }
    client.end().unwrap();
}

#[test]
fn instructions_are_counted_the_same_twice() {
    let plan = random_plan();
    let image = int8_images(&pictures(1));
    let mut client = booted("mps2-an500", &plan, ClockMode::Instructions);
    let (first, second) = (client.profile(&image).unwrap(), client.profile(&image).unwrap());
    assert_eq!(first.scores, EngineModel::new(&plan).unwrap().scores(&image).unwrap());
    assert_eq!(first.steps.len(), Plan::parse(&plan).unwrap().step_count());
    let sum: u64 = first.steps.iter().sum();
    assert!(sum <= first.total, "the steps take {sum} of {} instructions", first.total);
    let apart = first.total.abs_diff(second.total);
    assert!(apart * 1000 <= first.total, "{} and {} instructions", first.total, second.total);
}

#[test]
fn a_wrong_tensor_is_refused_and_the_board_goes_on() {
    let plan = random_plan();
    let mut client = booted("mps2-an500", &plan, ClockMode::Free);
    let error = client.scores(&[0; 7]).unwrap_err().to_string();
    assert!(error.contains("bad-tensor"), "{error}");
    let image = int8_images(&pictures(1));
    assert_eq!(client.scores(&image).unwrap(), EngineModel::new(&plan).unwrap().scores(&image).unwrap());
}

#[test]
fn a_plan_that_needs_too_much_memory_does_not_fit() {
    let (board, elf) = built("mps2-an505");
    let shape = Shape::new(1024, 1024, 3);
    let at = |offset| Operand { offset, shape, zero: 0 };
    let double = ocellus_shared::plan::encode::StepSpec {
        op: ocellus_shared::Op::Lut,
        inputs: vec![at(0)],
        output: at(shape.len()),
        scratch: (0, 0),
        strip_rows: 0,
        weights: vec![1; 256],
        biases: vec![],
        multipliers: vec![],
    };
    let plan = encode(&PlanSpec {
        digest: [0; 8],
        arena_bytes: 2 * shape.len(),
        input: at(0),
        crop: Crop::Centre,
        output: Operand { shape: Shape::vector(3), ..at(shape.len()) },
        output_scale: 1.0,
        labels: ["a", "b", "c"].map(String::from).to_vec(),
        steps: vec![double],
    });
    let plan = plan.unwrap();
    let mut client = Client::boot(&board, &elf, ClockMode::Free).unwrap();
    let error = client.set_plan(&plan).unwrap_err();
    assert!(error.downcast_ref::<DoesNotFit>().is_some(), "{error:#}");
}
