//! The workstation's half of Ocellus, in the order of its pipeline: a module imports only those above it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// They panic where nobody reads: `report` and `view` do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod view;

pub mod files;
pub mod random;

pub mod recipe;

pub mod data;
pub mod plot;

pub mod net;
pub mod weights;

pub mod camera;

pub mod augment;
pub mod checkpoint;
pub mod corruption;
pub mod features;
pub mod train;

pub mod ops;

pub mod graph;

pub mod fold;

pub mod calibrate;

pub mod quantize;

pub mod trim;

pub mod onnx;

pub mod arena;
pub mod pack;

pub mod board;
pub mod cost;
pub mod toolchain;

pub mod analysis;

pub mod chip;

pub mod probe;
pub mod transport;

pub mod client;

pub mod eval;

pub mod watch;

pub mod deploy;
pub mod import;
pub mod model;
pub mod sweep;

pub mod doctor;
pub mod report;

pub mod serve;

pub mod cli;
pub mod commands;
