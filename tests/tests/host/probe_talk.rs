//! A real board that answers: the firmware itself on the simulated chip, reached by probe-rs through RTT, and lost in every
//! way it can be.

use std::time::{Duration, Instant};

use ocellus::board::Board;
use ocellus::camera::{self, Sensor};
use ocellus::client::Client;
use ocellus::eval::engine::EngineModel;
use ocellus::probe::simulated::{Fault, Memory, Program, TestBench};
use ocellus::probe::{Image, Link, Settings};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::encode;
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::wire::tensor_crc;
use ocellus_tests::random::Random;
use ocellus_tests::{elf, plans};

const PROGRAM: u32 = 0x0800_0000;
const BLOCK: u32 = 0x2400_1000;
const IMAGE: usize = 32 * 32 * 3;

fn board() -> Board {
    Board::load("weact-h743").unwrap()
}

fn firmware() -> Vec<u8> {
    let vectors = [0x2002_0000u32, PROGRAM + 0x299].map(u32::to_le_bytes).concat();
    elf::program_with_log(PROGRAM, &vectors, BLOCK)
}

fn plan() -> Vec<u8> {
    encode(&plans::watched(1)).unwrap()
}

/// A board with the firmware and `plan` in its flash, or nothing in the model's.
fn bench(fault: Option<Fault>, plan: &[u8]) -> (TestBench, Link) {
    let bench = TestBench::of(&board(), fault).unwrap();
    let mut link = Link::attach_to(&bench, &board(), &Settings::default()).unwrap();
    link.flash(&Image { elf: Some(&firmware()), plan }, &mut |_, _, _| {}).unwrap();
    bench.run_firmware(&board(), &firmware()).unwrap();
    (bench, link)
}

fn talk(fault: Option<Fault>) -> anyhow::Result<Client> {
    let plan = plan();
    let mut client = Client::restart(&board(), bench(fault, &plan).1, &firmware())?;
    client.set_plan(&plan)?;
    Ok(client)
}

fn image(seed: u64, len: usize) -> Vec<i8> {
    Random::new(seed).tensor(len)
}

