//! Debian's and Ubuntu's packages. Nothing that is installed is removed or gets another version without a word.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::beside;
use crate::{toolchain, view};

/// Pairs of packages that hold a compiler and the source of its library, the most recent kind first.
const COMPILERS: [[&str; 2]; 2] = [["rustc-web", "rust-web-src"], ["rustc", "rust-src"]];

/// The packages of a compiler that is new enough.
///
/// # Errors
/// No apt, or no such compiler in its lists.
pub(super) fn compiler_packages() -> Result<Vec<String>> {
    if toolchain::find_program("apt-get").is_none() {
        bail!("no apt-get here: install the target with `rustup target add`, see https://rustup.rs")
    }
    if !has_lists() && may_be_root() {
        run(&["update"])?;
    }
    let needed = toolchain::minor_version(env!("CARGO_PKG_RUST_VERSION"));
    let pair = COMPILERS.iter().find(|[compiler, source]| {
        let versions = [compiler, source].map(|name| candidate(name));
        versions[0].is_some() && versions[0] == versions[1] && versions[0] >= needed
    });
    let pair = pair.with_context(|| {
        format!(
            "no Rust {} or newer with its library source among apt's packages\n\
             fix: install Rust from https://rustup.rs and add the target with `rustup target add`",
            env!("CARGO_PKG_RUST_VERSION")
        )
    })?;
    Ok(pair.map(str::to_owned).to_vec())
}

/// Version that apt would install of `package`.
fn candidate(package: &str) -> Option<(u32, u32)> {
    let output = Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]).output().ok()?;
    parse_candidate(&String::from_utf8(output.stdout).ok()?)
}

fn parse_candidate(policy: &str) -> Option<(u32, u32)> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    // An epoch, as in `1:1.96.0`, is the packager's.
    toolchain::minor_version(version.rsplit(':').next()?)
}

/// What apt would do to the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Effects {
    /// What would be new, each as `name=version`.
    new: Vec<String>,
    /// What would get another version, each as `name=version`.
    changed: Vec<String>,
    /// What would be removed.
    removed: Vec<String>,
}

