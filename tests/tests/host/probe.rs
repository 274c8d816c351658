//! Real boards, as far as software goes: probe-rs programs the simulated one, and every way to fail is told with its
//! remedy.

use ocellus::board::{Board, DoesNotFit};
use ocellus::probe::simulated::{Fault, TestBench};
use ocellus::probe::{Image, Link, Phase, Settings, Written};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::encode;
use ocellus_tests::{elf, plans};

const PROGRAM: u32 = 0x0800_0000;
const MODEL: u32 = 0x0804_0000;
/// Bytes of a sector: RM0433, 4.3.5; and of the W25Q32 beside an RP2350.
const SECTORS: [(&str, u32); 2] = [("STM32H743", 128 << 10), ("RP235", 4 << 10)];
/// Bytes that the program may fill, and the model.
const PROGRAM_BYTES: usize = 256 << 10;
const MODEL_BYTES: usize = 1792 << 10;

fn board() -> Board {
    Board::load("weact-h743").unwrap()
}

fn bench(fault: Option<Fault>) -> TestBench {
    TestBench::of(&board(), fault).unwrap()
}

fn plan(seed: u64) -> Vec<u8> {
    encode(&plans::cifar_cnn(seed)).unwrap()
}

/// A vector table and what stands for instructions, a little more than a sector of 128 KB.
fn code() -> Vec<u8> {
    let vectors = [0x2002_0000u32, PROGRAM + 0x299];
    let rest = (0..34_000u32).map(|i| i.wrapping_mul(0x9E37_79B9));
    vectors.into_iter().chain(rest).flat_map(u32::to_le_bytes).collect()
}

fn attach(bench: &TestBench) -> anyhow::Result<Link> {
    Link::attach_to(bench, &board(), &Settings::default())
}

fn flash(bench: &TestBench, program: Option<&[u8]>, plan: &[u8]) -> anyhow::Result<Written> {
    attach(bench)?.flash(&Image { elf: program, plan }, &mut |_, _, _| {})
}

fn content(bench: &TestBench, address: u32, len: usize) -> Vec<u8> {
    bench.with_chip(|chip| chip.memory.read(address, len).unwrap().to_vec())
}

#[track_caller]
fn fails<T>(result: anyhow::Result<T>, parts: &[&str]) {
    let message = format!("{:#}", result.err().expect("it fails"));
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[track_caller]
fn obeyed_every_rule(bench: &TestBench) {
    bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
}

#[test]
fn program_and_model_are_written_where_they_belong() {
    let (bench, code, plan) = (bench(None), code(), plan(1));
    let mut heard = Vec::new();
    let program = elf::program(PROGRAM, &code);
    let image = Image { elf: Some(&program), plan: &plan };
    let written =
        attach(&bench).unwrap().flash(&image, &mut |phase, done, all| heard.push((phase, done, all))).unwrap();
    assert_eq!((written.program_bytes, written.model_bytes), (code.len() as u64, plan.len() as u64));
    assert_eq!(content(&bench, PROGRAM, code.len()), code);
    assert_eq!(content(&bench, MODEL, plan.len()), plan);
    for phase in [Phase::Erase, Phase::Program, Phase::Verify] {
        let steps: Vec<(u64, u64)> = heard.iter().filter(|h| h.0 == phase).map(|h| (h.1, h.2)).collect();
        assert!(steps.is_sorted() && steps.len() > 2, "{phase:?}: {steps:?}");
        assert!(steps.last().is_some_and(|(done, all)| done == all), "{phase:?}: {steps:?}");
    }
    obeyed_every_rule(&bench);
}

#[test]
fn the_model_alone_is_replaced_fast_and_nothing_else_changes() {
    let (bench, code) = (bench(None), code());
    flash(&bench, Some(&elf::program(PROGRAM, &code)), &plan(1)).unwrap();
    let bank = content(&bench, PROGRAM, PROGRAM_BYTES);
    let mut plan = plan(2);
    plan.resize(300_000, 0x5A); // as many bytes as the promise is about; what they mean is the board's affair
    let mut heard = Vec::new();
    let image = Image { elf: None, plan: &plan };
    let written =
        attach(&bench).unwrap().flash(&image, &mut |phase, done, all| heard.push((phase, done, all))).unwrap();
    assert_eq!((written.program_bytes, written.model_bytes), (0, 300_000));
    // Its time is that of what it erases and programs: three sectors, and no more bytes than the model's last page ends with.
    let last = |phase| heard.iter().rfind(|step| step.0 == phase).map(|step| step.1);
    assert_eq!((last(Phase::Erase), last(Phase::Program)), (Some(3 * (128 << 10)), Some(300_032)));
    assert_eq!(content(&bench, MODEL, plan.len()), plan);
    assert!(content(&bench, PROGRAM, PROGRAM_BYTES) == bank, "the program's flash changed");
    obeyed_every_rule(&bench);
}

#[test]
fn a_model_without_a_program_is_told_from_one_that_starts() {
    let bench = bench(None);
    assert!(!flash(&bench, None, &plan(1)).unwrap().starts, "the program's flash is erased");
    assert!(flash(&bench, Some(&elf::program(PROGRAM, &code())), &plan(1)).unwrap().starts);
    assert!(flash(&bench, None, &plan(2)).unwrap().starts, "the program is kept");
}

#[test]
fn the_largest_model_fills_all_flash_behind_the_program() {
    let (bench, code) = (bench(None), code());
    let large: Vec<u8> = (0..MODEL_BYTES as u32 / 4).flat_map(|i| i.wrapping_mul(0x85EB_CA6B).to_le_bytes()).collect();
    flash(&bench, Some(&elf::program(PROGRAM, &code)), &large).unwrap();
    assert!(content(&bench, PROGRAM, code.len()) == code && content(&bench, MODEL, large.len()) == large);
    obeyed_every_rule(&bench);
}

#[test]
fn no_sector_of_a_real_board_holds_both_program_and_model() {
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_none()) {
        let (program, model) = (board.flash.unwrap(), board.model.unwrap());
        let sector = SECTORS.iter().find(|(chip, _)| board.chip.starts_with(chip)).expect("its sectors are known").1;
        for address in [program.start, model.start, model.start + model.bytes] {
            assert!(address.is_multiple_of(sector), "{}: {address:#x} is within a sector", board.name);
        }
    }
}

