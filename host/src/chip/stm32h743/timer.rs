//! TIM12, a timer with two channels (RM0433, chapter 39), as far as a time base uses it: counting up, updates, compares.

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Time};

/// RM0433, 39.4.
const TABLE: &[Register] = &[
    register("CR1", CR1, 0, 0xB8F),
    register("SMCR", 0x08, 0, 0x0031_0077),
    register("DIER", DIER, 0, 0x47),
    register("SR", SR, 0, 0),
    register("EGR", EGR, 0, 0),
    register("CCMR1", 0x18, 0, 0x0101_7F7F),
    register("CCER", 0x20, 0, 0xBB),
    register("CNT", CNT, 0, 0),
    register("PSC", PSC, 0, 0xFFFF),
    register("ARR", ARR, 0xFFFF, 0xFFFF),
    register("CCR1", COMPARES[0], 0, 0xFFFF),
    register("CCR2", COMPARES[1], 0, 0xFFFF),
];

const CR1: u32 = 0x00;
const DIER: u32 = 0x0C;
const SR: u32 = 0x10;
const EGR: u32 = 0x14;
const CNT: u32 = 0x24;
const PSC: u32 = 0x28;
const ARR: u32 = 0x2C;
const COMPARES: [u32; 2] = [0x34, 0x38];
const CEN: u32 = 1;
const URS: u32 = 1 << 2;
/// UIF; the compares' flags are the next bits.
const UIF: u32 = 1;

/// The timer.
#[derive(Debug)]
pub struct Timer {
    bank: Bank,
    /// The prescaler that counts, loaded by the last update.
    prescaler: u64,
    /// The counter at `origin`.
    base: u64,
    origin: Time,
    /// The clock since `origin`, in hertz.
    hertz: u64,
}

impl Timer {
    /// As a reset leaves it.
    pub fn new() -> Self {
        Self { bank: Bank::new("TIM12", TABLE), prescaler: 1, base: 0, origin: Time::ZERO, hertz: 0 }
    }

