//! Runs in which a part of the network stays as it is.

use super::*;
use crate::features::Extractor;
use crate::recipe::{Freeze, LossKind, ScheduleKind, Statistics};
use std::sync::atomic::AtomicUsize;

/// Two frozen blocks, images as they are, and everything else that could differ.
fn frozen() -> Recipe {
    let mut recipe = recipe();
    recipe.augment = crate::recipe::AugmentRecipe::none();
    recipe.transfer.freeze = Freeze::All;
    recipe.transfer.cache = false;
    recipe
}

fn go_on(
    extractor: Option<&dyn Extractor>,
    recipe: &Recipe,
    out: &TempDir,
    resume: bool,
    cache: &TempDir,
) -> Result<Outcome> {
    go_until(&AtomicBool::new(false), extractor, recipe, out, resume, cache)
}

fn go_until(
    stop: &AtomicBool,
    extractor: Option<&dyn Extractor>,
    recipe: &Recipe,
    out: &TempDir,
    resume: bool,
    cache: &TempDir,
) -> Result<Outcome> {
    let options =
        RunOptions { out: out.path(), resume, threads: THREADS, cache: Some(cache.path()), devices: &[], watch: None };
    let pretrained = Pretrained { extractor, teacher: None };
    run_on(pretrained, recipe, &dataset(), &options, stop)
}

/// The network before any training.
fn initial(recipe: &Recipe) -> Weights {
    let network = net::build(recipe, Shape::new(8, 8, 3), 3).unwrap();
    Module::new(network).unwrap().initial(recipe.train.seed)
}

/// Names of the arrays that differ.
fn moved(a: &Weights, b: &Weights) -> Vec<String> {
    a.iter().filter(|(name, array)| array.values != b[*name].values).map(|(name, _)| name.clone()).collect()
}

fn largest_difference(a: &Weights, b: &Weights) -> f32 {
    let pairs = a.iter().flat_map(|(name, array)| array.values.iter().zip(&b[name].values));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_frozen_backbone_stays_to_the_last_bit_and_has_no_momentum() {
    let recipe = frozen();
    let (out, _) = straight(&recipe);
    for file in [BEST, LAST] {
        let (weights, state) = tensors(&out, file);
        let moved = moved(&weights, &initial(&recipe));
        assert_eq!(moved, ["dense1.bias", "dense1.weight", "head.bias", "head.weight"], "{file}");
        for name in state.unwrap_or_default().keys().filter(|name| name.starts_with("first.")) {
            assert!(name.contains("dense1") || name.contains("head"), "{name} has a momentum");
        }
    }
    // The average of what stays is what stays.
    let (weights, state) = tensors(&out, LAST);
    let state = state.unwrap();
    let same = weights.iter().filter(|(name, array)| state[&format!("average.{name}")].values == array.values).count();
    assert_eq!(same, weights.len() - 4);
}

#[test]
fn the_first_groups_stay_and_statistics_as_the_recipe_says() {
    let mut recipe = frozen();
    recipe.transfer.freeze = Freeze::First(1);
    let (out, _) = straight(&recipe);
    let initial = initial(&recipe);
    let first = |weights: &Weights| {
        moved(weights, &initial).into_iter().filter(|name| name.starts_with("block1")).collect::<Vec<_>>()
    };
    let weights = tensors(&out, LAST).0;
    assert_eq!(first(&weights), [""; 0]);
    assert!(moved(&weights, &initial).iter().any(|name| name == "block2.conv1.weight"));
    recipe.transfer.statistics = Statistics::ReEstimated;
    for device in [DeviceKind::Flex, DeviceKind::Ndarray] {
        recipe.train.device = device;
        let weights = tensors(&straight(&recipe).0, LAST).0;
        assert_eq!(first(&weights), ["block1.conv1.bn.running_mean", "block1.conv1.bn.running_var"], "{device:?}");
    }
}

#[test]
fn what_is_frozen_trains_from_the_epoch_that_the_recipe_names() {
    let mut recipe = frozen();
    recipe.train.opt = OptimizerKind::Adam;
    recipe.train.lr = 0.01;
    recipe.train.warmup_epochs = 0.0;
    recipe.transfer.unfreeze_at = 3;
    let (out, pieces) = (straight(&recipe).0, tempfile::tempdir().unwrap());
    assert!(moved(&tensors(&out, LAST).0, &initial(&recipe)).contains(&"block1.conv1.weight".to_owned()));
    // Six steps of three an epoch: nothing has moved yet. With the seventh it does, as far as Adam's first step goes.
    let mut weights = initial(&recipe);
    for step in 1..=7 {
        go(&recipe, &dataset(), &pieces, step > 1, true).unwrap();
        let now = tensors(&pieces, LAST).0;
        let backbone = moved(&now, &weights).iter().any(|name| name.starts_with("block"));
        assert_eq!(backbone, step == 7, "step {step}");
        if step == 7 {
            let only = |w: &Weights| Weights::from([("w".to_owned(), w["block1.conv1.weight"].clone())]);
            let lr = schedule::learning_rate(&recipe, 6, 3, &[]) as f32;
            let distance = largest_difference(&only(&now), &only(&weights));
            assert!((distance - lr).abs() < 0.02 * lr, "{distance} at a learning rate of {lr}");
        }
        weights = now;
    }
}

#[test]
fn resuming_a_thawing_run_changes_nothing() {
    for cache in [true, false] {
        let mut recipe = frozen();
        recipe.transfer.cache = cache;
        recipe.transfer.unfreeze_at = 2;
        recipe.transfer.unfreeze_warmup_epochs = 0.5;
        recipe.transfer.layer_decay = 0.5;
        recipe.train.opt = OptimizerKind::Adam;
        recipe.train.sched = ScheduleKind::Plateau;
        recipe.train.plateau_patience = 0;
        let (whole, pieces) = (straight(&recipe).0, tempfile::tempdir().unwrap());
        let mut outcome = go(&recipe, &dataset(), &pieces, false, true).unwrap();
        while let Outcome::Stopped = outcome {
            outcome = go(&recipe, &dataset(), &pieces, true, true).unwrap();
        }
        for file in [BEST, LAST] {
            assert!(tensors(&whole, file) == tensors(&pieces, file), "{file} with cache = {cache}");
        }
    }
}

#[test]
fn kept_features_train_the_same_head() {
    for views in [0, 2] {
        let mut recipe = frozen();
        if views > 0 {
            recipe.augment.shift = 1;
            recipe.transfer.cache_views = views;
        }
        let (direct, expected) = straight(&recipe);
        recipe.transfer.cache = true;
        let cache = tempfile::tempdir().unwrap();
        let mut runs = Vec::new();
        for _ in 0..2 {
            let out = tempfile::tempdir().unwrap();
            let metrics = finished(go_on(None, &recipe, &out, false, &cache).unwrap());
            assert_eq!(metrics.test_accuracy, expected.test_accuracy);
            let files: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|file| file.unwrap().path()).collect();
            assert_eq!(files.len(), 3, "training, validation and test, once");
            runs.push(tensors(&out, LAST));
            // Damaged files are not believed by the next run.
            for file in files {
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x40;
                std::fs::write(&file, bytes).unwrap();
            }
        }
        assert!(runs[0] == runs[1], "{views} views");
        let difference = largest_difference(&runs[0].0, &tensors(&direct, LAST).0);
        assert!(difference < 1e-4, "{difference} with {views} views");
    }
}

