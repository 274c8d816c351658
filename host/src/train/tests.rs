//! Whole runs on a few tiny images.

use super::*;
use crate::checkpoint::BEST;
use crate::checkpoint::LAST;
use crate::data::Split;
use crate::net::Weights;
use crate::recipe::{DeviceKind, Keep, LayerOrder, OptimizerKind};
use rand::RngExt;
use tempfile::TempDir;

const THREADS: usize = 2;

/// Noise with a bright stripe whose row is the class: learnt in a few steps.
fn split(images: usize, seed: u64) -> Split {
    let side = 8;
    let mut random = crate::random::stream(seed, crate::random::Purpose::Shuffle, 0);
    let mut split = Split { images: Vec::new(), labels: Vec::new(), height: side, width: side };
    for i in 0..images {
        let label = i % 3;
        let pixel = |at: usize| if at / (3 * side) == 2 * label + 1 { 200 } else { 0 };
        split.images.extend((0..side * side * 3).map(|at| pixel(at) + random.random_range(0..50u8)));
        split.labels.push(label as u16);
    }
    split
}

fn dataset() -> Dataset {
    Dataset {
        name: "stripes".into(),
        classes: ["top", "middle", "bottom"].map(String::from).into(),
        train: split(50, 1),
        val: split(12, 2),
        test: split(9, 3),
        hash: "stripes-1".into(),
    }
}

/// Everything that could differ after a resumption is switched on.
fn recipe() -> Recipe {
    let mut recipe = Recipe::default();
    recipe.net.blocks = vec![vec![4], vec![5]];
    recipe.net.block_dropout = vec![0.1, 0.2];
    recipe.net.dense = 8;
    recipe.train.epochs = 3;
    recipe.train.batch_size = 16;
    recipe.train.ema = 0.9;
    recipe.augment.shift = 1;
    recipe.augment.cutout = 2;
    recipe.augment.zoom = 0.1;
    recipe.augment.brightness = 0.2;
    (recipe.augment.mixup, recipe.augment.mixup_probability) = (0.2, 0.3);
    recipe
}

fn go(recipe: &Recipe, dataset: &Dataset, out: &TempDir, resume: bool, stop: bool) -> Result<Outcome> {
    run(recipe, dataset, out.path(), resume, THREADS, &AtomicBool::new(stop))
}

fn finished(outcome: Outcome) -> Metrics {
    match outcome {
        Outcome::Finished { metrics, .. } => metrics,
        Outcome::Stopped => panic!("stopped without being asked to"),
    }
}

fn straight(recipe: &Recipe) -> (TempDir, Metrics) {
    let out = tempfile::tempdir().unwrap();
    let metrics = finished(go(recipe, &dataset(), &out, false, false).unwrap());
    (out, metrics)
}

/// All weights and optimizer state of a run's checkpoint.
fn tensors(out: &TempDir, file: &str) -> (Weights, Option<Weights>) {
    let checkpoint = Checkpoint::load(&out.path().join(file)).unwrap();
    (checkpoint.weights, checkpoint.resume.map(|resume| resume.state))
}

fn error(result: Result<Outcome>) -> String {
    format!("{:#}", result.expect_err("must be refused"))
}

#[test]
fn resuming_after_every_step_changes_nothing() {
    for opt in [OptimizerKind::Sgd, OptimizerKind::Adam] {
        let mut recipe = recipe();
        recipe.train.opt = opt;
        let (whole, expected) = straight(&recipe);

        let pieces = tempfile::tempdir().unwrap();
        let mut stops = 0;
        let mut outcome = go(&recipe, &dataset(), &pieces, false, true).unwrap();
        while let Outcome::Stopped = outcome {
            stops += 1;
            outcome = go(&recipe, &dataset(), &pieces, true, true).unwrap();
        }
        assert_eq!(stops, 9, "3 epochs of 3 steps");
        let metrics = finished(outcome);
        assert_eq!(
            (metrics.best_epoch, metrics.val_accuracy, metrics.test_accuracy),
            (expected.best_epoch, expected.val_accuracy, expected.test_accuracy)
        );
        for file in [BEST, LAST] {
            assert!(tensors(&whole, file) == tensors(&pieces, file), "{file} differs with {opt:?}");
        }
        let lines = |out: &TempDir| std::fs::read_to_string(out.path().join("results.csv")).unwrap().lines().count();
        assert_eq!((lines(&whole), lines(&pieces)), (4, 4));
    }
}

