//! What a board with an RP2350 needs of it: the sensor's bus, time and the watchdog; its camera interface is [`pio`].

pub mod pio;

use core::cell::RefCell;
use embassy_rp::gpio::{Level, OutputOpenDrain};
use embassy_rp::i2c::{self, Blocking, I2c};
use embassy_rp::peripherals::{I2C1, PIN_14, PIN_15};
use embassy_rp::{Peri, watchdog};
use embassy_time::{Delay, Duration, Instant};
use embedded_hal::i2c::{ErrorType, I2c as I2cBus, Operation};
use ocellus_firmware::camera::sccb::{self, Bus};
use ocellus_firmware::time::{Clock, Watchdog};

/// Longest time that the watchdog can wait: its counter has 24 bits.
const LONGEST_WATCH_US: u32 = 0xff_ffff;

/// The sensor's control bus: I2C1 on pins 15 and 14.
pub struct ControlBus(Option<I2c<'static, I2C1, Blocking>>);

impl ControlBus {
    /// Frees the bus, which a reset of this chip may have left in the middle of a transfer, and takes it.
    pub fn new(port: Peri<'static, I2C1>, mut scl: Peri<'static, PIN_15>, mut sda: Peri<'static, PIN_14>) -> Self {
        {
            let mut scl = OutputOpenDrain::new(scl.reborrow(), Level::High);
            let mut sda = OutputOpenDrain::new(sda.reborrow(), Level::High);
            scl.set_pullup(true);
            sda.set_pullup(true);
            // Whether it helped is seen in the first transaction.
            sccb::clear(&mut scl, &mut sda, &mut Delay);
        }
        Self(Some(I2c::new_blocking(port, scl, sda, i2c::Config::default())))
    }
}

impl ErrorType for ControlBus {
    type Error = i2c::Error;
}

impl I2cBus for ControlBus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), i2c::Error> {
        let bus = self.0.as_mut().ok_or(i2c::Error::Abort(i2c::AbortReason::ArbitrationLoss))?;
        I2cBus::transaction(bus, address, operations)
    }
}

impl Bus for ControlBus {
    fn clear(&mut self) {
        self.0 = None;
        // SAFETY: the driver that had the port and the pins is gone, and nobody else has them.
        let (port, scl, sda) = unsafe { (I2C1::steal(), PIN_15::steal(), PIN_14::steal()) };
        *self = Self::new(port, scl, sda);
    }
}

/// Time since power-up, and the chip's watchdog with the time that a feeding gives it.
pub struct Timer(RefCell<(watchdog::Watchdog, Duration)>);

impl Timer {
    /// A watchdog that does not run yet.
    pub fn new(watchdog: watchdog::Watchdog) -> Self {
        Self(RefCell::new((watchdog, Duration::from_ticks(0))))
    }
}

impl Clock for Timer {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }
}

impl Watchdog for Timer {
    fn start(&self, deadline_us: u32) {
        let (watchdog, timeout) = &mut *self.0.borrow_mut();
        *timeout = Duration::from_micros(deadline_us.min(LONGEST_WATCH_US).into());
        watchdog.start(*timeout);
    }

    fn feed(&self) {
        let (watchdog, timeout) = &mut *self.0.borrow_mut();
        // One that does not run yet has no time to be given.
        if timeout.as_ticks() > 0 {
            watchdog.feed(*timeout);
        }
    }
}