#[test]
fn views_differ_from_images_as_they_are() {
    let mut recipe = frozen();
    recipe.transfer.cache = true;
    recipe.augment.shift = 2;
    recipe.transfer.cache_views = 1;
    let (cache, weights) = (tempfile::tempdir().unwrap(), |recipe: &Recipe, cache: &TempDir| {
        let out = tempfile::tempdir().unwrap();
        finished(go_on(None, recipe, &out, false, cache).unwrap());
        tensors(&out, LAST).0
    });
    let one = weights(&recipe, &cache);
    recipe.transfer.cache_views = 3;
    let three = weights(&recipe, &cache);
    recipe.augment.shift = 0;
    let none = weights(&recipe, &cache);
    assert!(largest_difference(&one, &three) > 1e-3 && largest_difference(&one, &none) > 1e-3);
}

#[test]
fn deeper_layers_move_less() {
    let mut recipe = frozen();
    recipe.transfer.freeze = Freeze::None;
    recipe.train.epochs = 1;
    recipe.train.warmup_epochs = 0.0;
    recipe.train.sched = ScheduleKind::Constant;
    recipe.train.weight_decay = 0.0;
    recipe.train.ema = 0.0;
    recipe.train.batch_size = 50;
    let initial = initial(&recipe);
    // One step of SGD: the distance is the learning rate times something that is the same in both runs.
    let distance = |recipe: &Recipe, name: &str| {
        let weights = tensors(&straight(recipe).0, LAST).0;
        largest_difference(
            &Weights::from([("w".into(), weights[name].clone())]),
            &Weights::from([("w".into(), initial[name].clone())]),
        )
    };
    let mut decayed = recipe.clone();
    decayed.transfer.layer_decay = 0.5;
    for (name, factor) in
        [("head.weight", 1.0), ("dense1.weight", 1.0), ("block2.conv1.weight", 0.5), ("block1.conv1.weight", 0.25)]
    {
        let (with, without) = (distance(&decayed, name), distance(&recipe, name));
        assert!((with / without - factor).abs() < 0.01, "{name}: {with} and {without}");
    }
}

