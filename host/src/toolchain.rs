//! Finds a compiler and a linker for a Cortex-M target, and builds a board's firmware with them.
//!
//! Two kinds of machine must work from the same command: one whose Rust came from rustup with the target's `core`
//! precompiled, and one whose compiler came from its distribution together with the library's source, from which cargo
//! then builds `core` itself. [`Toolchain::find`] looks for the first kind and falls back to the second.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::board::Board;

mod build;
mod elf;
mod source;

pub(crate) use build::cargo;
pub use build::{BARE, Built, Program, build_firmware, build_program};
pub use elf::{ProgramSize, check_board};
pub use source::source_tree;

/// Everything that compiles and links for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// Where its `core` for the target comes from.
    pub core: CoreLibrary,
    /// The linker.
    pub linker: PathBuf,
}

/// Where the target's `core` library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreLibrary {
    /// It is installed, as `rustup target add` does.
    Installed,
    /// cargo builds it from the library source that lies beside the compiler.
    FromSource,
}

/// Whether this machine can build firmware for `board`: the source tree, a compiler and a linker are there.
///
/// # Errors
/// `$OCELLUS_SOURCE` names a folder that holds no source tree.
pub fn can_build(board: &Board) -> Result<bool> {
    Ok(source::find()?.is_some() && Toolchain::find(&board.target).is_ok())
}

/// Reads the program in the file `elf`.
///
/// # Errors
/// It cannot be read, or is another board's than `board`.
pub fn read_program(board: &Board, elf: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    check_board(&bytes, &board.name).with_context(|| elf.display().to_string())?;
    Ok(bytes)
}

impl Toolchain {
    /// The first usable compiler for `target`, and a linker.
    ///
    /// # Errors
    /// Where either is missing: what was looked at, and the commands that install it.
    pub fn find(target: &str) -> Result<Self> {
        let (rustc, core) = find_compiler(target)?;
        let linker = find_linker(&rustc)?;
        Ok(Self { rustc, core, linker })
    }
}

/// Compilers to ask, the preferred one first.
///
/// A compiler named by the environment that does not run is skipped like any other: the error of
/// [`find_compiler`] lists it.
fn compiler_candidates() -> Vec<PathBuf> {
    let default = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut candidates = vec![PathBuf::from(default), PathBuf::from("/usr/bin/rustc")];
    if let Some(wanted) = env::var_os("FIRMWARE_RUSTC") {
        candidates.insert(0, PathBuf::from(wanted));
    }
    candidates.dedup();
    candidates
}

/// The compiler for `target` and the source of its `core`.
pub fn find_compiler(target: &str) -> Result<(PathBuf, CoreLibrary)> {
    let candidates: Vec<PathBuf> = compiler_candidates().into_iter().filter(|rustc| is_recent(rustc)).collect();
    let installed = candidates.iter().find(|rustc| has_core(rustc, target));
    if let Some(rustc) = installed {
        return Ok((rustc.clone(), CoreLibrary::Installed));
    }
    if let Some(rustc) = candidates.iter().find(|rustc| has_core_source(rustc)) {
        return Ok((rustc.clone(), CoreLibrary::FromSource));
    }
    let looked_at: Vec<String> = compiler_candidates().iter().map(|c| c.display().to_string()).collect();
    bail!(
        "no Rust compiler for {target} (looked at {}; {} or newer is needed)\n\
         fix: either   rustup target add {target}\n\
         \x20    or       sudo apt-get install rustc-web rust-web-src\n\
         (`ocellus doctor --install` does what it may)",
        looked_at.join(", "),
        env!("CARGO_PKG_RUST_VERSION"),
    )
}

/// First line of standard output of `program` with `args`, or nothing where it cannot run or fails.
pub(crate) fn first_line(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether `rustc` runs and is new enough for this source tree.
fn is_recent(rustc: &Path) -> bool {
    let Some(line) = first_line(rustc, &["--version"]) else { return false };
    let found = line.split_whitespace().nth(1).and_then(minor_version);
    found.zip(minor_version(env!("CARGO_PKG_RUST_VERSION"))).is_some_and(|(found, needed)| found >= needed)
}

/// Major and minor number of a version like `1.96.0-nightly`.
pub(crate) fn minor_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn has_core(rustc: &Path, target: &str) -> bool {
    let Some(libdir) = first_line(rustc, &["--print", "target-libdir", "--target", target]) else { return false };
    let Ok(entries) = std::fs::read_dir(libdir) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn has_core_source(rustc: &Path) -> bool {
    first_line(rustc, &["--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file())
}

/// A linker for bare-metal ARM: the compiler's own, the default toolchain's, or one of the distribution's.
pub fn find_linker(rustc: &Path) -> Result<PathBuf> {
    let own = bundled_linker(rustc).or_else(|| bundled_linker(Path::new("rustc")));
    own.or_else(|| ["ld.lld", "arm-none-eabi-ld"].into_iter().find_map(find_program)).context(
        "no linker for bare-metal ARM (looked for rust-lld, ld.lld, arm-none-eabi-ld)\n\
         fix: sudo apt-get install lld\n\
         (`ocellus doctor --install` does what it may)",
    )
}

/// The `rust-lld` that came with `rustc`.
fn bundled_linker(rustc: &Path) -> Option<PathBuf> {
    let host_libdir = first_line(rustc, &["--print", "target-libdir"])?;
    let linker = Path::new(&host_libdir).parent()?.join("bin").join("rust-lld");
    linker.is_file().then_some(linker)
}

/// Where `name` lies in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (text, expected) in [
            ("1.96.0", Some((1, 96))),
            ("1.97.0-nightly", Some((1, 97))),
            ("1.95", Some((1, 95))),
            ("1", None),
            ("stable", None),
        ] {
            assert_eq!(minor_version(text), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_program_is_not_an_error_but_nothing() {
        assert_eq!(find_program("no-such-program-of-ocellus"), None);
        assert_eq!(first_line("/no/such/program", &[]), None);
        assert!(!is_recent(Path::new("/no/such/rustc")));
    }
}
