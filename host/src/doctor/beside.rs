//! QEMU without installing it: its packages are unpacked into Ocellus' cache, and nothing of the system is touched. That takes no
//! rights of root either.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::transport::qemu;
use crate::{files, view};

/// What can be used from where it was unpacked.
pub(super) const PACKAGE: &str = "qemu-system-arm";

/// Downloads `packages`, each a `name=version`, and unpacks them to where [`qemu::find`] looks.
///
/// # Errors
/// There is no place or no network, a package is damaged, or what is in them does not run here.
pub(super) fn unpack(packages: &[String]) -> Result<()> {
    let folder = qemu::unpacked()?;
    let tools = files::folder_of(&folder);
    files::make_folder(tools)?;
    let _lock = files::lock_file(&tools.join("qemu.lock"))?;
    view::note(&format!(
        "{} packages are unpacked into {}; the system stays as it is",
        packages.len(),
        folder.display()
    ));
    // The name is fixed so that what a killed command left behind is found; the lock makes it ours.
    let staging = tools.join(".qemu.unpacking");
    remove_if_there(&staging)?;
    let result = unpack_into(&staging, packages).and_then(|()| {
        remove_if_there(&folder)?;
        files::move_into_place(&staging, &folder)
    });
    remove_if_there(&staging)?;
    result
}

fn unpack_into(staging: &Path, packages: &[String]) -> Result<()> {
    let (archives, root) = (staging.join("archives"), staging.join("root"));
    files::make_folder(&archives)?;
    let mut download = Command::new("apt-get");
    download.arg("download").args(packages).current_dir(&archives);
    call(&mut download).context("is there a network?")?;
    for entry in fs::read_dir(&archives)?.flatten() {
        call(Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(&root))?;
    }
    remove_if_there(&archives)?;
    let program = staging.join(qemu::PROGRAM);
    files::write(&program, script(&root)?.as_bytes())?;
    #[cfg(unix)]
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    ensure!(qemu::version(&program).is_some(), "the unpacked {PACKAGE} does not run on this machine");
    Ok(())
}

/// A program that calls the one below `root`, which lies beside it, with the libraries and the data that came with it.
fn script(root: &Path) -> Result<String> {
    let libraries: BTreeSet<PathBuf> = files_below(root)
        .filter(|path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.contains(".so")))
        .filter_map(|path| Some(path.parent()?.strip_prefix(root).ok()?.to_path_buf()))
        .collect();
    let libraries: Option<Vec<String>> =
        libraries.iter().map(|path| Some(format!("$root/{}", path.to_str()?))).collect();
    let libraries = libraries.context("a package has a folder whose name is not UTF-8")?;
    Ok(format!(
        "#!/bin/sh\n\
         # By `ocellus doctor --install`, which unpacked QEMU here instead of installing it. The whole folder can be deleted.\n\
         root=$(dirname -- \"$0\")/root\n\
         export LD_LIBRARY_PATH=\"{}\"\n\
         exec \"$root/usr/bin/{}\" -L \"$root/usr/share/qemu\" \"$@\"\n",
        libraries.join(":"),
        qemu::PROGRAM
    ))
}

/// Every file below `folder`.
fn files_below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.into_iter()
}

/// Runs a program, its output on standard error.
fn call(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed ({status}); its output above says why");
    Ok(())
}

fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_wherever_they_lie() {
        let root = tempfile::tempdir().unwrap();
        for name in ["usr/lib/x/liba.so.1", "lib/x/libb.so", "usr/lib/x/pulse/libc-1.so", "usr/share/doc/readme"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let script = script(root.path()).unwrap();
        assert!(script.contains("LD_LIBRARY_PATH=\"$root/lib/x:$root/usr/lib/x:$root/usr/lib/x/pulse\""), "{script}");
        assert!(
            script.ends_with("exec \"$root/usr/bin/qemu-system-arm\" -L \"$root/usr/share/qemu\" \"$@\"\n"),
            "{script}"
        );
    }
}
