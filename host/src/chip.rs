//! Microcontrollers in software, on which the very program runs that is flashed: [`Machine`] is a chip with its core, its memory
//! and what a board connects to it.
//!
//! A [`Core`](self::core::Core) carries out instructions; what its loads and stores reach beside memory are the blocks of a chip
//! ([`stm32h743`]), to which a [`sensor`] is connected. Models are stricter than silicon: what a program does that a
//! reference manual does not promise is done at its worst, and is a finding. Time is the chip's own: it passes with the
//! cycles of the core, and faster while the program only polls ([`poll`]).

mod bank;
pub mod boards;
pub mod bus;
pub mod core;
mod machine;
pub mod poll;
pub mod program;
pub mod rings;
pub mod sensor;
pub mod stm32h743;

pub use machine::{Machine, Stop};
