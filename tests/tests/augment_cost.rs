//! Making training images must not keep the trainer waiting: what it costs beside what a training step costs, in CPU time, so
//! that it does not matter what else the machine does. `cargo test --release --test augment_cost -- --nocapture` prints it.

use ocellus::data::Split;
use ocellus::net;
use ocellus::net::module::Module;
use ocellus::recipe::{AugmentRecipe, Recipe};
use ocellus::train::batches::{Batch, Loader};
use ocellus::train::device;
use ocellus::train::metrics::cpu_seconds;
use ocellus::train::step::Step;
use ocellus_shared::Shape;
use std::path::Path;

const IMAGES: usize = 128;
const CLASSES: usize = 10;

/// Every transformation there is, and every image undergoes every one.
fn everything() -> AugmentRecipe {
    AugmentRecipe {
        flip: 0.5,
        shift: 4,
        cutout: 8,
        cutout_probability: 1.0,
        rotate: 15.0,
        rotate_probability: 1.0,
        zoom: 0.2,
        zoom_probability: 1.0,
        crop: 0.5,
        crop_probability: 1.0,
        grid: 0.3,
        grid_probability: 1.0,
        elastic: 1.0,
        elastic_probability: 1.0,
        brightness: 0.4,
        brightness_probability: 1.0,
        contrast: 0.4,
        contrast_probability: 1.0,
        saturation: 0.4,
        saturation_probability: 1.0,
        hue: 0.1,
        hue_probability: 1.0,
        gamma: 0.5,
        gamma_probability: 1.0,
        channel_shuffle: 1.0,
        camera: 1.0,
        mixup: 0.4,
        cutmix: 1.0,
        ..AugmentRecipe::none()
    }
}

/// CPU seconds of one call of `work`, the mean of at least `calls` calls and half a second: the system counts in
/// hundredths.
fn cost(calls: u32, mut work: impl FnMut(u32)) -> f64 {
    let (start, mut done) = (cpu_seconds(), 0);
    while done < calls || cpu_seconds() - start < 0.5 {
        work(done);
        done += 1;
    }
    (cpu_seconds() - start) / f64::from(done)
}

fn step_cost(recipe: &Recipe, batch: &Batch) -> f64 {
    let module = Module::new(net::build(recipe, Shape::new(32, 32, 3), CLASSES).unwrap()).unwrap();
    let device = device::open(recipe.train.device).unwrap();
    let arrays = module.upload(&module.initial(0), &device).unwrap();
    let step = Step {
        fade: 1.0,
        module: &module,
        backbone: None,
        arrays: &arrays,
        recipe: &recipe.train,
        distill: &recipe.distill,
        device: &device,
        images: IMAGES,
    };
    step.differentiate(batch, 0); // memory is taken and threads start once
    cost(2, |draw| assert!(step.differentiate(batch, draw.into()).loss.is_finite()))
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells what CPU time was taken")]
fn images_cost_less_than_a_tenth_of_a_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/cnn-cifar10/recipe.toml");
    let mut recipe = Recipe::load(&path).unwrap();
    recipe.augment = everything();
    let images = (0..IMAGES * 32 * 32 * 3).map(|i| (i * 7919 % 256) as u8).collect();
    let labels = (0..IMAGES).map(|i| (i % CLASSES) as u16).collect();
    let split = Split { images, labels, height: 32, width: 32 };
    let chosen: Vec<usize> = (0..IMAGES).collect();
    let loader = Loader::new(&recipe, &split, CLASSES, 1).unwrap();
    let data = cost(1, |epoch| assert_eq!(loader.varied(epoch, epoch, &chosen).labels.len(), IMAGES));
    let step = step_cost(&recipe, &loader.varied(0, 0, &chosen));
    let [data_us, step_us] = [data, step].map(|seconds| seconds / IMAGES as f64 * 1e6);
    println!(
        "an image costs {data_us:.0} us of CPU time, its part of a step {step_us:.0} us: {:.1} %",
        100.0 * data / step
    );
    assert!(data < 0.1 * step, "{data_us:.0} us for an image, {step_us:.0} us for its part of a step");
}
