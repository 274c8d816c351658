//! The commands that talk to a real board, from the outside: the firmware itself answers on the simulated one.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use ocellus::data::picture::Picture;
use ocellus::onnx;
use ocellus_tests::elf;
use ocellus_tests::program::ocellus;
use serde_json::Value;
use tempfile::TempDir;

/// A model folder, with a program for a real board and a picture.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(desk.file("model.plan"), crate::model::random_plan()).unwrap();
        fs::write(desk.file("model.onnx"), onnx::write(&crate::model::random_model()).unwrap()).unwrap();
        fs::write(desk.file("program.elf"), elf::rehearsed()).unwrap();
        let shown = crate::model::pictures(6);
        for (i, class) in (0..6).map(|i| (i, ["one", "two"][i / 3])) {
            let picture = Picture { width: 32, height: 32, pixels: shown.image(i).to_vec() };
            fs::create_dir_all(desk.file(&format!("shown/{class}"))).unwrap();
            fs::write(desk.file(&format!("shown/{class}/{}.png", i % 3)), picture.to_png().unwrap()).unwrap();
        }
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Calls the program for the simulated board, which has `fault`.
    fn call(&self, arguments: &[&str], fault: &str) -> Output {
        let probe = ["--on", "board", "--board", "weact-h743", "--elf", &self.path("program.elf"), "--probe", fault];
        ocellus().args(arguments).args(probe).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.call(&[arguments, &["--json"]].concat(), "simulated");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Names of the files in a folder, sorted.
    fn list(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.file(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part) && !message.contains("panicked"), "{part:?} is not in: {message}");
    }
}

#[test]
fn validate_agrees_with_the_board() {
    let desk = Desk::new();
    let result = desk.json(&["validate", &desk.path(""), "--images", "20"]);
    let counts = (&result["images"], &result["scores_compared"], &result["scores_different"]);
    assert_eq!(counts, (&20.into(), &200.into(), &0.into()));
    assert_eq!(result["digest"]["tract"], result["digest"]["board"]);
    assert_eq!(result["digest"]["tract"].as_str().unwrap().len(), 64);
}

#[test]
fn a_board_that_computes_something_else_is_found_out() {
    let desk = Desk::new();
    let output = desk.call(&["validate", &desk.path(""), "--images", "20", "--json"], "simulated:miscomputes");
    fails(&output, 4, &["board and tract disagree", "first on image", "from layer head"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["digest"]["tract"], result["digest"]["engine"]);
    assert_ne!(result["digest"]["tract"], result["digest"]["board"]);
    assert_eq!(
        (&result["first_difference"]["side"], &result["first_difference"]["layer"]),
        (&"board".into(), &"head".into())
    );
}

#[test]
fn every_failure_is_told_with_what_to_do() {
    let desk = Desk::new();
    let folder = desk.path("");
    for (fault, parts) in [
        ("resets", &["image ", "of 20", "started anew in the middle", "run the command again"][..]),
        ("unplugged-later", &["image ", "connection to weact-h743 was lost", "plugged in"]),
        ("other-model", &["runs another model", "ocellus flash"]),
        ("stale", &["no channels at", "does not start", "ocellus flash"]),
        ("absent", &["no debug probe found"]),
    ] {
        let output = desk.call(&["validate", &folder, "--images", "20"], &format!("simulated:{fault}"));
        fails(&output, 1, parts);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("VSCode"), "{message}");
    }
    let large = ["run", &folder, &desk.path("shown/one/0.png"), "--frame-size", "1000x1000"];
    fails(&desk.call(&large, "simulated"), 1, &["2000000 bytes, the board has room for", "smaller --frame-size"]);
    let bare = ["validate", &folder, "--on", "board"];
    fails(&ocellus().args(bare).output().unwrap(), 2, &["which board", "--board"]);
    let emulated = [&bare[..], &["--board", "mps2-an500"]].concat();
    fails(&ocellus().args(emulated).output().unwrap(), 2, &["emulated"]);
}

