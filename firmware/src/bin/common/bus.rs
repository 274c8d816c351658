//! The sensor's control bus of boards with an STM32H743, and an output that is upside down.

use embassy_stm32::Peri;
use embassy_stm32::gpio::{Level, Output, OutputOpenDrain, Pull, Speed};
use embassy_stm32::i2c::{self, I2c, Master};
use embassy_stm32::mode::Blocking;
use embassy_stm32::peripherals::{I2C1, PB8, PB9};
use embassy_stm32::time::Hertz;
use embassy_time::{Delay, Duration};
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::i2c::{ErrorType, I2c as I2cBus, Operation};
use ocellus_firmware::camera::sccb::{self, Bus};

/// A transaction of three bytes takes 0.3 ms.
const BUS_TIMEOUT: Duration = Duration::from_millis(10);

/// The sensor's control bus: I2C1 on PB8 and PB9.
pub struct ControlBus(Option<I2c<'static, Blocking, Master>>);

impl ControlBus {
    /// Takes the bus.
    pub fn new(port: Peri<'static, I2C1>, scl: Peri<'static, PB8>, sda: Peri<'static, PB9>) -> Self {
        let mut config = i2c::Config::default();
        config.frequency = Hertz(100_000);
        config.timeout = BUS_TIMEOUT;
        // A help to those on the board, if there are any.
        (config.scl_pullup, config.sda_pullup) = (true, true);
        Self(Some(I2c::new_blocking(port, scl, sda, config)))
    }
}

impl ErrorType for ControlBus {
    type Error = i2c::Error;
}

impl I2cBus for ControlBus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), i2c::Error> {
        self.0.as_mut().ok_or(i2c::Error::Bus)?.transaction(address, operations)
    }
}

impl Bus for ControlBus {
    fn clear(&mut self) {
        self.0 = None;
        // SAFETY: the driver that had the port and the pins is gone, and nobody else has them.
        let (port, mut scl, mut sda) = unsafe { (I2C1::steal(), PB8::steal(), PB9::steal()) };
        {
            let mut scl = OutputOpenDrain::new_pull(scl.reborrow(), Level::High, Speed::Low, Pull::Up);
            let mut sda = OutputOpenDrain::new_pull(sda.reborrow(), Level::High, Speed::Low, Pull::Up);
            // Whether it helped is seen in the next transaction.
            sccb::clear(&mut scl, &mut sda, &mut Delay);
        }
        *self = Self::new(port, scl, sda);
    }
}

/// An output whose low level is its high.
#[allow(dead_code, reason = "not every board has one")]
pub struct Inverted(pub Output<'static>);

impl digital::ErrorType for Inverted {
    type Error = core::convert::Infallible;
}

impl OutputPin for Inverted {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        OutputPin::set_high(&mut self.0)
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        OutputPin::set_low(&mut self.0)
    }
}
