//! Lists the boards' tables for `src/board.rs`, which builds them into the program: a new board needs no line in the host.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let host = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let boards = host.join("../firmware/boards");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", boards.display());
    let entries = fs::read_dir(&boards).unwrap_or_else(|error| panic!("cannot list {}: {error}", boards.display()));
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?.to_owned())).collect();
    names.sort();
    let entry = |name: &String| {
        format!(
            "({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../firmware/boards/{name}.toml\"))),\n"
        )
    };
    let list: String = names.iter().map(entry).collect();
    let out = Path::new(&variable("OUT_DIR")).join("boards.rs");
    fs::write(&out, format!("&[\n{list}]\n")).unwrap_or_else(|error| panic!("cannot write {}: {error}", out.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
