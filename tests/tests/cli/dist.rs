//! The program to hand out: with CUDA, built without a toolkit, in the profile `dist`.
//!
//! It is compiled anew, burn and tract included, and optimized as one piece, which takes two cores half an hour: only on
//! request, by `cargo test --release --package ocellus-tests --test cli dist:: -- --ignored --nocapture`.

use ocellus_tests::program::{TINY, cargo, ocellus};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that it may have.
const SIZE: u64 = 60_000_000;

/// Builds it. The tests run in `target/<profile>/deps`.
fn dist() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap().to_owned();
    let mut cargo = cargo();
    cargo.args(["build", "--profile", "dist", "--locked", "--package", "ocellus", "--features", "cuda"]);
    cargo.arg("--target-dir").arg(&target).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().unwrap().success(), "the program does not build");
    target.join("dist/ocellus")
}

/// Trains the tiny network in `folder`, with more arguments.
fn train(mut program: Command, folder: &Path, arguments: &[&str]) -> std::process::Output {
    program
        .current_dir(folder)
        .args(["train", "--recipe", "tiny.toml", "--epochs", "2"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
#[ignore = "compiles everything once more"]
fn the_program_to_hand_out_is_small_trains_the_same_and_says_where_there_is_no_gpu() {
    let program = dist();
    let size = fs::metadata(&program).unwrap().len();
    println!("{} bytes", size);
    assert!(size <= SIZE, "{size} bytes");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let weights = |program, run| {
        let output = train(program, folder.path(), &["--out", run]);
        assert!(output.status.success(), "{output:?}");
        fs::read(folder.path().join(run).join("best.safetensors")).unwrap()
    };
    assert!(weights(Command::new(&program), "dist") == weights(ocellus(), "release"), "it computes something else");

    if Path::new("/proc/driver/nvidia").exists() {
        return println!("this machine has an NVIDIA GPU: not tried without");
    }
    let output = train(Command::new(&program), folder.path(), &["--out", "gpu", "--device", "cuda"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no NVIDIA GPU") && said.contains("--device flex") && !said.contains("panicked"), "{said}");
    assert!(!folder.path().join("gpu").exists(), "a run was begun");
}
