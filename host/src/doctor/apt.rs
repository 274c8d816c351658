//! Debian's and Ubuntu's packages.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::toolchain;

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

/// Installs `packages`.
///
/// # Errors
/// This user may not: the error is the command for one who may. Or apt fails.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if toolchain::find_program("apt-get").is_none() {
        bail!("no apt-get here; with your system's package manager install the equivalent of: {}", packages.join(" "))
    }
    if !may_be_root() {
        bail!("this needs the rights of root; run\n  {}", command_line(packages))
    }
    if !has_lists() {
        run(&["update"])?;
    }
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages.iter().map(String::as_str));
    // Lists that are there may still be older than the archive.
    run(&args).or_else(|_| run(&["update"]).and_then(|()| run(&args)))
}

/// What a user types to install `packages`.
pub(super) fn command_line(packages: &[String]) -> String {
    let install = format!("apt-get install --yes {}", packages.join(" "));
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
}
