//! Who may import whom, and the other rules of the house that a program can check.
//!
//! Each rule is a function from one source file to its violations, so that it can be tried on planted ones.

use imports::Crate;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

mod imports;
mod lexer;

/// Crates within which no two files import each other: their `src`, and what in it is a crate of its own.
const CRATES: &[(&str, &[&str])] =
    &[("shared/src/", &[]), ("firmware/src/", &["bin/"]), ("host/src/", &["main.rs"]), ("tests/src/", &["bin/"])];

/// What commands share.
const HELPERS: &[&str] = &["helpers"];

/// Libraries that must stay in one corner of the host, and the modules, or single files with the folders of their parts, where they
/// may appear.
const CORNERS: &[(&[&str], &[&str])] = &[
    (&["burn", "burn_ndarray", "burn_flex"], &["net", "train", "augment", "checkpoint"]),
    (
        &["tract_onnx", "tract_core"],
        &["ops/onnx.rs", "onnx", "eval/runnable.rs", "eval/tract.rs", "eval/backbone.rs", "import"],
    ),
    (&["clap"], &["cli"]),
    (&["ocellus_firmware"], &["eval/engine.rs", "probe/simulated/firmware.rs"]),
    (&["probe_rs"], &["probe"]),
    (&["rsemu"], &["chip/core/cortex_m7.rs"]),
    (&["maud"], &["report/page.rs", "serve"]),
    // `train` has a module of that name.
    (&["optimizer"], &["sweep", "train"]),
    (&["plotters"], &["plot/render.rs", "plot/text.rs"]),
    (&["moq_v4l"], &["camera/webcam/v4l2.rs"]),
    (&["hyper", "hyper_util", "http_body_util", "tokio"], &["serve/server.rs"]),
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
        let is_in = |place: &&str| place.strip_suffix(".rs").is_some_and(|folder| is_below(path, folder));
        if places.contains(&module) || places.contains(&path) || places.iter().any(is_in) {
            continue;
        }
        for library in libraries.iter().filter(|l| words.windows(2).any(|pair| pair[0] == **l && pair[1] == "::")) {
            violations.push(format!("{}: {library} belongs in {places:?} only", source.path));
        }
    }
    violations
}

/// Whether the file at `path` is in `folder`.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
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

/// Modules of the host in the order of the pipeline, as its `lib.rs` lists them: each may import those above it.
fn pipeline() -> &'static [String] {
    static ORDER: OnceLock<Vec<String>> = OnceLock::new();
    ORDER.get_or_init(|| {
        let text = std::fs::read_to_string(workspace().join("host/src/lib.rs")).expect("the host has a lib.rs");
        let words = lexer::words(&text);
        let modules = words.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone());
        modules.collect()
    })
}

fn check_pipeline(source: &Source) -> Vec<String> {
    let Some(module) = source.host_module() else { return Vec::new() };
    if module == "lib" || module == "main" {
        return Vec::new();
    }
    let place = |module: &str| pipeline().iter().position(|m| m == module);
    let Some(own) = place(module) else {
        return vec![format!("{}: module {module} does not stand in host/src/lib.rs", source.path)];
    };
    let words = lexer::words(&source.text);
    let mut violations = Vec::new();
    for import in imported_modules(&words) {
        if place(&import).is_none_or(|other| other > own) {
            violations.push(format!("{}: {module} must not import {import}, which is not above it", source.path));
        }
    }
    if words.windows(3).any(|w| w[0] == "super" && w[1] == "::" && w[2] == "super") {
        violations.push(format!("{}: write crate:: instead of super::super::", source.path));
    }
    violations
}

/// Files of `sources` that are not tests, as one crate each, by the folder that it lies in.
fn crates(sources: &[Source]) -> Vec<(&'static str, Crate)> {
    let files = |(folder, others): &(&'static str, &[&str])| {
        let within =
            sources.iter().filter_map(|source| Some((source.path.strip_prefix(folder)?, source.text.as_str())));
        (*folder, Crate::new(within.filter(|(path, _)| !others.iter().any(|other| path.starts_with(other)))))
    };
    CRATES.iter().map(files).collect()
}