#[test]
fn pictures_are_classified_and_layers_timed_on_the_board() {
    let desk = Desk::new();
    let (folder, picture) = (desk.path(""), desk.path("shown/one/0.png"));
    let there = desk.json(&["run", &folder, &picture, "--frame-format", "yuv422"]);
    let here = ocellus().args(["run", &folder, &picture, "--frame-format", "yuv422", "--json"]).output().unwrap();
    assert_eq!(there, serde_json::from_slice::<Value>(&here.stdout).unwrap());
    let profile = desk.json(&["profile", &folder]);
    let layers = profile["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|layer| layer["cycles"].as_u64().unwrap()).sum();
    assert!(sum > 0 && profile["cycles"] == sum && profile["instructions"].is_null(), "{profile}");
}

#[test]
fn what_the_boards_camera_sees_becomes_a_class_of_photos() {
    let desk = Desk::new();
    let photos = desk.path("photos");
    let capture = ["capture", "--label", "bars", "--out", &photos, "--every", "1", "--count"];
    let first = desk.json(&[&capture[..], &["3"]].concat());
    assert_eq!((&first["taken"], &first["label"]), (&3.into(), &"bars".into()));
    assert_eq!(desk.list("photos/bars"), ["0001.png", "0002.png", "0003.png"]);
    let picture = Picture::open(&desk.file("photos/bars/0002.png")).unwrap();
    assert_eq!((picture.width, picture.height), (160, 120));
    // Again: nothing is overwritten, and what is there is not taken a second time.
    let before = fs::read(desk.file("photos/bars/0001.png")).unwrap();
    desk.json(&[&capture[..], &["1"]].concat());
    assert_eq!(desk.list("photos/bars").len(), 4);
    assert_eq!(fs::read(desk.file("photos/bars/0001.png")).unwrap(), before);
    // A still scene is given up, and what was taken stays.
    let still = desk.call(&[&capture[..], &["5", "--difference", "200"]].concat(), "simulated");
    fails(&still, 1, &["too few were new", "--difference"]);
    assert_eq!(desk.list("photos/bars").len(), 4);
    let label = ["capture", "--label", "../bars", "--out", &photos];
    fails(&desk.call(&label, "simulated"), 2, &["no name for a folder"]);
    let absent = desk.call(&["capture", "--label", "none", "--out", &photos], "simulated:absent");
    fails(&absent, 1, &["no debug probe"]);
    assert!(absent.stdout.is_empty() && desk.list("photos") == ["bars"], "{absent:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_taken() {
    let desk = Desk::new();
    let arguments = ["capture", "--label", "bars", "--out", &desk.path("photos"), "--count", "9000", "--every", "1"];
    let probe = ["--board", "weact-h743", "--elf", &desk.path("program.elf"), "--probe", "simulated"];
    // No frame is like another.
    let apart = ["--difference", "0", "--json"];
    let mut command = ocellus();
    command.args(arguments).args(probe).args(apart).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !desk.file("photos/bars/0003.png").exists() {
        assert!(Instant::now() < until, "no pictures are taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = desk.list("photos/bars");
    assert_eq!(result["taken"], names.len());
    assert!(names.iter().all(|name| Picture::open(&desk.file(&format!("photos/bars/{name}"))).is_ok()), "{names:?}");
}

#[test]
fn the_emulated_boards_camera_takes_pictures_of_pictures_that_can_be_trained_on() {
    let desk = Desk::new();
    let (photos, shown) = (desk.path("photos"), desk.path("shown"));
    for label in ["one", "two"] {
        let source = desk.path(&format!("shown/{label}"));
        let arguments = ["capture", "--on", "sim", "--label", label, "--out", &photos, "--source", &source, "--json"];
        let output = ocellus().args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(desk.list("photos/one").len(), 3);
    // The sensor's 16 bits: no more than 32 levels of red.
    let picture = Picture::open(&desk.file("photos/one/0001.png")).unwrap();
    assert_eq!((picture.width, picture.height), (160, 120));
    let reds: std::collections::BTreeSet<u8> = picture.pixels.iter().step_by(3).copied().collect();
    assert!(reds.len() > 2 && reds.iter().all(|red| (red >> 3) << 3 | red >> 5 == *red), "{reds:?}");
    let check = ocellus().args(["data", "check", &photos]).output().unwrap();
    assert!(String::from_utf8_lossy(&check.stdout).contains("6 images, 2 classes"), "{check:?}");
    // Black beside the pictures, which are cut off by both: they look alike. In the dark they do not.
    let like = |folder: &str| {
        let output = ocellus().args(["data", "check", folder, "--against", &shown, "--json"]).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        found["shifts"][0]["deviations"].as_f64().unwrap()
    };
    fs::create_dir_all(desk.file("dark/one")).unwrap();
    fs::create_dir_all(desk.file("dark/two")).unwrap();
    for i in 0..3 {
        let mut picture = Picture::open(&desk.file(&format!("shown/one/{i}.png"))).unwrap();
        picture.pixels.iter_mut().for_each(|level| *level /= 8);
        for class in ["one", "two"] {
            fs::write(desk.file(&format!("dark/{class}/{i}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
    assert!(like(&photos).abs() < 0.5, "{}", like(&photos));
    assert!(like(&desk.path("dark")) < -1.0, "{}", like(&desk.path("dark")));
    let text = ocellus().args(["data", "check", &desk.path("dark"), "--against", &shown]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("WARNING: brightness: ") && text.contains("deviations below"), "{text}");
    let nothing = ["capture", "--on", "sim", "--label", "one", "--out", &photos];
    let nothing = ocellus().args(nothing).output().unwrap();
    fails(&nothing, 2, &["--source"]);
    assert!(nothing.stdout.is_empty(), "{nothing:?}");
    let new = ocellus().args(["capture", "--on", "sim", "--label", "three", "--out", &photos]).output().unwrap();
    fails(&new, 2, &["--source"]);
    assert_eq!(desk.list("photos"), ["one", "two"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_a_terminal_ends_monitor_and_its_emulator_in_good_order() {
    use std::os::unix::process::CommandExt;
    let desk = Desk::new();
    let (folder, saved, shown) = (desk.path(""), desk.path("saved"), desk.path("shown"));
    let mut command = ocellus();
    command.args(["monitor", &folder, "--on", "sim", "--source", &shown, "--save", &saved, "--json"]);
    // As a shell does: one group for the command and all that it starts.
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !desk.file("saved/0003.png").exists() {
        assert!(Instant::now() < until, "no frames come");
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = format!("-{}", child.id());
    assert!(std::process::Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["frames"].as_u64().unwrap() >= 2, "{result}");
}

#[test]
fn monitor_shows_what_the_board_sees() {
    let desk = Desk::new();
    let monitor = ["monitor", &desk.path(""), "--frames", "6"];
    let result = desk.json(&monitor);
    assert_eq!((&result["frames"], &result["dropped"]), (&6.into(), &0.into()));
    let figure = |name: &str| result[name].as_f64().unwrap();
    assert!(figure("latency_ms") > 0.0 && figure("fps") > 0.0, "{result}");
    assert_eq!(result["labels"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 6);
    let shown = desk.call(&monitor, "simulated");
    let lines = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(lines.contains("rehearsal") && lines.matches(" fps").count() >= 5, "{lines}");
    fails(&desk.call(&["monitor", &desk.path("")], "simulated:unplugged-later"), 1, &["was lost", "plugged in"]);
    let reset = desk.call(&["monitor", &desk.path(""), "--frames", "80"], "simulated:resets");
    assert!(String::from_utf8_lossy(&reset.stderr).contains("the board started anew"), "{reset:?}");
}

#[test]
fn monitor_saves_the_frames_that_it_shows() {
    let desk = Desk::new();
    let (folder, saved, shown) = (desk.path(""), desk.path("saved"), desk.path("shown"));
    let result = desk.json(&["monitor", &folder, "--picture", "--save", &saved, "--frames", "2"]);
    assert_eq!(result["frames"], 2);
    assert_eq!(desk.list("saved"), ["0001.png", "0002.png"]);
    let seen = ["monitor", &folder, "--on", "sim", "--source", &shown, "--frames", "1", "--save", &saved];
    let output = ocellus().args(seen).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(desk.list("saved").len(), 3);
}