#[test]
fn a_prolonged_run_is_one_that_was_meant_to_be_as_long() {
    let short = recipe();
    let mut long = recipe();
    (long.train.epochs, long.train.restarts) = (5, vec![3]);
    let (whole, expected) = straight(&long);
    let (out, _) = straight(&short);
    let message = |recipe: &Recipe| error(go(recipe, &dataset(), &out, true, false));
    let mut other = recipe();
    other.train.epochs = 5;
    let text = message(&other);
    assert!(text.contains("train.epochs") && text.contains("--epochs 6 --set 'train.restarts=[3]'"), "{text}");
    let mut other = long.clone();
    other.train.lr = 0.01;
    assert!(message(&other).contains("train.lr"));
    let metrics = finished(go(&long, &dataset(), &out, true, false).unwrap());
    assert_eq!((metrics.epochs, metrics.best_epoch), (5, expected.best_epoch));
    assert!(tensors(&whole, LAST) == tensors(&out, LAST) && tensors(&whole, BEST) == tensors(&out, BEST));
    // What is asked of it from now on.
    let kept = Recipe::load(&out.path().join("recipe.toml")).unwrap();
    assert_eq!(kept, Checkpoint::load(&out.path().join(LAST)).unwrap().recipe);
    assert_eq!(kept.train, long.train);
}

#[test]
fn a_killed_run_goes_on_from_its_last_save() {
    let recipe = recipe();
    let (whole, _) = straight(&recipe);
    let killed = tempfile::tempdir().unwrap();
    go(&recipe, &dataset(), &killed, false, true).unwrap();
    let saved = std::fs::read(killed.path().join(LAST)).unwrap();
    for _ in 0..4 {
        go(&recipe, &dataset(), &killed, true, true).unwrap();
    }
    // As if none of the last steps had been saved, but an epoch's best had.
    std::fs::write(killed.path().join(LAST), saved).unwrap();
    finished(go(&recipe, &dataset(), &killed, true, false).unwrap());
    assert!(tensors(&whole, BEST) == tensors(&killed, BEST));
    assert!(tensors(&whole, LAST) == tensors(&killed, LAST));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let recipe = recipe();
    let (two, _) = straight(&recipe);
    let one = tempfile::tempdir().unwrap();
    run(&recipe, &dataset(), one.path(), false, 1, &AtomicBool::new(false)).unwrap();
    assert!(tensors(&one, LAST) == tensors(&two, LAST));
}

/// Two backends round differently in every operation, and 9 steps with momentum let that grow.
#[test]
fn ndarray_agrees_with_flex() {
    for order in [LayerOrder::ConvBnRelu, LayerOrder::ConvReluBn] {
        let mut recipe = recipe();
        recipe.net.order = order;
        let (flex, _) = straight(&recipe);
        recipe.train.device = DeviceKind::Ndarray;
        let (ndarray, _) = straight(&recipe);
        let (flex, ndarray) = (tensors(&flex, LAST).0, tensors(&ndarray, LAST).0);
        for (name, array) in &flex {
            for (a, b) in array.values.iter().zip(&ndarray[name].values) {
                assert!((a - b).abs() < 1e-3, "{name}: {a} with flex, {b} with ndarray ({order:?})");
            }
        }
    }
}

#[test]
fn learns() {
    let mut recipe = recipe();
    recipe.train.epochs = 30;
    recipe.net.block_dropout = vec![0.0, 0.0];
    let (_, metrics) = straight(&recipe);
    assert!(metrics.test_accuracy > 0.85, "{metrics:?}");
}

#[test]
fn stops_early_when_nothing_gets_better() {
    let mut recipe = recipe();
    recipe.train.epochs = 20;
    recipe.train.lr = 1e-12;
    recipe.train.ema = 0.0;
    recipe.train.patience = 2;
    let (out, metrics) = straight(&recipe);
    // Only batch statistics move, which settles within a few epochs.
    assert!(metrics.epochs < 20 && metrics.epochs == metrics.best_epoch + 2, "{metrics:?}");
    // Nothing is left to do.
    assert_eq!(finished(go(&recipe, &dataset(), &out, true, false).unwrap()).epochs, metrics.epochs);
}