#[test]
fn what_does_not_fit_or_belong_is_refused_before_anything_is_written() {
    let bench = bench(None);
    let large = flash(&bench, None, &vec![0; MODEL_BYTES + 1]).unwrap_err();
    assert!(large.downcast_ref::<DoesNotFit>().is_some(), "{large:#}");
    fails(Err::<(), _>(large), &["plan does not fit weact-h743", "1835009 bytes"]);
    let elsewhere = elf::program(MODEL, &code());
    fails(flash(&bench, Some(&elsewhere), &plan(1)), &["outside of weact-h743's flash", "0x8040000"]);
    fails(flash(&bench, Some(b"no program"), &plan(1)), &["the program is none for weact-h743", "ocellus firmware"]);
    let emulated = elf::program(0x6000_0000, &code());
    assert!(flash(&bench, Some(&emulated), &plan(1)).is_err());
    assert!(content(&bench, PROGRAM, 2 << 20).iter().all(|byte| *byte == 0xFF), "something was written");
}

#[test]
fn probes_that_are_not_there_or_may_not_be_opened_are_told_apart() {
    fails(attach(&bench(Some(Fault::Absent))), &["no debug probe found", "plug in"]);
    let parts = ["no permission to open simulated probe", "udev", r#"ATTRS{idVendor}=="1209""#, "udevadm"];
    fails(attach(&bench(Some(Fault::Denied))), &parts);
    let named = Settings { probe: "0483:374b".parse().unwrap(), ..Settings::default() };
    fails(Link::attach_to(&bench(None), &board(), &named), &["no probe has the ids", "1209:0001"]);
}

#[test]
fn a_chip_that_is_another_one_is_not_touched() {
    let bench = bench(Some(Fault::WrongChip));
    let parts = ["not that of weact-h743", "0x483", "STM32H743VITx 0x450", "--board"];
    fails(flash(&bench, None, &plan(1)), &parts);
    obeyed_every_rule(&bench);
}

#[test]
fn a_chip_that_stumbles_once_is_asked_again() {
    let bench = bench(Some(Fault::Stumbles));
    flash(&bench, None, &plan(1)).unwrap();
    assert!(Plan::parse(&content(&bench, MODEL, plan(1).len())).is_ok());
}

#[test]
fn a_chip_that_gives_no_answer_is_reached_under_reset_or_not_at_all() {
    let parts = ["cannot attach to STM32H743VITx of weact-h743", "power", "SWDIO", "--connect-under-reset"];
    fails(attach(&bench(Some(Fault::NeedsReset))), &parts);
    let bench = bench(Some(Fault::NeedsReset));
    let settings = Settings { under_reset: true, ..Settings::default() };
    let mut link = Link::attach_to(&bench, &board(), &settings).unwrap();
    link.flash(&Image { elf: None, plan: &plan(1) }, &mut |_, _, _| {}).unwrap();
    obeyed_every_rule(&bench);
}

#[test]
fn a_dead_chip_is_told_with_what_to_look_at() {
    let settings = Settings { under_reset: true, ..Settings::default() };
    let dead = Link::attach_to(&bench(Some(Fault::Silent)), &board(), &settings);
    fails(dead, &["does not answer", "power", "lower --speed"]);
}

#[test]
fn locked_flash_is_not_taken_for_a_broken_one() {
    let bench = bench(Some(Fault::Locked));
    fails(
        flash(&bench, None, &plan(1)),
        &["programming weact-h743 failed", "locked", "option bytes", "--allow-erase-all"],
    );
    assert!(content(&bench, MODEL, 1024).iter().all(|byte| *byte == 0xFF));
}

#[test]
fn flash_that_reads_back_wrong_is_noticed() {
    let bench = bench(Some(Fault::Worn));
    fails(flash(&bench, None, &plan(1)), &["not what was written", "worn out", "Flash content verification failed"]);
}

#[test]
fn a_probe_pulled_out_in_the_middle_leaves_no_model_that_could_be_mistaken_for_one() {
    let bench = bench(Some(Fault::Unplugged));
    let plan = plan(1);
    fails(flash(&bench, None, &plan), &["unplugged in the middle", "no valid model", "run the command again"]);
    let left = content(&bench, MODEL, plan.len());
    assert_eq!(left[..1024], plan[..1024], "the beginning was written");
    assert!(Plan::parse(&left).is_err(), "the board would take it for a model");
}

#[test]
fn speeds_that_the_probe_does_not_have_are_refused() {
    let settings = Settings { speed_khz: Some(400_000), ..Settings::default() };
    fails(Link::attach_to(&bench(None), &board(), &settings), &["cannot attach", "400000 kHz"]);
}