    /// Resets it.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn is_running(&self) -> bool {
        self.bank.has(CR1, CEN)
    }

    fn period(&self) -> u64 {
        u64::from(self.bank.get(ARR)) + 1
    }

    fn tick_hz(&self) -> u64 {
        self.hertz / self.prescaler
    }

    /// Ticks since `origin`.
    fn ticks(&self, now: Time) -> u64 {
        if self.is_running() { now.since(self.origin).periods(self.tick_hz()) } else { 0 }
    }

    /// Brings counter and flags to `now`, and lets the timer go on with a clock of `hertz`.
    pub fn advance(&mut self, now: Time, hertz: u64) {
        let (ticks, period) = (self.ticks(now), self.period());
        let mut flags = self.bank.get(SR);
        for (index, offset) in COMPARES.into_iter().enumerate() {
            let at = u64::from(self.bank.get(offset));
            let ahead = (at + period - self.base - 1) % period + 1;
            if at < period && ticks >= ahead {
                flags |= UIF << (1 + index);
            }
        }
        if self.base + ticks >= period {
            flags |= UIF;
        }
        self.bank.set(SR, flags);
        self.base = (self.base + ticks) % period;
        // The part of a tick that is over goes on counting.
        let whole = if ticks > 0 { Time::cycles(ticks, self.tick_hz()) } else { Time::ZERO };
        self.origin = self.origin + whole;
        if !self.is_running() || hertz != self.hertz {
            (self.origin, self.hertz) = (now, hertz);
        }
    }

    /// What the program reads, after [`Timer::advance`].
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        match offset {
            CNT => self.base as u32,
            _ => self.bank.read(offset, findings),
        }
    }

    /// What the program writes, after [`Timer::advance`].
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        match offset {
            CNT => (self.base, self.origin) = (u64::from(value & 0xFFFF) % self.period(), now),
            // Flags are cleared by zeros.
            SR => self.bank.set(SR, self.bank.get(SR) & value),
            EGR => {
                if value & 1 != 0 {
                    self.prescaler = u64::from(self.bank.get(PSC)) + 1;
                    (self.base, self.origin) = (0, now);
                }
                let update = if self.bank.has(CR1, URS) { 0 } else { UIF };
                self.bank.set(SR, self.bank.get(SR) | value & 6 | if value & 1 != 0 { update } else { 0 });
            }
            CR1 => {
                self.bank.write(offset, value, findings);
                if !self.bank.has(CR1, CEN) {
                    self.origin = now;
                }
            }
            ARR => {
                self.bank.write(offset, value, findings);
                self.base %= self.period();
            }
            _ => self.bank.write(offset, value, findings),
        }
    }

    /// Level of its interrupt.
    pub fn interrupt(&self) -> bool {
        self.bank.get(SR) & self.bank.get(DIER) & 7 != 0
    }

    /// When the next flag comes that interrupts.
    pub fn next_event(&self) -> Time {
        if !self.is_running() || self.tick_hz() == 0 {
            return Time::NEVER;
        }
        let (wanted, period) = (self.bank.get(DIER), self.period());
        let at = |ticks: u64| self.origin + Time::cycles(ticks, self.tick_hz());
        let mut next = if wanted & UIF != 0 { at(period - self.base) } else { Time::NEVER };
        for (index, offset) in COMPARES.into_iter().enumerate() {
            let compare = u64::from(self.bank.get(offset));
            if wanted & UIF << (1 + index) != 0 && compare < period {
                next = next.min(at((compare + period - self.base - 1) % period + 1));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERTZ: u64 = 240_000_000;

    /// A microsecond a tick, as embassy has it.
    fn started() -> (Timer, Findings) {
        let (mut timer, mut findings) = (Timer::new(), Findings::default());
        timer.advance(Time::ZERO, HERTZ);
        for (offset, value) in [(PSC, 239), (ARR, 0xFFFF), (CR1, URS), (EGR, 1), (COMPARES[0], 0x8000), (DIER, 3)] {
            timer.write(offset, value, Time::ZERO, &mut findings);
        }
        timer.write(CR1, CEN, Time::ZERO, &mut findings);
        assert_eq!(findings.list(), [""; 0]);
        (timer, findings)
    }

    #[test]
    fn it_counts_microseconds_however_often_it_is_looked_at() {
        let (mut timer, mut findings) = started();
        for step in 1..=70_000u64 {
            timer.advance(Time::ns(step * 777), HERTZ);
            assert_eq!(u64::from(timer.read(CNT, &mut findings)), step * 777 / 1000 % 0x1_0000, "{step}");
        }
    }

    #[test]
    fn half_and_whole_periods_interrupt_until_their_flags_are_cleared() {
        let (mut timer, mut findings) = started();
        assert!(!timer.interrupt());
        assert_eq!(timer.next_event(), Time::us(0x8000));
        timer.advance(Time::us(0x8000), HERTZ);
        assert_eq!((timer.interrupt(), timer.read(SR, &mut findings)), (true, 2));
        timer.write(SR, !2, Time::us(0x8000), &mut findings);
        assert!(!timer.interrupt());
        assert_eq!(timer.next_event(), Time::us(0x1_0000));
        timer.advance(Time::us(0x1_0000), HERTZ);
        assert_eq!(
            (timer.interrupt(), timer.read(SR, &mut findings) & 1, timer.read(CNT, &mut findings)),
            (true, 1, 0)
        );
    }

    #[test]
    fn a_prescaler_counts_from_the_next_update_on() {
        let (mut timer, mut findings) = started();
        timer.write(PSC, 479, Time::ZERO, &mut findings);
        timer.advance(Time::us(10), HERTZ);
        assert_eq!(timer.read(CNT, &mut findings), 10);
        timer.write(EGR, 1, Time::us(10), &mut findings);
        timer.advance(Time::us(20), HERTZ);
        assert_eq!(timer.read(CNT, &mut findings), 5);
    }
}
