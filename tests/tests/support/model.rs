//! A small CNN with random weights, taken through the whole pipeline behind training.

use ocellus::checkpoint::Checkpoint;
use ocellus::data::{Split, shapes};
use ocellus::net::{self, Array, Role};
use ocellus::quantize::QuantGraph;
use ocellus::recipe::{Optimize, Recipe};
use ocellus::{deploy, pack};
use ocellus_shared::Shape;
use ocellus_tests::random::Random;

/// Rows and columns of its images.
pub const SIDE: usize = 32;

/// The first pictures of the built-in dataset.
pub fn pictures(count: usize) -> Split {
    shapes::pictures(0..count, SIDE, 7)
}

/// The model's plan.
pub fn random_plan() -> Vec<u8> {
    pack::pack(&random_model(), Optimize::Size).unwrap().plan
}

/// The model; its classes are the built-in dataset's.
pub fn random_model() -> QuantGraph {
    let recipe = Recipe::parse("[net]\nblocks = [[6, 9], [5]]\nblock-dropout = [0.0, 0.0]\ndense = 17\n").unwrap();
    let input = Shape::new(SIDE as u16, SIDE as u16, 3);
    let network = net::build(&recipe, input, 10).unwrap();
    let mut random = Random::new(1);
    let mut signed = || 2.0 * random.fraction() - 1.0;
    let weights = network.parameters().unwrap().into_iter().map(|parameter| {
        let count = parameter.shape.iter().product();
        let spread = 2.0 / (parameter.shape[1..].iter().product::<usize>() as f32).sqrt();
        let values = (0..count).map(|_| match parameter.role {
            Role::Weight => spread * signed(),
            Role::Scale | Role::Variance => 1.0 + 0.5 * signed(),
            Role::Shift | Role::Mean => 0.2 * signed(),
        });
        (parameter.name.clone(), Array { values: values.collect(), shape: parameter.shape })
    });
    let classes = shapes::classes();
    let (weights, dataset_hash) = (weights.collect(), String::new());
    let checkpoint = Checkpoint { recipe, classes, input, dataset_hash, weights, resume: None };
    deploy::quantized(&checkpoint, &pictures(32)).unwrap().quantized
}
