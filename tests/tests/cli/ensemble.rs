//! `ocellus ensemble` from the outside: what it writes, that other commands take it, and what is refused with nothing written.

use crate::commands::{Run, run_in, works_in};
use ocellus_tests::program::TINY;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// A folder with three short runs of one recipe and different seeds.
fn three_runs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    for (name, seed) in [("a", "1"), ("b", "2"), ("c", "3")] {
        works(&folder, &["train", "--recipe", "tiny.toml", "--out", name, "--epochs", "2", "--seed", seed]);
    }
    folder
}

fn go(folder: &TempDir, arguments: &[&str]) -> Run {
    run_in(folder.path(), arguments)
}

#[track_caller]
fn works(folder: &TempDir, arguments: &[&str]) -> Run {
    works_in(folder.path(), arguments)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn three_runs_are_one_model_for_every_command() {
    let folder = three_runs();
    let made: Vec<Value> = ["mean", "weighted", "stack"]
        .iter()
        .map(|method| {
            works(&folder, &["ensemble", "a", "b", "c", "--method", method, "--out", method, "--json"]).json()
        })
        .collect();
    for said in &made {
        let members = said["members"].as_array().unwrap();
        assert_eq!(members.len(), 3);
        let best = members.iter().find(|member| member["model"] == said["best_member"]).unwrap();
        let accuracy = |of: &Value| number(&of["val"]["accuracy"]);
        assert!(members.iter().all(|member| accuracy(member) <= accuracy(best)), "{said}");
        let losses = members.iter().map(|member| number(&member["val"]["loss"]));
        let (least, mean) = (losses.clone().fold(f64::INFINITY, f64::min), losses.sum::<f64>() / 3.0);
        let found = number(&said["val"]["loss"]);
        match said["method"].as_str().unwrap() {
            // The logarithm is concave.
            "mean" => assert!(found < mean, "{said}"),
            // One of the members alone is one of the choices, but these images were left out of each fit.
            "weighted" => assert!(found < least + 0.005, "{said}"),
            _ => assert!(found < least && accuracy(said) > accuracy(best), "{said}"),
        }
        let disagreements = &said["mcnemar"];
        let ahead = number(&disagreements["first_only"]) - number(&disagreements["second_only"]);
        let gained = number(&said["test"]["accuracy"]) - number(&best["test"]["accuracy"]);
        assert!((gained - ahead / 2000.0).abs() < 1e-9 && number(&disagreements["p_value"]) <= 1.0, "{said}");
    }
    let weights: f64 = made[1]["members"].as_array().unwrap().iter().map(|member| number(&member["weight"])).sum();
    assert!((weights - 1.0).abs() < 1e-9 && number(&made[2]["l2"]) > 0.0);

    for (method, said) in ["mean", "weighted", "stack"].into_iter().zip(&made) {
        let evaluated = works(&folder, &["eval", method, "--json"]).json();
        assert_eq!(evaluated["accuracy"], said["test"]["accuracy"], "{method}");
        assert_eq!(evaluated["with"], "ensemble");
    }
    let compared = works(&folder, &["compare", "a", "mean", "--json"]).json();
    assert_eq!(compared["models"][1]["float"]["accuracy"], made[0]["test"]["accuracy"]);
    assert_eq!(number(&compared["models"][1]["parameters"]), 3.0 * number(&compared["models"][0]["parameters"]));

    let picture = folder.path().join("picture.png");
    let pixels = (0..32 * 20 * 3).map(|i| (i * 31 % 255) as u8).collect();
    let image = ocellus::data::picture::Picture { width: 32, height: 20, pixels };
    fs::write(&picture, image.to_png().unwrap()).unwrap();
    let named = works(&folder, &["run", "stack", "picture.png", "--json"]).json();
    let top = named["top"].as_array().unwrap();
    assert!(top.len() == 3 && top[0]["label"] == named["label"], "{named}");
    let total: f64 = named["log_probabilities"].as_array().unwrap().iter().map(|log| number(log).exp()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{named}");

    let text = works(&folder, &["ensemble", "b", "a", "--out", "two"]);
    for part in ["2 members by mean", "McNemar's test (", "precision", "best member by validation accuracy"] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    assert!(text.stderr.contains("slightly optimistic"), "{}", text.stderr);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let folder = three_runs();
    let refused = |arguments: &[&str], code, part: &str| go(&folder, arguments).fails(code, &[part]);
    let untouched = |name: &str| assert!(!folder.path().join(name).exists(), "{name}");
    refused(&["ensemble", "a", "--out", "x"], 2, "required");
    refused(&["ensemble", "a", "a", "--out", "x"], 2, "a is the same model as one before it");
    refused(&["ensemble", "a", "gone", "--out", "x"], 1, "gone does not exist");
    refused(&["ensemble", "a", "b", "--method", "vote", "--out", "x"], 2, "vote");
    refused(&["ensemble", "a", "b", "--out", "c"], 1, "c holds a model or a run already");
    // Another division of the same images.
    let other = ["--epochs", "1", "--set", "data.seed=9"];
    works(&folder, &[&["train", "--recipe", "tiny.toml", "--out", "d"][..], &other].concat());
    refused(&["ensemble", "a", "d", "--method", "stack", "--out", "x"], 2, "d was trained on other images");
    untouched("x");
    let warned = works(&folder, &["ensemble", "a", "d", "--out", "mixed"]).stderr;
    assert!(warned.contains("d was trained on other images"), "{warned}");

    works(&folder, &["ensemble", "a", "b", "--out", "both"]);
    refused(&["ensemble", "both", "c", "--out", "x"], 1, "both is an ensemble itself");
    refused(&["ensemble", "a", "c", "--out", "both"], 1, "both holds a model");
    refused(&["train", "--recipe", "tiny.toml", "--out", "both"], 1, "ensemble.toml is of an ensemble");
    refused(&["export", "both"], 1, "both");
    refused(&["eval", "both", "--with", "engine"], 1, "--teacher");
    refused(&["run", "both", "--on", "sim", "picture.png"], 2, "an ensemble runs on this machine");
    fs::copy(folder.path().join("c/best.safetensors"), folder.path().join("b/best.safetensors")).unwrap();
    refused(&["eval", "both"], 1, "has changed since the ensemble was made");
    fs::remove_dir_all(folder.path().join("b")).unwrap();
    refused(&["compare", "both", "a"], 1, "is gone");
    untouched("x");
}
