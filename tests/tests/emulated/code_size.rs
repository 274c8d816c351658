//! What the engine takes of a board's flash: a program that checks a plan, runs it, and does nothing else.
//!
//! A compiler for the boards is needed; where it is missing this test fails and says how to get it.

use std::collections::BTreeSet;
use std::process::Command;

use ocellus::board::Board;
use ocellus::toolchain::{self, BARE, Program, ProgramSize};
use ocellus_shared::plan::Plan;
use ocellus_shared::plan::encode::{PlanSpec, encode};
use ocellus_tests::plans;

/// A Cortex-M4F.
const BOARD: &str = "mps2-an386";
/// The compiler whose code the bounds were measured with, and how much more another one may make, in percent.
const MEASURED_WITH: &str = "rustc 1.96.";
const OTHER_COMPILERS_PERCENT: u64 = 5;
/// Interrupt vectors, which every program of the board has.
const VECTORS: u64 = 1024;

/// Bytes of code and constants of the engine with the operators `ops`, all where there are none: the program's, start-up
/// code and library functions included, less the vectors.
fn engine_bytes(ops: &[&str]) -> u64 {
    let program = Program { name: BARE, ops, env: &[] };
    let built = toolchain::build_program(&Board::load(BOARD).unwrap(), program, &|_| ());
    let built = built.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(built.warnings, 0, "{ops:?}");
    ProgramSize::of(&built.elf).unwrap().flash_bytes - VECTORS
}

/// The kernels that the plan in `bytes` needs.
fn ops(bytes: &[u8]) -> Vec<&'static str> {
    let ops: BTreeSet<_> = Plan::parse(bytes).unwrap().steps().map(|step| step.op.kernel(step.input().shape)).collect();
    ops.into_iter().collect()
}

fn encoded(spec: &PlanSpec) -> Vec<u8> {
    encode(spec).unwrap()
}

#[test]
fn the_engine_is_small_and_smaller_with_the_operators_of_one_plan() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
    let resnet = std::fs::read(format!("{models}/resnet8-cifar10/model.plan")).unwrap();
    let cases = [
        ("all operators", vec![], 26_400),
        ("those of ResNet-8", ops(&resnet), 12_700),
        ("those of MobileNetV1", ops(&encoded(&plans::mobilenet(1))), 14_700),
        ("hardly any", vec!["flatten"], 4_800),
    ];
    let (rustc, _) = toolchain::find_compiler(&Board::load(BOARD).unwrap().target).unwrap();
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let is_measured = String::from_utf8_lossy(&version).starts_with(MEASURED_WITH);
    let mut wrong = Vec::new();
    for (what, ops, most) in cases {
        let most = if is_measured { most } else { most * (100 + OTHER_COMPILERS_PERCENT) / 100 };
        let bytes = engine_bytes(&ops);
        println!("{what}: {bytes} bytes, {most} at most; {}", ops.join(", "));
        // Less than half would mean that the engine was left out.
        if bytes > most || bytes < most / 2 {
            wrong.push((what, bytes, most));
        }
    }
    assert!(wrong.is_empty(), "operators, bytes, most: {wrong:?}");
}
