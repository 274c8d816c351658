//! The `ocellus` program from the outside: what it prints, writes, refuses and survives.
//!
//! `cargo test --release --package ocellus-tests --test cli MODULE::` runs one module.

#[path = "../support/classifier.rs"]
mod classifier;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/onnx.rs"]
mod onnx;

mod board;
mod commands;
mod dist;
mod distill;
mod ensemble;
mod hostile;
mod import;
mod live_view;
#[cfg(unix)]
mod machine;
#[cfg(unix)]
mod names;
#[cfg(unix)]
mod outputs;
mod plots;
#[cfg(unix)]
mod runs;
mod serve;
mod serve_boards;
mod serve_training;
mod standalone;
#[cfg(unix)]
mod sweep;
mod talk;
mod train;