#[track_caller]
fn fails<T>(result: anyhow::Result<T>, parts: &[&str]) {
    let message = format!("{:#}", result.err().expect("it fails"));
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn every_score_of_twenty_images_is_the_engines() {
    let plan = encode(&plans::cifar_cnn(1)).unwrap();
    let model = EngineModel::new(&plan).unwrap();
    let (bench, link) = bench(None, &plan);
    let mut client = Client::restart(&board(), link, &firmware()).unwrap();
    client.set_plan(&plan).unwrap();
    let mut all = Vec::new();
    for seed in 0..20 {
        let image = image(seed, IMAGE);
        let scores = client.scores(&image).unwrap();
        assert_eq!(scores, model.scores(&image).unwrap(), "image {seed}");
        all.push(scores);
    }
    assert!(all.iter().any(|scores| *scores != all[0]), "equal scores prove nothing");
    let traced = client.trace(&image(3, IMAGE)).unwrap().steps;
    let expected: Vec<u32> = model.trace(&image(3, IMAGE)).unwrap().iter().map(|values| tensor_crc(values)).collect();
    assert_eq!(traced, expected);
    let cycles = client.profile(&image(4, IMAGE)).unwrap();
    assert_eq!((cycles.steps.len(), cycles.scores), (expected.len(), all[4].clone()));
    assert_eq!(cycles.total, cycles.steps.iter().sum::<u64>());
    client.end().unwrap();
    bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
}

#[test]
fn a_frame_goes_through_the_boards_own_preprocessing() {
    let plan = plan();
    let model = EngineModel::new(&plan).unwrap();
    let rgb = Random::new(5).bytes(64 * 48 * 3);
    let sensor = Sensor { format: PixelFormat::Yuv422, width: 64, height: 48 };
    let data = camera::shoot(sensor, model.plan().crop(), 64, 48, &rgb).unwrap();
    let frame = Frame::new(sensor.format, sensor.width, sensor.height, &data).unwrap();
    let shape = model.plan().input().shape;
    let mut seen = vec![0; shape.len()];
    preprocess(&frame, model.plan().crop(), shape, &mut seen).unwrap();
    let mut client = talk(None).unwrap();
    assert_eq!(client.frame(&frame).unwrap().scores, model.scores(&seen).unwrap());
    fails(client.scores(&[0; 7]), &["weact-h743 refuses", "bad-tensor", "7"]);
    // A refusal is no end.
    assert_eq!(client.frame(&frame).unwrap().scores, model.scores(&seen).unwrap());
}

#[test]
fn what_the_camera_sees_comes_whole_and_changes_once_the_board_watches_on() {
    let mut client = talk(None).unwrap();
    let raw = (0..100).find_map(|_| {
        let raw = client.newest_frame().unwrap();
        client.release().unwrap();
        raw
    });
    let first = camera::rgb(&raw.expect("the camera gives frames").frame().unwrap()).unwrap();
    assert_eq!((first.width, first.height), (160, 120));
    // Eight bars of full colours, each row alike.
    let row = &first.pixels[..160 * 3];
    assert!(first.pixels.chunks_exact(160 * 3).all(|other| other == row));
    let colours: std::collections::BTreeSet<&[u8]> = row.chunks_exact(3).collect();
    assert_eq!(colours.len(), 8, "{colours:?}");
    let begun = Instant::now();
    let moved = || begun.elapsed() < Duration::from_secs(20);
    while moved() {
        let raw = client.newest_frame().unwrap();
        client.release().unwrap();
        if raw.is_some_and(|raw| camera::rgb(&raw.frame().unwrap()).unwrap() != first) {
            return;
        }
    }
    panic!("the picture stands still");
}

#[test]
fn a_board_with_another_model_or_none_is_told_apart() {
    fails(talk(Some(Fault::OtherModel)), &["weact-h743 runs another model", "digest", "ocellus flash MODEL"]);
    let plan = plan();
    let mut empty = Client::restart(&board(), bench(None, &[0xFF; 256]).1, &firmware()).unwrap();
    let parts = ["no-plan", "there is no model in flash", "ocellus flash"];
    fails(empty.set_plan(&plan), &parts);
    fails(empty.newest_frame(), &parts);
    let mut torn = plan.clone();
    torn[500] ^= 1;
    let mut damaged = Client::restart(&board(), bench(None, &torn).1, &firmware()).unwrap();
    fails(damaged.set_plan(&plan), &["bad-plan", "write it again"]);
}

/// Streams images until something happens.
fn stream(client: &mut Client) -> anyhow::Result<()> {
    let len = Plan::parse(&plan())?.input().shape.len();
    (0..60).try_for_each(|seed| client.scores(&image(seed, len)).map(|_| ()))
}

#[test]
fn a_reset_in_the_middle_is_told_and_the_next_conversation_succeeds() {
    let plan = plan();
    let (bench, link) = bench(Some(Fault::Resets), &plan);
    let mut client = Client::restart(&board(), link, &firmware()).unwrap();
    client.set_plan(&plan).unwrap();
    fails(stream(&mut client), &["weact-h743 started anew in the middle", "watchdog", "run the command again"]);
    drop(client);
    let link = Link::attach_to(&bench, &board(), &Settings::default()).unwrap();
    let mut client = Client::restart(&board(), link, &firmware()).unwrap();
    client.set_plan(&plan).unwrap();
    stream(&mut client).unwrap();
}

#[test]
fn a_probe_pulled_out_in_the_middle_is_told() {
    let mut client = talk(Some(Fault::UnpluggedLater)).unwrap();
    fails(stream(&mut client), &["the connection to weact-h743 was lost", "plugged in"]);
}

#[test]
fn channels_that_an_earlier_program_left_are_not_believed() {
    fails(talk(Some(Fault::Stale)), &["at 0x24001000 of weact-h743 after 3 s", "does not start", "ocellus flash"]);
}

#[test]
fn a_host_that_goes_away_in_the_middle_of_a_message_leaves_a_board_that_answers() {
    let plan = plan();
    let (bench, link) = bench(None, &plan);
    let mut client = Client::restart(&board(), link, &firmware()).unwrap();
    client.set_plan(&plan).unwrap();
    // Half a header, behind the conversation's back: its write position is a word of the third channel.
    let position = BLOCK + 24 + 2 * 24 + 12;
    bench.with_chip(|chip| {
        let at = chip.memory.word(position).unwrap();
        let ring = chip.memory.word(position - 8).unwrap();
        chip.memory.write(ring + at, b"OCM2\x02").unwrap();
        chip.memory.write(position, &(at + 5).to_le_bytes()).unwrap();
    });
    // Whoever looks lets the program run; after a second it gives up, and says so on its second channel.
    let answered = |bench: &TestBench| bench.with_chip(|chip| chip.read(BLOCK + 24 + 24 + 12, 4).unwrap());
    let (before, until) = (answered(&bench), Instant::now() + Duration::from_secs(60));
    while answered(&bench) == before {
        assert!(Instant::now() < until, "the board still waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    let len = Plan::parse(&plan).unwrap().input().shape.len();
    fails(client.scores(&image(1, len)), &["refuses", "truncated", "run the command again"]);
    // A host that gets no turn for a second in the middle of a message has gone away once more.
    assert!((0..10).any(|_| client.scores(&image(1, len)).is_ok()));
}

/// A program with a log and no client to the host.
struct Older;

impl Program for Older {
    fn start(&mut self, memory: &mut Memory) {
        let words = [1, 0, 0, BLOCK + 0x100, 64, 0, 0, 0].map(u32::to_le_bytes).concat();
        memory.write(BLOCK + 16, &words).unwrap();
        memory.write(BLOCK, b"SEGGER RTT\0\0\0\0\0\0").unwrap();
    }

    fn go_on(&mut self, _: &mut Memory) {}
}

#[test]
fn a_program_that_cannot_be_talked_to_is_told() {
    let (bench, link) = bench(None, &plan());
    bench.with_chip(|chip| chip.load(Box::new(Older)));
    fails(Client::restart(&board(), link, &firmware()), &["cannot be talked to", "older Ocellus", "ocellus flash"]);
    let (_, link) = self::bench(None, &plan());
    let silent = elf::program(PROGRAM, &[0; 8]);
    fails(Client::restart(&board(), link, &silent), &["_SEGGER_RTT"]);
}
