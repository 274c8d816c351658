//! OmniVision's control bus, SCCB, on an I2C controller.
//!
//! It differs from I2C in one point that matters: there is no repeated start. A register is read in two transactions, a
//! write of its number and a read of its value.

use super::sensor::SensorError;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::{Error as _, ErrorKind, I2c};

/// Half a period of the clock while a bus is cleared, in microseconds: 100 kHz, which every chip follows.
const HALF_PERIOD_US: u32 = 5;

/// An I2C controller that can free its bus.
pub trait Bus: I2c {
    /// Makes a chip that holds SDA low let go, as [`clear`] does, and takes the bus over again.
    fn clear(&mut self);
}

impl<B: Bus> Bus for &mut B {
    fn clear(&mut self) {
        (**self).clear();
    }
}

/// Clocks a bus until SDA is free, then sends a stop; whether it is free now.
///
/// A chip that was interrupted in the middle of sending a zero waits for the clocks that are left: nine at most (I2C-bus
/// specification UM10204, section 3.1.16). Both pins are open drain: high means let go.
pub fn clear(scl: &mut impl OutputPin, sda: &mut (impl InputPin + OutputPin), delay: &mut impl DelayNs) -> bool {
    // A pin that cannot be set is seen as a bus that does not get free.
    let _ = sda.set_high();
    for _ in 0..9 {
        if sda.is_high().unwrap_or(false) {
            break;
        }
        let _ = scl.set_low();
        delay.delay_us(HALF_PERIOD_US);
        let _ = scl.set_high();
        delay.delay_us(HALF_PERIOD_US);
    }
    // Stop: SDA rises while SCL is high.
    let _ = scl.set_low();
    let _ = sda.set_low();
    delay.delay_us(HALF_PERIOD_US);
    let _ = scl.set_high();
    delay.delay_us(HALF_PERIOD_US);
    let _ = sda.set_high();
    delay.delay_us(HALF_PERIOD_US);
    sda.is_high().unwrap_or(false)
}

/// A chip on the bus, and the time it takes.
#[derive(Debug)]
pub struct Sccb<B, D> {
    bus: B,
    delay: D,
    address: u8,
}

impl<B: Bus, D: DelayNs> Sccb<B, D> {
    /// The chip at the 7-bit `address`.
    pub fn new(bus: B, delay: D, address: u8) -> Self {
        Self { bus, delay, address }
    }

    /// Gives the bus back.
    pub fn release(self) -> B {
        self.bus
    }

    /// Writes one register.
    ///
    /// # Errors
    /// No acknowledgement, or a bus that does not work.
    pub fn write(&mut self, register: u8, value: u8) -> Result<(), SensorError> {
        self.bus.write(self.address, &[register, value]).map_err(fault::<B>)
    }

    /// Writes registers in order.
    ///
    /// # Errors
    /// As for [`Sccb::write`]; those after the failing one are not written.
    pub fn write_all(&mut self, values: &[(u8, u8)]) -> Result<(), SensorError> {
        values.iter().try_for_each(|(register, value)| self.write(*register, *value))
    }

    /// Reads one register.
    ///
    /// # Errors
    /// As for [`Sccb::write`].
    pub fn read(&mut self, register: u8) -> Result<u8, SensorError> {
        let mut value = [0];
        self.bus.write(self.address, &[register]).map_err(fault::<B>)?;
        self.bus.read(self.address, &mut value).map_err(fault::<B>)?;
        Ok(value[0])
    }

    /// Sets the bits of `mask` to those of `value` and leaves the others.
    ///
    /// # Errors
    /// As for [`Sccb::write`].
    pub fn modify(&mut self, register: u8, mask: u8, value: u8) -> Result<(), SensorError> {
        let before = self.read(register)?;
        self.write(register, before & !mask | value & mask)
    }

    /// Frees the bus.
    pub fn clear(&mut self) {
        self.bus.clear();
    }

    /// Waits.
    pub fn wait_ms(&mut self, time_ms: u32) {
        self.delay.delay_ms(time_ms);
    }
}

