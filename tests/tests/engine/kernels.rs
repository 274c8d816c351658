//! Every kernel gives what its reference gives, bit for bit, on random networks of every operator.

use ocellus_firmware::Engine;
use ocellus_shared::plan::{Plan, encode};
use ocellus_tests::compare::{compare, compare_overlapped, encoded};
use ocellus_tests::{cases, isa, plans, random::Random};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn fast_kernels_equal_their_references() {
    isa::each(|name| {
        let count = cases(2_000, 30_000);
        let totals = (0..count)
            .into_par_iter()
            .map(|seed| compare(&Plan::parse(&encoded(seed, &plans::random(seed))).unwrap(), &mut Random::new(!seed)))
            .reduce(BTreeMap::new, merged);
        let rare: Vec<_> = totals.iter().filter(|(_, seen)| **seen < count as usize / 6).collect();
        assert!(totals.len() == 14 && rare.is_empty(), "{name}: not every operator was exercised: {totals:?}");
    });
}

fn merged<K: Ord>(mut all: BTreeMap<K, usize>, part: BTreeMap<K, usize>) -> BTreeMap<K, usize> {
    part.into_iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
    all
}

#[test]
fn kernels_of_many_sizes_equal_their_references() {
    let plans =
        (0..300u64).flat_map(|seed| [plans::depthwise, plans::winograd, plans::attention].map(|kind| (seed, kind)));
    let plans: Vec<_> = plans.collect();
    isa::each(|_| {
        plans.par_iter().for_each(|&(seed, kind)| {
            let bytes = encoded(seed, &kind(seed));
            compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed));
        });
    });
}

#[test]
fn layers_too_large_for_a_workstations_vectors_equal_their_reference() {
    isa::each(|_| {
        (0..20u64).into_par_iter().for_each(|seed| {
            let bytes = encoded(seed, &plans::large(seed));
            compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(!seed));
        });
    });
}

#[test]
fn strips_over_their_inputs_equal_whole_maps_apart() {
    isa::each(|name| {
        let count = cases(2_000, 20_000);
        let random = (0..count).into_par_iter().map(|seed| compare_overlapped(seed, &plans::random(seed)));
        let totals = random.reduce(BTreeMap::new, merged);
        let kind = |kind: fn(u64) -> _, op, least| (kind, op, least);
        for (kind, op, least) in [
            kind(plans::depthwise, "depthwise", 100),
            kind(plans::winograd, "winograd", 100),
            // Its second input is needed to the end.
            kind(plans::attention, "matmul", 30),
        ] {
            let shared = (0..100u64).into_par_iter().map(|seed| compare_overlapped(seed, &kind(seed)));
            assert!(shared.reduce(BTreeMap::new, merged)[op] > least, "{op}");
        }
        // Those that need their whole input, or whose output is their input.
        let never = ["dense", "global_avg_pool", "flatten"];
        let often = count as usize / 500;
        let wrong: Vec<_> = totals.iter().filter(|(op, seen)| (**seen > often) == never.contains(op)).collect();
        assert!(totals.len() == 14 && wrong.is_empty(), "{name}: {totals:?}");
    });
}

#[test]
fn the_cifar_network_equals_its_reference() {
    let bytes = encode::encode(&plans::cifar_cnn(1)).unwrap();
    isa::each(|_| {
        compare(&Plan::parse(&bytes).unwrap(), &mut Random::new(2));
    });
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
