//! Which files a path of weights stands for: one, the shards that an index lists, or those of a Hugging Face folder.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// What the weights of a folder are called, the best choice first.
const IN_FOLDERS: [&str; 6] = [
    "best.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
];
/// How the names of indices end.
const INDEX: &str = ".index.json";
/// Bytes that an index has at most; the largest language models' have 1 MB.
const MOST_INDEX_BYTES: u64 = 16 << 20;

/// An index of shards, as Hugging Face's libraries write it.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// The contents of all files that `path` stands for.
///
/// # Errors
/// One of them cannot be read or is no regular file, `path` is one shard of several, or a folder without weights.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = if path.is_dir() { in_folder(path)? } else { path.to_owned() };
    if !name(&file).ends_with(INDEX) {
        check_whole(&file)?;
        return Ok(vec![read_regular(&file)?]);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let shards = shards(&file)?;
    shards.iter().map(|shard| read_regular(&folder.join(shard)).with_context(|| format!("its shard {shard}"))).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The file or the index of weights in `folder`.
fn in_folder(folder: &Path) -> Result<PathBuf> {
    let found = IN_FOLDERS.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.with_context(|| {
        format!("it is a folder without weights: none of {} is in it; name the file", IN_FOLDERS.join(", "))
    })
}

/// The files that the index `path` lists.
fn shards(path: &Path) -> Result<BTreeSet<String>> {
    let len = std::fs::metadata(path).context("the index cannot be read")?.len();
    ensure!(len <= MOST_INDEX_BYTES, "an index of {len} bytes is none");
    let index: Index = serde_json::from_slice(&read_regular(path)?).context("it is no index of shards")?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    ensure!(!shards.is_empty(), "the index lists no files");
    for shard in &shards {
        let mut parts = Path::new(shard).components();
        let beside = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        ensure!(beside, "the index lists {shard:?}, which is outside its own folder");
    }
    Ok(shards)
}

/// Refuses one of several shards, `NAME-00001-of-00003.EXTENSION`, which lacks what is in the others.
fn check_whole(path: &Path) -> Result<()> {
    let stem = name(path).rsplit_once('.').map_or("", |(stem, _)| stem);
    let Some((rest, count)) = stem.rsplit_once("-of-") else { return Ok(()) };
    let number = rest.rsplit_once('-').and_then(|(_, number)| number.parse::<u32>().ok());
    match (number, count.parse::<u32>()) {
        (Some(number), Ok(count)) if count > 1 => {
            bail!("it is shard {number} of {count}: give the folder with all of them, or the {INDEX} that lists them")
        }
        _ => Ok(()),
    }
}

/// The bytes of a regular file: a pipe or a device may have no end.
fn read_regular(path: &Path) -> Result<Vec<u8>> {
    let found = std::fs::metadata(path).context("the file cannot be read")?;
    ensure!(found.is_file(), "{} is no regular file", path.display());
    std::fs::read(path).context("the file cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &Path) -> String {
        format!("{:#}", read(path).unwrap_err())
    }

    #[test]
    fn shards_are_read_by_their_index_and_by_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("model-00001-of-00002.safetensors"), b"one").unwrap();
        std::fs::write(path("model-00002-of-00002.safetensors"), b"two").unwrap();
        let index = path("model.safetensors.index.json");
        let list = |files: [&str; 3]| {
            let [a, b, c] = files;
            std::fs::write(
                &index,
                format!(r#"{{"metadata": {{}}, "weight_map": {{"x": "{a}", "y": "{b}", "z": "{c}"}}}}"#),
            )
        };
        let [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        list([first, second, first]).unwrap();
        assert_eq!(read(&index).unwrap(), [b"one", b"two"]);
        assert_eq!(read(folder.path()).unwrap(), [b"one", b"two"]);
        let alone = message(&path(second));
        assert!(alone.contains("shard 2 of 2") && alone.contains(".index.json"), "{alone}");
        list([first, second, "../x"]).unwrap();
        assert!(message(&index).contains("outside its own folder"));
        list([first, second, "gone"]).unwrap();
        assert!(message(&index).contains("its shard gone"));
        std::fs::write(&index, b"{}").unwrap();
        assert!(message(&index).contains("no index of shards"));
    }

    #[test]
    fn what_is_no_file_of_weights_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(folder.path()).contains("a folder without weights"));
        assert!(message(&folder.path().join("no")).contains("cannot be read"));
        #[cfg(unix)]
        assert!(message(Path::new("/dev/zero")).contains("no regular file"));
        // A single shard is the whole.
        let whole = folder.path().join("model-00001-of-00001.safetensors");
        std::fs::write(&whole, b"all").unwrap();
        assert_eq!(read(&whole).unwrap(), [b"all"]);
    }
}
