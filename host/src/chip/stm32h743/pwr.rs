//! Power control (RM0433, chapter 6) with the overdrive bit of SYSCFG: a voltage takes its time to come, and the supply can
//! be chosen once.

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Time};

/// RM0433, 6.8. Ready flags are computed.
const TABLE: &[Register] = &[
    register("CR1", 0x00, 0xF000_C000, 0xF_C3FF),
    register("CSR1", 0x04, 0x4000, 0),
    register("CR2", 0x08, 0, 0x11),
    register("CR3", 0x0C, 0x6, 0x0300_0307),
    register("CPUCR", 0x10, 0, 0xE07),
    register("D3CR", 0x18, 0x4000, 0xC000),
    register("WKUPCR", 0x20, 0, 0x3F),
    register("WKUPFR", 0x24, 0, 0),
    register("WKUPEPR", 0x28, 0, 0x0FFF_3F3F),
];

const CSR1: u32 = 0x04;
const CR3: u32 = 0x0C;
const D3CR: u32 = 0x18;
/// ACTVOSRDY and VOSRDY.
const READY: u32 = 1 << 13;
/// Time that the regulator takes to another voltage (the data sheet's is in the same order).
const SETTLING: Time = Time::us(40);

/// What the regulator gives: the lower, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scale {
    /// With overdrive.
    Vos0,
    /// The highest of the regulator itself.
    Vos1,
    /// Less.
    Vos2,
    /// After a reset.
    Vos3,
}

impl Scale {
    /// The fastest clock of the core in hertz (STM32H743 data sheet).
    pub const fn fastest_hz(self) -> u64 {
        match self {
            Self::Vos0 => 480_000_000,
            Self::Vos1 => 400_000_000,
            Self::Vos2 => 300_000_000,
            Self::Vos3 => 200_000_000,
        }
    }
}

/// The block.
#[derive(Debug)]
pub struct Pwr {
    bank: Bank,
    /// When the voltage that was asked for is there.
    settled: Time,
    overdrive: bool,
    /// CR3 was written since power-up.
    is_supply_chosen: bool,
}

impl Pwr {
    /// After power-up.
    pub fn new() -> Self {
        Self { bank: Bank::new("PWR", TABLE), settled: Time::ZERO, overdrive: false, is_supply_chosen: false }
    }

    /// A reset of the system, which leaves the choice of the supply.
    pub fn reset(&mut self, is_power_up: bool) {
        let supply = self.bank.get(CR3);
        self.bank.reset();
        (self.settled, self.overdrive) = (Time::ZERO, false);
        if is_power_up {
            self.is_supply_chosen = false;
        } else {
            self.bank.set(CR3, supply);
        }
    }

    fn is_settled(&self, now: Time) -> bool {
        // Without a supply that was chosen the voltage cannot be changed (RM0433, 6.4).
        self.is_supply_chosen && now >= self.settled
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, now: Time, findings: &mut Findings) -> u32 {
        let (value, ready) = (self.bank.read(offset, findings), self.is_settled(now));
        match offset {
            D3CR if ready => value | READY,
            CSR1 => self.bank.get(D3CR) & 0xC000 | if ready { READY } else { 0 },
            _ => value,
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        match offset {
            CR3 if self.is_supply_chosen && (value ^ self.bank.get(CR3)) & 7 != 0 => {
                findings.note("PWR_CR3 chooses the supply a second time, which counts only after power-up");
            }
            CR3 => {
                self.is_supply_chosen = true;
                self.settled = self.settled.max(now + SETTLING);
                // SCUEN: the choice is made.
                self.bank.set(CR3, value & 0x0300_0307);
            }
            D3CR => {
                if !self.is_settled(now) {
                    findings.note("PWR_D3CR asks for a voltage before the last one is there");
                }
                if self.overdrive && value >> 14 & 3 != 3 {
                    findings.note("PWR_D3CR lowers the voltage with the overdrive on");
                }
                self.bank.write(offset, value, findings);
                self.settled = now + SETTLING;
            }
            _ => self.bank.write(offset, value, findings),
        }
    }

    /// SYSCFG_PWRCR.ODEN changes.
    pub fn set_overdrive(&mut self, on: bool, now: Time, findings: &mut Findings) {
        if on && (self.bank.get(D3CR) >> 14 & 3 != 3 || !self.is_settled(now)) {
            findings.note("SYSCFG_PWRCR switches the overdrive on before VOS1 is there");
        }
        if on != self.overdrive {
            (self.overdrive, self.settled) = (on, now + SETTLING);
        }
    }

    /// The voltage that is there by now.
    pub fn scale(&self, now: Time) -> Scale {
        if now < self.settled {
            return Scale::Vos3;
        }
        match (self.bank.get(D3CR) >> 14 & 3, self.overdrive) {
            (3, true) => Scale::Vos0,
            (3, false) => Scale::Vos1,
            (2, _) => Scale::Vos2,
            _ => Scale::Vos3,
        }
    }

    /// When the voltage is there.
    pub fn next_event(&self, now: Time) -> Time {
        if self.settled > now { self.settled } else { Time::NEVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voltage_comes_after_some_time_and_overdrive_after_it() {
        let (mut pwr, mut findings) = (Pwr::new(), Findings::default());
        assert_eq!(pwr.read(D3CR, Time::ms(1), &mut findings) & READY, 0, "no supply was chosen");
        let mut now = Time::ms(1);
        pwr.write(CR3, 6, now, &mut findings);
        now = now + SETTLING;
        assert_eq!(pwr.read(CSR1, now, &mut findings), 0x6000);
        pwr.write(D3CR, 0xC000, now, &mut findings);
        assert_eq!(pwr.scale(now), Scale::Vos3);
        now = now + SETTLING;
        assert_eq!(pwr.scale(now), Scale::Vos1);
        pwr.set_overdrive(true, now, &mut findings);
        assert_eq!(pwr.read(D3CR, now, &mut findings) & READY, 0);
        assert_eq!(pwr.scale(now + SETTLING), Scale::Vos0);
        assert_eq!(findings.list(), [""; 0]);
        pwr.write(CR3, 1, now, &mut findings);
        assert_eq!(findings.list().len(), 1);
    }
}
