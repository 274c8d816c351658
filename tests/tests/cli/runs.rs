//! Training runs in a user's day: beside the photos, twice at once, without a terminal, and stopped from outside.

use ocellus::checkpoint::{BEST, Checkpoint, LAST};
use ocellus::data::picture::Picture;
use ocellus_tests::program::{TINY, ocellus};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with the recipe; runs go beside it.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    folder
}

fn train(place: &Path, arguments: &[&str]) -> Command {
    let mut command = ocellus();
    command.current_dir(place).args(["train", "--recipe", "tiny.toml"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run without an end, past its first epoch.
fn endless(place: &Path, command: &mut Command) -> (Child, PathBuf) {
    let last = place.join("run").join(LAST);
    let written = || fs::metadata(&last).and_then(|file| file.modified()).ok();
    let before = written();
    let child = command.args(["--epochs", "100000", "--out", "run"]).spawn().unwrap();
    let start = Instant::now();
    while written() == before {
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint appears");
        sleep(Duration::from_millis(5));
    }
    (child, last)
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// How far the checkpoint at `path` came, in steps of an epoch of so many.
fn progress(path: &Path) -> (u32, usize) {
    let progress = Checkpoint::load(path).unwrap().resume.unwrap().progress;
    (progress.epoch, progress.step)
}

#[test]
fn whoever_ends_it_finds_it_saved() {
    let place = workplace();
    for (name, code) in [("-TERM", 143), ("-HUP", 129), ("-INT", 130)] {
        let (child, last) = endless(place.path(), &mut train(place.path(), &[]));
        let before = progress(&last);
        signal(name, &child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        assert!(String::from_utf8(output.stdout).unwrap().contains("ocellus train --resume --out run"));
        assert!(progress(&last) > before, "{name} saves what was done since");
        fs::remove_dir_all(place.path().join("run")).unwrap();
    }
}

#[test]
fn under_nohup_a_closed_terminal_means_nothing() {
    let place = workplace();
    let mut command = Command::new("nohup");
    let program = train(place.path(), &[]);
    command.arg(program.get_program()).args(program.get_args()).current_dir(place.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let (mut child, last) = endless(place.path(), &mut command);
    signal("-HUP", &child);
    let (before, start) = (progress(&last).0, Instant::now());
    while progress(&last).0 < before + 2 {
        assert!(child.try_wait().unwrap().is_none(), "it goes on");
        assert!(start.elapsed() < Duration::from_secs(120), "no further epoch is saved");
        sleep(Duration::from_millis(5));
    }
    signal("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn training_goes_on_when_nobody_reads_what_it_says() {
    let place = workplace();
    let mut child = train(place.path(), &["--epochs", "3", "--out", "run"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0), "it began with: {line}");
    assert!(place.path().join("run/metrics.json").exists());
    // Where the result itself cannot be told, it fails, and everything is there.
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = train(place.path(), &["--epochs", "2", "--out", "full"]);
    assert_eq!(command.stdout(full()).stderr(full()).status().unwrap().code(), Some(1));
    assert!(place.path().join("full/metrics.json").exists() && place.path().join("full").join(BEST).exists());
}

#[test]
fn one_folder_belongs_to_one_run() {
    let place = workplace();
    let (child, last) = endless(place.path(), &mut train(place.path(), &[]));
    let holder = format!("process {} (`", child.id());
    for arguments in [&["--out", "run"][..], &["--out", "run", "--resume"]] {
        let output = train(place.path(), arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [&*holder, "train --recipe tiny.toml", "UTC", "--out"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
    // A dead one holds nothing.
    signal("-KILL", &child);
    child.wait_with_output().unwrap();
    let (again, _) = endless(place.path(), train(place.path(), &["--resume"]).arg("--json"));
    signal("-TERM", &again);
    assert_eq!(again.wait_with_output().unwrap().status.code(), Some(143));
    assert!(progress(&last).0 >= 1);
    let hidden = fs::read_dir(place.path().join("run")).unwrap().flatten();
    assert_eq!(hidden.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")).count(), 0);
}

#[test]
fn runs_at_once_choose_different_names() {
    let place = workplace();
    let children: Vec<Child> = (0..4).map(|_| train(place.path(), &["--epochs", "1"]).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    for name in ["tiny", "tiny-2", "tiny-3", "tiny-4"] {
        assert!(place.path().join("runs").join(name).join("metrics.json").exists(), "{name}");
    }
    // A name that was chosen for nothing is free again.
    let output = train(place.path(), &["--data", "/no/such/folder"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!place.path().join("runs/tiny-5").exists());
}

#[test]
fn a_run_beside_the_photos_is_no_class() {
    let place = workplace();
    for (class, grey) in [("a", 10), ("b", 200)] {
        fs::create_dir(place.path().join(class)).unwrap();
        for i in 0..12u8 {
            let pixels = vec![grey + i; 3 * 16 * 16];
            let picture = Picture { width: 16, height: 16, pixels };
            fs::write(place.path().join(class).join(format!("{i}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
    let here = |arguments: &[&str]| {
        let output = ocellus().current_dir(place.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let short = ["--epochs", "1", "--data", "."];
    let flags = [&["train", "--recipe", "tiny.toml"][..], &short].concat();
    here(&flags);
    here(&flags);
    here(&["train", "--resume", "--out", "runs/tiny"]);
    here(&["train", "--recipe", "tiny.toml", "--epochs", "1", "--data", ".", "--out", "beside"]);
    here(&["export", "runs/tiny", "--out", "exported"]);
    here(&["eval", "runs/tiny", "--data", "."]);
    // The run knows where its photos are, wherever it is used.
    let elsewhere = tempfile::tempdir().unwrap();
    let run = place.path().join("runs/tiny");
    let output = ocellus().current_dir(elsewhere.path()).args(["export", "--out", "far"]).arg(run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = here(&["data", "check", "."]);
    assert!(report.contains("24 images, 2 classes"), "{report}");
    for name in ["runs", "beside", "exported"] {
        assert!(report.contains(&format!("./{name} is a run or a model of Ocellus: passed over")), "{report}");
    }
}

#[test]
fn what_a_killed_export_left_is_removed_by_the_next() {
    let place = workplace();
    let ends_well = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    };
    ends_well(&mut train(place.path(), &["--epochs", "1", "--out", "run"]));
    let left = place.path().join("run/.ocellus-unfinished-aB3dEf");
    fs::write(&left, "half a plan").unwrap();
    ends_well(ocellus().current_dir(place.path()).args(["export", "run"]));
    assert!(!left.exists());
}
