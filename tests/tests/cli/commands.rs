//! The program from the outside: exit codes, what goes to which stream, bad input, help texts.
//!
//! The help texts are compared with `help/*.txt`, and the reference of all commands with `host/COMMANDS.md`;
//! `UPDATE_SNAPSHOTS=1 cargo test --release --package ocellus-tests --test cli commands::` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocellus::data::picture::Picture;
use ocellus::onnx;
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode, reseal};
use ocellus_shared::plan::{Crop, Operand};
use ocellus_shared::{Op, Shape};
use ocellus_tests::program::ocellus;
use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program gave.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The one JSON object on standard output.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout));
        assert!(value.is_object(), "{value}");
        value
    }

    /// Checks the exit code, that nothing panicked, and that each of `parts` is in the message.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
    }
}

pub fn finish(mut command: Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub fn run(arguments: &[&str]) -> Run {
    let mut command = ocellus();
    command.args(arguments);
    finish(command)
}

/// A run of the program in `folder`, which keeps its cache there too.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = ocellus();
    command.current_dir(folder).env("OCELLUS_CACHE", folder.join("cache")).args(arguments);
    finish(command)
}

/// The same, which succeeds.
#[track_caller]
pub fn works_in(folder: &Path, arguments: &[&str]) -> Run {
    let done = run_in(folder, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
    done
}

/// A model folder with plan and int8 ONNX file.
pub struct Model(pub TempDir);

impl Model {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let graph = crate::model::random_model();
        fs::write(folder.file("model.plan"), crate::model::random_plan()).unwrap();
        fs::write(folder.file("model.onnx"), onnx::write(&graph).unwrap()).unwrap();
        folder
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Changes one byte of a file, and repairs a plan's checksum if asked to.
    fn damage(&self, name: &str, at_from_end: usize, repair: bool) {
        let mut bytes = fs::read(self.file(name)).unwrap();
        let at = bytes.len() - at_from_end;
        bytes[at] ^= 0x40;
        if repair {
            reseal(&mut bytes);
        }
        fs::write(self.file(name), bytes).unwrap();
    }
}

/// Compares `text` with the file at `path`, or writes it there where snapshots are updated.
fn check_snapshot(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(path, text).unwrap();
    }
    let recorded = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, recorded, "{}: see the top of this file", path.display());
}

#[test]
fn help_texts_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help");
    let mut files = BTreeSet::new();
    for words in ocellus::cli::commands() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&arguments);
        assert_eq!(help.code, 0, "{words:?}");
        let file = format!("{}.txt", if words.is_empty() { "ocellus".into() } else { words.join("-") });
        check_snapshot(&folder.join(&file), &help.stdout);
        files.insert(file);
    }
    let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<String>>(), files, "help texts of commands that there are no more");
}

#[test]
fn the_reference_of_commands_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/COMMANDS.md");
    check_snapshot(&page, &ocellus::cli::reference());
}

#[test]
fn wrong_usage_exits_with_2() {
    for (arguments, message) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["eval"], "required arguments were not provided:\n  <MODEL>"),
        (&["eval", "x", "--images", "0"], "'0' for '--images <N>': expected a number above 0, or `all`"),
        (&["eval", "x", "--with", "onnx"], "possible values: float, tract, engine, sim"),
        (&["run", "x"], "required arguments were not provided:\n  <PICTURE>..."),
        (&["run", "x", "y.jpg", "--frame-size", "0x0"], "expected columns and rows such as 160x120"),
        (&["validate", "x", "--on", "moon"], "possible values: engine, sim, board"),
        (&["firmware", "--all", "--board", "mps2-an500"], "'--all' cannot be used with '--board <BOARD>'"),
        (&["compare", "only-one"], "2 values required by '<MODEL> <MODEL>...'; only 1 was provided"),
        (&["data", "preview", "--images", "0"], "'0' for '--images <N>': 0 is not in 1..=32"),
    ] {
        run(arguments).fails(2, &[message]);
    }
    run(&["validate", "x", "--board", "nope"])
        .fails(2, &["--board has no effect", "add --on sim", "Usage: ocellus validate"]);
    let model = Model::new();
    let mut command = ocellus();
    command.args(["validate", model.path(), "--images", "1"]).env("OCELLUS_BOARD", "nope");
    assert_eq!(finish(command).code, 0, "the environment is for the commands that need a board");
    run(&["eval", model.path(), "--with", "sim", "--board", "toaster"]).fails(2, &["toaster", "mps2-an500"]);
}

