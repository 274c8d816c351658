//! Damaged and malicious inputs of every parser: none panics, takes long or takes much memory, and what is taken keeps the property
//! that its module names.
//!
//! A target goes through a fixed number of seeded cases, more with `OCELLUS_FULL`, and any number by
//!
//! ```text
//! OCELLUS_FUZZ=1000000 OCELLUS_FUZZ_SEED=7 cargo test --release --package ocellus-tests --test fuzz pickle -- --nocapture
//! ```
//!
//! A case follows from target, seed and number alone. One that fails is written to a file, whose name the message says.

#[path = "../support/onnx.rs"]
mod onnx;

mod backbone;
mod board;
mod data;
mod mutate;
mod recipe;
mod target;
mod weights;
