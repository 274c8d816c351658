//! Files that were made to do harm: an error each, soon, that says what is wrong where.

use crate::commands::{Model, run};
use crate::onnx::{alone, f32s, i64s, ints};
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode, reseal};
use ocellus_shared::plan::{Crop, Operand};
use ocellus_shared::{Op, Shape, Window};
use std::fs;
use std::path::{Path, PathBuf};

/// Those of the files `names` that lie beside the source tree, if any do.
fn given(names: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}

/// A plan of one pooling whose window is as large as its map, which takes minutes where a convolution of its size would take
/// milliseconds.
fn slow_plan() -> Vec<u8> {
    let at = |offset, shape| Operand { offset, shape, zero: 0 };
    let (map, mean) = (Shape::new(200, 200, 1), Shape::vector(1));
    let step = |op, input, output| StepSpec {
        op,
        inputs: vec![input],
        output,
        scratch: (0, 0),
        strip_rows: 0,
        weights: vec![],
        biases: vec![],
        multipliers: vec![],
    };
    let window = Window { kernel: [201; 2], stride: [1; 2], pad: [100; 4] };
    let maps = [0, map.len()].map(|offset| at(offset, map));
    let scores = at(2 * map.len(), mean);
    let pool = step(Op::MaxPool { window }, maps[0], maps[1]);
    let means = StepSpec { biases: vec![0], multipliers: vec![1e-6], ..step(Op::GlobalAvgPool, maps[1], scores) };
    encode(&PlanSpec {
        digest: [0; 8],
        arena_bytes: 2 * map.len() + 4,
        input: maps[0],
        crop: Crop::Centre,
        output: scores,
        output_scale: 1.0,
        labels: vec!["one".into()],
        steps: vec![pool, means],
    })
    .unwrap()
}

#[test]
fn plans_that_take_long_say_so_before_they_run() {
    let room = tempfile::tempdir().unwrap();
    let made = room.path().join("slow.plan");
    fs::write(&made, slow_plan()).unwrap();
    for path in given(&["run-bomb-4.plan"]).into_iter().chain([made]) {
        let told = run(&["analyze", path.to_str().unwrap(), "--board", "weact-h743", "--json"]);
        assert_eq!(told.code, 0, "{}", told.stderr);
        let shortest = told.json()["time_ms"][0].as_f64().unwrap();
        assert!(shortest > 10_000.0, "{path:?}: {shortest} ms");
        let told = run(&["analyze", path.to_str().unwrap(), "--board", "weact-h743"]).stdout;
        assert!(!told.contains("inf") && !told.contains("NaN"), "{told}");
    }
}

#[test]
fn labels_that_would_drive_a_terminal_are_refused_by_their_class() {
    let model = Model::new();
    let path = model.file("model.plan");
    let mut bytes = fs::read(&path).unwrap();
    // The names of the built-in dataset's classes.
    let label = ocellus::data::shapes::classes()[3].clone().into_bytes();
    let at = bytes.windows(label.len()).position(|part| part == label).unwrap();
    bytes[at] = 0x1b;
    reseal(&mut bytes);
    fs::write(&path, bytes).unwrap();
    for path in given(&["evil-labels.plan"]).into_iter().chain([path]) {
        let path = path.to_str().unwrap();
        for command in [&["analyze", path, "--board", "weact-h743"][..], &["run", path, "a.png"]] {
            let ended = run(command);
            ended.fails(1, &[]);
            assert!(!ended.stderr.contains('\u{1b}') && ended.stdout.is_empty(), "{command:?}: {}", ended.stderr);
        }
        run(&["analyze", path, "--board", "weact-h743"]).fails(1, &["holds a control character"]);
    }
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
    for path in made.into_iter().chain(given(&["conv-dil.onnx", "maxpool-k0.onnx", "expand.onnx", "pad.onnx"])) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let command =
            ["train", "--backbone", path.to_str().unwrap(), "--img-size", "16", "--out", out.to_str().unwrap()];
        let ended = run(&command);
        ended.fails(1, &[&name, "its node `"]);
        assert!(!out.exists(), "{name}: a run folder is left");
    }
}
