//! Where pictures come from.

pub mod live;
pub mod ov2640;
pub mod ov7670;
pub mod ov7725;
pub mod sccb;
pub mod sensor;
pub mod simulated;

use ocellus_shared::Frame;

/// A camera, or what stands in for one.
pub trait Camera {
    /// Why there is no picture.
    type Error;

    /// Waits for the next picture and puts it at the start of `buffer`.
    ///
    /// # Errors
    /// The camera does not deliver, or its picture has no room in `buffer`.
    fn capture<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Frame<'b>, Self::Error>;
}
