//! Builds the firmware: one `cargo build` with the toolchain that was found.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Board, CoreLibrary, Toolchain, source};

/// Lines of cargo's output that an error repeats.
const KEPT_LINES: usize = 30;

/// What a build gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The board's program.
    pub elf: PathBuf,
    /// Number of the compiler's warnings, which `progress` heard.
    pub warnings: usize,
}

/// What to build for a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// Its name: the board's, or on an emulated board [`BARE`].
    pub name: &'a str,
    /// The kernels to link, by [`Op::kernel`](ocellus_shared::Op::kernel); all of them where there are none.
    pub ops: &'a [&'a str],
    /// Variables that its source reads while it is compiled, beside those of this process.
    pub env: &'a [(&'static str, String)],
}

/// The program that is the engine and nothing else.
pub const BARE: &str = "bare";

/// Builds the firmware of `board`, with all operators.
///
/// # Errors
/// As for [`build_program`].
pub fn build_firmware(board: &Board, progress: &dyn Fn(&str)) -> Result<Built> {
    build_program(board, Program { name: &board.name, ops: &[], env: &[] }, progress)
}

/// Builds a `program` for `board`; cargo decides whether anything is left to do.
///
/// `progress` hears each line that cargo and the compiler print.
///
/// # Errors
/// No source tree, or one whose table of the board is not the one built into this program; no compiler or linker; or the
/// build fails: then the end of the output is part of the error.
pub fn build_program(board: &Board, program: Program, progress: &dyn Fn(&str)) -> Result<Built> {
    let source = source::source_tree()?;
    source::check_table(&source, board)?;
    let toolchain = Toolchain::find(&board.target)?;
    let mut child = command(&source, board, program, &toolchain)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            let cargo = cargo();
            format!("cannot start {}, which builds the firmware: `ocellus doctor` says what to do", cargo.display())
        })?;
    let messages = collect_stdout(&mut child);
    let mut tail = VecDeque::new();
    let mut hear = |line: &str| {
        progress(line);
        tail.push_back(line.to_owned());
        tail.drain(..tail.len().saturating_sub(KEPT_LINES));
    };
    if let Some(stderr) = child.stderr.take() {
        BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| hear(line.trim()));
    }
    let status = child.wait().context("waiting for cargo")?;
    let messages = messages.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let diagnostics: Vec<Diagnostic> = messages.iter().filter_map(Diagnostic::read).collect();
    diagnostics.iter().flat_map(|diagnostic| diagnostic.text.lines()).for_each(&mut hear);
    if !status.success() {
        let tail = Vec::from(tail).join("\n");
        bail!("building the firmware of {} failed ({status}); the end of cargo's output:\n{tail}", board.name);
    }
    let elf = executable(&messages, program.name)
        .with_context(|| format!("cargo built no program named {}: is this source tree complete?", program.name))?;
    Ok(Built { elf, warnings: diagnostics.iter().filter(|diagnostic| diagnostic.is_warning).count() })
}

/// The cargo that runs us, if one does: it is the one that can build this workspace. Else the one in `PATH`.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The build's command line and environment.
fn command(source: &Path, board: &Board, program: Program, toolchain: &Toolchain) -> Command {
    let mut command = Command::new(cargo());
    command
        .current_dir(source)
        .args(["build", "--package", "ocellus-firmware", "--profile", "firmware"])
        .args(["--bin", program.name, "--features", &format!("board-{}", board.name)])
        .args(["--target", &board.target, "--message-format", "json"])
        .arg("--target-dir")
        .arg(source.join("target/firmware"));
    // What the user set for programs of this machine must not reach the board's.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(name);
    }
    match program.ops {
        [] => command.env_remove("OCELLUS_OPS"),
        ops => command.env("OCELLUS_OPS", ops.join(",")),
    };
    command.envs(program.env.iter().map(|(name, value)| (name, value)));
    // Link-time optimization and incremental compilation exclude each other.
    command.env("CARGO_INCREMENTAL", "0");
    let target = board.target.to_uppercase().replace(['-', '.'], "_");
    command.env(format!("CARGO_TARGET_{target}_LINKER"), &toolchain.linker);
    command.env(format!("CARGO_TARGET_{target}_RUSTFLAGS"), board.rustflags.join(" "));
    command.env("RUSTC", &toolchain.rustc);
    if toolchain.core == CoreLibrary::FromSource {
        // Building `core` is an unstable option of a stable compiler; this child alone may use it.
        command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
    }
    command
}

/// Drains standard output on a thread, so that cargo never waits for us: one JSON message per line.
fn collect_stdout(child: &mut Child) -> Option<std::thread::JoinHandle<Vec<Value>>> {
    let lines = BufReader::new(child.stdout.take()?).lines().map_while(Result::ok);
    Some(std::thread::spawn(move || lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()))
}

/// A warning or an error of the compiler or the linker.
struct Diagnostic<'a> {
    text: &'a str,
    is_warning: bool,
}

impl<'a> Diagnostic<'a> {
    /// The diagnostic in a message of cargo's; summaries such as `2 warnings emitted`, which point at no line, are none.
    fn read(message: &'a Value) -> Option<Self> {
        let (body, is_message) = (&message["message"], message["reason"] == "compiler-message");
        let is_warning = body["level"] == "warning";
        let counts = is_message && (!is_warning || body["spans"][0].is_object());
        body["rendered"].as_str().filter(|_| counts).map(|text| Self { text, is_warning })
    }
}

/// The file that cargo's messages name as the program `name`.
fn executable(messages: &[Value], name: &str) -> Option<PathBuf> {
    messages
        .iter()
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_executable_is_the_one_of_the_named_program() {
        let messages = [
            json!({"reason": "compiler-artifact", "target": {"name": "ocellus_firmware"}, "executable": null}),
            json!({"reason": "compiler-artifact", "target": {"name": "mps2-an500"}, "executable": "/t/mps2-an500"}),
        ];
        assert_eq!(executable(&messages, "mps2-an500"), Some(PathBuf::from("/t/mps2-an500")));
        assert_eq!(executable(&messages, "mps2-an386"), None);
    }

    #[test]
    fn warnings_count_where_they_point_at_a_line_and_errors_always() {
        let read = |level, spans| {
            let body = json!({"level": level, "rendered": "text", "spans": spans});
            Diagnostic::read(&json!({"reason": "compiler-message", "message": body})).map(|c| c.is_warning)
        };
        assert_eq!(read("warning", json!([{"file_name": "a.rs"}])), Some(true));
        assert_eq!(read("warning", json!([])), None, "a summary");
        assert_eq!(read("error", json!([])), Some(false), "the linker's");
        assert!(Diagnostic::read(&json!({"reason": "build-finished"})).is_none());
    }
}
