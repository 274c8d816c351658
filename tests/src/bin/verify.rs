//! `cargo verify`: everything that must hold before a change is shared, in one command.
//!
//! It needs next to no libraries, so that it is compiled in a moment and its first step starts at once. It installs
//! what the emulated boards need where it may, and never leaves a step out silently.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use ocellus_tests::program::cargo;

/// One thing that must succeed.
struct Step {
    name: &'static str,
    what: &'static str,
    command: &'static [&'static str],
}

/// In the order of growing cost, but the tools are installed before anything needs them.
const STEPS: &[Step] = &[
    Step { name: "fmt", what: "formatting", command: &["cargo", "fmt", "--all", "--check"] },
    Step {
        name: "build",
        what: "the program and the libraries",
        command: &["cargo", "build", "--release", "--locked", "--workspace"],
    },
    Step { name: "tools", what: "QEMU and the boards' compiler", command: &["ocellus", "doctor", "--install"] },
    Step {
        name: "firmware",
        what: "every board's firmware, without warnings",
        command: &["ocellus", "firmware", "--all", "--deny-warnings"],
    },
    Step {
        name: "clippy",
        what: "lints",
        command: &["cargo", "clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    },
    Step {
        name: "overflow",
        what: "damaged plans and kernels with overflow checks",
        command: &[
            "cargo",
            "run",
            "--profile",
            "checked",
            "--locked",
            "--package",
            "ocellus-tests",
            "--bin",
            "checked",
        ],
    },
    Step {
        name: "test",
        what: "every test, those on emulated boards included",
        command: &["cargo", "test", "--release", "--locked", "--workspace", "--no-fail-fast"],
    },
    Step {
        name: "deny",
        what: "licences and origins of all dependencies, by deny.toml",
        command: &[
            "cargo",
            "test",
            "--release",
            "--locked",
            "--package",
            "ocellus-tests",
            "--test",
            "host",
            "dependencies::",
        ],
    },
    Step {
        name: "doc",
        what: "documentation, without warnings",
        command: &["cargo", "doc", "--release", "--locked", "--workspace", "--no-deps"],
    },
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        eprintln!(
            "verify: {unknown:?} is not a step\n\nusage: cargo verify [STEP]...   (all steps when none is named)\n"
        );
        for step in STEPS {
            eprintln!("  {:<10} {}", step.name, step.what);
        }
        return ExitCode::from(if unknown == "--help" || unknown == "-h" { 0 } else { 2 });
    }
    let steps: Vec<&Step> = STEPS.iter().filter(|s| wanted.is_empty() || wanted.iter().any(|w| w == s.name)).collect();
    let start = Instant::now();
    let mut took = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        eprintln!("\nverify {}/{}: {} ({})", index + 1, steps.len(), step.name, step.what);
        let begin = Instant::now();
        if let Err(reason) = run(step) {
            eprintln!("\nverify: step `{}` ({}) failed: {reason}", step.name, step.what);
            eprintln!("repeat it alone with: cargo verify {}", step.name);
            return ExitCode::FAILURE;
        }
        took.push((step.name, begin.elapsed().as_secs_f32()));
    }
    eprintln!();
    took.iter().for_each(|(name, seconds)| eprintln!("verify: {name:<10} {seconds:5.0} s"));
    eprintln!("verify: all good   {:5.0} s", start.elapsed().as_secs_f32());
    println!("steps: {} passed, 0 failed", steps.len());
    ExitCode::SUCCESS
}

/// Runs one step at the top of the workspace, its output on ours.
fn run(step: &Step) -> Result<(), String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace is gone")?;
    let mut command = match step.command[0] {
        "cargo" => cargo(),
        // Built by an earlier step, beside this program.
        other => Command::new(std::env::current_exe().map_err(|error| error.to_string())?.with_file_name(other)),
    };
    command.args(&step.command[1..]).current_dir(workspace).stdin(Stdio::null()).env("RUSTDOCFLAGS", "-D warnings");
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", step.command[0]))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}
