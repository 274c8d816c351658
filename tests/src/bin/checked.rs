//! Damaged plans and kernels where no arithmetic may wrap by itself: for a build with overflow checks, see the profile `checked`. `cargo verify`
//! runs it, and with `OCELLUS_FULL` set more of it.

use ocellus_shared::plan::Plan;
use ocellus_tests::compare::{compare, compare_overlapped, encoded};
use ocellus_tests::mutants::{self, ARENA_BYTES};
use ocellus_tests::{cases, isa, plans, random::Random};
use std::sync::atomic::{AtomicU64, Ordering};

/// Mutations of one plan.
const PER_PLAN: u64 = 500;

fn main() {
    assert!(checks_overflow(), "build it with overflow checks: cargo run --profile checked --bin checked");
    isa::each(|name| {
        let ran = AtomicU64::new(0);
        in_parallel(cases(40, 2_000), |seed| {
            let mut arena = vec![1; ARENA_BYTES];
            let count = mutants::of_plan(seed, PER_PLAN).filter(|bytes| mutants::try_out(bytes, &mut arena)).count();
            ran.fetch_add(count as u64, Ordering::Relaxed);
        });
        in_parallel(cases(500, 20_000), |seed| {
            let kinds = [plans::random, plans::depthwise, plans::winograd];
            // The others take longer, and are less varied.
            let count = if seed % 10 == 0 { kinds.len() } else { 1 };
            for kind in &kinds[..count] {
                let spec = kind(seed);
                let bytes = encoded(seed, &spec);
                compare(&Plan::parse(&bytes).expect("it was just written"), &mut Random::new(!seed));
                compare_overlapped(seed, &spec);
            }
        });
        in_parallel(cases(4, 20), |seed| {
            let bytes = encoded(seed, &plans::large(seed));
            compare(&Plan::parse(&bytes).expect("it was just written"), &mut Random::new(!seed));
        });
        println!("{name}: nothing wraps; {} damaged plans ran", ran.into_inner());
    });
}

/// Whether this build stops where arithmetic wraps.
fn checks_overflow() -> bool {
    std::panic::set_hook(Box::new(|_| ()));
    let most = std::hint::black_box(u8::MAX);
    let wraps = std::panic::catch_unwind(|| most + std::hint::black_box(1)).is_ok();
    let _ = std::panic::take_hook();
    !wraps
}

/// Calls `check` with every number below `count`, on all cores.
fn in_parallel(count: u64, check: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    check(seed);
                }
            });
        }
    });
}
