//! Damaged plans: parsing must not panic, and whatever parses must run without panicking.

use crate::{overlaps, plans, random::Random};
use ocellus_firmware::Engine;
use ocellus_shared::Op;
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::{self, PlanSpec};

/// Memory that a damaged plan may ask for; a larger one is refused by the engine.
pub const ARENA_BYTES: usize = 1 << 16;
/// A plan's header and one step, where a change does most harm.
const HEADER_BYTES: usize = 68;
const STEP_BYTES: usize = 128;

/// Random plan `seed`, every fourth with attention, outputs over their inputs where they may be.
pub fn plan(seed: u64) -> PlanSpec {
    let kind = if seed % 4 == 3 { plans::attention } else { plans::random };
    overlaps::overlapped(&kind(seed), seed)
}

/// `count` mutants of [`plan`] `seed`, one after the other, mostly past the checksum, which would otherwise catch everything.
pub fn of_plan(seed: u64, count: u64) -> impl Iterator<Item = Vec<u8>> {
    let spec = plan(seed);
    let whole = encode::encode(&spec).expect("a random plan is one");
    let mut random = Random::new(seed ^ 0x5afe);
    (0..count).map(move |_| {
        let mut bytes = whole.clone();
        for _ in 0..random.between(1, 3) {
            mutate(&mut random, &mut bytes, spec.steps.len());
            if bytes.is_empty() {
                break;
            }
        }
        if !random.once_in(50) {
            encode::reseal(&mut bytes);
        }
        bytes
    })
}

/// A byte or a field near what it was, at either end, or anything.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, steps: usize) {
    let records = (HEADER_BYTES + steps * STEP_BYTES).min(bytes.len());
    let span = if random.once_in(8) { bytes.len() } else { records };
    let at = random.between(0, span - 1);
    match random.between(0, 7) {
        0 => bytes[at] = random.bits() as u8,
        1 => bytes[at] ^= 1 << random.between(0, 7),
        2 => bytes[at] = bytes[at].wrapping_add(1),
        3 => bytes[at] = bytes[at].wrapping_sub(1),
        4 => bytes[at] = random.choose(&[0, 1, 127, 128, 255]),
        5 => {
            // A whole aligned word: offsets, lengths, pairs of sizes.
            let word = at & !3;
            let any = random.bits() as u32;
            let value = random.choose(&[0, 1, u32::MAX, i32::MAX as u32, 1 << 31, ARENA_BYTES as u32, any]);
            let end = (word + 4).min(bytes.len());
            bytes[word..end].copy_from_slice(&value.to_le_bytes()[..end - word]);
        }
        6 => {
            // One step's record in place of another's bytes.
            let (from, len) = (random.between(0, span - 1), random.between(1, 12));
            let len = len.min(bytes.len() - from).min(bytes.len() - at);
            bytes.copy_within(from..from + len, at);
        }
        _ if random.once_in(20) => bytes.truncate(at),
        _ => bytes[at] = bytes[at].rotate_left(4),
    }
}

/// Whether each step reads nothing but what the image or a step before it has written. What lies elsewhere is what was in the memory
/// before, or what a kernel left in its scratch, which is another on every core. A Winograd convolution whose weights are damaged is
/// not determined: tiles reach beyond the map, and what they find there falls out of the sums only of what is a filter's transform.
pub fn is_determined(plan: &Plan) -> bool {
    let mut written = vec![false; plan.arena_bytes()];
    written[plan.input().range()].fill(true);
    for step in plan.steps() {
        if matches!(step.op, Op::Winograd { .. })
            || !step.inputs().iter().all(|input| written[input.range()].iter().all(|&is_written| is_written))
        {
            return false;
        }
        written[step.scratch.0..step.scratch.0 + step.scratch.1].fill(false);
        written[step.output.range()].fill(true);
    }
    written[plan.output().range()].iter().all(|&is_written| is_written)
}

/// Whether the mutant parsed, and then ran, in an arena of [`ARENA_BYTES`].
///
/// # Panics
/// What must not panic does.
pub fn try_out(bytes: &[u8], arena: &mut [i8]) -> bool {
    match Plan::parse(bytes) {
        Ok(plan) => match Engine::new(plan, arena) {
            Ok(mut engine) => engine.run().len() == plan.labels().len(),
            Err(_) => false,
        },
        Err(error) => {
            // Its text must not panic either.
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
