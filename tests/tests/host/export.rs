//! `ocellus export`: what it writes, and what it leaves alone.

use crate::random::network;
use ocellus::analysis::raw_bytes;
use ocellus::checkpoint::Checkpoint;
use ocellus::data::Dataset;
use ocellus::data::picture::Picture;
use ocellus::deploy::{self, Artifacts};
use ocellus::eval::tract::TractModel;
use ocellus::onnx;
use ocellus::recipe::{CalibrationMethod, Model as ModelName, Recipe};
use ocellus_shared::Shape;
use ocellus_shared::plan::{Crop, Plan};
use ocellus_tests::program::ocellus;
use std::path::Path;

/// Most that a plan has beyond its weights, biases and multipliers, as a part of them.
const PLAN_OVERHEAD: f64 = 0.05;

/// A checkpoint of the default network's smallest form, and pictures for it.
fn model() -> (Checkpoint, Dataset) {
    let (checkpoint, network) =
        crate::random::network::of_recipe("[net]\nblocks = [[4], [5]]\nblock-dropout = [0.0, 0.0]\ndense = 7\n");
    let train = network::pictures(&network, 1, 12);
    let [val, test] = [0, 0].map(|count| network::pictures(&network, 2, count));
    let (name, classes) = ("random".into(), checkpoint.classes.clone());
    (checkpoint, Dataset { name, classes, train, val, test, hash: String::new() })
}

/// Builds, verifies and writes.
fn export(checkpoint: &Checkpoint, dataset: &Dataset, out: &Path) -> anyhow::Result<Artifacts> {
    let artifacts = deploy::build(checkpoint, &dataset.train, None)?;
    assert!(artifacts.verify(&dataset.train)? > 0);
    artifacts.write(out)?;
    Ok(artifacts)
}

#[test]
fn the_files_belong_together() {
    let (mut checkpoint, dataset) = model();
    checkpoint.recipe.data.path = Some("/home/somebody/photos".into());
    checkpoint.recipe.data.crop = Crop::Stretch;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/model");
    let artifacts = export(&checkpoint, &dataset, &out).unwrap();
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    let plan = read("model.plan");
    let plan = Plan::parse(&plan).unwrap();
    let tract = TractModel::load(&read("model.onnx")).unwrap();
    assert_eq!(plan.digest(), tract.digest());
    assert!(plan.labels().eq(tract.labels()) && plan.labels().eq(&checkpoint.classes));
    assert_eq!((plan.input().shape, plan.arena_bytes()), (checkpoint.input, artifacts.packed.arena.bytes));
    assert_eq!(plan.crop(), Crop::Stretch);
    checkpoint.recipe.data.path = None;
    assert_eq!(String::from_utf8(read("recipe.toml")).unwrap(), checkpoint.recipe.to_toml());
    let names = std::fs::read_dir(&out).unwrap().count();
    assert_eq!(names, 4, "nothing temporary is left");
    assert!(TractModel::load(&read("float.onnx")).unwrap_err().to_string().contains("float model"));
}

/// One picture is far brighter than the others: how far ranges follow it is what the methods differ in.
#[test]
fn the_closest_calibration_is_found() {
    let (mut checkpoint, mut dataset) = model();
    let pixels = dataset.train.height * dataset.train.width * 3;
    let levels = |i: usize| if i / pixels == 0 { 255 } else { (i * 7 % 40) as u8 };
    dataset.train.images = (0..dataset.train.images.len()).map(levels).collect();
    let mut digest = |method: CalibrationMethod, percentile: f64| {
        (checkpoint.recipe.quant.method, checkpoint.recipe.quant.percentile) = (method, percentile);
        let folder = tempfile::tempdir().unwrap();
        export(&checkpoint, &dataset, folder.path()).unwrap().digest
    };
    let percentile = |kept| (CalibrationMethod::Percentile, kept);
    let methods = [(CalibrationMethod::Mse, 100.0), percentile(99.99), percentile(99.9), percentile(99.8)];
    let each: Vec<_> = methods.into_iter().map(|(method, percentile)| digest(method, percentile)).collect();
    assert_ne!(each[0], each[3], "the methods differ here");
    assert!(each.contains(&digest(CalibrationMethod::Auto, 99.99)));
}

