//! The firmware's library on this machine: kernels, plans, preprocessing, the camera loop, the conversation with a host.
//!
//! `cargo test --release --package ocellus-tests --test engine MODULE::` runs one module.

mod boot;
mod engine;
mod kernels;
mod plan_format;
mod plan_safety;
mod preprocess;
mod session;
mod watch;
