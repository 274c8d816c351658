//! `ocellus train --teacher` from the outside: models and ensembles as teachers, what is asked once, and what is refused.

use crate::commands::{Run, run_in, works_in};
use ocellus_tests::program::TINY;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn go(folder: &TempDir, arguments: &[&str]) -> Run {
    run_in(folder.path(), arguments)
}

#[track_caller]
fn works(folder: &TempDir, arguments: &[&str]) -> Run {
    works_in(folder.path(), arguments)
}

/// Arguments of a short run with the recipe into the folder `out`.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--recipe", "tiny.toml", "--epochs", "1", "--out", out][..], more].concat()
}

fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    folder
}

/// Soft labels in the cache, and when each was written.
fn kept(folder: &TempDir) -> Vec<(String, std::time::SystemTime)> {
    let files = fs::read_dir(folder.path().join("cache/features")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().modified().unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn models_and_ensembles_teach_students_of_any_size() {
    let folder = workplace();
    for (name, seed) in [("a", "1"), ("b", "2")] {
        works(&folder, &train(name, &["--seed", seed]));
    }
    works(&folder, &["ensemble", "a", "b", "--out", "joined"]);
    let views = ["--teacher", "joined", "--temperature", "2", "--set", "distill.views=2"];
    let said = works(&folder, &train("student", &views)).stderr;
    assert!(said.contains("soft labels are kept in"), "{said}");
    let first = kept(&folder);
    assert_eq!(first.len(), 1);
    let recipe = fs::read_to_string(folder.path().join("student/recipe.toml")).unwrap();
    for part in ["temperature = 2.0", "teacher-sha256 = \"", "soft-labels-sha256 = \"", "views = 2"] {
        assert!(recipe.contains(part) && !recipe.contains(&format!("{part}\"")), "{part}: {recipe}");
    }
    // Another student reads what the first one's teacher said.
    works(&folder, &train("other", &[&views[..], &["--seed", "9", "--set", "distill.standardise=true"]].concat()));
    assert_eq!(kept(&folder), first);
    works(&folder, &["eval", "student", "--images", "20"]);

    // The built-in pictures in another size, of which a member still makes its own; and an int8 teacher.
    works(&folder, &train("large", &["--teacher", "joined", "--img-size", "24", "--set", "distill.views=1"]));
    works(&folder, &["export", "a"]);
    works(&folder, &train("of-int8", &["--teacher", "a/model.plan", "--set", "distill.views=1"]));
    assert_eq!(kept(&folder).len(), 3);

    // Stored soft labels do without the teacher.
    let file = folder.path().join("cache/features").join(&first[0].0);
    let labels = format!("distill.soft-labels={}", file.display());
    let stored = ["--set", &labels, "--set", "distill.views=2", "--temperature", "2"];
    works(&folder, &train("again", &stored));
    let weights = |run: &str| fs::read(folder.path().join(run).join("best.safetensors")).unwrap();
    let tensors = |run: &str| ocellus::checkpoint::Checkpoint::load(&folder.path().join(run)).unwrap().weights;
    assert!(tensors("again") == tensors("student") && weights("again") != weights("student"), "their recipes differ");
}

#[test]
fn teachers_that_do_not_suit_are_refused_and_nothing_is_left() {
    let folder = workplace();
    works(&folder, &train("a", &[]));
    let refused = |arguments: &[&str], part: &str| {
        go(&folder, &train("x", arguments)).fails(1, &[part]);
        assert!(!folder.path().join("x").exists(), "{arguments:?}");
    };
    refused(&["--teacher", "gone"], "gone does not exist");
    refused(&["--teacher", "a", "--temperature", "0"], "distill.temperature");
    refused(&["--teacher", "a", "--set", "data.seed=4"], "trained on another dataset");
    refused(&["--teacher", "a", "--img-size", "24", "--set", "data.val-fraction=0.3"], "another division");
    refused(&["--set", "distill.soft-labels=tiny.toml"], "no features or soft labels");

    let photos = |name: &str, classes: [&str; 2]| {
        for (k, class) in classes.iter().enumerate() {
            let place = folder.path().join(name).join(class);
            fs::create_dir_all(&place).unwrap();
            for i in 0..20 {
                let pixels = (0..16 * 16 * 3).map(|at| (at * (7 + i) % 199 + 50 * k) as u8).collect();
                let picture = ocellus::data::picture::Picture { width: 16, height: 16, pixels };
                fs::write(place.join(format!("{i}.png")), picture.to_png().unwrap()).unwrap();
            }
        }
    };
    photos("pets", ["cat", "dog"]);
    refused(&["--teacher", "a", "--data", "pets"], "have different classes");
    works(&folder, &train("of-pets", &["--data", "pets"]));
    photos("others", ["cat", "dog"]);
    fs::remove_file(Path::new(&folder.path().join("others/cat/3.png"))).unwrap();
    refused(&["--teacher", "of-pets", "--data", "others"], "trained on another dataset");

    // A run goes on with the teacher that it began with.
    works(&folder, &train("student", &["--teacher", "of-pets", "--data", "pets"]));
    works(&folder, &train("of-pets-2", &["--data", "pets", "--seed", "5"]));
    fs::copy(folder.path().join("of-pets-2/best.safetensors"), folder.path().join("of-pets/best.safetensors")).unwrap();
    let more = ["train", "--resume", "--out", "student", "--epochs", "2"];
    go(&folder, &more).fails(1, &["of-pets has the SHA-256", "the run began with"]);
}