/// What the controller's error means. Controllers report a line that is held low as many things, but a missing
/// acknowledgement always as one.
fn fault<B: I2c>(error: B::Error) -> SensorError {
    match error.kind() {
        ErrorKind::NoAcknowledge(_) => SensorError::NoAcknowledge,
        _ => SensorError::StuckBus,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use embedded_hal::i2c::{NoAcknowledgeSource, Operation};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::digital;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    /// The expected transactions, and how often the bus was cleared.
    pub struct Desk {
        mock: Mock,
        pub cleared: u32,
    }

    impl Desk {
        pub fn new(expected: &[Transaction]) -> Self {
            Self { mock: Mock::new(expected), cleared: 0 }
        }

        /// All was done that was expected.
        pub fn done(&mut self) {
            self.mock.done();
        }
    }

    impl embedded_hal::i2c::ErrorType for Desk {
        type Error = ErrorKind;
    }

    impl I2c for Desk {
        fn transaction(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), ErrorKind> {
            // The mock tells a lone read or write from a transaction, as a controller does on the wire.
            match operations {
                [Operation::Read(buffer)] => self.mock.read(address, buffer),
                [Operation::Write(bytes)] => self.mock.write(address, bytes),
                several => panic!("SCCB has no transaction of {} operations", several.len()),
            }
        }
    }

    impl Bus for Desk {
        fn clear(&mut self) {
            self.cleared += 1;
        }
    }

    pub const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

    /// Expected writes of single registers.
    pub fn writes(address: u8, values: &[(u8, u8)]) -> Vec<Transaction> {
        values.iter().map(|(register, value)| Transaction::write(address, vec![*register, *value])).collect()
    }

    /// An expected read of a register, in two transactions.
    pub fn read(address: u8, register: u8, value: u8) -> Vec<Transaction> {
        vec![Transaction::write(address, vec![register]), Transaction::read(address, vec![value])]
    }

    fn chip(desk: &mut Desk) -> Sccb<&mut Desk, NoopDelay> {
        Sccb::new(desk, NoopDelay::new(), 0x30)
    }

    #[test]
    fn a_read_is_a_write_and_then_a_read() {
        let mut desk = Desk::new(&read(0x30, 0x0a, 0x26));
        assert_eq!(chip(&mut desk).read(0x0a), Ok(0x26));
        desk.done();
    }

    #[test]
    fn a_modification_leaves_other_bits() {
        let expected = [read(0x30, 0x13, 0b1010_0101), writes(0x30, &[(0x13, 0b1010_1001)])].concat();
        let mut desk = Desk::new(&expected);
        assert_eq!(chip(&mut desk).modify(0x13, 0b1100, 0b1000), Ok(()));
        desk.done();
    }

    #[test]
    fn only_a_missing_acknowledgement_is_one() {
        for (kind, expected) in [
            (NACK, SensorError::NoAcknowledge),
            (ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data), SensorError::NoAcknowledge),
            (ErrorKind::Bus, SensorError::StuckBus),
            (ErrorKind::ArbitrationLoss, SensorError::StuckBus),
            // What controllers say of a transfer that does not end.
            (ErrorKind::Other, SensorError::StuckBus),
        ] {
            let mut desk = Desk::new(&[Transaction::write(0x30, vec![1, 2]).with_error(kind)]);
            assert_eq!(chip(&mut desk).write_all(&[(1, 2), (3, 4)]), Err(expected));
            desk.done();
        }
    }

    /// SCL and SDA as they are expected while a chip holds SDA through `held` looks.
    fn pins(held: usize) -> (digital::Mock, digital::Mock) {
        use digital::{State, Transaction as Pin};
        let pulses = (0..=held).flat_map(|_| [Pin::set(State::Low), Pin::set(State::High)]);
        let scl: Vec<Pin> = pulses.collect();
        let looks = (0..held).map(|_| Pin::get(State::Low)).chain((held < 9).then_some(Pin::get(State::High)));
        let stop = [Pin::set(State::Low), Pin::set(State::High), Pin::get(State::High)];
        let sda: Vec<Pin> = [Pin::set(State::High)].into_iter().chain(looks).chain(stop).collect();
        (digital::Mock::new(&scl), digital::Mock::new(&sda))
    }

    #[test]
    fn a_bus_is_clocked_until_it_is_free_and_then_stopped() {
        for held in [0, 1, 5, 9] {
            let (mut scl, mut sda) = pins(held);
            assert!(clear(&mut scl, &mut sda, &mut NoopDelay::new()), "{held} clocks");
            scl.done();
            sda.done();
        }
    }
}
