//! A sensor and what takes its pixels in: frames while the program does something else.

use super::sensor::{Sensor, SensorError, Settings};
use ocellus_shared::Frame;
use ocellus_shared::frame::FrameError;

/// Why a frame did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// None came in time.
    Missing,
    /// It came faster, or was longer, than it could be stored.
    Overrun,
}

/// What takes pixels in beside the program: a camera interface with DMA.
pub trait Grabber {
    /// Begins to take the next whole frame, which fills `buffer`, runs `work` meanwhile, and waits for the frame. However
    /// long the work takes, the waiting has an end, and nothing is written to `buffer` after the return.
    ///
    /// # Errors
    /// No whole frame came. The work was done all the same.
    fn grab_while<T>(&mut self, buffer: &mut [u8], work: impl FnOnce() -> T) -> (T, Result<(), CaptureError>);
}

/// Why there is no frame, as the loop counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFault {
    /// The sensor answers, but no frame came in time.
    Missing,
    /// A frame was damaged.
    Overrun,
    /// The sensor does not answer as it should.
    Lost(SensorError),
}

impl CaptureFault {
    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Overrun => "overrun",
            Self::Lost(error) => error.name(),
        }
    }
}

/// The buffer has no room for a frame, or frames of such a size do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A sensor that was set up, and its grabber.
#[derive(Debug)]
pub struct Camera<S, G> {
    sensor: S,
    grabber: G,
    settings: Settings,
    frame_bytes: usize,
}

impl<S: Sensor, G: Grabber> Camera<S, G> {
    /// A camera whose frames have `room` bytes each to go to. The sensor is not touched yet.
    ///
    /// # Errors
    /// A frame is larger than that.
    pub fn new(sensor: S, grabber: G, settings: Settings, room: usize) -> Result<Self, NoRoom> {
        let bytes = Frame::bytes(settings.format, settings.width, settings.height);
        let frame_bytes = bytes.filter(|bytes| (1..=room).contains(bytes)).ok_or(NoRoom)?;
        Ok(Self { sensor, grabber, settings, frame_bytes })
    }

    /// Brings the sensor up, whatever state it is in.
    ///
    /// # Errors
    /// It stays dead after three tries.
    pub fn start(&mut self) -> Result<(), SensorError> {
        self.sensor.bring_up(&self.settings)
    }

    /// Takes the next frame in while `work` runs. It lies at the start of `buffer`, where [`Camera::frame`] finds it.
    ///
    /// # Errors
    /// There is no frame; where none came, the sensor was asked whether it is still there.
    pub fn capture_while<T>(&mut self, buffer: &mut [u8], work: impl FnOnce() -> T) -> (T, Result<(), CaptureFault>) {
        let room = buffer.len().min(self.frame_bytes);
        let (done, outcome) = self.grabber.grab_while(&mut buffer[..room], work);
        let outcome = outcome.map_err(|error| match error {
            CaptureError::Overrun => CaptureFault::Overrun,
            CaptureError::Missing => self.sensor.identify().map_or_else(CaptureFault::Lost, |()| CaptureFault::Missing),
        });
        (done, outcome)
    }

    /// The frame at the start of `buffer`.
    ///
    /// # Errors
    /// The settings are those of no frame, or the buffer is shorter than one.
    pub fn frame<'b>(&self, buffer: &'b [u8]) -> Result<Frame<'b>, FrameError> {
        let Settings { format, width, height, .. } = self.settings;
        Frame::new(format, width, height, &buffer[..buffer.len().min(self.frame_bytes)])
    }
}
