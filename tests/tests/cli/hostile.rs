//! Files that were made to do harm: an error each, soon, that says what is wrong where.

use crate::commands::run;
use crate::onnx::{alone, f32s, i64s, ints};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of this kind that lie beside the source tree, if any do.
fn given() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    let names = ["conv-dil.onnx", "maxpool-k0.onnx", "expand.onnx", "pad.onnx"];
    names.map(|name| folder.join(name)).into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn backbones_that_divide_by_zero_or_fill_the_memory_are_refused_by_file_and_node() {
    let room = tempfile::tempdir().unwrap();
    let made = [
        ("dilation.onnx", alone("Conv", vec![f32s("w", &[6, 3, 3, 3])], &[ints("dilations", &[0, 0])])),
        ("kernel.onnx", alone("MaxPool", vec![], &[ints("kernel_shape", &[0, 0]), ints("strides", &[1, 1])])),
        ("expand.onnx", alone("Expand", vec![i64s("s", &[1 << 20, 1 << 20, 3, 8, 8])], &[])),
        ("pad.onnx", alone("Pad", vec![i64s("p", &[0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0])], &[])),
    ]
    .map(|(name, bytes)| {
        let path = room.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    });
    let out = room.path().join("out");
    for path in made.into_iter().chain(given()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let command =
            ["train", "--backbone", path.to_str().unwrap(), "--img-size", "16", "--out", out.to_str().unwrap()];
        let ended = run(&command);
        ended.fails(1, &[&name, "its node `"]);
        assert!(!out.exists(), "{name}: a run folder is left");
    }
}
