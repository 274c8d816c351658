//! The ONNX files satisfy ONNX's own checker, and ONNX Runtime computes what the engine computes.
//!
//! Python is `python3`, or what the environment variable `OCELLUS_PYTHON` names.

use crate::Optional;
use crate::random::{network, quant_graph};
use ocellus::eval::engine::EngineModel;
use ocellus::fold::fold;
use ocellus::graph::lower;
use ocellus::recipe::Optimize;
use ocellus::{onnx, pack};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Files of each kind.
const FILES: u64 = 60;
const IMAGES: usize = 5;

pub fn test() -> Optional {
    let imports = Command::new(python()).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    Optional {
        name: "onnx_tools::other_tools_accept_the_files_and_agree",
        needs: "Python with ONNX: `pip install onnx onnxruntime`, or OCELLUS_PYTHON",
        is_there: imports.is_ok_and(|output| output.status.success()),
        run: other_tools_accept_the_files_and_agree,
    }
}

fn python() -> OsString {
    env::var_os("OCELLUS_PYTHON").unwrap_or_else(|| "python3".into())
}

fn other_tools_accept_the_files_and_agree() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..FILES {
        write_int8(folder.path(), seed);
        let (network, checkpoint) = network::network(seed);
        let graph = fold(lower(&network, &checkpoint).unwrap());
        std::fs::write(folder.path().join(format!("float{seed}.onnx")), onnx::write_float(&graph)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/optional/onnx_tools.py");
    let output = Command::new(python()).arg(script).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with(&format!("{} files are valid", 2 * FILES)), "{said}");
    eprint!("{said}");
}

/// A random graph's file, images for it, and what the engine makes of them in every layer.
fn write_int8(folder: &Path, seed: u64) {
    let graph = quant_graph::quant_graph(seed);
    let plan = pack::pack(&graph, Optimize::Size).unwrap().plan;
    let engine = EngineModel::new(&plan).unwrap();
    let images = quant_graph::images(&graph, seed, IMAGES);
    let layers: Vec<i8> = images.iter().flat_map(|image| engine.trace(image).unwrap().concat()).collect();
    let bytes = |values: Vec<i8>| values.into_iter().map(|v| v as u8).collect::<Vec<u8>>();
    let write = |extension: &str, bytes: Vec<u8>| {
        std::fs::write(folder.join(format!("int8{seed}.{extension}")), bytes).unwrap();
    };
    write("onnx", onnx::write(&graph).unwrap());
    write("images", bytes(images.concat()));
    write("layers", bytes(layers));
}
