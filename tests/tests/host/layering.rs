//! Who may import whom, and the other rules of the house that a program can check.
//!
//! Each rule is a function from one source file to its violations, so that it can be tried on planted ones.

use std::path::{Path, PathBuf};

mod lexer;

/// Modules of the host in the order of the pipeline: each may import those above it.
const PIPELINE: &[&str] = &[
    "recipe",
    "random",
    "data",
    "net",
    "weights",
    "camera",
    "augment",
    "checkpoint",
    "features",
    "train",
    "ops",
    "graph",
    "fold",
    "calibrate",
    "quantize",
    "trim",
    "onnx",
    "arena",
    "pack",
    "board",
    "cost",
    "toolchain",
    "probe",
    "transport",
    "client",
    "eval",
    "model",
    "doctor",
    "report",
];

/// Modules of the host that draw on the terminal; anybody may import them, and they what they draw.
const ANYBODYS: &[&str] = &["view"];

/// The command line: it may import everything, and nothing else imports it.
const COMMAND_LINE: &[&str] = &["cli", "commands", "main"];

/// Libraries that must stay in one corner of the host, and the modules (or single files) where they may appear.
const CORNERS: &[(&[&str], &[&str])] = &[
    (&["burn", "burn_ndarray", "burn_flex"], &["net", "train", "augment", "checkpoint"]),
    (&["tract_onnx", "tract_core"], &["ops/onnx.rs", "onnx", "eval/tract.rs", "eval/backbone.rs"]),
    (&["clap"], &["cli"]),
    (&["ocellus_firmware"], &["eval/engine.rs", "probe/simulated/firmware.rs"]),
    (&["probe_rs"], &["probe"]),
    (&["moq_v4l"], &["camera/webcam/v4l2.rs"]),
];

/// Lines that a file may have at most.
const MOST_LINES: usize = 600;

/// A source file: its path from the top of the workspace with `/` between folders, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Path inside the host's `src`, for its files only.
    fn in_host(&self) -> Option<&str> {
        self.path.strip_prefix("host/src/")
    }

    /// Top-level module of the host that the file belongs to.
    fn host_module(&self) -> Option<&str> {
        self.in_host()?.split('/').next()?.split('.').next()
    }
}

fn check_crates(source: &Source) -> Vec<String> {
    let forbidden: &[&str] = match source.path.split('/').next() {
        Some("shared") => &["ocellus", "ocellus_firmware", "ocellus_tests"],
        Some("firmware") => &["ocellus", "ocellus_tests"],
        Some("host") => &["ocellus_tests"],
        _ => &[],
    };
    let words = lexer::words(&source.text);
    let used = |name: &&&str| words.windows(2).any(|pair| pair[0] == **name && pair[1] == "::");
    forbidden.iter().filter(used).map(|name| format!("{}: must not import {name}", source.path)).collect()
}

fn check_corners(source: &Source) -> Vec<String> {
    let (Some(module), Some(path)) = (source.host_module(), source.in_host()) else { return Vec::new() };
    let words = lexer::words(&source.text);
    let mut violations = Vec::new();
    for (libraries, places) in CORNERS {
        if places.contains(&module) || places.contains(&path) {
            continue;
        }
        for library in libraries.iter().filter(|l| words.windows(2).any(|pair| pair[0] == **l && pair[1] == "::")) {
            violations.push(format!("{}: {library} belongs in {places:?} only", source.path));
        }
    }
    violations
}

/// Names after `crate::`, also those in a group.
fn imported_modules(words: &[String]) -> Vec<String> {
    let mut modules = Vec::new();
    for (i, pair) in words.windows(2).enumerate() {
        if pair[0] != "crate" || pair[1] != "::" {
            continue;
        }
        if words.get(i + 2).is_some_and(|w| w == "{") {
            modules.extend(group_heads(&words[i + 3..]));
        } else {
            modules.extend(words.get(i + 2).cloned());
        }
    }
    modules
}

