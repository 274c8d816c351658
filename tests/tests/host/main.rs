//! The workstation's library: data, networks, quantization, ONNX beside tract, probes, and the rules of the tree.
//!
//! `cargo test --release --package ocellus-tests --test host MODULE::` runs one module.

#[path = "../support/classifier.rs"]
mod classifier;
#[path = "../support/onnx.rs"]
mod onnx;
#[path = "../support/random/mod.rs"]
mod random;

mod agreement;
mod backbones;
mod corrections;
mod data_fetch;
mod data_shapes;
mod dependencies;
mod efficientnet;
mod export;
mod first_label;
mod folding;
mod golden;
mod import;
mod layering;
mod probe;
mod probe_log;
mod probe_talk;
mod trim;