#[test]
fn eval_gives_one_object() {
    let model = Model::new();
    let result = run(&["eval", model.path(), "--images", "50", "--json"]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let json = result.json();
    assert_eq!(json["images"], 50);
    assert!((0.0..=1.0).contains(&json["accuracy"].as_f64().unwrap()));
    assert!(json["top5"].as_f64().unwrap() >= json["accuracy"].as_f64().unwrap());
    let classes = json["per_class"].as_array().unwrap();
    assert_eq!(classes.len(), 10);
    let support: u64 = classes.iter().map(|c| c["support"].as_u64().unwrap()).sum();
    assert_eq!(support, 50);
    assert!(classes.iter().all(|c| ["precision", "recall", "f1"].iter().all(|key| c[*key].is_f64())));
}

#[test]
fn compare_puts_models_side_by_side() {
    let (a, b) = (Model::new(), Model::new());
    let csv = a.file("table.csv");
    let shared = ["--images", "20", "--csv", csv.to_str().unwrap()];
    let both = run(&[&["compare", a.path(), b.path(), "--json"][..], &shared].concat()).json();
    let models = both["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    assert_eq!(models[0]["int8"], models[1]["int8"]);
    assert_eq!(models[0]["plan_bytes"], fs::metadata(a.file("model.plan")).unwrap().len());
    let alone = run(&["eval", a.path(), "--images", "20", "--json"]).json();
    assert_eq!(models[0]["int8"]["accuracy"], alone["accuracy"]);
    let table = fs::read_to_string(&csv).unwrap();
    assert!(table.lines().count() == 3 && table.contains(",f1 "), "{table}");

    // Before a model is opened, as nothing is here.
    let late = run(&["compare", "gone", "gone too", "--csv", b.file("nofolder/x.csv").to_str().unwrap()]);
    late.fails(1, &["nofolder/x.csv"]);

    let cifar = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/cnn-cifar10");
    let refused = run(&["compare", a.path(), cifar.to_str().unwrap()]);
    refused.fails(2, &["have different classes: only ", " has airplane, automobile, "]);
    fs::remove_file(b.file("model.plan")).unwrap();
    run(&["compare", a.path(), b.path()]).fails(1, &["neither a plan nor trained weights", "ocellus export"]);
}

#[test]
fn the_preview_has_a_row_for_each_image() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sheet.png");
    let shared = ["--images", "3", "--img-size", "32", "--out", file.to_str().unwrap()];
    let preview = run(&[&["data", "preview", "--set", "augment.rotate=30"][..], &shared].concat());
    assert_eq!((preview.code, preview.stdout.trim()), (0, file.to_str().unwrap()), "{}", preview.stderr);
    let sheet = Picture::open(&file).unwrap();
    assert_eq!((sheet.width, sheet.height), (10 * (3 * 32 + 4) + 4, 3 * (3 * 32 + 4) + 4));
    run(&[&["data", "preview", "--set", "augment.rotate=-3"][..], &shared].concat()).fails(1, &["augment.rotate = -3"]);
    run(&["data", "preview", "--out", "sheet.jpg"]).fails(2, &["--out <FILE>", "such as sheet.png"]);
}

/// A folder of these classes with three pictures each, a black row over a white one.
fn photos(classes: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in classes {
        fs::create_dir(folder.path().join(class)).unwrap();
        for i in 0..3 {
            let picture = Picture { width: 2, height: 2, pixels: [[0; 6], [255; 6]].concat() };
            fs::write(folder.path().join(class).join(format!("{i}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
    folder
}

#[test]
fn the_preview_shows_what_training_takes() {
    let photos = photos(&["a", "b"]);
    let file = photos.path().join("sheet.png");
    let shared = ["--images", "1", "--out", file.to_str().unwrap(), "--data", photos.path().to_str().unwrap()];
    let sheet = |set: &[&str]| {
        let preview = run(&[&["data", "preview"][..], &shared, set].concat());
        assert_eq!(preview.code, 0, "{}", preview.stderr);
        Picture::open(&file).unwrap()
    };
    let lite = "model=efficientnet-lite0";
    // Its images have 224 pixels, and are enlarged without steps; one variation is drawn once.
    let smooth = sheet(&["--set", lite, "--set", "transfer.cache-views=1"]);
    assert_eq!((smooth.width, smooth.height), (2 * (224 + 4) + 4, 224 + 2 * 4));
    let steps = sheet(&["--set", lite, "--set", "data.enlarge=area", "--set", "data.img-size=224"]);
    let levels = |sheet: &Picture| {
        let first = |y: usize| sheet.pixels[(y * usize::from(sheet.width) + 100) * 3];
        (4..228).map(first).collect::<std::collections::BTreeSet<u8>>().len()
    };
    assert!(levels(&steps) <= 3 && levels(&smooth) > 20, "{} and {}", levels(&steps), levels(&smooth));
}

#[test]
fn every_backend_of_eval_gives_the_same_int8_figures() {
    let model = Model::new();
    let figures = |with: &str| {
        let result = run(&["eval", model.path(), "--with", with, "--images", "30", "--json"]);
        assert_eq!(result.code, 0, "{}", result.stderr);
        result.json()["confusion"].clone()
    };
    assert_eq!(figures("engine"), figures("tract"));
    assert_eq!(figures("engine"), figures("sim"));
    run(&["eval", model.path(), "--with", "float"]).fails(1, &["best.safetensors"]);
}

#[test]
fn validate_agrees_on_all_sides() {
    let model = Model::new();
    let plan = model.file("model.plan");
    let result = run(&["validate", plan.to_str().unwrap(), "--on", "sim", "--images", "20", "--json"]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let json = result.json();
    assert_eq!(
        (&json["images"], &json["scores_compared"], &json["scores_different"]),
        (&20.into(), &200.into(), &0.into())
    );
    let digest = json["digest"]["tract"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    assert_eq!(json["digest"]["engine"], digest);
    assert_eq!(json["digest"]["sim"], digest);
}

#[test]
fn validate_exits_with_4_and_names_image_and_layer() {
    let model = Model::new();
    // Near the end lie the parameters of the last layer.
    model.damage("model.plan", 38, true);
    let result = run(&["validate", model.path(), "--images", "20", "--json"]);
    result.fails(4, &["first on image", "from layer head"]);
    let json = result.json();
    assert_ne!(json["digest"]["tract"], json["digest"]["engine"]);
    assert!(json["scores_different"].as_u64().unwrap() > 0);
    assert_eq!(json["first_difference"]["layer"], "head");
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let model = Model::new();
    let onnx = model.file("model.onnx");
    model.damage("model.plan", 100, false);
    run(&["eval", model.path()]).fails(1, &["model.plan", "damaged", "ocellus export"]);
    fs::write(model.file("model.plan"), b"OCPL").unwrap();
    run(&["eval", model.path()]).fails(1, &["model.plan", "truncated", "ocellus export"]);
    fs::write(model.file("model.plan"), b"GIF89a; not a plan at all").unwrap();
    run(&["run", model.path(), "x.jpg"]).fails(1, &["model.plan", "truncated"]);
    model.damage("model.onnx", 1000, false);
    run(&["eval", onnx.to_str().unwrap(), "--with", "tract"]).fails(1, &["model.onnx"]);
    run(&["eval", "no/such/model"]).fails(1, &["no/such/model", "does not exist"]);
    run(&["eval", env!("CARGO_MANIFEST_DIR")]).fails(1, &["holds no model", "ocellus export"]);
}

#[test]
fn plan_and_onnx_of_different_models_do_not_validate() {
    let (model, other) = (Model::new(), Model::new());
    let mut plan = fs::read(other.file("model.plan")).unwrap();
    plan[16] ^= 1; // first byte of the digest
    reseal(&mut plan);
    fs::write(other.file("model.plan"), plan).unwrap();
    let onnx = model.file("model.onnx");
    run(&["validate", other.path(), "--onnx", onnx.to_str().unwrap()]).fails(1, &["different models", "--onnx"]);
}

#[test]
fn a_plan_that_does_not_fit_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape::new(1024, 1024, 3);
    let at = |offset, shape| Operand { offset, shape, zero: 0 };
    let means = Shape::vector(3);
    let mean = StepSpec {
        op: Op::GlobalAvgPool,
        inputs: vec![at(0, shape)],
        output: at(shape.len(), means),
        scratch: (0, 0),
        strip_rows: 0,
        weights: vec![],
        biases: vec![0],
        multipliers: vec![1e-6],
    };
    let plan = encode(&PlanSpec {
        digest: [0; 8],
        arena_bytes: shape.len() + means.len(),
        input: at(0, shape),
        crop: Crop::Centre,
        output: at(shape.len(), means),
        output_scale: 1.0,
        labels: ["red", "green", "blue"].map(String::from).to_vec(),
        steps: vec![mean],
    });
    let path = folder.path().join("large.plan");
    fs::write(&path, plan.unwrap()).unwrap();
    let result = run(&["eval", path.to_str().unwrap(), "--with", "sim", "--board", "mps2-an505"]);
    result.fails(3, &["does not fit mps2-an505", "3145731 bytes", "--board"]);
}

#[test]
fn pictures_that_cannot_be_read_are_named() {
    let model = Model::new();
    run(&["run", model.path(), "gone.jpg"]).fails(1, &["gone.jpg"]);
    let text = model.file("text.png");
    fs::write(&text, "hello").unwrap();
    run(&["run", model.path(), text.to_str().unwrap()]).fails(1, &["text.png"]);
    run(&["run", model.path(), model.path()]).fails(1, &["is a folder", "*.jpg"]);
}

#[test]
fn a_frame_that_the_board_has_no_room_for_is_told_with_the_room() {
    let model = Model::new();
    let (path, pixels) = (model.file("a.png"), vec![9; 32 * 32 * 3]);
    fs::write(&path, Picture { width: 32, height: 32, pixels }.to_png().unwrap()).unwrap();
    let large = ["run", model.path(), path.to_str().unwrap(), "--on", "sim", "--frame-size", "1000x1000"];
    run(&large).fails(1, &["2000000 bytes, the board has room for", "smaller --frame-size"]);
}

#[test]
fn what_would_spoil_a_card_is_said_before_anything_is_measured() {
    let model = Model::new();
    // There is no float network to measure: that would be said next.
    let nowhere = model.file("no/card.md");
    let card = ["card", model.path(), "--out"];
    run(&[&card[..], &[nowhere.to_str().unwrap()]].concat()).fails(1, &["no/card.md", "may you write there?"]);
    run(&[&card[..], &[model.path()]].concat()).fails(1, &["is a folder"]);
    fs::write(model.file("metrics.json"), "{").unwrap();
    run(&["card", model.path()]).fails(1, &["metrics.json is damaged", "remove it"]);
    assert!(!model.file("README.md").exists());
}

#[test]
fn missing_qemu_is_named_with_its_fix() {
    let model = Model::new();
    let mut command = ocellus();
    command.args(["validate", model.path(), "--on", "sim"]).env("OCELLUS_QEMU", "/no/such/qemu");
    finish(command).fails(1, &["/no/such/qemu", "qemu-system-arm"]);
    let mut command = ocellus();
    command.args(["doctor", "--json"]).env("OCELLUS_QEMU", "/no/such/qemu");
    let result = finish(command);
    result.fails(1, &["qemu-system-arm"]);
    let json = result.json();
    assert_eq!(json["ok"], false);
    let checks = json["checks"].as_array().unwrap();
    let qemu = checks.iter().find(|check| check["name"] == "qemu-system-arm").unwrap();
    assert_eq!(qemu["fix"], "unset OCELLUS_QEMU", "no package helps");
    assert_eq!(result.stderr.matches("--install").count(), 0, "{}", result.stderr);
}

#[cfg(unix)]
#[test]
fn a_program_that_is_no_qemu_is_told_from_one() {
    let model = Model::new();
    let mut command = ocellus();
    command.args(["validate", model.path(), "--on", "sim", "--images", "1"]).env("OCELLUS_QEMU", "/bin/true");
    finish(command).fails(1, &["/bin/true is no QEMU", "OCELLUS_QEMU must name a qemu-system-arm"]);
    let mut command = ocellus();
    command.args(["doctor"]).env("OCELLUS_QEMU", "/bin/true");
    finish(command).fails(1, &["/bin/true does not run, or is no QEMU"]);
}

#[test]
fn the_doctor_states_each_fix_once_and_misses_cargo() {
    // A QEMU that was unpacked into the cache would be found without a PATH.
    let cache = tempfile::tempdir().unwrap();
    let doctor = |name: &str, value: &str| {
        let mut command = ocellus();
        command.args(["doctor", "--json"]).env(name, value).env("OCELLUS_CACHE", cache.path());
        finish(command).json()["checks"].as_array().unwrap().clone()
    };
    let of = |checks: &[Value], name: &str| checks.iter().find(|check| check["name"] == name).unwrap().clone();
    let cargo = of(&doctor("CARGO", "/no/such/cargo"), "cargo");
    assert_eq!((&cargo["ok"], &cargo["fix"]), (&false.into(), &"unset CARGO".into()));
    let qemu = of(&doctor("PATH", "/no/such/folder"), "qemu-system-arm");
    assert_eq!(qemu["found"], "qemu-system-arm is not installed", "its remedy is the fix");
    assert!(qemu["fix"].as_str().unwrap().contains("qemu-system-arm"), "{qemu}");
}

#[test]
fn a_wrong_source_tree_is_named() {
    let mut command = ocellus();
    command.args(["firmware"]).env("OCELLUS_SOURCE", "/no/such/source");
    finish(command).fails(1, &["OCELLUS_SOURCE", "/no/such/source"]);
}

#[test]
fn a_label_that_is_not_sure_enough_is_unsure_and_its_scores_are_the_same() {
    let model = Model::new();
    let path = model.file("picture.png");
    let picture = Picture { width: 8, height: 8, pixels: (0..192).map(|i| (i * 7) as u8).collect() };
    fs::write(&path, picture.to_png().unwrap()).unwrap();
    let classified =
        |reject: &[&str]| run(&[&["run", model.path(), path.to_str().unwrap(), "--json"], reject].concat()).json();
    let plain = classified(&[]);
    assert!(plain["rejected"].is_null());
    let probability = plain["top"][0]["probability"].as_f64().unwrap();
    for (threshold, rejected) in [(0.0, false), (probability - 1e-6, false), (probability + 1e-6, true)] {
        let told = classified(&["--reject", &threshold.min(1.0).to_string()]);
        assert_eq!(told["rejected"], rejected, "{threshold}");
        assert_eq!(told["label"], if rejected { Value::from("unsure") } else { plain["label"].clone() });
        assert_eq!((&told["scores"], &told["top"]), (&plain["scores"], &plain["top"]));
    }
    let text = run(&["run", model.path(), path.to_str().unwrap(), "--reject", "1"]);
    assert!(text.stdout.contains(": unsure: "), "{}", text.stdout);
    run(&["run", model.path(), path.to_str().unwrap(), "--reject", "80"]).fails(2, &["0 to 1"]);
}
