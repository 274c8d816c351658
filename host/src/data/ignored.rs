//! Folders that lie beside photos and are no classes: what systems put there, and what Ocellus itself writes.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// What systems and programs call folders of their own, in lower case: macOS's archives, Synology's and QNAP's disk stations,
/// Windows, file systems, Apple's network volumes, Python.
const OF_SYSTEMS: [&str; 14] = [
    "__macosx",
    "@eadir",
    "@tmp",
    "#recycle",
    "#snapshot",
    "@recycle",
    "@recently-snapshot",
    "system volume information",
    "$recycle.bin",
    "recycler",
    "found.000",
    "lost+found",
    "network trash folder",
    "temporary items",
];
/// Where `ocellus train` and `ocellus demo` make folders.
const RUNS: &str = "runs";
/// What a run or an exported model has a recipe in.
const RECIPE: &str = "recipe.toml";
/// How the names of files end that only a run or an exported model holds.
const OF_MODELS: [&str; 3] = ["plan", "onnx", "safetensors"];
/// How the names of what Ocellus writes while it works begin.
const AT_WORK: &str = ".ocellus-";

/// Why the folder at `path`, within a dataset, is no class; nothing where it may be one.
pub fn reason(path: &Path) -> Option<&'static str> {
    let name = path.file_name().unwrap_or_default();
    if is_of_system(name) {
        Some("is the system's")
    } else if is_run(path) || is_of_runs(path) {
        Some("is a run or a model of Ocellus")
    } else {
        None
    }
}

/// Whether a folder of this name is one that a system or another program made for itself.
pub fn is_of_system(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| OF_SYSTEMS.contains(&name.to_ascii_lowercase().as_str()))
}

/// Whether a run or an exported model is in the folder at `path`, or a command is about to put one there.
fn is_run(path: &Path) -> bool {
    let (mut has_recipe, mut has_model, mut has_others) = (false, false, false);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if name.as_encoded_bytes().starts_with(AT_WORK.as_bytes()) {
            return true;
        }
        let extension = Path::new(&name).extension().and_then(OsStr::to_str);
        has_recipe |= name == RECIPE;
        has_model |= extension.is_some_and(|extension| OF_MODELS.contains(&extension));
        has_others |= !is_hidden && super::picture::has_picture_name(Path::new(&name));
    }
    // Somebody may have put a recipe among photos; a run that has not come far holds nothing else.
    has_recipe && (has_model || !has_others) || has_model && !has_others
}

/// Whether `path` is where runs are made, or holds nothing else.
fn is_of_runs(path: &Path) -> bool {
    let folders: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let is_empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let is_named = path.file_name().is_some_and(|name| name == RUNS);
    // A run's folder is made before anything is put into it.
    !folders.is_empty() && folders.iter().all(|path| path.is_dir() && (is_run(path) || is_named && is_empty(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ocellus_writes_is_no_class() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        for (name, expected) in [
            ("begun/recipe.toml", true),
            ("trained/recipe.toml trained/best.safetensors trained/confusion.png", true),
            ("exported/model.plan exported/model.onnx", true),
            ("busy/.ocellus-train.lock busy/a.jpg", true),
            ("runs/cnn/ runs/cnn-2/recipe.toml", true),
            ("runs/", false), // nobody has said what it is for
            ("experiments/one/recipe.toml experiments/two/model.plan", true),
            ("__MACOSX/a/._x.jpg", true),
            ("$RECYCLE.BIN/", true),
            ("cat/a.jpg", false),
            ("cook/recipe.toml cook/a.jpg", false),
            ("planes/concorde.plan planes/a.jpg", false),
            ("nested/cat/a.jpg nested/dog/recipe.toml", false),
            ("empty/", false),
        ] {
            let _ = fs::remove_dir_all(room.path());
            for path in name.split(' ') {
                let path = path.to_owned();
                fs::create_dir_all(if path.ends_with('/') { at(&path) } else { at(&path).parent().unwrap().into() })
                    .unwrap();
                if !path.ends_with('/') {
                    fs::write(at(&path), "").unwrap();
                }
            }
            let top = at(name.split('/').next().unwrap());
            assert_eq!(reason(&top).is_some(), expected, "{name}");
        }
    }
}
