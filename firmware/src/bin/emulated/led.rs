//! The first LED of the FPGA image.

use super::LED_REGISTER;
use core::convert::Infallible;
use embedded_hal::digital::{ErrorType, OutputPin};

/// The LED; there is one.
pub struct Led(());

impl Led {
    /// The LED, dark.
    pub fn new() -> Self {
        let mut led = Self(());
        let Ok(()) = led.set_low();
        led
    }

    fn write(&mut self, value: u32) {
        // SAFETY: the board's table names the LED register, which is always mapped and has no other user.
        unsafe { (LED_REGISTER as *mut u32).write_volatile(value) }
    }
}

impl ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.write(0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.write(1);
        Ok(())
    }
}
