//! Where results go: files, links, pipes, devices, and readers that go away.

use crate::commands::{Model, finish, run};
use ocellus_tests::program::ocellus;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// `ocellus compare` of a model with itself, whose table goes to `csv`.
fn compare(model: &Model, csv: &str) -> Command {
    let mut command = ocellus();
    command.args(["compare", model.path(), model.path(), "--images", "5", "--csv", csv]);
    command
}

#[test]
fn a_table_can_be_piped() {
    let model = Model::new();
    let piped = finish(compare(&model, "/dev/stdout"));
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    assert!(
        piped.stdout.starts_with("model,data,images,") && piped.stdout.contains("taken most often"),
        "{}",
        piped.stdout
    );
    // What the shell sent to a file stays in one: table, then text.
    let file = model.file("both.txt");
    let mut command = compare(&model, "/dev/stdout");
    command.stdout(fs::File::create(&file).unwrap());
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read_to_string(&file).unwrap(), piped.stdout);
    assert_eq!(finish(compare(&model, "/dev/null")).code, 0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    finish(compare(&model, "/dev/full")).fails(1, &["/dev/full", "is there space"]);
}

#[test]
fn pipes_and_links_stay_what_they_are() {
    let model = Model::new();
    let (pipe, link, target) = (model.file("pipe"), model.file("link.csv"), model.file("target.csv"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = compare(&model, pipe.to_str().unwrap()).stdout(Stdio::null()).spawn().unwrap();
    let table = fs::read_to_string(&pipe).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(table.starts_with("model,data,images,") && table.lines().count() == 3, "{table}");
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    fs::write(&target, "old").unwrap();
    symlink("target.csv", &link).unwrap();
    assert_eq!(finish(compare(&model, link.to_str().unwrap())).code, 0);
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), table);
}

#[test]
fn every_output_file_may_be_no_file() {
    let preview = run(&["data", "preview", "--images", "2", "--img-size", "16", "--out", "/dev/null"]);
    assert_eq!(preview.code, 0, "{}", preview.stderr);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let mut command = ocellus();
    command.args(["data", "preview", "--images", "2", "--img-size", "16", "--out", "/dev/stdout"]);
    assert!(command.output().unwrap().stdout.starts_with(b"\x89PNG"));
}

/// Photos of two classes, so many each.
fn photos(folder: &Path, count: usize) {
    for class in ["a", "b"] {
        fs::create_dir(folder.join(class)).unwrap();
        for i in 0..count {
            let pixels = vec![(i % 250) as u8; 3 * 8 * 8];
            let picture = ocellus::data::picture::Picture { width: 8, height: 8, pixels };
            fs::write(folder.join(class).join(format!("{i}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), 600);
    let mut command = ocellus();
    command.args(["data", "check"]).arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.contains("panicked")), (Some(0), false), "{stderr}");
    assert!(line.contains("1200 images"), "{line}");
}

#[test]
fn what_cannot_be_said_is_a_failure_and_no_panic() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let model = Model::new();
    for arguments in [&["data", "check"][..], &["boards"], &["model", "list"], &["eval", model.path(), "--images", "1"]]
    {
        let mut command = ocellus();
        command.args(arguments).stdout(full());
        let outcome = finish(command);
        outcome.fails(1, &["cannot write to standard output"]);
        // With nowhere to complain either, the exit code alone tells.
        let mut command = ocellus();
        command.args(arguments).stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn results_come_one_by_one_and_an_unreadable_picture_stops_no_other() {
    let model = Model::new();
    photos(model.0.path(), 3);
    fs::write(model.file("b/0.png"), "no picture").unwrap();
    let pictures: Vec<String> =
        ["a/0.png", "b/0.png", "a/1.png"].map(|name| model.file(name).to_str().unwrap().to_owned()).into();
    let arguments: Vec<&str> = ["run", model.path()].into_iter().chain(pictures.iter().map(String::as_str)).collect();
    let told = run(&arguments);
    told.fails(1, &["b/0.png: is no JPEG or PNG", "1 of 3 pictures cannot be used"]);
    assert_eq!(told.stdout.lines().count(), 2, "{}", told.stdout);
    let json = run(&[&arguments[..], &["--json"]].concat());
    json.fails(1, &["1 of 3"]);
    let results = json.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.iter().map(|result| result["error"].is_string()).collect::<Vec<_>>(), [false, true, false]);
    // The first result is there before the last picture can be read.
    let late = model.file("late.png");
    assert!(Command::new("mkfifo").arg(&late).status().unwrap().success());
    let mut command = ocellus();
    command
        .arg("run")
        .arg(model.path())
        .args([&pictures[0], late.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("a/0.png"), "{first}");
    let mut rest = String::new();
    child.stderr.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
}

#[test]
fn plan_and_onnx_of_different_exports_are_noticed_by_whoever_reads_them() {
    let model = Model::new();
    let mut plan = fs::read(model.file("model.plan")).unwrap();
    plan[16] ^= 1; // first byte of the digest
    ocellus_shared::plan::encode::reseal(&mut plan);
    fs::write(model.file("model.plan"), plan).unwrap();
    for with in ["engine", "tract"] {
        let outcome = run(&["eval", model.path(), "--with", with, "--images", "1"]);
        outcome.fails(1, &["model.plan and ", "different exports", "ocellus export"]);
    }
    // Whoever names one of them means it.
    let plan = model.file("model.plan");
    let named = run(&["eval", plan.to_str().unwrap(), "--images", "1"]);
    assert_eq!(named.code, 0, "{}", named.stderr);
    assert!(named.stderr.contains("different exports"), "{}", named.stderr);
}