#[test]
fn every_schedule_and_loss_learns() {
    for (sched, loss) in [
        (ScheduleKind::Constant, LossKind::Focal),
        (ScheduleKind::Step, LossKind::CrossEntropy),
        (ScheduleKind::Exponential, LossKind::Focal),
        (ScheduleKind::Plateau, LossKind::CrossEntropy),
    ] {
        let mut recipe = frozen();
        recipe.transfer.freeze = Freeze::None;
        recipe.net.dense_dropout = 0.0;
        recipe.train.epochs = 25;
        recipe.net.block_dropout = vec![0.0, 0.0];
        (recipe.train.sched, recipe.train.loss) = (sched, loss);
        let (_, metrics) = straight(&recipe);
        assert!(metrics.test_accuracy > 0.85, "{sched:?} {loss:?} {metrics:?}");
    }
}

#[test]
fn a_network_without_such_a_part_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let mut recipe = frozen();
    recipe.transfer.freeze = Freeze::First(3);
    let message = error(go(&recipe, &dataset(), &out, false, false));
    assert!(message.contains("block1, block2"), "{message}");
}

#[test]
fn a_number_that_is_none_stops_a_run_that_was_good_before() {
    let recipe = recipe();
    let out = tempfile::tempdir().unwrap();
    for step in 0..4 {
        go(&recipe, &dataset(), &out, step > 0, true).unwrap();
    }
    let mut last = Checkpoint::load(&out.path().join(LAST)).unwrap();
    last.weights.get_mut("head.bias").unwrap().values[0] = f32::NAN;
    last.save(&out.path().join(LAST)).unwrap();
    let message = error(go(&recipe, &dataset(), &out, true, false));
    assert!(
        message.contains("step 2 of epoch 2") && message.contains(BEST) && message.contains("epoch 1"),
        "{message}"
    );
}

/// Means of the image's rows; counts how often it is asked.
#[derive(Default)]
struct Rows(AtomicUsize);

impl Extractor for Rows {
    fn input(&self) -> Shape {
        Shape::new(8, 8, 3)
    }

    fn width(&self) -> usize {
        8
    }

    fn digest(&self) -> [u8; 32] {
        [7; 32]
    }

    fn features(&self, image: &[f32]) -> Result<Vec<f32>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok((0..8).map(|row| image[8 * row..][..8].iter().sum::<f32>() / 8.0).collect())
    }
}

#[test]
fn nobody_waits_for_features_that_are_not_wanted_any_more() {
    let mut recipe = frozen();
    (recipe.transfer.freeze, recipe.transfer.cache) = (Freeze::None, true);
    let [cache, out, whole, none] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let rows = Rows::default();
    let stopped = go_until(&AtomicBool::new(true), Some(&rows), &recipe, &out, false, &cache).unwrap();
    assert!(matches!(stopped, Outcome::Stopped) && rows.0.load(Ordering::Relaxed) == 0);
    finished(go_on(Some(&rows), &recipe, &out, true, &cache).unwrap());
    finished(go_on(Some(&rows), &recipe, &whole, false, &none).unwrap());
    assert!(tensors(&out, LAST) == tensors(&whole, LAST));
}

#[test]
fn more_features_than_memory_are_refused() {
    let mut recipe = frozen();
    (recipe.transfer.freeze, recipe.transfer.cache_views, recipe.augment.flip) = (Freeze::None, u32::MAX, 0.5);
    let [cache, out] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let message = error(go_on(Some(&Rows::default()), &recipe, &out, false, &cache));
    assert!(message.contains("transfer.cache-views"), "{message}");
}

#[test]
fn a_head_is_trained_on_a_backbone_of_any_kind() {
    let mut recipe = frozen();
    recipe.transfer.freeze = Freeze::None;
    recipe.transfer.cache = true;
    recipe.transfer.hidden = 16;
    recipe.train.epochs = 40;
    let (cache, out, again) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rows = Rows::default();
    let metrics = finished(go_on(Some(&rows), &recipe, &out, false, &cache).unwrap());
    assert!(metrics.test_accuracy > 0.85, "{metrics:?}");
    let asked = rows.0.load(Ordering::Relaxed);
    assert_eq!(asked, 50 + 12 + 9, "each image once");
    finished(go_on(Some(&rows), &recipe, &again, false, &cache).unwrap());
    assert_eq!(rows.0.load(Ordering::Relaxed), asked, "all was kept");
    assert!(tensors(&out, LAST) == tensors(&again, LAST));
    let names: Vec<String> = tensors(&out, BEST).0.into_keys().collect();
    assert_eq!(names, ["head.bias", "head.dense1.bias", "head.dense1.weight", "head.weight"]);

    recipe.augment.flip = 0.5;
    let fresh = tempfile::tempdir().unwrap();
    let message = error(go_on(Some(&rows), &recipe, &fresh, false, &cache));
    assert!(message.contains("cache-views"), "{message}");
}
