//! The `ocellus` program, for tests that look at it from the outside.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A recipe of a network so small that an epoch on the built-in pictures takes about a second.
pub const TINY: &str = "
name = \"tiny\"
[data]
img-size = 16
[net]
blocks = [[4], [6]]
block-dropout = [0.1, 0.1]
dense = 0
[train]
epochs = 6
batch-size = 100
[augment]
cutout = 4
";

/// A call of the program, built from this source, with no input and none of the caller's settings.
///
/// # Panics
/// It does not build.
pub fn ocellus() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(build));
    command.stdin(Stdio::null()).env_remove("COLUMNS");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCELLUS_")) {
        command.env_remove(name);
    }
    command
}

/// The cargo that runs us, or the one in `PATH`, as if called from a shell: build scripts that watch what cargo tells a
/// program about its package would else run again for every caller, and compile half of the dependencies anew.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds it in the profile of the running test, beside which it then lies: cargo does not build it for another
/// package's tests.
fn build() -> PathBuf {
    let test = env::current_exe().expect("the running test is a file");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("it lies in target/<profile>/deps");
    let mut cargo = cargo();
    cargo
        .args(["build", "--quiet", "--package", "ocellus", "--bin", "ocellus"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the program does not build");
    folder.join("ocellus")
}
