//! Plots and reports: what is written, and what is refused before anything is measured.

use crate::commands::{Model, finish, run};
use ocellus_tests::program::{TINY, ocellus};
use std::fs;
use std::path::Path;

/// The SVG file at `path`.
#[track_caller]
fn svg(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("<svg xmlns=") && text.ends_with("</svg>\n"), "{text}");
    text
}

#[test]
fn an_evaluation_is_plotted() {
    let model = Model::new();
    let folder = model.file("plots");
    let done = run(&["eval", model.path(), "--images", "40", "--plots", folder.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("expected calibration error"), "{}", done.stdout);
    let confusion = svg(&folder.join("confusion.svg"));
    assert!(confusion.contains("true class") && confusion.contains("crescent"), "{confusion}");
    for name in ["classes.svg", "reliability.svg", "coverage.svg"] {
        svg(&folder.join(name));
    }
    // tract has the same scores, and says itself what they stand for.
    let ece = |with: &str| {
        run(&["eval", model.path(), "--images", "40", "--with", with, "--json"]).json()["calibration"]["ece"].clone()
    };
    assert!(ece("tract").is_f64() && ece("tract") == ece("engine"));
    run(&["eval", model.path(), "--plots", model.file("model.plan").to_str().unwrap()])
        .fails(1, &["model.plan is no folder"]);
}

#[test]
fn costs_are_plotted() {
    let (a, b) = (Model::new(), Model::new());
    let (front, memory) = (a.file("front.svg"), a.file("memory.png"));
    let done = run(&["compare", a.path(), b.path(), "--images", "20", "--plot", front.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(svg(&front).contains("plan in flash"));
    let done = run(&["analyze", a.path(), "--plot", memory.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(fs::read(&memory).unwrap().starts_with(b"\x89PNG"));
    run(&["analyze", a.path(), "--plot", "plot.jpg"]).fails(2, &["SVG or PNG"]);
    run(&["compare", "gone", "gone too", "--plot", "nofolder/x.svg"]).fails(1, &["nofolder/x.svg"]);
}

#[test]
fn a_run_is_reported_from_its_first_epoch_to_its_boards() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("tiny.toml"), TINY).unwrap();
    let go = |arguments: &[&str]| {
        let mut command = ocellus();
        command.current_dir(folder.path()).args(arguments);
        let done = finish(command);
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
        done
    };
    go(&["train", "--recipe", "tiny.toml", "--out", "run", "--epochs", "2"]);
    assert!(svg(&at("run/curves.svg")).contains("learning rate"));
    assert!(svg(&at("run/confusion.svg")).contains("predicted class"));
    // Resumed, the curves go on.
    let dots = |text: String| text.matches("<circle").count();
    let before = dots(svg(&at("run/curves.svg")));
    go(&["train", "--resume", "--out", "run", "--epochs", "4", "--set", "train.restarts=[2]"]);
    assert_eq!(dots(svg(&at("run/curves.svg"))), 2 * before);
    go(&["quantize", "run", "--report", "layers.svg"]);
    assert!(svg(&at("layers.svg")).contains("SQNR"));

    // Without a plan, and with one.
    let quick = ["--images", "60", "--robustness", "4", "--board-images", "0"];
    let float = go(&[&["report", "run", "--json"][..], &quick].concat()).json();
    assert_eq!(float["models"][0]["sides"].as_array().unwrap().len(), 1);
    go(&["export", "run"]);
    let done =
        go(&[&["report", "run", "--json", "--csv", "figures.csv", "--out", "r.html"][..], &quick].concat()).json();
    let model = &done["models"][0];
    assert_eq!(model["sides"].as_array().unwrap().len(), 2);
    assert_eq!(model["history"].as_array().unwrap().len(), 4);
    assert_eq!(model["robustness"]["cells"].as_array().unwrap().len(), 60);
    assert!(model["layers"]["layers"].as_array().unwrap().len() > 3 && model["boards"].as_array().unwrap().len() > 5);
    let alone = go(&["eval", "run", "--images", "60", "--json"]).json();
    assert_eq!(model["sides"][1]["metrics"]["accuracy"], alone["accuracy"]);
    // The float ONNX file has the same weights, where the checkpoint was not kept.
    fs::create_dir(at("kept")).unwrap();
    for name in ["model.plan", "model.onnx", "float.onnx", "recipe.toml"] {
        fs::copy(at("run").join(name), at("kept").join(name)).unwrap();
    }
    let kept = go(&[&["report", "kept", "--json", "--out", "kept.html"][..], &quick].concat()).json();
    assert_eq!(kept["models"][0]["layers"], model["layers"]);
    fs::remove_file(at("kept/float.onnx")).unwrap();
    let without = go(&[&["report", "kept", "--json", "--out", "kept.html"][..], &quick].concat()).json();
    assert!(without["models"][0]["missing"].to_string().contains("neither trained weights nor a float ONNX file"));
    let csv = fs::read_to_string(at("figures.csv")).unwrap();
    assert!(csv.contains("run,int8,all,accuracy,") && csv.contains(",robustness,low light 5,int8,"), "{csv}");
    let page = fs::read_to_string(at("r.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("data:image/svg+xml;base64,"));
    for section in ["Training", "Confusion", "Mistakes", "Confidence", "Robustness", "Cost of int8", "Boards", "Recipe"]
    {
        assert!(page.contains(&format!(">{section}</h2>")), "{section}");
    }
    // Nothing from elsewhere, and no script.
    for outside in ["http:", "https:", "<script", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let both = go(&[&["report", "run", "run/best.safetensors", "--out", "both.html"][..], &quick].concat());
    assert!(both.stdout.contains("both.html"));
    assert!(fs::read_to_string(at("both.html")).unwrap().contains("Comparison of 2 models"));
}

#[test]
fn what_would_spoil_a_report_is_said_before_anything_is_measured() {
    let model = Model::new();
    run(&["report", "gone", "--out", "nofolder/r.html"]).fails(1, &["nofolder/r.html"]);
    run(&["report", "gone", "--csv", "nofolder/r.csv", "--out", "/dev/null"]).fails(1, &["nofolder/r.csv"]);
    run(&["report", "gone", "--out", "/dev/null"]).fails(1, &["gone does not exist"]);
    run(&["report", model.path(), "--board", "toaster", "--out", "/dev/null"]).fails(2, &["toaster"]);
    run(&["report"]).fails(2, &["RUN"]);
}
