//! What this machine needs, whether it is there, and how to get it.
//!
//! Training, exporting and evaluating need nothing; building firmware needs cargo, and a compiler and a linker for the
//! board's processor, and an emulated board needs QEMU.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::board::Board;
use crate::toolchain::{self, CoreLibrary};
use crate::transport::qemu;

mod apt;
mod beside;

/// One thing that was looked for.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is.
    pub name: String,
    /// Whether it is there and usable.
    pub ok: bool,
    /// What was found, or what is wrong.
    pub found: String,
    /// The command that puts it right; nothing where all is well or no command can.
    pub fix: Option<String>,
    #[serde(skip)]
    remedy: Remedy,
}

/// How a missing thing can be got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    None,
    /// A variable of the environment names the wrong thing: nobody but the user can correct that.
    Variable(&'static str),
    Packages(Vec<String>),
    /// `rustup target add`, or the distribution's compiler where rustup may not or cannot.
    Target(String),
}

/// Looks for everything that building for the boards and emulating them needs.
pub fn check() -> Vec<Check> {
    let mut boards = match Board::all() {
        Ok(boards) => boards,
        Err(error) => return vec![missing("board tables", format!("{error:#}"), Remedy::None)],
    };
    let machines: Vec<String> = boards.iter().filter_map(|b| b.machine.clone()).collect();
    boards.sort_by(|a, b| a.target.cmp(&b.target));
    boards.dedup_by(|a, b| a.target == b.target);
    let mut checks = vec![check_source(), check_cargo(), check_qemu(&machines)];
    checks.extend(boards.iter().map(|board| check_compiler(&board.target)));
    checks.extend(boards.first().map(|board| check_linker(&board.target)));
    checks
}

/// Installs what `checks` miss, as far as this user may; output goes to standard error.
///
/// # Errors
/// Something cannot be installed by this user (the error holds the exact commands), or an installation fails.
pub fn install(checks: &[Check]) -> Result<()> {
    let mut packages: Vec<String> = Vec::new();
    for check in checks.iter().filter(|check| !check.ok) {
        match &check.remedy {
            Remedy::None | Remedy::Variable(_) => bail!("{}: {}", check.name, check.found),
            Remedy::Packages(names) => packages.extend(names.iter().cloned()),
            Remedy::Target(target) if rustup_may_install() && rustup_add(target) => {}
            Remedy::Target(_) => packages.extend(apt::compiler_packages()?),
        }
    }
    packages.sort();
    packages.dedup();
    if packages.is_empty() { Ok(()) } else { apt::install(&packages) }
}

/// Checks everything, installs what is missing if `may_install`, and fails where something is still missing.
///
/// `report` hears of each check that is not well before an installation starts.
pub fn ensure(may_install: bool, report: &dyn Fn(&Check)) -> Result<()> {
    let mut checks = check();
    if may_install && checks.iter().any(|check| !check.ok) {
        checks.iter().filter(|check| !check.ok).for_each(report);
        install(&checks)?;
        checks = self::check();
    }
    let Some(first) = checks.iter().find(|check| !check.ok) else { return Ok(()) };
    let fix = first.fix.as_ref().map(|fix| format!("\nfix: {fix}")).unwrap_or_default();
    bail!("{} is missing: {}{fix}", first.name, first.found)
}

impl Check {
    /// Whether [`install`] can do something about it.
    pub fn is_installable(&self) -> bool {
        matches!(self.remedy, Remedy::Packages(_) | Remedy::Target(_))
    }
}

fn good(name: impl Into<String>, found: String) -> Check {
    Check { name: name.into(), ok: true, found, fix: None, remedy: Remedy::None }
}

fn missing(name: impl Into<String>, found: String, remedy: Remedy) -> Check {
    let fix = match &remedy {
        Remedy::None => None,
        Remedy::Variable(name) => Some(format!("unset {name}")),
        Remedy::Packages(names) => Some(apt::command_line(names)),
        Remedy::Target(target) if rustup_may_install() => Some(format!("rustup target add {target}")),
        Remedy::Target(_) => apt::compiler_packages().ok().map(|names| apt::command_line(&names)),
    };
    Check { name: name.into(), ok: false, found, fix, remedy }
}

fn check_source() -> Check {
    match toolchain::source_tree() {
        Ok(path) => good("source tree", path.display().to_string()),
        Err(error) => missing("source tree", format!("{error:#}"), Remedy::None),
    }
}

fn check_cargo() -> Check {
    const NAME: &str = "cargo";
    let cargo = toolchain::cargo();
    match toolchain::first_line(&cargo, &["--version"]).filter(|line| line.starts_with("cargo ")) {
        Some(version) => good(NAME, version),
        None if std::env::var_os("CARGO").is_some() => {
            missing(NAME, format!("{}, which CARGO names, does not run", cargo.display()), Remedy::Variable("CARGO"))
        }
        None => missing(NAME, "not in PATH: install Rust from https://rustup.rs".to_owned(), Remedy::None),
    }
}

fn check_qemu(machines: &[String]) -> Check {
    const NAME: &str = "qemu-system-arm";
    let remedy = || match std::env::var_os(qemu::VARIABLE) {
        Some(_) => Remedy::Variable(qemu::VARIABLE),
        None => Remedy::Packages(vec![NAME.to_owned()]),
    };
    let qemu = match qemu::find() {
        Ok(path) => path,
        Err(error) => return missing(NAME, first_sentence(&error), remedy()),
    };
    let Some(version) = qemu::version(&qemu) else {
        return missing(NAME, format!("{} does not run, or is no QEMU", qemu.display()), remedy());
    };
    let output = Command::new(&qemu).args(["-machine", "help"]).stdin(Stdio::null()).output();
    let list = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let known = |machine: &String| list.lines().any(|line| line.split_whitespace().next() == Some(machine));
    match machines.iter().find(|machine| !known(machine)) {
        Some(machine) => missing(NAME, format!("{version} has no machine {machine}: it is too old"), remedy()),
        None => good(NAME, format!("{version} ({})", qemu.display())),
    }
}

fn check_compiler(target: &str) -> Check {
    let name = format!("compiler for {target}");
    match toolchain::find_compiler(target) {
        Ok((rustc, CoreLibrary::Installed)) => good(name, format!("{} with its core library", rustc.display())),
        Ok((rustc, CoreLibrary::FromSource)) => good(name, format!("{}, building core from source", rustc.display())),
        Err(error) => missing(name, first_sentence(&error), Remedy::Target(target.to_owned())),
    }
}

fn check_linker(target: &str) -> Check {
    let rustc = toolchain::find_compiler(target).map_or_else(|_| "rustc".into(), |(rustc, _)| rustc);
    match toolchain::find_linker(&rustc) {
        Ok(path) => good("linker", path.display().to_string()),
        Err(error) => missing("linker", first_sentence(&error), Remedy::Packages(vec!["lld".to_owned()])),
    }
}

/// The error without the remedies, which a check states itself.
fn first_sentence(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Whether there is a rustup and the user did not forbid it to install.
fn rustup_may_install() -> bool {
    let forbidden = std::env::var("RUSTUP_AUTO_INSTALL").is_ok_and(|value| value == "0");
    !forbidden && toolchain::find_program("rustup").is_some()
}

fn rustup_add(target: &str) -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]).stdin(Stdio::null()).stdout(std::io::stderr());
    rustup.status().is_ok_and(|status| status.success())
}
