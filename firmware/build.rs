//! Prepares a board's build: its memory map, its name and sizes for the program, and the linker's arguments.
//!
//! On the workstation, where the library alone is built, there is nothing to do.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=boards");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let boards = Path::new(&variable("CARGO_MANIFEST_DIR")).join("boards");
    let out = PathBuf::from(variable("OUT_DIR"));
    let board = chosen_board(&boards);
    let table = read(&boards.join(format!("{board}.toml")));
    let mut facts = format!("/// Name of the board.\npub const NAME: &str = {board:?};\n");
    for (key, meaning) in [
        ("plan-bytes", "Room for a plan, in bytes."),
        ("arena-bytes", "Room for feature maps, in bytes."),
        ("frame-bytes", "Room for a camera frame, in bytes."),
        ("led-register", "Address of the register whose lowest bit is the LED."),
        ("systick-hertz", "Clock of the system timer."),
        ("model.start", "Address of the plan in flash."),
    ] {
        // A program that needs a number which its table lacks does not compile.
        if let Some(value) = value(&table, key) {
            let constant = key.to_uppercase().replace(['-', '.'], "_");
            facts += &format!("/// {meaning}\npub const {constant}: usize = {value};\n");
        }
    }
    write(&out.join("board.rs"), &facts);
    write(&out.join("memory.x"), &read(&boards.join(format!("{board}.x"))));
    println!("cargo:rustc-link-search={}", out.display());
    // Real boards log for people; `DEFMT_LOG` says how much where it is set.
    println!("cargo:rerun-if-env-changed=DEFMT_LOG");
    if env::var_os("DEFMT_LOG").is_none() {
        println!("cargo:rustc-env=DEFMT_LOG=info");
    }
    // A symbol that takes no memory, by which a host tells one board's program from another's.
    let label = format!("--defsym=_ocellus_board_{}=0", board.replace('-', "_"));
    // The places of log formats, where there is a log.
    let log = env::var_os("CARGO_FEATURE_RTT").map(|_| "-Tdefmt.x");
    for argument in ["-Tlink.x", "--nmagic", &label].into_iter().chain(log) {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// The one board whose feature is on.
fn chosen_board(boards: &Path) -> String {
    let entries = fs::read_dir(boards).unwrap_or_else(|error| panic!("cannot list {}: {error}", boards.display()));
    let chosen: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .filter(|name| env::var_os(format!("CARGO_FEATURE_BOARD_{}", name.to_uppercase().replace('-', "_"))).is_some())
        .collect();
    match chosen.as_slice() {
        [board] => board.clone(),
        _ => panic!("build for exactly one board with --features board-<name>; chosen were {chosen:?}"),
    }
}

/// The number that `key = number` gives in a board's table, if it has the key; `section.key` is looked for in `[section]`.
fn value(table: &str, key: &str) -> Option<String> {
    let (wanted, key) = key.split_once('.').unwrap_or(("", key));
    let mut section = "";
    for line in table.lines().filter_map(|line| line.split('#').next()).map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        match line.split_once('=') {
            Some((k, value)) if section == wanted && k.trim() == key => return Some(value.trim().to_owned()),
            _ => {}
        }
    }
    None
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