#[test]
fn a_failed_export_leaves_the_old_files() {
    let (mut checkpoint, dataset) = model();
    let folder = tempfile::tempdir().unwrap();
    export(&checkpoint, &dataset, folder.path()).unwrap();
    let old = std::fs::read(folder.path().join("model.plan")).unwrap();
    let none = Dataset { train: network::pictures(&crate::random::network::network(0).0, 1, 0), ..dataset.clone() };
    let error = export(&checkpoint, &none, folder.path()).unwrap_err();
    assert!(error.to_string().contains("no images to calibrate with"), "{error:#}");
    checkpoint.weights.values_mut().next().unwrap().values[0] = f32::INFINITY;
    assert!(export(&checkpoint, &dataset, folder.path()).is_err());
    assert_eq!(std::fs::read(folder.path().join("model.plan")).unwrap(), old);
}

#[test]
fn a_head_on_a_foreign_backbone_is_refused() {
    let (mut checkpoint, dataset) = model();
    checkpoint.recipe.transfer.backbone = Some("photos/resnet.onnx".into());
    let folder = tempfile::tempdir().unwrap();
    let error = export(&checkpoint, &dataset, folder.path()).unwrap_err().to_string();
    assert!(error.contains("photos/resnet.onnx") && error.contains("eval --with float"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What the program says to these arguments about the run of `checkpoint`, and its exit code.
fn said(checkpoint: &Checkpoint, arguments: &[&str]) -> (i32, String) {
    let run = tempfile::tempdir().unwrap();
    checkpoint.save(&run.path().join("best.safetensors")).unwrap();
    let output = ocellus().arg(arguments[0]).arg(run.path()).args(&arguments[1..]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stderr, output.stdout].concat()).unwrap())
}

#[test]
fn what_cannot_be_exported_is_not_quantized_either() {
    let (mut checkpoint, _) = model();
    for command in ["quantize", "export"] {
        let (code, text) = said(&checkpoint, &[command, "--percentile", "99", "--calib", "mse"]);
        assert!(code == 2 && text.contains("--calib percentile"), "{text}");
    }
    let (code, text) = said(&checkpoint, &["export", "--board", "toaster"]);
    assert!(code == 2 && text.contains("mps2-an500"), "{text}");
    checkpoint.recipe.transfer.backbone = Some("photos/resnet.onnx".into());
    for command in ["quantize", "export"] {
        let (code, text) = said(&checkpoint, &[command]);
        assert!(code == 1 && text.contains("photos/resnet.onnx") && text.contains("eval --with float"), "{text}");
    }
}

#[test]
fn other_class_names_are_told_once() {
    let (checkpoint, _) = model();
    let photos = tempfile::tempdir().unwrap();
    for class in ["x", "y", "z"] {
        std::fs::create_dir(photos.path().join(class)).unwrap();
        let pixels = (0..3 * 12 * 12).map(|i| (i * 7) as u8).collect();
        let picture = Picture { width: 12, height: 12, pixels }.to_png().unwrap();
        (0..3).for_each(|i| std::fs::write(photos.path().join(class).join(format!("{i}.png")), &picture).unwrap());
    }
    let (code, text) = said(&checkpoint, &["quantize", "--worst", "--data", photos.path().to_str().unwrap()]);
    assert_eq!((code, text.matches("have other names").count()), (0, 1), "{text}");
    assert!(text.contains("own SQNR, dB"), "the worst layers are shown: {text}");
}

#[test]
fn a_run_folder_keeps_its_recipe() {
    let (checkpoint, dataset) = model();
    let folder = tempfile::tempdir().unwrap();
    checkpoint.save(&folder.path().join("best.safetensors")).unwrap();
    std::fs::write(folder.path().join("recipe.toml"), "# mine\n").unwrap();
    export(&checkpoint, &dataset, folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("recipe.toml")).unwrap(), "# mine\n");
}