/// Circles of files that import each other, by the names of the files.
fn check_circles(sources: &[Source]) -> Vec<String> {
    let named = |(folder, of): (&str, Crate)| {
        let name = move |circle: Vec<&str>| {
            let files: Vec<String> = circle.iter().map(|file| format!("{folder}{file}")).collect();
            format!("{}: these import each other, be it by way of others", files.join(", "))
        };
        of.circles().into_iter().map(name).collect::<Vec<_>>()
    };
    crates(sources).into_iter().flat_map(named).collect()
}

/// Commands that import each other instead of what `commands/helpers` has for all of them.
fn check_commands(sources: &[Source]) -> Vec<String> {
    let command = |file: &str| Some(file.strip_prefix("commands/")?.split(['/', '.']).next()?.to_owned());
    let host = crates(sources).into_iter().find(|(folder, _)| *folder == "host/src/");
    let Some((folder, host)) = host else { return Vec::new() };
    let mut violations = Vec::new();
    for (from, to) in host.imports() {
        let (Some(one), Some(other)) = (command(from), command(to)) else { continue };
        if one != other && !HELPERS.contains(&other.as_str()) {
            violations.push(format!(
                "{folder}{from}: {one} must not import {other}: let commands/helpers have what both need"
            ));
        }
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

/// All the Rust files of the workspace's crates.
fn tree() -> Vec<Source> {
    let rooms = ["shared", "firmware", "host", "tests"];
    let mut files: Vec<PathBuf> = rooms.iter().flat_map(|room| rust_files(&workspace().join(room))).collect();
    files.sort();
    assert!(files.len() > 20, "the tree was not found");
    let source = |file: &PathBuf| {
        let path = file.strip_prefix(workspace()).expect("below the workspace").to_string_lossy().replace('\\', "/");
        Source { path, text: std::fs::read_to_string(file).expect("source files are readable text") }
    };
    files.iter().map(source).collect()
}

#[test]
fn the_tree_keeps_the_rules() {
    let sources = tree();
    let mut found: Vec<String> = sources.iter().flat_map(violations).collect();
    found.extend(check_circles(&sources));
    found.extend(check_commands(&sources));
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
        ("host/src/eval/backbones/sizes.rs", "use tract_onnx::prelude::*;"),
        ("host/src/commands/run.rs", "#[derive(clap::Args)] struct A;"),
        ("host/src/plot/lines.rs", "use plotters::prelude::*;"),
        ("host/src/recipe.rs", "use crate::train::run;"),
        ("host/src/data/cifar.rs", "use crate::{recipe::Recipe, eval::{Metrics, argmax}};"),
        ("host/src/graph.rs", "fn f() { crate::commands::train::run() }"),
        ("host/src/view.rs", "use crate::commands::run;"),
        ("host/src/cli.rs", "use crate::commands;"),
        ("host/src/data/folder/walk.rs", "use super::super::eval;"),
        ("host/src/serve/routes.rs", "use hyper::Response;"),
        ("host/src/report/page.rs", "use optimizer::Study;"),
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

/// The files that import each other in a planted crate.
fn planted_circles(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::planted(path, text)).collect();
    check_circles(&sources)
}

#[test]
fn circles_are_found_however_they_are_written() {
    let circle = |files: &[(&str, &str)], names: &str| {
        let found = planted_circles(files);
        assert_eq!(found.len(), 1, "{files:?}: {found:?}");
        assert!(found[0].starts_with(&format!("{names}: ")), "{files:?}: {found:?}");
    };
    let two = "host/src/a.rs, host/src/b.rs";
    circle(&[("host/src/a.rs", "use crate::b::B;"), ("host/src/b.rs", "use crate::{c, a::{self, A}};")], two);
    circle(&[("host/src/a.rs", "fn f() { crate::b::g() }"), ("host/src/b.rs", "use super::a as other;")], two);
    // Through a module's name, and through what another module passes on.
    circle(
        &[
            ("host/src/lib.rs", "pub mod a; pub mod b; pub use b::B;"),
            ("host/src/a.rs", "use crate::B;"),
            ("host/src/b.rs", "mod inner { use super::super::a; }"),
        ],
        two,
    );
    circle(
        &[
            ("host/src/x.rs", "mod a; mod b; use a::A; pub use b::B as Other;"),
            ("host/src/x/a.rs", "use super::Other;"),
            ("host/src/x/b.rs", "use super::*; fn f(a: super::a::A) {}"),
        ],
        "host/src/x/a.rs, host/src/x/b.rs",
    );
    // By way of others, one of which is in a folder of its own.
    circle(
        &[
            ("host/src/a.rs", "mod deep; use deep::Deep;"),
            ("host/src/a/deep.rs", "use crate::b;"),
            ("host/src/b.rs", "use crate::c::C;"),
            ("host/src/c.rs", "use crate::a;"),
        ],
        "host/src/a.rs, host/src/a/deep.rs, host/src/b.rs, host/src/c.rs",
    );
}

#[test]
fn files_of_a_folder_may_use_what_their_module_has() {
    let free = [
        ("host/src/a.rs", "mod part; use part::Part; pub struct A;"),
        ("host/src/a/part.rs", "use super::A; use crate::a::A as Same; use crate::b::B; pub struct Part(A);"),
        ("host/src/b.rs", "pub struct B; mod tests { use super::*; use crate::a::A; }"),
        ("host/src/a/tests.rs", "use crate::c::C;"),
        ("host/src/c.rs", "use crate::a::A; use std::a::b; fn f() { a::b::c() }"),
    ];
    assert_eq!(planted_circles(&free), Vec::<String>::new());
}

#[test]
fn commands_that_import_each_other_are_found() {
    let of = |path: &str, text: &str| {
        let others = [("host/src/commands/run.rs", ""), ("host/src/commands/helpers/boards.rs", "")];
        let planted = others.into_iter().chain([(path, text), ("host/src/commands.rs", "mod run; struct Failure;")]);
        check_commands(&planted.map(|(path, text)| Source::planted(path, text)).collect::<Vec<_>>()).len()
    };
    assert_eq!(of("host/src/commands/export.rs", "use super::run;"), 1);
    assert_eq!(of("host/src/commands/export/files.rs", "use crate::commands::{Failure, run::run};"), 1);
    assert_eq!(of("host/src/commands/helpers/datasets.rs", "use crate::commands::run;"), 1);
    assert_eq!(of("host/src/commands/export.rs", "use super::{Failure, helpers::boards}; mod files; use files::X;"), 0);
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        ("shared/src/plan.rs", "#![forbid(unsafe_code)] // ocellus::x may be named in a comment\nuse crate::op::Op;"),
        ("host/src/eval/engine.rs", "use ocellus_firmware::Engine; use crate::{pack, view};"),
        ("host/src/eval.rs", "/* unsafe /* burn:: */ */ let message = \"unsafe \\\" burn::\"; use crate::recipe;"),
        ("host/src/eval.rs", "const Q: char = '\"'; fn f<'a>(s: &'a str) {} // clap::Parser"),
        ("host/src/eval.rs", "let raw = r#\"unsafe \"quoted\" clap::\"#;"),
        ("host/src/eval/backbone/sizes.rs", "use tract_onnx::prelude::*;"),
        ("host/src/cli.rs", "use clap::Parser; use crate::recipe;"),
        ("host/src/commands.rs", "use crate::{cli, view}; mod run;"),
        ("firmware/src/kernels/simd/dsp.rs", "unsafe { asm!(\"\") }"),
        ("host/src/main.rs", "fn main() {}"),
    ] {
        assert_eq!(violations(&Source::planted(path, text)), Vec::<String>::new(), "{path}");
    }
}
