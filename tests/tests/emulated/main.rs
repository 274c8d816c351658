//! The boards' own programs: on the four emulated cores, and what the linker made of them.
//!
//! QEMU and a compiler for the boards are needed; where they are missing these tests fail and say how to get them.
//!
//! `cargo test --release --package ocellus-tests --test emulated MODULE::` runs one module.

#[path = "../support/model.rs"]
mod model;

mod board_programs;
mod boards;
mod chip;
mod code_size;
mod cost_model;
mod kernels;
mod mutants;
mod preprocess;
mod program_sizes;
mod watch;
