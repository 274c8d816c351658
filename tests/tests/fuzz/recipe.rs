//! Recipes, and the values that a command line gives them.

use super::target::Target;
use ocellus::recipe::Recipe;
use ocellus_tests::program::TINY;

/// A recipe that is taken says the same when it is written and read again.
#[test]
fn recipe() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
    let folders = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path().join("recipe.toml"));
    let mut seeds: Vec<Vec<u8>> = folders.filter_map(|path| std::fs::read(path).ok()).collect();
    seeds.sort();
    assert!(seeds.len() > 5);
    seeds.push(TINY.as_bytes().to_vec());
    seeds.push(Recipe::default().to_toml().into_bytes());
    let words: &[&[u8]] =
        &[b"[net]\n", b"blocks = [[", b"nan", b"inf", b"= ''", b"\"", b"]", b"= -", b"e308", b"_", b"= true"];
    Target { quick: 10_000, words, ..Target::new("recipe", &seeds) }.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(recipe) = Recipe::parse(text) else { return false };
        let again = Recipe::parse(&recipe.to_toml()).expect("what is written is a recipe");
        assert_eq!(again, recipe);
        true
    });
}

/// Each value that `--set` takes leaves a recipe that can be written and read.
#[test]
fn change() {
    let seeds = ["train.epochs=3", "net.dense=8", "augment.cutout=4", "data.mean=[0.5,0.4,0.3]", "name=x"];
    let seeds = seeds.map(|text| text.as_bytes().to_vec());
    let words: &[&[u8]] = &[b"net.dense=", b"train.lr=", b"nan", b"1e309", b"[[", b"=", b".", b"\n[x]\n", b"\"", b"-"];
    Target { quick: 10_000, words, ..Target::new("change", &seeds) }.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(recipe) = Recipe::default().with(&[text.to_owned()]) else { return false };
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
        true
    });
}
