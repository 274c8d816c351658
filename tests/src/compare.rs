//! The kernels beside their references, on one image.

use crate::{overlaps, random::Random};
use ocellus_firmware::kernels::{self, reference, simd};
use ocellus_shared::plan::{Plan, encode};
use std::collections::BTreeMap;

/// Values that were compared, or steps, for each operator.
pub type Counts = BTreeMap<&'static str, usize>;

/// Runs one image with both; the number of values compared per operator.
///
/// # Panics
/// A value differs.
pub fn compare(plan: &Plan, random: &mut Random) -> Counts {
    let mut fast = random.tensor(plan.arena_bytes());
    let mut slow = fast.clone();
    let mut compared = Counts::new();
    for (index, step) in plan.steps().enumerate() {
        kernels::run(&step, &mut fast);
        reference::run(&step, &mut slow);
        let (got, expected) = (&fast[step.output.range()], &slow[step.output.range()]);
        assert_eq!(got, expected, "step {index} {:?} {:?} with {}", step.op, step.inputs(), simd::instruction_set());
        *compared.entry(step.op.name()).or_default() += got.len();
    }
    compared
}

/// The bytes of `spec`.
///
/// # Panics
/// It is no plan.
pub fn encoded(seed: u64, spec: &encode::PlanSpec) -> Vec<u8> {
    encode::encode(spec).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// Runs one image by the reference, every value in a place of its own, and by the kernels in strips over their inputs.
/// How many steps of each operator had an output that shared memory with an input.
///
/// # Panics
/// A value differs.
pub fn compare_overlapped(seed: u64, apart: &encode::PlanSpec) -> Counts {
    let over = overlaps::overlapped(apart, !seed);
    let bytes = [apart, &over].map(|spec| encoded(seed, spec));
    let [apart, over] = [&bytes[0], &bytes[1]].map(|bytes| Plan::parse(bytes).expect("it was just written"));
    let mut random = Random::new(!seed);
    let [mut slow, mut fast] = [apart, over].map(|plan| random.tensor(plan.arena_bytes()));
    let image = random.tensor(apart.input().shape.len());
    slow[apart.input().range()].copy_from_slice(&image);
    fast[over.input().range()].copy_from_slice(&image);
    let mut shared = Counts::new();
    for (index, (one, other)) in apart.steps().zip(over.steps()).enumerate() {
        reference::run(&one, &mut slow);
        kernels::run(&other, &mut fast);
        let (expected, got) = (&slow[one.output.range()], &fast[other.output.range()]);
        assert_eq!(got, expected, "seed {seed}: step {index} {:?} of {:?}, {}", one.op, one.inputs(), other.strip_rows);
        *shared.entry(one.op.name()).or_default() += usize::from(overlaps::meets(&other));
    }
    shared
}
