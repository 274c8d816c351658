//! Damaged plans: parsing never panics nor takes long, and whatever parses runs without panicking.

use ocellus_firmware::Engine;
use ocellus_shared::Shape;
use ocellus_shared::op::Op;
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode, reseal};
use ocellus_shared::plan::{Crop, Operand, Plan, PlanError, StepFault};
use ocellus_tests::mutants::{self, ARENA_BYTES};
use ocellus_tests::random::Random;
use ocellus_tests::{cases, isa, plans};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Mutations of one plan.
const PER_PLAN: u64 = 500;
/// Bytes of a plan's header, and of a step.
const HEADER_BYTES: usize = 68;
const STEP_BYTES: usize = 128;

#[test]
fn mutants_neither_panic_nor_escape() {
    isa::each(|name| {
        let mutations = cases(50_000, 1_000_000);
        let of_plan = |seed| {
            let mut arena = vec![1; ARENA_BYTES];
            mutants::of_plan(seed, PER_PLAN).filter(|bytes| mutants::try_out(bytes, &mut arena)).count()
        };
        let ran: usize = (0..mutations / PER_PLAN).into_par_iter().map(of_plan).sum();
        assert!(ran > mutations as usize / 20, "{name}: hardly any mutant got as far as the engine: {ran}");
    });
}

/// What lay in the memory before decides nothing, whole plans and such damaged ones as read only what was written.
#[test]
fn scores_follow_from_the_image_alone() {
    isa::each(|name| {
        let of_plan = |seed: u64| {
            let mut random = Random::new(!seed);
            let whole = encode(&mutants::plan(seed)).unwrap();
            let mut compared = 0;
            for (number, bytes) in std::iter::once(whole).chain(mutants::of_plan(seed, PER_PLAN)).enumerate() {
                let Ok(plan) = Plan::parse(&bytes) else { continue };
                if number > 0 && (plan.arena_bytes() > ARENA_BYTES || !mutants::is_determined(&plan)) {
                    continue;
                }
                let image = random.tensor(plan.input().shape.len());
                let scores = |mut arena: Vec<i8>| {
                    let mut engine = Engine::new(plan, &mut arena).unwrap();
                    engine.input_mut().copy_from_slice(&image);
                    engine.run().to_vec()
                };
                let [zeros, ones] = [0, -1].map(|value| scores(vec![value; ARENA_BYTES]));
                let noise = scores(random.tensor(ARENA_BYTES));
                let are_equal = zeros == ones && ones == noise;
                assert!(are_equal, "{name}: plan {seed}, mutant {number}: {zeros:?}, {ones:?}, {noise:?}");
                compared += 1;
            }
            compared
        };
        let plans = cases(100, 400);
        let compared: u64 = (0..plans).into_par_iter().map(of_plan).sum();
        assert!(compared > 2 * plans, "{name}: hardly any mutant is determined: {compared}");
    });
}

#[test]
fn a_flipped_byte_anywhere_is_noticed() {
    let whole = encode(&plans::random(5)).unwrap();
    let mut bytes = whole.clone();
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            bytes[at] ^= flip;
            assert!(Plan::parse(&bytes).is_err(), "byte {at}");
            bytes[at] ^= flip;
        }
    }
}

/// So many steps as fit a plan of `bytes` bytes, each as slow to check as can be: four inputs that the output overlaps, in strips of
/// a row of the highest maps there are. What is left of the plan is filled by a last step's parameters.
fn slow_to_check(bytes: usize) -> PlanSpec {
    const HEIGHT: u16 = u16::MAX;
    let at = |offset, shape| Operand { offset, shape, zero: 0 };
    let (column, columns) = (Shape::new(HEIGHT, 1, 1), Shape::new(HEIGHT, 1, 4));
    let step = |op, inputs, output, strip_rows| StepSpec {
        op,
        inputs,
        output,
        scratch: (0, 0),
        strip_rows,
        weights: vec![],
        biases: vec![],
        multipliers: vec![],
    };
    // Rows of 4 over rows of 1: the last strip but one ends three maps behind where it reads.
    let input = at(3 * column.len() + 4, column);
    let concat = step(Op::Concat, vec![input; 4], at(0, columns), 1);
    let scores = at(5 * column.len(), Shape::vector(2));
    let count = (bytes / STEP_BYTES).min(60_000);
    let channels = ((bytes - count * STEP_BYTES) / 2).div_ceil(HEIGHT.into()).max(1);
    let image = at(0, Shape::new(HEIGHT, 1, channels as u16));
    let mut dense =
        step(Op::Dense { out_channels: 2 }, vec![image], at(scores.offset + image.shape.len(), scores.shape), 0);
    let output = dense.output;
    dense.weights = vec![1; 2 * image.shape.len().next_multiple_of(4)];
    (dense.biases, dense.multipliers) = (vec![0; 2], vec![1.0; 2]);
    let mut steps = vec![concat; count];
    steps.push(dense);
    PlanSpec {
        digest: [0; 8],
        arena_bytes: output.range().end,
        input,
        crop: Crop::Centre,
        output,
        output_scale: 1.0,
        labels: ["a", "b"].map(String::from).to_vec(),
        steps,
    }
}

#[test]
fn checking_takes_time_in_proportion_to_the_length() {
    for megabytes in [1, 8, 64] {
        let bytes = encode(&slow_to_check(megabytes << 20)).unwrap();
        assert!(bytes.len() >= megabytes << 20, "{} bytes", bytes.len());
        // The checksum takes a dozen instructions for a byte.
        let start = Instant::now();
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(Plan::parse(&damaged), Err(PlanError::Crc { .. })));
        let checksum = start.elapsed();
        let start = Instant::now();
        Plan::parse(&bytes).unwrap();
        let all = start.elapsed();
        println!("{} bytes: {checksum:?} for the checksum, {all:?} in all", bytes.len());
        assert!(all < 8 * checksum + Duration::from_millis(50), "{megabytes} MB: {all:?}, the checksum {checksum:?}");
    }
}

/// Parameters that many steps share would be checked once for each of them.
#[test]
fn parameters_stand_in_the_order_of_the_steps() {
    let mut bytes = encode(&plans::cifar_cnn(1)).unwrap();
    // The second convolution has as many multipliers as the first.
    bytes.copy_within(HEADER_BYTES + 88..HEADER_BYTES + 92, HEADER_BYTES + STEP_BYTES + 88);
    reseal(&mut bytes);
    let refused = PlanError::Step { index: 1, fault: StepFault::Parameters };
    assert_eq!(Plan::parse(&bytes).unwrap_err(), refused);
    // Nor do they, or the labels, lie over the steps.
    let weights = PlanError::Step { index: 0, fault: StepFault::Parameters };
    for (at, expected) in [(HEADER_BYTES + 80, weights), (60, PlanError::Labels)] {
        let mut bytes = encode(&plans::cifar_cnn(1)).unwrap();
        bytes[at..at + 4].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        reseal(&mut bytes);
        assert_eq!(Plan::parse(&bytes).unwrap_err(), expected);
    }
}