#[test]
fn the_network_before_quantization_is_read_back_from_its_file() {
    for (model, truncate, side) in [
        ("linear", 0, 8),
        ("cnn", 0, 32),
        ("resnet8", 0, 32),
        ("mobilenetv1-025", 0, 32),
        ("mobilenetv2-035", 0, 32),
        ("efficientnet-lite0", 5, 32),
        ("efficientnet-b0", 5, 32),
    ] {
        let recipe = format!("model = \"{model}\"\n[net]\ntruncate = {truncate}\n");
        let (checkpoint, _) = network::of_recipe_at(&recipe, Shape::new(side, side, 3));
        let Checkpoint { recipe, input, classes, .. } = &checkpoint;
        let folded = deploy::folded(&checkpoint).unwrap();
        let file = onnx::write_float(&folded);
        assert_eq!(deploy::reopened(&file, recipe, *input, classes).unwrap(), folded, "{model}");
        let other = Recipe { model: ModelName::Linear, ..recipe.clone() };
        if model != "linear" {
            let error = deploy::reopened(&file, &other, *input, classes).unwrap_err().to_string();
            assert!(error.contains("layer"), "{model}: {error}");
        }
    }
    for model in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")).unwrap() {
        let folder = model.unwrap().path();
        let Ok(file) = std::fs::read(folder.join("float.onnx")) else { continue };
        let plan = std::fs::read(folder.join("model.plan")).unwrap();
        let plan = Plan::parse(&plan).unwrap();
        let labels: Vec<String> = plan.labels().map(str::to_owned).collect();
        let recipe = Recipe::load(&folder.join("recipe.toml")).unwrap();
        deploy::reopened(&file, &recipe, plan.input().shape, &labels)
            .unwrap_or_else(|error| panic!("{}: {error:#}", folder.display()));
    }
}

#[test]
fn plans_are_little_more_than_their_parameters() {
    let models = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")).unwrap();
    let committed = models.filter_map(|model| {
        let path = model.unwrap().path();
        Some((path.display().to_string(), std::fs::read(path.join("model.plan")).ok()?))
    });
    let mut plans: Vec<(String, Vec<u8>)> = committed.collect();
    assert!(!plans.is_empty());
    // The networks of MLPerf Tiny at their sizes, the narrowest of the second MobileNets, and a part of a network.
    for (model, truncate, side) in
        [("resnet8", 0, 32), ("mobilenetv1-025", 0, 96), ("mobilenetv2-035", 0, 96), ("efficientnet-lite0", 11, 64)]
    {
        let recipe = format!("model = \"{model}\"\n[net]\ntruncate = {truncate}\n[quant]\nimages = 2\n");
        let (checkpoint, network) = network::of_recipe_at(&recipe, Shape::new(side, side, 3));
        let train = network::pictures(&network, 1, 2);
        let [val, test] = [0, 0].map(|count| network::pictures(&network, 2, count));
        let (name, classes) = ("random".into(), checkpoint.classes.clone());
        let dataset = Dataset { name, classes, train, val, test, hash: String::new() };
        let folder = tempfile::tempdir().unwrap();
        export(&checkpoint, &dataset, folder.path()).unwrap();
        plans.push((model.into(), std::fs::read(folder.path().join("model.plan")).unwrap()));
    }
    for (name, plan) in plans {
        let raw = raw_bytes(&Plan::parse(&plan).unwrap());
        let overhead = plan.len() as f64 / raw as f64 - 1.0;
        println!("{name}: {} bytes, {:.2} % over {raw}", plan.len(), 100.0 * overhead);
        assert!((0.0..=PLAN_OVERHEAD).contains(&overhead), "{name}: {} bytes for {raw}", plan.len());
    }
}