#[test]
fn patience_waits_for_what_is_still_frozen() {
    let mut recipe = recipe();
    (recipe.train.epochs, recipe.train.lr, recipe.train.ema, recipe.train.patience) = (20, 1e-12, 0.0, 1);
    (recipe.transfer.freeze, recipe.transfer.unfreeze_at) = (crate::recipe::Freeze::First(1), 6);
    let (_, metrics) = straight(&recipe);
    assert!(metrics.epochs >= 6 && metrics.epochs < 20, "{metrics:?}");
}

#[test]
fn a_folder_with_anything_else_is_left_alone() {
    let begin = |name: &str, text: &str, resume| {
        let out = tempfile::tempdir().unwrap();
        std::fs::write(out.path().join(name), text).unwrap();
        let message = error(go(&recipe(), &dataset(), &out, resume, false));
        assert_eq!(std::fs::read_to_string(out.path().join(name)).unwrap(), text);
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
        message
    };
    for file in ["model.plan", "float.onnx"] {
        assert!(begin(file, "", false).contains("exported model"));
    }
    assert!(begin("recipe.toml", "# why this rate\n[train]\nlr = 0.1\n", false).contains("not written by a run"));
    assert!(begin("results.csv", "", true).contains("--pretrained"));
    // One that was stopped before its first checkpoint is no obstacle.
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("recipe.toml"), Recipe::default().to_toml()).unwrap();
    finished(go(&recipe(), &dataset(), &out, false, false).unwrap());
}

#[test]
fn what_cannot_go_on_says_so_before_it_trains() {
    let (out, _) = straight(&recipe());
    let mut shorter = recipe();
    shorter.train.epochs = 2;
    assert!(error(go(&shorter, &dataset(), &out, true, false)).contains("3 epochs already"));
    assert_eq!(Recipe::load(&out.path().join("recipe.toml")).unwrap().train.epochs, 3);
    std::fs::remove_file(out.path().join(BEST)).unwrap();
    assert!(error(go(&recipe(), &dataset(), &out, true, false)).contains("is gone"));
}

#[test]
fn keeps_the_best_epoch_or_the_last() {
    let kept = |keep| {
        let mut recipe = recipe();
        recipe.train.epochs = 8;
        recipe.train.lr = 1e-12;
        recipe.train.ema = 0.0;
        recipe.train.keep = keep;
        let (out, metrics) = straight(&recipe);
        let [result, end] = [BEST, LAST].map(|name| Checkpoint::load(&out.path().join(name)).unwrap().weights);
        (metrics.best_epoch, result == end)
    };
    let (best, is_last) = kept(Keep::Best);
    assert!(best < 8 && !is_last, "epoch {best}: nothing gets better towards the end");
    assert_eq!(kept(Keep::Last), (8, true));
}

#[test]
fn a_diverged_run_names_the_step_and_saves_nothing() {
    let mut recipe = recipe();
    recipe.train.lr = 1e30;
    let out = tempfile::tempdir().unwrap();
    let message = error(go(&recipe, &dataset(), &out, false, false));
    assert!(message.contains("diverged") && message.contains("step") && message.contains("--lr"), "{message}");
    assert!(!out.path().join(LAST).exists() && !out.path().join(BEST).exists());
}

/// The weights after two epochs on `devices`, of `shards` shards a step.
fn shared(devices: usize, shards: usize) -> Weights {
    let (mut recipe, dataset, out) = (recipe(), dataset(), TempDir::new().unwrap());
    recipe.train.shards = shards;
    let options =
        RunOptions { out: out.path(), resume: false, threads: THREADS, cache: None, devices: &[], watch: None };
    let never = AtomicBool::new(false);
    let mut trainer = Trainer::new(Pretrained::default(), &recipe, &dataset, &options, &never).unwrap();
    trainer.devices = Devices::cpus(devices);
    (0..2).for_each(|_| assert!(trainer.epoch().unwrap()));
    trainer.module.download(&trainer.arrays)
}

