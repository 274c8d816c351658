//! The workstation's half of Ocellus, in the order of its pipeline.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod random;
pub mod recipe;

pub mod data;
pub mod net;

pub mod augment;
pub mod checkpoint;
pub mod train;

pub mod view;