/// First name of each path in a `{a::b, c, d::{e}}` whose opening brace was read.
fn group_heads(words: &[String]) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut at_head) = (1, true);
    for word in words {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => at_head = true,
            name if at_head && depth == 1 => {
                heads.push(name.to_owned());
                at_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn check_pipeline(source: &Source) -> Vec<String> {
    let Some(module) = source.host_module() else { return Vec::new() };
    if COMMAND_LINE.contains(&module) || module == "lib" {
        return Vec::new();
    }
    let end = if ANYBODYS.contains(&module) { Some(PIPELINE.len()) } else { None };
    let position = PIPELINE.iter().position(|m| *m == module).or(end);
    if position.is_none() {
        return vec![format!("{}: module {module} has no place in PIPELINE", source.path)];
    }
    let words = lexer::words(&source.text);
    let mut violations = Vec::new();
    for import in imported_modules(&words) {
        let above = PIPELINE.iter().position(|m| *m == import).is_some_and(|i| Some(i) < position);
        if !above && import != module && !ANYBODYS.contains(&import.as_str()) {
            violations.push(format!("{}: {module} must not import {import}, which is not above it", source.path));
        }
    }
    if words.windows(3).any(|w| w[0] == "super" && w[1] == "::" && w[2] == "super") {
        violations.push(format!("{}: write crate:: instead of super::super::", source.path));
    }
    violations
}

fn check_length(source: &Source) -> Vec<String> {
    let limit = match source.path.as_str() {
        "host/src/main.rs" => 60,
        path if path.starts_with("firmware/src/bin/") => 150,
        _ => MOST_LINES,
    };
    let lines = source.text.lines().count();
    if lines > limit { vec![format!("{}: {lines} lines, {limit} are allowed", source.path)] } else { Vec::new() }
}

fn check_unsafe(source: &Source) -> Vec<String> {
    let allowed = ["firmware/src/kernels/simd", "firmware/src/bin/"];
    if allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
        return Vec::new();
    }
    let found = lexer::words(&source.text).iter().any(|word| word == "unsafe");
    if found { vec![format!("{}: unsafe code belongs in {allowed:?} only", source.path)] } else { Vec::new() }
}

const RULES: &[fn(&Source) -> Vec<String>] = &[check_crates, check_corners, check_pipeline, check_length, check_unsafe];

fn violations(source: &Source) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(source)).collect()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Every Rust file below `folder`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_tree_keeps_the_rules() {
    let mut files: Vec<PathBuf> =
        ["shared", "firmware", "host", "tests"].iter().flat_map(|room| rust_files(&workspace().join(room))).collect();
    files.sort();
    assert!(files.len() > 20, "the tree was not found");
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(workspace()).expect("below the workspace").to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&file).expect("source files are readable text");
        found.extend(violations(&Source { path, text }));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn models_hold_no_code() {
    assert_eq!(rust_files(&workspace().join("models")), Vec::<PathBuf>::new());
}

#[test]
fn planted_violations_are_found() {
    let long = "x\n".repeat(601);
    for (path, text) in [
        ("shared/src/plan.rs", "use ocellus_firmware::engine;"),
        ("firmware/src/app.rs", "fn f() { ocellus::recipe::load() }"),
        ("host/src/quantize.rs", "use ocellus_firmware::Engine;"),
        ("host/src/probe/simulated.rs", "use ocellus_firmware::boot;"),
        ("host/src/eval.rs", "use burn::tensor::Tensor;"),
        ("host/src/eval/engine.rs", "use tract_onnx::prelude::*;"),
        ("host/src/commands/run.rs", "#[derive(clap::Args)] struct A;"),
        ("host/src/recipe.rs", "use crate::train::run;"),
        ("host/src/data/cifar.rs", "use crate::{recipe::Recipe, eval::{Metrics, argmax}};"),
        ("host/src/graph.rs", "fn f() { crate::commands::train::run() }"),
        ("host/src/view.rs", "use crate::commands::run;"),
        ("host/src/data/folder/walk.rs", "use super::super::eval;"),
        ("host/src/novelty.rs", ""),
        ("host/src/main.rs", &long[..2 * 61]),
        ("firmware/src/bin/board.rs", &long[..2 * 151]),
        ("tests/tests/cli.rs", &long),
        ("host/src/pack.rs", "fn f(p: *const u8) -> u8 { unsafe { *p } }"),
        ("firmware/src/engine.rs", "unsafe fn f() {}"),
    ] {
        assert!(!violations(&Source::planted(path, text)).is_empty(), "nobody noticed {path}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        ("shared/src/plan.rs", "#![forbid(unsafe_code)] // ocellus::x may be named in a comment\nuse crate::op::Op;"),
        ("host/src/eval/engine.rs", "use ocellus_firmware::Engine; use crate::{pack, view};"),
        ("host/src/eval.rs", "/* unsafe /* burn:: */ */ let message = \"unsafe \\\" burn::\"; use crate::recipe;"),
        ("host/src/eval.rs", "const Q: char = '\"'; fn f<'a>(s: &'a str) {} // clap::Parser"),
        ("host/src/eval.rs", "let raw = r#\"unsafe \"quoted\" clap::\"#;"),
        ("host/src/cli.rs", "use clap::Parser; use crate::commands;"),
        ("firmware/src/kernels/simd/dsp.rs", "unsafe { asm!(\"\") }"),
        ("host/src/main.rs", "fn main() {}"),
    ] {
        assert_eq!(violations(&Source::planted(path, text)), Vec::<String>::new(), "{path}");
    }
}
