//! What several commands share. Commands import this and never each other.

pub mod camera_source;
pub mod datasets;
pub mod models;
pub mod runs;
pub mod signals;
pub mod targets;
