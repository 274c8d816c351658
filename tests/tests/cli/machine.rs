//! What Ocellus does to the machine it runs on: apt-get is played by a script that writes down what it is asked.

use ocellus_tests::program::ocellus;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

/// What `qemu-system-arm` lists of its machines; more than any board asks for.
const MACHINES: &str =
    "mps2-an385 x\\nmps2-an386 x\\nmps2-an500 x\\nmps2-an505 x\\nmps2-an521 x\\nmps3-an524 x\\nmps3-an547 x";

/// A machine without QEMU.
struct Machine(TempDir);

impl Machine {
    /// One whose apt-get says in a simulation what it would do, and downloads QEMU's package unless it has `no_network`.
    fn new(simulation: &str, no_network: bool) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for name in ["bin", "cache", "home"] {
            fs::create_dir(machine.path(name)).unwrap();
        }
        // What a shell, cargo and the compiler's search need, but no QEMU and no sudo.
        for name in [
            "sh", "env", "dirname", "cat", "mkdir", "chmod", "id", "touch", "cargo", "rustc", "rustup", "ld.lld",
            "uname",
        ] {
            if let Some(real) = find(name) {
                symlink(real, machine.path("bin").join(name)).unwrap();
            }
        }
        let download = if no_network { "exit 100" } else { "touch qemu-system-arm.deb" };
        machine.script(
            "apt-get",
            &format!(
                "echo \"apt-get $*\" >> '{}'\ncase \"$*\" in\n*--simulate*) printf '%b' '{simulation}';;\n*download*) {download};;\nesac",
                machine.path("log").display()
            ),
        );
        let qemu = format!(
            "case \"$*\" in *--version*) echo 'QEMU emulator version 7.2 in '$LD_LIBRARY_PATH;; *help*) printf '{MACHINES}\\n';; esac"
        );
        machine.script(
            "dpkg-deb",
            &format!(
                "mkdir -p \"$3/usr/bin\" \"$3/usr/lib/x\"\ntouch \"$3/usr/lib/x/libfdt.so.1\"\n\
                 cat > \"$3/usr/bin/qemu-system-arm\" <<'END'\n#!/bin/sh\n{qemu}\nEND\nchmod +x \"$3/usr/bin/qemu-system-arm\""
            ),
        );
        machine.script("apt-cache", "exit 0");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn doctor(&self, arguments: &[&str]) -> (Output, String) {
        let mut command = ocellus();
        command.arg("doctor").args(arguments).env("PATH", self.path("bin")).env("OCELLUS_CACHE", self.path("cache"));
        let output = command.output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        (output, String::from_utf8(said).unwrap())
    }

    /// What apt-get was asked for, the simulations left out.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines()
            .filter(|line| !line.contains("--simulate") && !line.ends_with(" update"))
            .map(str::to_owned)
            .collect()
    }
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn line_of<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines()
        .find(|line| line.contains(name) && (line.starts_with("ok") || line.starts_with("missing")))
        .unwrap_or(said)
}

const REMOVES: &str =
    "Remv qemu-utils [1:10]\\nInst libfdt1 (1.6 Debian [amd64])\\nInst qemu-system-arm (1:7.2 Debian [amd64])\\n";

#[test]
fn what_would_remove_something_is_unpacked_beside_the_system() {
    let machine = Machine::new(REMOVES, false);
    let (_, said) = machine.doctor(&["--install"]);
    assert_eq!(machine.asked(), ["apt-get download libfdt1=1.6 qemu-system-arm=1:7.2"], "{said}");
    assert!(!is_root() || said.contains("REMOVE qemu-utils"), "{said}");
    assert!(line_of(&said, "qemu-system-arm").starts_with("ok"), "{said}");
    // It is found again, and runs with the libraries that came with it.
    let (_, said) = machine.doctor(&[]);
    let found = line_of(&said, "qemu-system-arm");
    assert!(found.contains("cache/tools/qemu/root/usr/lib/x") && found.starts_with("ok"), "{said}");
    assert_eq!(names(&machine.path("cache/tools")), ["qemu", "qemu.lock"]);
}

#[test]
fn without_a_network_the_command_is_printed() {
    let machine = Machine::new(REMOVES, true);
    let (output, said) = machine.doctor(&["--install"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is there a network?") && said.contains("apt-get install qemu-system-arm"), "{said}");
    assert_eq!(names(&machine.path("cache/tools")), ["qemu.lock"], "nothing else is left");
}

#[test]
fn what_touches_nothing_else_is_installed_and_told_first() {
    let machine =
        Machine::new("Inst libfdt1 (1.6 Debian [amd64])\\nInst qemu-system-arm (1:7.2 Debian [amd64])\\n", false);
    let (_, said) = machine.doctor(&["--install"]);
    let asked = machine.asked();
    if is_root() {
        assert!(said.contains("apt-get will install libfdt1, qemu-system-arm"), "{said}");
        assert!(asked[0].starts_with("apt-get install --yes --no-remove --no-install-recommends"), "{asked:?}");
    } else {
        assert!(asked[0].starts_with("apt-get download"), "{asked:?}");
    }
}

#[test]
fn without_a_person_no_other_package_changes() {
    let changes = "Inst libc6 [2.36] (2.37 Debian [amd64])\\nInst qemu-system-arm (1:7.2 Debian [amd64])\\n";
    let machine = Machine::new(changes, false);
    let (_, said) = machine.doctor(&["--install"]);
    assert_eq!(machine.asked(), ["apt-get download qemu-system-arm=1:7.2 libc6=2.37"], "{said}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
