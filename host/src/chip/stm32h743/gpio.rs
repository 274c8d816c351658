//! General-purpose pins (RM0433, chapter 11).

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::Findings;

/// RM0433, 11.4, for a port whose pins are all analog after a reset: ports other than A and B.
const TABLE: &[Register] = &ports(0xFFFF_FFFF, 0, 0);
/// The same of port A, some of whose pins are the debug port's.
const TABLE_A: &[Register] = &ports(0xABFF_FFFF, 0x0C00_0000, 0x6400_0000);
/// The same of port B.
const TABLE_B: &[Register] = &ports(0xFFFF_FEBF, 0x0000_00C0, 0x0000_0100);

const fn ports(mode: u32, speed: u32, pull: u32) -> [Register; 10] {
    [
        register("MODER", MODER, mode, u32::MAX),
        register("OTYPER", OTYPER, 0, 0xFFFF),
        register("OSPEEDR", 0x08, speed, u32::MAX),
        register("PUPDR", PUPDR, pull, u32::MAX),
        register("IDR", IDR, 0, 0),
        register("ODR", ODR, 0, 0xFFFF),
        register("BSRR", BSRR, 0, 0),
        register("LCKR", 0x1C, 0, 0x1_FFFF),
        register("AFRL", AFRL, 0, u32::MAX),
        register("AFRH", AFRL + 4, 0, u32::MAX),
    ]
}

const MODER: u32 = 0x00;
const OTYPER: u32 = 0x04;
const PUPDR: u32 = 0x0C;
const IDR: u32 = 0x10;
const ODR: u32 = 0x14;
const BSRR: u32 = 0x18;
const AFRL: u32 = 0x20;

/// What a pin is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read.
    Input,
    /// Driven by ODR.
    Output,
    /// Belongs to a block, by this number.
    Alternate(u8),
    /// Neither.
    Analog,
}

/// What a pin does to the line that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// Pulls it down.
    Low,
    /// Pushes it up.
    High,
    /// Lets go of it, but for a weak resistor to the supply.
    PulledUp,
    /// Lets go of it.
    Open,
}

/// A port.
#[derive(Debug)]
pub struct Port {
    bank: Bank,
    /// What stands on the lines, for pins that somebody outside drives.
    inputs: u32,
}

impl Port {
    /// Port number `index`, 0 for A.
    pub fn new(index: usize) -> Self {
        let table = match index {
            0 => TABLE_A,
            1 => TABLE_B,
            _ => TABLE,
        };
        Self { bank: Bank::new("GPIO", table), inputs: 0 }
    }

    /// Puts it back to what it is after a reset.
    pub fn reset(&mut self) {
        self.bank.reset();
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        match offset {
            IDR => (0..16).fold(0, |levels, pin| levels | u32::from(self.level(pin)) << pin),
            _ => self.bank.read(offset, findings),
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, findings: &mut Findings) {
        match offset {
            // Setting beats resetting.
            BSRR => self.bank.set(ODR, self.bank.get(ODR) & !(value >> 16) | value & 0xFFFF),
            _ => self.bank.write(offset, value, findings),
        }
    }

    /// What `pin` is used for.
    pub fn mode(&self, pin: u32) -> Mode {
        match self.bank.get(MODER) >> (2 * pin) & 3 {
            0 => Mode::Input,
            1 => Mode::Output,
            2 => Mode::Alternate((self.bank.get(AFRL + pin / 8 * 4) >> (4 * (pin % 8)) & 0xF) as u8),
            _ => Mode::Analog,
        }
    }

    /// Whether `pin` can only pull down.
    pub fn is_open_drain(&self, pin: u32) -> bool {
        self.bank.has(OTYPER, 1 << pin)
    }

    /// Whether `pin` has its pull-up on.
    pub fn is_pulled_up(&self, pin: u32) -> bool {
        self.bank.get(PUPDR) >> (2 * pin) & 3 == 1
    }

    /// What `pin` does as an output or an input; a block's pin does what the block does.
    pub fn drive(&self, pin: u32) -> Drive {
        let high = self.bank.has(ODR, 1 << pin);
        match self.mode(pin) {
            Mode::Output if !high => Drive::Low,
            Mode::Output if !self.is_open_drain(pin) => Drive::High,
            Mode::Analog => Drive::Open,
            _ if self.is_pulled_up(pin) => Drive::PulledUp,
            _ => Drive::Open,
        }
    }

    /// Sets what somebody outside, or the line itself, makes of `pin`.
    pub fn set_input(&mut self, pin: u32, high: bool) {
        self.inputs = self.inputs & !(1 << pin) | u32::from(high) << pin;
    }

    /// The level of `pin`.
    fn level(&self, pin: u32) -> bool {
        match (self.mode(pin), self.drive(pin)) {
            (Mode::Analog, _) => false,
            (Mode::Output, Drive::Low) => false,
            (Mode::Output, Drive::High) => true,
            (_, Drive::PulledUp | Drive::Open | Drive::Low | Drive::High) => self.inputs & 1 << pin != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_driven_as_they_are_set_up() {
        let (mut port, mut findings) = (Port::new(2), Findings::default());
        assert_eq!((port.mode(3), port.drive(3)), (Mode::Analog, Drive::Open));
        port.write(MODER, 1 << 6 | 2 << 8, &mut findings);
        port.write(AFRL, 0xD << 16, &mut findings);
        port.write(BSRR, 1 << 3, &mut findings);
        assert_eq!((port.drive(3), port.mode(4)), (Drive::High, Mode::Alternate(13)));
        port.write(OTYPER, 1 << 3, &mut findings);
        assert_eq!(port.drive(3), Drive::Open);
        port.write(PUPDR, 1 << 6, &mut findings);
        assert_eq!(port.drive(3), Drive::PulledUp);
        port.write(BSRR, 1 << 19, &mut findings);
        assert_eq!(port.drive(3), Drive::Low);
        assert_eq!(findings.list(), [""; 0]);
    }

    #[test]
    fn an_open_drain_pin_reads_what_is_on_its_line() {
        let (mut port, mut findings) = (Port::new(1), Findings::default());
        port.write(MODER, 1 << 18, &mut findings);
        port.write(OTYPER, 1 << 9, &mut findings);
        port.write(BSRR, 1 << 9, &mut findings);
        port.set_input(9, false);
        assert_eq!(port.read(IDR, &mut findings) & 1 << 9, 0);
        port.set_input(9, true);
        assert_eq!(port.read(IDR, &mut findings) & 1 << 9, 1 << 9);
    }
}
