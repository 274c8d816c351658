//! Every kernel gives what its reference gives, bit for bit, on random networks of every operator.

use ocellus_firmware::Engine;
use ocellus_firmware::kernels::{self, Views, reference};
use ocellus_shared::plan::{Plan, encode};
use ocellus_tests::{plans, random::Random};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Runs one image with both; the number of values compared per operator.
fn compare(plan: &Plan, random: &mut Random) -> BTreeMap<&'static str, usize> {
    let mut fast = random.tensor(plan.arena_bytes());
    let mut slow = fast.clone();
    let mut compared = BTreeMap::new();
    for (index, step) in plan.steps().enumerate() {
        kernels::run(&step, Views::new(&step, &mut fast));
        reference::run(&step, Views::new(&step, &mut slow));
        let (got, expected) = (&fast[step.output.range()], &slow[step.output.range()]);
        assert_eq!(got, expected, "step {index} {:?} {:?}", step.op, step.inputs());
        *compared.entry(step.op.name()).or_default() += got.len();
    }
    compared
}

#[test]
fn fast_kernels_equal_their_references() {
    let totals = (0..30_000u64)
        .into_par_iter()
        .map(|seed| {
            let spec = plans::random(seed);
            let bytes = encode::encode(&spec).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed))
        })
        .reduce(BTreeMap::new, |mut all, part| {
            part.into_iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
            all
        });
    let rare: Vec<_> = totals.iter().filter(|(_, count)| **count < 5_000).collect();
    assert!(totals.len() == 12 && rare.is_empty(), "not every operator was exercised: {totals:?}");
}

#[test]
fn depthwise_kernels_equal_their_reference() {
    (0..300u64).into_par_iter().for_each(|seed| {
        let bytes = encode::encode(&plans::depthwise(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed));
    });
}

#[test]
fn the_cifar_network_equals_its_reference() {
    let bytes = encode::encode(&plans::cifar_cnn(1)).unwrap();
    compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(2));
}

#[test]
fn results_spread_over_the_range() {
    // Were the random networks saturated, the comparisons above would say little.
    let bytes = encode::encode(&plans::cifar_cnn(3)).unwrap();
    let plan = Plan::parse(&bytes).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    let image = Random::new(4).tensor(engine.input_mut().len());
    engine.input_mut().copy_from_slice(&image);
    engine.run_observed(|index, step, values| {
        let distinct = values.iter().collect::<BTreeSet<_>>().len();
        assert!(distinct >= 50.min(values.len() / 2), "step {index} {}: {distinct}", step.op.name());
    });
}
