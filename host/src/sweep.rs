//! Studies: many trainings whose recipes differ in some keys, to find the network that fits a board.
//!
//! A [study] names a base recipe, what may vary of it ([`space`]), and what its networks may need ([`budget`]). Workers, which
//! are processes of any number on any machines that share a [folder], each take a point ([`sampler`]), reject it in milliseconds where it
//! does not fit, train it, and perhaps end it early ([`halving`]). All that they know of each other stands in the [`journal`], by
//! which they decide; no clock has a part in it, unless a study is limited in hours. `SWEEP.md` beside the sources says which file
//! systems are safe.

pub mod budget;
pub mod folder;
pub mod halving;
pub mod importance;
pub mod journal;
pub mod launch;
pub mod plots;
pub mod sampler;
pub mod space;
pub mod study;
pub mod trials;
