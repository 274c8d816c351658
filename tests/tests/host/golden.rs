//! Our networks against timm's, torchvision's and hand-written ones: the same weights give the same logits.
//!
//! `golden/README.md` says where the goldens come from.

use burn::tensor::{Device, Tensor, TensorData};
use ocellus::net::module::{Module, to_vec};
use ocellus::net::{self, Array, Weights};
use ocellus::recipe::{Model, Padding, Recipe};
use ocellus::weights;
use ocellus::weights::names::Scheme;
use ocellus_shared::Shape;
use serde_json::Value;

/// Largest difference of a logit, for a largest logit of 1.
const TOLERANCE: f64 = 1e-4;

/// Numbers in [0, 1) that follow from a name: Knuth's MMIX generator, seeded by the name's FNV-1a hash.
struct Draws(u64);

impl Draws {
    fn of(name: &str) -> Self {
        let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }
}

impl Iterator for Draws {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((self.0 >> 40) as f64 / f64::from(1 << 24))
    }
}

/// The values of the parameter that the golden's network calls `name`.
fn parameter(name: &str, shape: &[usize], gain: f64) -> Array {
    let fan_in: usize = shape[1..].iter().product();
    let value = |u: f64| match shape.len() {
        1 if name.ends_with(".weight") || name.ends_with(".running_var") => 0.5 + u,
        1 => 0.4 * u - 0.2,
        _ => (2.0 * u - 1.0) * (gain / fan_in as f64).sqrt(),
    };
    let values = Draws::of(name).take(shape.iter().product()).map(|u| value(u) as f32).collect();
    Array { shape: shape.to_vec(), values }
}

/// The recipe of a golden: a network that is not of those who published the family's weights is padded otherwise, and adds
/// another epsilon.
fn recipe(golden: &Value) -> Recipe {
    let text = |key: &str| golden[key].as_str().unwrap();
    let mut recipe = Recipe::default().with(&[format!("model={}", text("model"))]).unwrap();
    // The goldens' inputs are what the networks see.
    (recipe.data.mean, recipe.data.std) = (Some([0.0; 3]), Some([1.0; 3]));
    let is_tensorflows = text("source").starts_with("tf_") || text("source") == "efficientnet_pytorch";
    if recipe.model.is_efficientnet() && !is_tensorflows {
        recipe.net.padding = Some(Padding::Symmetric);
        recipe.net.bn_epsilon = (text("source") == "efficientnet_b0").then_some(1e-5);
    }
    if recipe.model.is_mobilenetv2() && is_tensorflows {
        (recipe.net.padding, recipe.net.bn_epsilon) = (Some(Padding::Same), Some(1e-3));
    }
    recipe
}

fn logits(golden: &Value) -> Vec<f32> {
    let (recipe, size) = (recipe(golden), golden["size"].as_u64().unwrap() as usize);
    let network = net::build(&recipe, Shape::new(size as u16, size as u16, 3), 10).unwrap();
    let module = Module::new(network).unwrap();
    let scheme = Scheme::known(recipe.model).into_iter().find(|s| golden["names"] == s.name).unwrap();
    let gain = golden["gain"].as_f64().unwrap();
    let named = |p: &net::Parameter| {
        let name = scheme.foreign(&p.name);
        (name.clone(), parameter(&name, &p.shape, gain))
    };
    let tensors: Weights = module.parameters().iter().map(named).collect();
    // By the same way as a file's.
    let found = weights::assign(&tensors, weights::Target::whole(recipe.model, module.parameters())).unwrap();
    assert_eq!((golden["names"].as_str(), found.fresh.len()), (Some(found.scheme), 0));
    let device = Device::flex();
    let pixels: Vec<f32> = Draws::of("image").take(2 * 3 * size * size).map(|u| u as f32).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [2, 3, size, size]), &device);
    to_vec(module.forward(&module.upload(&found.weights, &device).unwrap(), images, None))
}

#[test]
fn networks_compute_what_others_compute() {
    let goldens: Vec<Value> = serde_json::from_str(include_str!("../../golden/networks.json")).unwrap();
    for golden in &goldens {
        let what = format!("{} ({}, {}) at {}", golden["model"], golden["source"], golden["names"], golden["size"]);
        let rows = golden["logits"].as_array().unwrap().iter();
        let expected: Vec<f64> = rows.flat_map(|row| row.as_array().unwrap()).map(|v| v.as_f64().unwrap()).collect();
        let found = logits(golden);
        assert_eq!(found.len(), expected.len(), "{what}");
        let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((f64::from(*a) - b).abs() <= TOLERANCE * largest, "{what}: {a} where {b} is right");
        }
    }
    // All networks but those that are ours alone.
    let seen = |model: &Model| goldens.iter().any(|golden| golden["model"] == model.name());
    assert!(Model::ALL.iter().filter(|model| model.has_pooled_head()).all(seen));
}
