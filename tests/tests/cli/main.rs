//! The `ocellus` program from the outside: what it prints, writes, refuses and survives.
//!
//! `cargo test --release --package ocellus-tests --test cli MODULE::` runs one module.

#[path = "../support/model.rs"]
mod model;

mod board;
mod commands;
mod dist;
mod talk;
mod train;
