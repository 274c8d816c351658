//! I2C1 as a master (RM0433, chapter 47): addresses, bytes and stops that take their time on the wire.

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Time};

/// RM0433, 47.7. Flags are the block's own.
const TABLE: &[Register] = &[
    register("CR1", CR1, 0, 0x00FF_DFFF),
    register("CR2", CR2, 0, 0x07FF_7FFF),
    register("OAR1", 0x08, 0, 0x87FF),
    register("OAR2", 0x0C, 0, 0x87FE),
    register("TIMINGR", TIMINGR, 0, 0xF0FF_FFFF),
    register("TIMEOUTR", 0x14, 0, 0x8FFF_9FFF),
    register("ISR", ISR, TXE, 0),
    register("ICR", ICR, 0, 0),
    register("PECR", 0x20, 0, 0),
    register("RXDR", RXDR, 0, 0),
    register("TXDR", TXDR, 0, 0xFF),
];

const CR1: u32 = 0x00;
const CR2: u32 = 0x04;
const TIMINGR: u32 = 0x10;
const ISR: u32 = 0x18;
const ICR: u32 = 0x1C;
const RXDR: u32 = 0x24;
const TXDR: u32 = 0x28;
const PE: u32 = 1;
const RD_WRN: u32 = 1 << 10;
const START: u32 = 1 << 13;
const STOP: u32 = 1 << 14;
const RELOAD: u32 = 1 << 24;
const AUTOEND: u32 = 1 << 25;
const TXE: u32 = 1;
const TXIS: u32 = 1 << 1;
const RXNE: u32 = 1 << 2;
const NACKF: u32 = 1 << 4;
const STOPF: u32 = 1 << 5;
const TC: u32 = 1 << 6;
const TCR: u32 = 1 << 7;
const BUSY: u32 = 1 << 15;
/// Flags that ICR clears.
const CLEARED: u32 = 0x3F38;
/// Bits of a byte with its acknowledgement.
const BYTE_BITS: u64 = 9;

/// What is on the bus.
pub trait Wire {
    /// Whether both lines are free: a start can be sent.
    fn is_free(&self) -> bool;
    /// A start and an address with its direction: whether somebody acknowledges.
    fn start(&mut self, address: u8, reads: bool) -> bool;
    /// A byte goes out: whether it is acknowledged.
    fn write(&mut self, byte: u8) -> bool;
    /// A byte comes in.
    fn read(&mut self) -> u8;
    /// A stop.
    fn stop(&mut self);
}

/// What the block does on the wire at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// Waits until the bus is free, to start.
    Waits,
    /// Sends start and address until then.
    Addresses(Time),
    /// Sends this byte until then.
    Sends(u8, Time),
    /// Receives a byte until then.
    Receives(Time),
    /// Sends a stop until then.
    Stops(Time),
    /// Holds the clock low until the program has done its part.
    Stretches,
}

/// The block.
#[derive(Debug)]
pub struct I2c {
    bank: Bank,
    doing: Doing,
    /// Bytes of the transfer that are left.
    left: u32,
}

impl I2c {
    /// As a reset leaves it.
    pub fn new() -> Self {
        Self { bank: Bank::new("I2C1", TABLE), doing: Doing::Nothing, left: 0 }
    }