#[test]
fn devices_that_share_the_shards_train_what_one_does() {
    // Two numbers have one sum only; of four it depends on their order.
    assert_eq!(shared(2, 2), shared(1, 2));
    let (one, three) = (shared(1, 4), shared(3, 4));
    assert_ne!(one, shared(1, 2), "shards matter");
    for (name, array) in &one {
        let far = array.values.iter().zip(&three[name].values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{name} is {far} off");
    }
}

#[test]
fn full_memory_is_answered_with_a_batch_that_was_tried() {
    let (recipe, dataset, out) = (recipe(), dataset(), TempDir::new().unwrap());
    let options =
        RunOptions { out: out.path(), resume: false, threads: THREADS, cache: None, devices: &[], watch: None };
    let never = AtomicBool::new(false);
    let trainer = Trainer::new(Pretrained::default(), &recipe, &dataset, &options, &never).unwrap();
    let before = trainer.module.download(&trainer.arrays);
    // Of images of the right size, and more of them than the run has.
    assert!(trainer.holds(1) && trainer.holds(100));
    let full = memory::catch_out_of_memory::<()>(|| panic!("out of device memory allocating 1024 bytes")).unwrap_err();
    let message = format!("{:#}", trainer.out_of_memory(full));
    assert!(message.contains("step of 16 images: try --batch-size 8"), "{message}");
    assert!(message.ends_with("out of device memory allocating 1024 bytes"), "{message}");
    assert_eq!(trainer.module.download(&trainer.arrays), before, "trying changes nothing");
}

#[test]
fn another_recipe_or_dataset_is_refused() {
    let out = tempfile::tempdir().unwrap();
    go(&recipe(), &dataset(), &out, false, true).unwrap();
    let before = std::fs::read(out.path().join(LAST)).unwrap();

    let mut other = recipe();
    other.train.lr = 0.01;
    other.augment.flip = 0.0;
    let message = error(go(&other, &dataset(), &out, true, false));
    assert!(message.contains("augment.flip") && message.contains("train.lr"), "{message}");

    let message = error(go(&recipe(), &Dataset { hash: "stripes-2".into(), ..dataset() }, &out, true, false));
    assert!(message.contains("another dataset") && message.contains("stripes-2"), "{message}");

    let message = error(go(&recipe(), &dataset(), &out, false, false));
    assert!(message.contains("--resume"), "{message}");
    assert_eq!(std::fs::read(out.path().join(LAST)).unwrap(), before);

    // The name and the calibration decide nothing about the weights.
    let mut renamed = recipe();
    renamed.name = "renamed".into();
    renamed.quant.images = 7;
    finished(go(&renamed, &dataset(), &out, true, false).unwrap());
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_anew() {
    let (whole, _) = straight(&recipe());
    let killed = tempfile::tempdir().unwrap();
    std::fs::copy(whole.path().join("recipe.toml"), killed.path().join("recipe.toml")).unwrap();
    // The first epoch's best is written before the checkpoint to go on from.
    std::fs::copy(whole.path().join(LAST), killed.path().join(BEST)).unwrap();
    assert!(error(go(&recipe(), &dataset(), &killed, false, false)).contains("--resume"));
    finished(go(&recipe(), &dataset(), &killed, true, false).unwrap());
    for file in [BEST, LAST] {
        assert!(tensors(&whole, file) == tensors(&killed, file), "{file}");
    }
}

#[test]
fn nothing_to_resume_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    assert!(error(go(&recipe(), &dataset(), &out, true, false)).contains(LAST));
}

#[test]
fn an_empty_split_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    let message = error(go(&recipe(), &Dataset { val: Split::default(), ..dataset() }, &out, false, false));
    assert!(message.contains("no validation images"), "{message}");
}

#[test]
fn a_network_too_deep_for_the_images_names_the_layer() {
    let mut recipe = recipe();
    recipe.net.blocks = vec![vec![2]; 5];
    recipe.net.block_dropout = vec![0.0; 5];
    let out = tempfile::tempdir().unwrap();
    let message = error(go(&recipe, &dataset(), &out, false, false));
    assert!(message.contains("block4.pool") && message.contains("1x1x2"), "{message}");
}

mod distill;
mod transfer;
