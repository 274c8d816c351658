//! Every kernel gives what its reference gives, bit for bit, on random networks of every operator.

use ocellus_firmware::Engine;
use ocellus_firmware::kernels::{self, reference};
use ocellus_shared::plan::{Plan, encode};
use ocellus_tests::{cases, overlaps, plans, random::Random};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Runs one image with both; the number of values compared per operator.
fn compare(plan: &Plan, random: &mut Random) -> BTreeMap<&'static str, usize> {
    let mut fast = random.tensor(plan.arena_bytes());
    let mut slow = fast.clone();
    let mut compared = BTreeMap::new();
    for (index, step) in plan.steps().enumerate() {
        kernels::run(&step, &mut fast);
        reference::run(&step, &mut slow);
        let (got, expected) = (&fast[step.output.range()], &slow[step.output.range()]);
        assert_eq!(got, expected, "step {index} {:?} {:?}", step.op, step.inputs());
        *compared.entry(step.op.name()).or_default() += got.len();
    }
    compared
}

/// The bytes of `spec`.
fn encoded(seed: u64, spec: &encode::PlanSpec) -> Vec<u8> {
    encode::encode(spec).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

#[test]
fn fast_kernels_equal_their_references() {
    let count = cases(6_000, 30_000);
    let totals = (0..count)
        .into_par_iter()
        .map(|seed| compare(&Plan::parse(&encoded(seed, &plans::random(seed))).unwrap(), &mut Random::new(!seed)))
        .reduce(BTreeMap::new, merged);
    let rare: Vec<_> = totals.iter().filter(|(_, seen)| **seen < count as usize / 6).collect();
    assert!(totals.len() == 13 && rare.is_empty(), "not every operator was exercised: {totals:?}");
}

fn merged<K: Ord>(mut all: BTreeMap<K, usize>, part: BTreeMap<K, usize>) -> BTreeMap<K, usize> {
    part.into_iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
    all
}

#[test]
fn depthwise_and_winograd_kernels_equal_their_references() {
    let plans = (0..300u64).flat_map(|seed| [plans::depthwise, plans::winograd].map(|kind| (seed, kind)));
    plans.collect::<Vec<_>>().into_par_iter().for_each(|(seed, kind)| {
        let bytes = encoded(seed, &kind(seed));
        compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed));
    });
}

#[test]
fn layers_too_large_for_a_workstations_vectors_equal_their_reference() {
    (0..20u64).into_par_iter().for_each(|seed| {
        let bytes = encoded(seed, &plans::large(seed));
        compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed));
    });
}

/// Runs one image by the reference, every value in a place of its own, and by the kernels in strips over their inputs.
/// How many steps of each operator had an output that shared memory with an input.
fn compare_overlapped(seed: u64, apart: &encode::PlanSpec) -> BTreeMap<&'static str, usize> {
    let over = overlaps::overlapped(apart, !seed);
    let bytes = [apart, &over].map(|spec| encoded(seed, spec));
    let [apart, over] = [&bytes[0], &bytes[1]].map(|bytes| Plan::parse(bytes).unwrap());
    let mut random = Random::new(!seed);
    let [mut slow, mut fast] = [apart, over].map(|plan| random.tensor(plan.arena_bytes()));
    let image = random.tensor(apart.input().shape.len());
    slow[apart.input().range()].copy_from_slice(&image);
    fast[over.input().range()].copy_from_slice(&image);
    let mut shared = BTreeMap::new();
    for (index, (one, other)) in apart.steps().zip(over.steps()).enumerate() {
        reference::run(&one, &mut slow);
        kernels::run(&other, &mut fast);
        let (expected, got) = (&slow[one.output.range()], &fast[other.output.range()]);
        assert_eq!(got, expected, "seed {seed}: step {index} {:?} of {:?}, {}", one.op, one.inputs(), other.strip_rows);
        *shared.entry(one.op.name()).or_default() += usize::from(overlaps::meets(&other));
    }
    shared
}

#[test]
fn strips_over_their_inputs_equal_whole_maps_apart() {
    let random = (0..cases(5_000, 20_000)).into_par_iter().map(|seed| compare_overlapped(seed, &plans::random(seed)));
    let totals = random.reduce(BTreeMap::new, merged);
    for (kind, op) in [(plans::depthwise as fn(u64) -> _, "depthwise"), (plans::winograd, "winograd")] {
        let shared = (0..100u64).into_par_iter().map(|seed| compare_overlapped(seed, &kind(seed)));
        assert!(shared.reduce(BTreeMap::new, merged)[op] > 100);
    }
    // Those that need their whole input, or whose output is their input.
    let never = ["dense", "global_avg_pool", "flatten"];
    let wrong: Vec<_> = totals.iter().filter(|(op, count)| (**count > 10) == never.contains(op)).collect();
    assert!(totals.len() == 13 && wrong.is_empty(), "{totals:?}");
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
