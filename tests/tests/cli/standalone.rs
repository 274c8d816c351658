//! The program away from the source tree that it was built from: only building firmware needs that.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ocellus::onnx;
use ocellus_tests::program::{cargo, ocellus};

use crate::model;

/// Entries of the source tree that are no part of it.
const LEFT_OUT: [&str; 4] = [".git", "target", "runs", ".ocellus"];

/// A call of `program` in `folder`, which has nothing to do with the source tree.
fn call(program: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCELLUS_")) {
        command.env_remove(name);
    }
    // An empty one stands for none: where this test runs, the place of compilation is still there.
    command.env("OCELLUS_SOURCE", "").output().unwrap()
}

/// Checks in `folder` that `program` does what needs no source tree, and asks for it for the rest.
fn check(program: &Path, folder: &Path) {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("model.plan"), model::random_plan()).unwrap();
        fs::write(folder.join(name).join("model.onnx"), onnx::write(&model::random_model()).unwrap()).unwrap();
    }
    let (a, b) = (at("a"), at("b"));
    for (arguments, parts) in [
        (&["boards"][..], &["mps2-an386", "STM32H743VITx"][..]),
        (&["analyze", &a, "--board", "pico2"], &["program about ", "first label", "fits          yes"]),
        (&["validate", &a, "--images", "10"], &["100 scores"]),
        (&["model", "show", "resnet20"], &["272 474 parameters"]),
        (&["compare", &a, &b, "--images", "10"], &["macro F1"]),
        (&["run", &a, "picture.png"], &["%"]),
    ] {
        fs::write(folder.join("picture.png"), picture()).unwrap();
        let output = call(program, folder, arguments);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        for part in parts {
            assert!(out.contains(part), "{arguments:?}: {part:?} is not in {out}{error}");
        }
    }
    for arguments in [&["firmware"][..], &["validate", &a, "--on", "sim"], &["flash", &a, "--board", "weact-h743"]] {
        let output = call(program, folder, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.contains("needs the source tree") && error.contains("set OCELLUS_SOURCE"),
            "{arguments:?}: {error}"
        );
    }
}

fn picture() -> Vec<u8> {
    let pixels = (0..32 * 32 * 3).map(|i| (i * 7 % 256) as u8).collect();
    ocellus::data::picture::Picture { width: 32, height: 32, pixels }.to_png().unwrap()
}

/// A copy of the folder `from`, without what is built or run in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if LEFT_OUT.iter().any(|name| *entry.file_name() == **name) {
            continue;
        }
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn the_program_needs_no_source_tree_but_for_firmware() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ocellus");
    fs::copy(ocellus().get_program(), &program).unwrap();
    check(&program, folder.path());
}

#[test]
#[ignore = "a long proof: compiles the program once more"]
fn what_cargo_installs_works_after_its_source_tree_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (source, root) = (folder.path().join("source"), folder.path().join("root"));
    copy(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), &source);
    // Beside what is built already, of which it takes the libraries.
    let test = std::env::current_exe().unwrap();
    let mut install = cargo();
    install.args(["install", "--locked", "--path"]).arg(source.join("host")).arg("--root").arg(&root);
    install.arg("--target-dir").arg(test.ancestors().nth(3).unwrap()).current_dir(folder.path());
    assert!(install.status().unwrap().success(), "the program does not install");
    fs::remove_dir_all(&source).unwrap();
    check(&root.join("bin/ocellus"), folder.path());
}
