//! The vocabulary that host and firmware share.
//!
//! Everything here is `no_std`, allocates nothing (but for writing plans, feature `encode`) and contains no `unsafe`.
//! Whatever both sides must agree on has its one implementation in this crate:
//!
//! - [`shape`]: sizes of feature maps
//! - [`op`]: the closed set of operators; output shapes, parameter counts, scratch sizes
//! - [`quant`]: the rounding rule
//! - [`plan`]: the model format a board reads
//! - [`frame`]: pixel formats of cameras
//! - [`mod@preprocess`]: from a frame to the network's image
//! - [`scores`]: what a network's answer says
//! - [`wire`]: the conversation between host and board
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod checksum;
pub mod frame;
pub mod op;
pub mod plan;
pub mod preprocess;
pub mod quant;
pub mod scores;
pub mod shape;
pub mod wire;

pub use frame::{Frame, PixelFormat};
pub use op::{Op, Window};
pub use preprocess::preprocess;
pub use shape::Shape;
