//! Where frames come from: sensors, the bus to them, what takes their pixels in, and all of it in software.

pub mod live;
pub mod ov2640;
pub mod ov7670;
pub mod ov7725;
pub mod sccb;
pub mod sensor;
pub mod simulated;