impl Effects {
    /// Reads what `apt-get --simulate` prints: `Inst new (1.2 ...)`, `Inst changed [1.1] (1.2 ...)`, `Remv removed [1.1]`.
    fn parse(simulation: &str) -> Self {
        let mut effects = Self::default();
        for line in simulation.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("Inst"), Some(name), Some(third)) => {
                    let (list, version) = match third.strip_prefix('(') {
                        Some(version) => (&mut effects.new, version),
                        None => (&mut effects.changed, words.next().unwrap_or_default().trim_start_matches('(')),
                    };
                    list.push(format!("{name}={version}"));
                }
                (Some("Remv" | "Purg"), Some(name), _) => effects.removed.push(name.to_owned()),
                _ => {}
            }
        }
        effects
    }

    /// Whether everything that is there stays as it is.
    fn are_harmless(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    /// What it would do, for people.
    fn describe(&self) -> String {
        let part = |what: &str, packages: &[String]| {
            let names: Vec<&str> =
                packages.iter().map(|package| package.split('=').next().unwrap_or_default()).collect();
            (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
        };
        let parts = [part("install", &self.new), part("change", &self.changed), part("REMOVE", &self.removed)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Installs `packages`, as far as that removes nothing. What would, and what this user may not install, is unpacked beside the
/// system where it runs from there.
///
/// # Errors
/// What is left, with the command for whoever may and wants to. Or apt fails.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if toolchain::find_program("apt-get").is_none() {
        bail!("no apt-get here; with your system's package manager install the equivalent of: {}", packages.join(" "))
    }
    if !has_lists() && may_be_root() {
        run(&["update"])?;
    }
    if may_be_root() && is_agreed(&simulate(packages)?)? {
        return install_all(packages);
    }
    let (portable, others): (Vec<_>, Vec<_>) = packages.iter().cloned().partition(|name| beside::PACKAGE == name);
    if !portable.is_empty() {
        let Effects { new, changed, .. } = simulate(&portable)?;
        let all = [new, changed].concat();
        beside::unpack(&all).with_context(|| refused(&portable))?;
    }
    if others.is_empty() {
        return Ok(());
    }
    ensure!(may_be_root(), "this needs the rights of root; run\n  {}", command_line(&others));
    let effects = simulate(&others)?;
    ensure!(is_agreed(&effects)?, "apt-get would {}; {}", effects.describe(), refused(&others));
    install_all(&others)
}

/// What a user does about packages that were not installed.
fn refused(packages: &[String]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!("where that is what you want, run\n  {sudo}apt-get install {}", packages.join(" "))
}

/// Whether what apt would do may be done: nothing is removed, and where other packages change or a person is there, that person
/// says so.
fn is_agreed(effects: &Effects) -> Result<bool> {
    if !effects.removed.is_empty() {
        view::note(&format!("apt-get would {}: it is not asked to", effects.describe()));
        return Ok(false);
    }
    view::note(&format!("apt-get will {}", effects.describe()));
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(effects.are_harmless());
    }
    let mut err = std::io::stderr();
    write!(err, "go on? [Y/n] ").and_then(|()| err.flush()).context("cannot ask")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes");
    ensure!(read > 0 && is_yes, "nothing was installed");
    Ok(true)
}

/// What apt would do to install `packages`.
fn simulate(packages: &[String]) -> Result<Effects> {
    let attempt = || -> Result<Effects> {
        let output = Command::new("apt-get")
            .env("LC_ALL", "C")
            .args(["--simulate", "install", "--no-install-recommends"])
            .args(packages)
            .stdin(Stdio::null())
            .output()
            .context("cannot start `apt-get --simulate`")?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(
            output.status.success(),
            "apt-get cannot install {}: {said}\n  {}",
            packages.join(" "),
            command_line(packages)
        );
        Ok(Effects::parse(&String::from_utf8_lossy(&output.stdout)))
    };
    // Lists that are there may still be older than the archive.
    attempt().or_else(|error| if may_be_root() { run(&["update"]).and_then(|()| attempt()) } else { Err(error) })
}

fn install_all(packages: &[String]) -> Result<()> {
    let mut args = vec!["install", "--yes", "--no-remove", "--no-install-recommends"];
    args.extend(packages.iter().map(String::as_str));
    run(&args).or_else(|_| run(&["update"]).and_then(|()| run(&args)))
}

/// What a user types to install `packages`.
pub(super) fn command_line(packages: &[String]) -> String {
    let install = format!("apt-get install --yes --no-remove {}", packages.join(" "));
    let command = if has_lists() { install } else { format!("apt-get update && {install}") };
    if is_root() { command } else { format!("sudo {}", command.replace("&& ", "&& sudo ")) }
}

/// Whether apt has ever fetched its lists; a fresh container has none.
fn has_lists() -> bool {
    let Ok(entries) = Path::new("/var/lib/apt/lists").read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn is_root() -> bool {
    toolchain::first_line("id", &["-u"]).is_some_and(|id| id == "0")
}

/// Whether this user is root or becomes it without a password.
fn may_be_root() -> bool {
    is_root() || toolchain::first_line("sudo", &["-n", "true"]).is_some()
}

/// Runs apt-get as root, its output on standard error.
fn run(args: &[&str]) -> Result<()> {
    let environment = ["DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let mut command = if is_root() { Command::new("env") } else { Command::new("sudo") };
    if !is_root() {
        command.args(["-n", "env"]);
    }
    let shown = format!("apt-get {}", args.join(" "));
    let status = command
        .args(environment)
        .args(args)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}); its output above says why")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_a_policy() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(parse_candidate(policy), Some((1, 96)));
        assert_eq!(parse_candidate("rustc:\n  Candidate: 1:1.85.1-2\n"), Some((1, 85)));
        assert_eq!(parse_candidate("rustc:\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None, "apt does not know the name");
    }

    #[test]
    fn what_a_simulation_would_do_is_read() {
        let simulation = "Reading package lists...\nThe following packages will be REMOVED:\n  qemu-utils\n\
            Remv qemu-utils [1:10.0.2+ds-2]\n\
            Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
            Inst libc6 [2.36-9] (2.36-10 Debian:12.15/oldstable [amd64]) []\n\
            Inst qemu-system-arm:amd64 (1:7.2+dfsg-7 Debian:12.15/oldstable [amd64])\n\
            Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n";
        let effects = Effects::parse(simulation);
        assert_eq!(effects.new, ["libfdt1=1.6.1-4+b1", "qemu-system-arm:amd64=1:7.2+dfsg-7"]);
        assert_eq!(
            (effects.changed.join(" "), effects.removed.join(" ")),
            ("libc6=2.36-10".into(), "qemu-utils".into())
        );
        assert!(!effects.are_harmless());
        assert_eq!(effects.describe(), "install libfdt1, qemu-system-arm:amd64; change libc6; REMOVE qemu-utils");
        assert!(Effects::parse("Inst lld (1:14.0-55 Debian [amd64])").are_harmless());
    }
}
