//! The vocabulary that host and firmware share.
//!
//! Everything here is `no_std`, allocates nothing (but for writing plans, feature `encode`) and contains no `unsafe`.
//! Whatever both sides must agree on has its one implementation in this crate:
//!
//! - [`shape`]: sizes of feature maps
//! - [`op`]: the closed set of operators; output shapes, parameter counts, scratch sizes
//! - [`quant`]: the rounding rule
//! - [`plan`]: the model format a board reads
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod op;
pub mod plan;
pub mod quant;
pub mod shape;

pub use op::{Op, Window};
pub use shape::Shape;
