//! The board's half of Ocellus: the int8 engine, the camera and the loop between them.
//!
//! The library is `no_std`, allocates nothing and also builds for the host, where it is tested and where it evaluates
//! whole datasets:
//!
//! - [`engine`]: runs a parsed plan in memory that the caller lends
//! - [`kernels`]: one function per operator, each with a plain reference
//! - [`camera`]: where frames come from: sensors, what takes their pixels in, and both in software
//! - [`app`]: the loop of a camera board, from frame to label, and the host beside it
//! - [`transport`], [`server`]: the conversation with a host
//! - [`boot`]: a camera board, with its model in flash; [`emulated`]: one whose plans come from a host
//! - [`profile`], [`time`]: counting what a run takes; clock and watchdog
//!
//! The boards' programs are in `bin/`; what the emulated ones share is `bin/emulated`, and what several share `bin/common`.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

pub mod app;
pub mod boot;
pub mod camera;
pub mod emulated;
pub mod engine;
pub mod kernels;
pub mod profile;
pub mod server;
pub mod time;
pub mod transport;

pub use engine::{ArenaTooSmall, Engine};
