//! The independent watchdog IWDG1 (RM0433, chapter 45), which nothing but a reset stops.

use super::rcc::LSI_HZ;
use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Time};

/// RM0433, 45.4.
const TABLE: &[Register] = &[
    register("KR", KR, 0, 0),
    register("PR", PR, 0, 7),
    register("RLR", RLR, 0xFFF, 0xFFF),
    register("SR", SR, 0, 0),
    register("WINR", WINR, 0xFFF, 0xFFF),
];

const KR: u32 = 0x00;
const PR: u32 = 0x04;
const RLR: u32 = 0x08;
const SR: u32 = 0x0C;
const WINR: u32 = 0x10;
/// Periods of the low-speed clock until a register has its new value (RM0433, 45.4).
const UPDATE_PERIODS: u64 = 5;

/// The watchdog.
#[derive(Debug)]
pub struct Watchdog {
    bank: Bank,
    unlocked: bool,
    /// When it bites, once it runs.
    bites: Option<Time>,
    /// When PR and RLR have what was written last.
    updated: [Time; 2],
}

impl Watchdog {
    /// As a reset leaves it.
    pub fn new() -> Self {
        Self { bank: Bank::new("IWDG1", TABLE), unlocked: false, bites: None, updated: [Time::ZERO; 2] }
    }

    /// Resets it.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Time from a feeding to the bite.
    fn timeout(&self) -> Time {
        let divider = 4 << self.bank.get(PR).min(6);
        Time::cycles(u64::from(self.bank.get(RLR) + 1) * divider, LSI_HZ)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.bites.is_some()
    }

    /// When it bites.
    pub fn next_event(&self) -> Time {
        self.bites.unwrap_or(Time::NEVER)
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, now: Time, findings: &mut Findings) -> u32 {
        match offset {
            SR => (0..2).fold(0, |flags, bit| flags | u32::from(now < self.updated[bit]) << bit),
            _ => self.bank.read(offset, findings),
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        let which = match offset {
            KR => return self.key(value, now),
            PR => 0,
            RLR => 1,
            _ => return self.bank.write(offset, value, findings),
        };
        if !self.unlocked {
            findings.note(format!("{} is written while it is locked, and stays", self.bank.name(offset)));
        } else if now < self.updated[which] {
            findings
                .note(format!("{} is written while its last value is on its way, and stays", self.bank.name(offset)));
        } else {
            self.bank.write(offset, value, findings);
            self.updated[which] = now + Time::cycles(UPDATE_PERIODS, LSI_HZ);
        }
    }

    fn key(&mut self, value: u32, now: Time) {
        self.unlocked = value == 0x5555;
        let fed = match value {
            0xAAAA => self.is_running(),
            0xCCCC => true,
            _ => false,
        };
        if fed {
            self.bites = Some(now + self.timeout());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_bites_when_it_was_not_fed_in_time() {
        let (mut dog, mut findings) = (Watchdog::new(), Findings::default());
        for (offset, value) in [(KR, 0x5555), (PR, 3), (RLR, 999), (KR, 0xCCCC)] {
            dog.write(offset, value, Time::ms(1), &mut findings);
        }
        // 1000 * 32 / 32 kHz.
        assert_eq!(dog.next_event(), Time::ms(1001));
        dog.write(KR, 0xAAAA, Time::ms(900), &mut findings);
        assert_eq!(dog.next_event(), Time::ms(1900));
        assert_eq!(findings.list(), [""; 0]);
    }

    #[test]
    fn locked_and_busy_registers_stay() {
        let (mut dog, mut findings) = (Watchdog::new(), Findings::default());
        dog.write(RLR, 5, Time::ZERO, &mut findings);
        assert_eq!(dog.read(RLR, Time::ZERO, &mut findings), 0xFFF);
        dog.write(KR, 0x5555, Time::ZERO, &mut findings);
        dog.write(RLR, 5, Time::ZERO, &mut findings);
        dog.write(RLR, 6, Time::us(1), &mut findings);
        assert_eq!((dog.read(RLR, Time::us(1), &mut findings), dog.read(SR, Time::us(1), &mut findings)), (5, 2));
        assert_eq!((dog.read(SR, Time::ms(1), &mut findings), findings.list().len()), (0, 2));
    }
}
