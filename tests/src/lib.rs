//! What the tests of several crates share.

pub mod elf;
pub mod overlaps;
pub mod plans;
pub mod program;
pub mod random;
