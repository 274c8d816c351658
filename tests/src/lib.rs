//! What the tests of several crates share.

pub mod compare;
pub mod elf;
pub mod isa;
pub mod mutants;
pub mod overlaps;
pub mod plans;
pub mod program;
pub mod random;
pub mod web;

/// How many cases a random test goes through: `quick` on an ordinary day, `full` where the environment variable
/// `OCELLUS_FULL` is set, as continuous integration does.
pub fn cases(quick: u64, full: u64) -> u64 {
    if std::env::var_os("OCELLUS_FULL").is_some() { full } else { quick }
}
