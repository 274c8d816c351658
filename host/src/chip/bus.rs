//! Words that all parts of a chip share: time, accesses, and what is found wrong with them.

use std::ops::{Add, Sub};

/// Time since power-up, in picoseconds: a cycle at 480 MHz is 2083 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

/// Picoseconds of a second.
const SECOND_PS: u64 = 1_000_000_000_000;

impl Time {
    /// Power-up.
    pub const ZERO: Self = Self(0);
    /// What never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// `count` nanoseconds.
    pub const fn ns(count: u64) -> Self {
        Self(count.saturating_mul(1_000))
    }

    /// `count` microseconds.
    pub const fn us(count: u64) -> Self {
        Self(count.saturating_mul(1_000_000))
    }

    /// `count` milliseconds.
    pub const fn ms(count: u64) -> Self {
        Self(count.saturating_mul(1_000_000_000))
    }

    /// `count` periods of a clock of `hertz`, rounded up. A clock that stands still takes for ever.
    pub fn cycles(count: u64, hertz: u64) -> Self {
        if hertz == 0 {
            return Self::NEVER;
        }
        let ps = (u128::from(count) * u128::from(SECOND_PS)).div_ceil(u128::from(hertz));
        Self(u64::try_from(ps).unwrap_or(u64::MAX))
    }

    /// Whole periods of a clock of `hertz` in this time.
    pub fn periods(self, hertz: u64) -> u64 {
        u64::try_from(u128::from(self.0) * u128::from(hertz) / u128::from(SECOND_PS)).unwrap_or(u64::MAX)
    }

    /// In microseconds, rounded down.
    pub const fn as_us(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `numerator` parts of `denominator` of it, rounded down.
    pub fn part(self, numerator: u64, denominator: u64) -> Self {
        let ps = u128::from(self.0) * u128::from(numerator) / u128::from(denominator.max(1));
        Self(u64::try_from(ps).unwrap_or(u64::MAX))
    }

    /// From `earlier` to this; nothing where that is later.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Time {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Time {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.since(other)
    }
}

/// How much of a word an access takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
}

/// The bus answers an access with an error, which the core makes a fault of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFault;

/// Memory as a DMA, a probe or a test sees it: bytes at addresses, without the core.
pub trait Memory {
    /// Fills `bytes` from `address` on.
    ///
    /// # Errors
    /// Not all of it is memory, or some of it cannot be read.
    fn load(&self, address: u32, bytes: &mut [u8]) -> Result<(), BusFault>;

    /// Writes `bytes` from `address` on. Flash takes them, too: what may write to it decides the chip.
    ///
    /// # Errors
    /// Not all of it is memory.
    fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), BusFault>;

    /// The little-endian word at `address`.
    ///
    /// # Errors
    /// As for [`Memory::load`].
    fn word(&self, address: u32) -> Result<u32, BusFault> {
        let mut bytes = [0; 4];
        self.load(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// Findings that are kept.
const MOST_FINDINGS: usize = 100;

/// What a program did that silicon does not promise to do what the program wants: written to a block without clock, to a
/// register that is in use, before an oscillator was ready. The model does what silicon does at worst, and tells here why.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Notes one, unless it is known or there are too many.
    pub fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.0.len() < MOST_FINDINGS && !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_and_time_agree() {
        assert_eq!(Time::cycles(480, 480_000_000), Time::us(1));
        assert_eq!(Time::us(1).periods(480_000_000), 480);
        assert_eq!(Time::cycles(1, 0), Time::NEVER);
        assert_eq!(Time::cycles(1, 3), Time(333_333_333_334));
        assert_eq!(Time::ms(2).since(Time::ms(5)), Time::ZERO);
    }

    #[test]
    fn a_finding_is_noted_once() {
        let mut findings = Findings::default();
        findings.note("a");
        findings.note("a");
        (0..200).for_each(|i| findings.note(i.to_string()));
        assert_eq!((findings.list().len(), findings.list()[1].as_str()), (MOST_FINDINGS, "0"));
    }
}
