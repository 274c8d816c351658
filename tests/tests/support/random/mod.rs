//! Random inputs of the property tests.

// Each test uses its part.
#![allow(dead_code)]

pub mod efficientnet;
pub mod network;
pub mod quant_graph;
