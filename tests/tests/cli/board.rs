//! The commands for real boards from the outside: exit codes, what is printed, what a failure says.

use std::fs;
use std::process::Output;

use ocellus_shared::plan::encode::encode;
use ocellus_shared::{Op, Shape};
use ocellus_tests::plans::Sketch;
use ocellus_tests::program::ocellus;
use ocellus_tests::random::Random;
use ocellus_tests::{elf, plans};
use serde_json::Value;
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    ocellus().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let output = run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part) && !message.contains("panicked"), "{part:?} is not in: {message}");
    }
}

/// A folder with a model's plan and a program for a real board.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("model.plan"), encode(&plans::cifar_cnn(3)).unwrap()).unwrap();
        fs::write(folder.path("program.elf"), elf::program(0x0800_0000, &[0x12; 5000])).unwrap();
        fs::write(folder.path("large.elf"), elf::program(0x0800_0000, &[0x12; (256 << 10) + 4])).unwrap();
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn boards_are_listed_with_what_they_are() {
    let boards = json(&run(&["boards", "--json"]));
    let kind = |name: &str| {
        let board = boards.as_array().unwrap().iter().find(|board| board["board"] == name).expect(name);
        (board["kind"].as_str().unwrap(), board["core"].as_str().unwrap(), board["chip"].as_str().unwrap())
    };
    assert_eq!(kind("mps2-an505"), ("emulated", "cortex-m33", "emulated"));
    assert_eq!(kind("weact-h743"), ("real", "cortex-m7", "STM32H743VITx"));
    let text = run(&["boards"]);
    for (board, tried) in [
        ("mps2-an500", "emulated core"),
        ("weact-h743", "emulated chip, not tried on hardware by anyone yet"),
        ("pico2", "  not tried on hardware by anyone yet"),
    ] {
        assert!(stdout(&text).lines().any(|line| line.starts_with(board) && line.ends_with(tried)), "{text:?}");
    }
}

#[test]
fn listing_probes_succeeds_with_and_without_one() {
    let probes = json(&run(&["probes", "--json"]));
    let text = run(&["probes"]);
    assert!(text.status.success());
    let nothing = stdout(&text).contains("no debug probe found");
    assert_eq!(nothing, probes.as_array().unwrap().is_empty(), "{text:?}");
}

#[test]
fn a_rehearsal_programs_program_and_model_or_the_model_alone() {
    let files = Files::new();
    let (folder, program) = (files.path(""), files.path("program.elf"));
    let rehearse = ["flash", &folder, "--board", "weact-h743", "--probe", "simulated", "--json"];
    let both = json(&run(&[&rehearse[..], &["--elf", &program]].concat()));
    let plan_bytes = fs::metadata(files.path("model.plan")).unwrap().len();
    assert_eq!((&both["program_bytes"], &both["model_bytes"]), (&5000.into(), &plan_bytes.into()));
    let model = json(&run(&[&rehearse[..], &["--model", "--connect-under-reset", "--speed", "4000"]].concat()));
    assert_eq!((&model["program_bytes"], &model["model_bytes"]), (&0.into(), &plan_bytes.into()));
    assert_eq!((&both["starts"], &model["starts"]), (&true.into(), &false.into()), "each begins with erased flash");
}

#[test]
fn what_cannot_be_programmed_is_told_by_exit_code_and_message() {
    let files = Files::new();
    let plan = files.path("model.plan");
    let flash = |board: &'static str| vec!["flash", &plan, "--board", board, "--model"];
    fails(&flash("toaster"), 2, &["toaster", "weact-h743"]);
    fails(&flash("mps2-an500"), 2, &["emulated", "ocellus run --on sim"]);
    fails(&["flash", &plan], 2, &["--board"]);
    let real = ["monitor", &plan, "--on", "sim", "--board", "pico2", "--source", "photos"];
    fails(&real, 2, &["pico2 is a real board", "mps2-an386, mps2-an500", "weact-h743"]);
    fails(&[&flash("weact-h743")[..], &["--probe", "somewhere"]].concat(), 2, &["VID:PID", "ocellus probes"]);
    fails(&[&flash("weact-h743")[..], &["--probe", "simulated:moody"]].concat(), 2, &["worn", "unplugged"]);
    let unknown = ["flash", &plan, "--board", "weact-h743", "--probe", "simulated", "--look-for", "toaster"];
    fails(&unknown, 2, &["no label \"toaster\"", "--look-for", "class 0, class 1"]);
    fails(&[&flash("weact-h743")[..], &["--smoothing", "9,3,3"]].concat(), 2, &["2,3,3", "0 to 8"]);
    // Its name of earlier releases.
    fails(&[&flash("weact-h743")[..], &["--steady", "9,3,3"]].concat(), 2, &["2,3,3", "0 to 8"]);
    let kept = [&flash("weact-h743")[..], &["--probe", "simulated:absent", "--look-for", "class 1"]].concat();
    fails(&kept, 1, &["--look-for and --smoothing are ignored"]);
    let large = files.path("large.elf");
    let simulated = ["flash", &plan, "--board", "weact-h743", "--probe", "simulated", "--elf", &large];
    fails(&simulated, 3, &["large.elf does not fit weact-h743", "262148 bytes", "262144"]);
    for (fault, part) in [("absent", "no debug probe"), ("denied", "udev"), ("unplugged", "run the command again")] {
        let probe = format!("simulated:{fault}");
        fails(&[&flash("weact-h743")[..], &["--probe", &probe]].concat(), 1, &[part]);
    }
}

#[test]
fn a_program_for_another_board_with_the_same_chip_is_refused() {
    let files = Files::new();
    let (plan, program) = (files.path("model.plan"), files.path("program.elf"));
    fs::write(&program, elf::program_of(0x0800_0000, &[0x12; 5000], "weact-h743")).unwrap();
    for command in [&["flash", &plan][..], &["monitor", &plan, "--frames", "1"]] {
        let on = ["--board", "openmv-h7", "--probe", "simulated", "--elf", &program];
        fails(
            &[command, &on].concat(),
            1,
            &["program.elf", "that of weact-h743, not of openmv-h7", "ocellus firmware"],
        );
    }
    let right = ["flash", &plan, "--board", "weact-h743", "--probe", "simulated", "--elf", &program, "--json"];
    assert_eq!(json(&run(&right))["board"], "weact-h743");
}

#[test]
fn a_plan_that_is_too_large_for_the_board_is_refused_before_any_probe_is_looked_for() {
    let files = Files::new();
    let mut spec = plans::cifar_cnn(3);
    spec.arena_bytes = 400_000;
    fs::write(files.path("model.plan"), encode(&spec).unwrap()).unwrap();
    let plan = files.path("model.plan");
    let arguments = ["flash", &plan, "--board", "weact-h743", "--model", "--probe", "simulated:absent"];
    fails(&arguments, 3, &["does not fit weact-h743", "400000 bytes", "--board"]);
}

#[test]
fn a_plan_for_more_flash_than_the_chip_has_is_told_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("model.plan");
    let mut sketch = Sketch::new(Random::new(3), Shape::new(64, 64, 3));
    sketch.push(Op::Dense { out_channels: 200 }, &[0]).unwrap();
    let bytes = encode(&sketch.finish()).unwrap();
    fs::write(&plan, &bytes).unwrap();
    let plan = plan.to_str().unwrap();
    let has = format!("it has {} bytes", bytes.len());
    let arguments = ["flash", plan, "--board", "weact-h743", "--model", "--probe", "simulated"];
    fails(&arguments, 3, &[&has, "from 0x8040000 on 1835008", "QSPI", "choose another --board: it fits pico2\n"]);
}
