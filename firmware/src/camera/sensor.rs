//! What every image sensor can do, and how it is brought back when it cannot.

use ocellus_shared::PixelFormat;

/// Tries of [`Sensor::bring_up`] before it gives up.
const ATTEMPTS: usize = 3;

/// Why a sensor does not do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorError {
    /// Nobody answers at the sensor's address: no power, no clock, no sensor, or one that is still resetting.
    NoAcknowledge,
    /// The bus itself does not work: a line is held low, arbitration is lost, a transfer does not end.
    StuckBus,
    /// Another chip answers, with this product number.
    WrongId(u8),
    /// The sensor or its driver has no such setting.
    Unsupported(Setting),
}

/// What is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The pixel format.
    Format,
    /// Columns or rows: too many, or not a multiple of what the sensor counts in.
    Size,
    /// The window.
    Window,
}

impl SensorError {
    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAcknowledge => "no-acknowledge",
            Self::StuckBus => "stuck-bus",
            Self::WrongId(_) => "wrong-id",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

impl core::fmt::Display for SensorError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoAcknowledge => f.write_str("the sensor does not answer: check its power, clock and plug"),
            Self::StuckBus => f.write_str("the sensor's bus is stuck: check SCL, SDA and their pull-ups"),
            Self::WrongId(id) => write!(f, "another chip answers in the sensor's place, product number {id:#04x}"),
            Self::Unsupported(setting) => write!(f, "the sensor has no such {setting:?}"),
        }
    }
}

impl core::error::Error for SensorError {}

/// Which part of the sensor's field of view a frame shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// As much as the frame's aspect ratio allows.
    #[default]
    Whole,
    /// The middle, half as wide and half as high: twice as near.
    Middle,
}

/// How many frames a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rate {
    /// As many as the sensor makes from the clock it is given.
    #[default]
    Full,
    /// Half of that.
    Half,
    /// A quarter.
    Quarter,
}

impl Rate {
    /// By how much the sensor's clock is divided.
    pub const fn divisor(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
        }
    }
}

/// What a sensor is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How a pixel is sent.
    pub format: PixelFormat,
    /// Columns of a frame.
    pub width: u16,
    /// Rows of a frame.
    pub height: u16,
    /// What it shows.
    pub window: Window,
    /// How often there is one.
    pub rate: Rate,
    /// Left and right change places.
    pub mirror: bool,
    /// Top and bottom change places.
    pub flip: bool,
    /// Exposure and gain stay as they are instead of following the light.
    pub locked: bool,
    /// Colour bars instead of what is before the lens.
    pub pattern: bool,
}

impl Settings {
    /// Upright pictures of the whole field of view, as many as there are, with automatic exposure.
    pub const fn new(format: PixelFormat, width: u16, height: u16) -> Self {
        Self {
            format,
            width,
            height,
            window: Window::Whole,
            rate: Rate::Full,
            mirror: false,
            flip: false,
            locked: false,
            pattern: false,
        }
    }
}

/// An image sensor behind its control bus.
pub trait Sensor {
    /// Asks for the product number.
    ///
    /// # Errors
    /// Nobody or somebody else answers, or the bus does not work.
    fn identify(&mut self) -> Result<(), SensorError>;

    /// Puts every register back to what it was after power-up, and waits until the sensor answers again.
    ///
    /// # Errors
    /// As for [`Sensor::identify`].
    fn reset(&mut self) -> Result<(), SensorError>;

    /// Writes all that `settings` say to a sensor that was reset, and lets it settle.
    ///
    /// # Errors
    /// Settings that the sensor does not have, before anything is written; or as for [`Sensor::identify`].
    fn configure(&mut self, settings: &Settings) -> Result<(), SensorError>;

    /// Mirrors and flips the picture.
    ///
    /// # Errors
    /// As for [`Sensor::identify`].
    fn orient(&mut self, mirror: bool, flip: bool) -> Result<(), SensorError>;

    /// Stops exposure and gain from following the light, or lets them again.
    ///
    /// # Errors
    /// As for [`Sensor::identify`].
    fn lock(&mut self, locked: bool) -> Result<(), SensorError>;

    /// Shows colour bars, or the picture again.
    ///
    /// # Errors
    /// As for [`Sensor::identify`].
    fn show_pattern(&mut self, on: bool) -> Result<(), SensorError>;

    /// Frees a bus that a chip holds.
    fn clear_bus(&mut self);

    /// Waits.
    fn wait_ms(&mut self, time_ms: u32);

    /// Makes a sensor in any state deliver frames as `settings` say.
    ///
    /// Each failure has its cure, and up to three tries are made: after a missing acknowledgement 10 ms of patience, after
    /// a wrong product number a reset, after a stuck bus the clearing of it. Settings that do not exist have none.
    ///
    /// # Errors
    /// What went wrong in the last try.
    fn bring_up(&mut self, settings: &Settings) -> Result<(), SensorError> {
        let mut outcome = self.start(settings);
        for _ in 1..ATTEMPTS {
            match outcome {
                Ok(()) | Err(SensorError::Unsupported(_)) => return outcome,
                Err(SensorError::NoAcknowledge) => self.wait_ms(10),
                Err(SensorError::WrongId(_)) => {
                    // Whether it worked is seen in the next try.
                    let _ = self.reset();
                }
                Err(SensorError::StuckBus) => self.clear_bus(),
            }
            outcome = self.start(settings);
        }
        outcome
    }

    /// One try of [`Sensor::bring_up`].
    ///
    /// # Errors
    /// As for [`Sensor::configure`].
    fn start(&mut self, settings: &Settings) -> Result<(), SensorError> {
        self.identify()?;
        self.reset()?;
        self.configure(settings)?;
        self.orient(settings.mirror, settings.flip)?;
        self.show_pattern(settings.pattern)?;
        self.lock(settings.locked)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::SensorError;
    use crate::camera::sccb::tests::{Desk, NACK, read, writes};
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::i2c::Transaction;

    /// That a sensor at address 0x21, whose product number is in register 0x0a and whose `bring_up` takes the transactions
    /// `started` where nothing goes wrong, is brought up after each failure as well; `stranger` is another's number.
    pub fn assert_cures(
        started: &[Transaction],
        stranger: u8,
        bring_up: impl Fn(&mut Desk) -> Result<(), SensorError>,
    ) {
        let id = |kind| Transaction::write(0x21, vec![0x0a]).with_error(kind);
        let mut torn = started[..7].to_vec();
        torn.push(started[7].clone().with_error(ErrorKind::Other));
        let stranger = [read(0x21, 0x0a, stranger), writes(0x21, &[(0x12, 0x80)])].concat();
        // What goes wrong first, and how often the bus is cleared for it.
        for (trouble, cleared) in
            [(vec![id(NACK), id(NACK)], 0), (vec![id(ErrorKind::Other)], 1), (torn, 1), (stranger, 0)]
        {
            let mut desk = Desk::new(&[&trouble, started].concat());
            assert_eq!(bring_up(&mut desk), Ok(()));
            assert_eq!(desk.cleared, cleared);
            desk.done();
        }
        let mut desk = Desk::new(&[id(ErrorKind::Other), id(ErrorKind::Other), id(ErrorKind::Other)]);
        assert_eq!(bring_up(&mut desk), Err(SensorError::StuckBus));
        desk.done();
    }
}