    /// Resets it.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn flags(&self) -> u32 {
        self.bank.get(ISR)
    }

    fn set_flags(&mut self, set: u32, cleared: u32) {
        self.bank.set(ISR, self.flags() & !cleared | set);
    }

    /// `count` bits on the wire with a clock of `hertz` (RM0433, 47.4).
    fn bits(&self, count: u64, hertz: u64) -> Time {
        let timing = u64::from(self.bank.get(TIMINGR));
        let periods = ((timing & 0xFF) + 1 + (timing >> 8 & 0xFF) + 1) * ((timing >> 28) + 1);
        Time::cycles(count * periods, hertz)
    }

    /// What the program reads.
    pub fn read(&mut self, offset: u32, now: Time, hertz: u64, findings: &mut Findings) -> u32 {
        if offset == RXDR {
            if self.flags() & RXNE == 0 {
                findings.note("I2C1_RXDR is read before a byte is there");
            }
            self.set_flags(0, RXNE);
            self.go_on(now, hertz);
        }
        self.bank.read(offset, findings)
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, hertz: u64, findings: &mut Findings) {
        match offset {
            ICR => self.set_flags(0, value & CLEARED),
            ISR => self.set_flags(value & TXE, 0),
            CR1 => {
                self.bank.write(offset, value, findings);
                if value & PE == 0 {
                    // A software reset of the block (RM0433, 47.4).
                    (self.doing, self.left) = (Doing::Nothing, 0);
                    self.bank.set(ISR, TXE);
                    self.bank.set(CR2, self.bank.get(CR2) & !(START | STOP));
                }
            }
            TIMINGR if self.bank.has(CR1, PE) => {
                findings.note("I2C1_TIMINGR is written while the block is enabled, and stays");
            }
            CR2 => self.command(value, now, hertz, findings),
            TXDR => {
                if self.flags() & TXIS == 0 {
                    findings.note("I2C1_TXDR is written before it is asked for, and the byte is lost");
                    return;
                }
                self.bank.write(offset, value, findings);
                self.set_flags(0, TXE | TXIS);
                self.left -= 1;
                self.doing = Doing::Sends(value as u8, now + self.bits(BYTE_BITS, hertz));
            }
            _ => self.bank.write(offset, value, findings),
        }
    }

    fn command(&mut self, value: u32, now: Time, hertz: u64, findings: &mut Findings) {
        if !self.bank.has(CR1, PE) {
            findings.note("I2C1_CR2 is written while the block is off, and does nothing");
            return;
        }
        if self.bank.has(CR2, START) && value & START != 0 {
            findings.note("I2C1_CR2 is written while a start is under way");
        }
        if hertz == 0 {
            findings.note("I2C1 has a clock that is not modelled");
        }
        self.bank.write(CR2, value, findings);
        match self.doing {
            Doing::Nothing | Doing::Stretches if value & START != 0 => {
                self.set_flags(0, TC | TCR);
                self.left = value >> 16 & 0xFF;
                self.doing = Doing::Waits;
            }
            Doing::Stretches if value & STOP != 0 => self.stop(now, hertz),
            Doing::Stretches if self.flags() & TCR != 0 && value >> 16 & 0xFF != 0 => {
                self.set_flags(0, TCR);
                self.left = value >> 16 & 0xFF;
                self.go_on(now, hertz);
            }
            _ => {}
        }
    }

    fn stop(&mut self, now: Time, hertz: u64) {
        self.set_flags(0, TC | TCR | TXIS);
        self.doing = Doing::Stops(now + self.bits(1, hertz));
    }

    /// The next thing of a transfer, after an address or a byte, or once the program has done its part.
    fn go_on(&mut self, now: Time, hertz: u64) {
        if self.doing != Doing::Stretches || self.flags() & (RXNE | TXIS | TC | TCR) != 0 {
            return;
        }
        let command = self.bank.get(CR2);
        if command & STOP != 0 {
            return self.stop(now, hertz);
        }
        match (self.left, command & RD_WRN != 0) {
            (0, _) if command & RELOAD != 0 => self.set_flags(TCR, 0),
            (0, _) if command & AUTOEND != 0 => self.stop(now, hertz),
            (0, _) => self.set_flags(TC, 0),
            (_, true) => self.doing = Doing::Receives(now + self.bits(BYTE_BITS, hertz)),
            (_, false) => self.set_flags(TXE | TXIS, 0),
        }
    }

    /// Does what is over by `now`, with a clock of `hertz`.
    pub fn advance(&mut self, now: Time, hertz: u64, wire: &mut dyn Wire) {
        loop {
            match self.doing {
                Doing::Waits if wire.is_free() => {
                    self.set_flags(BUSY, 0);
                    self.doing = Doing::Addresses(now + self.bits(1 + BYTE_BITS, hertz));
                }
                Doing::Addresses(end) if end <= now => {
                    let command = self.bank.get(CR2);
                    self.bank.set(CR2, command & !START);
                    self.doing = Doing::Stretches;
                    if wire.start((command >> 1 & 0x7F) as u8, command & RD_WRN != 0) {
                        self.go_on(end, hertz);
                    } else {
                        // A stop follows by itself (RM0433, 47.4).
                        self.set_flags(NACKF, 0);
                        self.stop(end, hertz);
                    }
                }
                Doing::Sends(byte, end) if end <= now => {
                    self.doing = Doing::Stretches;
                    if wire.write(byte) {
                        self.set_flags(TXE, 0);
                        self.go_on(end, hertz);
                    } else {
                        self.set_flags(NACKF | TXE, 0);
                        self.stop(end, hertz);
                    }
                }
                Doing::Receives(end) if end <= now => {
                    self.left -= 1;
                    self.bank.set(RXDR, u32::from(wire.read()));
                    self.set_flags(RXNE, 0);
                    self.doing = Doing::Stretches;
                }
                Doing::Stops(end) if end <= now => {
                    wire.stop();
                    self.bank.set(CR2, self.bank.get(CR2) & !STOP);
                    self.set_flags(STOPF, BUSY);
                    self.doing = Doing::Nothing;
                }
                _ => return,
            }
        }
    }

    /// When something on the wire is over.
    pub fn next_event(&self) -> Time {
        match self.doing {
            Doing::Addresses(end) | Doing::Sends(_, end) | Doing::Receives(end) | Doing::Stops(end) => end,
            Doing::Nothing | Doing::Waits | Doing::Stretches => Time::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERTZ: u64 = 120_000_000;

    /// A chip at address 0x30, which remembers what it is told and answers 0xA0, 0xA1, ...
    #[derive(Default)]
    struct Chip {
        told: Vec<u8>,
        answers: u8,
        held: bool,
    }

    impl Wire for Chip {
        fn is_free(&self) -> bool {
            !self.held
        }

        fn start(&mut self, address: u8, _: bool) -> bool {
            address == 0x30
        }

        fn write(&mut self, byte: u8) -> bool {
            self.told.push(byte);
            true
        }

        fn read(&mut self) -> u8 {
            self.answers += 1;
            0x9F + self.answers
        }

        fn stop(&mut self) {
            self.told.push(0xFF);
        }
    }

    /// At 100 kHz: a microsecond a period of the prescaled clock would be too coarse, so 60 of 8.3 ns times 10.
    fn enabled() -> (I2c, Findings) {
        let (mut i2c, mut findings) = (I2c::new(), Findings::default());
        i2c.write(TIMINGR, 9 << 28 | 59 << 8 | 59, Time::ZERO, HERTZ, &mut findings);
        i2c.write(CR1, PE, Time::ZERO, HERTZ, &mut findings);
        (i2c, findings)
    }

    /// Lets it do what it does by itself, until it waits for the program.
    fn settle(i2c: &mut I2c, chip: &mut Chip, now: &mut Time) -> u32 {
        i2c.advance(*now, HERTZ, chip);
        while i2c.next_event() != Time::NEVER {
            *now = i2c.next_event();
            i2c.advance(*now, HERTZ, chip);
        }
        i2c.flags()
    }

    #[test]
    fn bytes_go_out_in_the_time_that_the_wire_takes() {
        let (mut i2c, mut findings) = enabled();
        let (mut chip, mut now) = (Chip::default(), Time::ZERO);
        i2c.write(CR2, 0x60 | 2 << 16 | START, now, HERTZ, &mut findings);
        assert_eq!(settle(&mut i2c, &mut chip, &mut now) & (TXIS | BUSY), TXIS | BUSY);
        assert_eq!(now, Time::us(100));
        for byte in [0xFF, 1] {
            i2c.write(TXDR, byte, now, HERTZ, &mut findings);
            settle(&mut i2c, &mut chip, &mut now);
        }
        assert_eq!((i2c.flags() & (TC | TXIS), now), (TC, Time::us(280)));
        i2c.write(CR2, STOP, now, HERTZ, &mut findings);
        assert_eq!(settle(&mut i2c, &mut chip, &mut now) & (STOPF | BUSY), STOPF);
        assert_eq!((chip.told, findings.list()), (vec![0xFF, 1, 0xFF], &[][..]));
    }

    #[test]
    fn bytes_come_in_one_after_the_other_and_end_by_themselves() {
        let (mut i2c, mut findings) = enabled();
        let (mut chip, mut now) = (Chip::default(), Time::ZERO);
        i2c.write(CR2, 0x60 | 2 << 16 | START | RD_WRN | AUTOEND, now, HERTZ, &mut findings);
        for expected in [0xA0, 0xA1] {
            assert_eq!(settle(&mut i2c, &mut chip, &mut now) & RXNE, RXNE);
            assert_eq!(i2c.read(RXDR, now, HERTZ, &mut findings), expected);
        }
        assert_eq!(settle(&mut i2c, &mut chip, &mut now) & (STOPF | BUSY | RXNE), STOPF);
        assert_eq!(findings.list(), [""; 0]);
    }

    #[test]
    fn nobody_at_an_address_is_told_and_the_bus_is_free_again() {
        let (mut i2c, mut findings) = enabled();
        let (mut chip, mut now) = (Chip::default(), Time::ZERO);
        i2c.write(CR2, 0x42 | 1 << 16 | START, now, HERTZ, &mut findings);
        assert_eq!(settle(&mut i2c, &mut chip, &mut now) & (NACKF | STOPF | BUSY | TXIS), NACKF | STOPF);
    }

    #[test]
    fn a_bus_that_is_held_lets_nothing_start() {
        let (mut i2c, mut findings) = enabled();
        let (mut chip, mut now) = (Chip { held: true, ..Chip::default() }, Time::ZERO);
        i2c.write(CR2, 0x60 | 1 << 16 | START, now, HERTZ, &mut findings);
        assert_eq!(settle(&mut i2c, &mut chip, &mut now), TXE);
        assert_eq!(i2c.read(CR2, now, HERTZ, &mut findings) & START, START);
        chip.held = false;
        assert_eq!(settle(&mut i2c, &mut chip, &mut now) & TXIS, TXIS);
    }
}
