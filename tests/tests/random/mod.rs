//! Random inputs of the property tests.

// Each test uses its part.
#![allow(dead_code)]

pub mod network;
pub mod quant_graph;
