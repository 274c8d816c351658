//! Reset and clock control (RM0433, chapter 8): oscillators that take their time, a PLL that is locked while it runs, and
//! clocks of blocks that take some cycles to come.

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Time};

/// RM0433, 8.7. Ready flags are computed.
#[rustfmt::skip]
const TABLE: &[Register] = &[
    register("CR", 0x00, 0x0000_0025, 0x150D_129B), register("HSICFGR", 0x04, 0x4000_0000, 0x7F00_0000),
    register("CRRCR", 0x08, 0, 0), register("CSICFGR", 0x0C, 0x2000_0000, 0x3F00_0000),
    register("CFGR", 0x10, 0, 0xFFFF_FFC7), register("D1CFGR", 0x18, 0, 0xF7F),
    register("D2CFGR", 0x1C, 0, 0x770), register("D3CFGR", 0x20, 0, 0x70),
    register("PLLCKSELR", 0x28, 0x0202_0200, 0x03F3_F3F3), register("PLLCFGR", 0x2C, 0x01FF_0000, 0x01FF_0FFF),
    register("PLL1DIVR", 0x30, 0x0101_0280, 0x7F7F_FFFF), register("PLL1FRACR", 0x34, 0, 0xFFF8),
    register("PLL2DIVR", 0x38, 0x0101_0280, 0x7F7F_FFFF), register("PLL2FRACR", 0x3C, 0, 0xFFF8),
    register("PLL3DIVR", 0x40, 0x0101_0280, 0x7F7F_FFFF), register("PLL3FRACR", 0x44, 0, 0xFFF8),
    register("D1CCIPR", 0x4C, 0, 0x3001_0033), register("D2CCIP1R", 0x50, 0, 0xB137_71C7),
    register("D2CCIP2R", 0x54, 0, 0x70F0_3377), register("D3CCIPR", 0x58, 0, 0x70F7_FFF7),
    register("CIER", 0x60, 0, 0x3FF), register("CIFR", 0x64, 0, 0), register("CICR", 0x68, 0, 0),
    register("BDCR", 0x70, 0, 0x0001_837D), register("CSR", 0x74, 0, 1),
    register("AHB3RSTR", 0x7C, 0, 0x8001_5031), register("AHB1RSTR", 0x80, 0, 0x0A00_8023),
    register("AHB2RSTR", 0x84, 0, 0x271), register("AHB4RSTR", 0x88, 0, 0x0328_07FF),
    register("APB3RSTR", 0x8C, 0, 0x8), register("APB1LRSTR", 0x90, 0, 0xE8FF_C3FF),
    register("APB1HRSTR", 0x94, 0, 0x136), register("APB2RSTR", 0x98, 0, 0x31D7_3033),
    register("APB4RSTR", 0x9C, 0, 0x0020_DEAA),
    register("RSR", 0xD0, 0x00FE_0000, 0),
    register("AHB3ENR", 0xD4, 0, 0x0001_5131), register("AHB1ENR", 0xD8, 0, 0x1E03_8023),
    register("AHB2ENR", 0xDC, 0, 0xE000_0271), register("AHB4ENR", 0xE0, 0, 0x1328_07FF),
    register("APB3ENR", 0xE4, 0, 0x48), register("APB1LENR", 0xE8, 0, 0xE8FF_CBFF),
    register("APB1HENR", 0xEC, 0, 0x136), register("APB2ENR", 0xF0, 0, 0x31D7_3033),
    register("APB4ENR", 0xF4, 0, 0x0021_DEAA),
];

const CR: u32 = 0x00;
const HSION: u32 = 1 << 0;
const HSI48ON: u32 = 1 << 12;
const HSEON: u32 = 1 << 16;
const CSION: u32 = 1 << 7;
const PLL1ON: u32 = 1 << 24;
const PLL2ON: u32 = 1 << 26;
const PLL3ON: u32 = 1 << 28;
/// D1CKRDY and D2CKRDY: the domains run.
const DOMAINS_READY: u32 = 3 << 14;
const CFGR: u32 = 0x10;
const D1CFGR: u32 = 0x18;
const D2CFGR: u32 = 0x1C;
const D3CFGR: u32 = 0x20;
const PLLCKSELR: u32 = 0x28;
const PLLCFGR: u32 = 0x2C;
const PLL1DIVR: u32 = 0x30;
const D2CCIP2R: u32 = 0x54;
const CSR: u32 = 0x74;
const RSR: u32 = 0xD0;
/// First and last of the registers of clock enables.
const ENABLES: std::ops::RangeInclusive<u32> = 0xD4..=0xF4;
/// The same of resets of blocks.
const RESETS: std::ops::RangeInclusive<u32> = 0x7C..=0x9C;

/// Frequencies of the internal oscillators in hertz (RM0433, 8.5).
const HSI_HZ: u64 = 64_000_000;
const HSI48_HZ: u64 = 48_000_000;
const CSI_HZ: u64 = 4_000_000;
/// The low-speed oscillator (data sheet), which the watchdog counts.
pub const LSI_HZ: u64 = 32_000;
/// Start-up times at most (STM32H743 data sheet).
const HSI_START: Time = Time::us(2);
const HSI48_START: Time = Time::us(6);
const CSI_START: Time = Time::us(2);
const HSE_START: Time = Time::ms(2);
const LSI_START: Time = Time::us(130);
const PLL_LOCK: Time = Time::us(150);
/// Cycles of the core from a write that enables a clock until the block has it. The manual promises none; a bus and a
/// prescaler behind it take some.
const ENABLE_CYCLES: u64 = 24;

/// Why the chip was reset: bits of RCC_RSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Power came.
    Power,
    /// The line NRST was low.
    Pin,
    /// The program asked for it.
    Software,
    /// The independent watchdog was not fed.
    Watchdog,
}

impl Cause {
    /// Its flags (RM0433, 8.7): every reset of the system also pulls the pin low.
    const fn flags(self) -> u32 {
        const PIN: u32 = 1 << 22;
        match self {
            Self::Power => 0x00FE_0000,
            Self::Pin => PIN,
            Self::Software => PIN | 1 << 24,
            Self::Watchdog => PIN | 1 << 26,
        }
    }
}

/// What stands at the pins OSC_IN and OSC_OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crystal {
    /// Its frequency in hertz.
    pub hertz: u64,
    /// It never swings.
    pub dead: bool,
}

/// The block.
#[derive(Debug)]
pub struct Rcc {
    bank: Bank,
    crystal: Crystal,
    /// Since when each oscillator is ready, by its bit in CR: HSI, CSI, HSI48, HSE, PLL1 to 3; and LSI.
    ready: [Option<Time>; 8],
    /// Bits of enable registers whose clocks are still to come.
    coming: Vec<(u32, u32, Time)>,
}

/// Oscillators and their enable bits in CR, in the order of [`Rcc::ready`].
const OSCILLATORS: [u32; 7] = [HSION, CSION, HSI48ON, HSEON, PLL1ON, PLL2ON, PLL3ON];
const PLL1: usize = 4;
const HSE: usize = 3;
const LSI: usize = 7;
const HSI48: usize = 2;

impl Rcc {
    /// After power-up.
    pub fn new(crystal: Crystal) -> Self {
        let mut ready = [None; 8];
        ready[0] = Some(Time::ZERO);
        Self { bank: Bank::new("RCC", TABLE), crystal, ready, coming: Vec::new() }
    }

    /// A reset of the system for `cause`, after which the flags of earlier ones are still there.
    pub fn reset(&mut self, cause: Cause) {
        let flags = if cause == Cause::Power { 0 } else { self.bank.get(RSR) };
        self.bank.reset();
        self.bank.set(RSR, flags | cause.flags());
        self.ready = [None; 8];
        self.ready[0] = Some(Time::ZERO);
        self.coming.clear();
    }

    /// The low-speed oscillator runs, since the watchdog needs it.
    pub fn force_lsi(&mut self, now: Time) {
        self.ready[LSI].get_or_insert(now + LSI_START);
    }

    /// What the program reads.
    pub fn read(&mut self, offset: u32, now: Time, findings: &mut Findings) -> u32 {
        if ENABLES.contains(&offset) {
            // Until the answer is there, the write before it has arrived, and the clocks have come.
            self.coming.retain(|(register, _, _)| *register != offset);
        }
        let value = self.bank.read(offset, findings);
        match offset {
            CR => {
                // The flag follows its enable bit, but HSI's and CSI's, which have a second enable between.
                let flags = OSCILLATORS.iter().zip(&self.ready).filter(|(_, ready)| ready.is_some_and(|at| at <= now));
                let shift = |bit: u32| if bit == HSION { bit << 2 } else { bit << 1 };
                flags.fold(value & !4, |value, (bit, _)| value | shift(*bit)) | DOMAINS_READY
            }
            CFGR => value & !0x38 | self.source(now) << 3,
            CSR => value | u32::from(self.ready[LSI].is_some_and(|at| at <= now)) << 1,
            _ => value,
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        let before = self.bank.get(offset);
        match offset {
            PLL1DIVR if self.bank.has(CR, PLL1ON) => {
                findings.note("RCC_PLL1DIVR is written while PLL1 runs, and stays");
                return;
            }
            // What belongs to a PLL that runs stays, the manual says; embassy relies on it.
            PLLCKSELR | PLLCFGR if self.bank.has(CR, PLL1ON) => {
                let kept = of_pll1(offset);
                return self.bank.write(offset, value & !kept | before & kept, findings);
            }
            RSR => {
                if value & 1 << 16 != 0 {
                    self.bank.set(RSR, 0);
                }
                return;
            }
            CR => self.switch(before, value, now, findings),
            CSR => self.ready[LSI] = self.ready[LSI].or((value & 1 != 0).then_some(now + LSI_START)),
            CFGR if self.ready_source(value & 7, now).is_none() => {
                findings.note(format!("RCC_CFGR selects source {} before it is ready", value & 7));
            }
            _ => {}
        }
        self.bank.write(offset, value, findings);
        if ENABLES.contains(&offset) {
            let new = self.bank.get(offset) & !before;
            let at = now + Time::cycles(ENABLE_CYCLES, self.core_hz(now));
            self.coming.push((offset, new, at));
        }
    }

    /// A write to CR starts oscillators, and stops them.
    fn switch(&mut self, before: u32, value: u32, now: Time, findings: &mut Findings) {
        if self.source(now) == 3 && value & PLL1ON == 0 {
            findings.note("RCC_CR stops PLL1 while the core runs by it");
        }
        let pll_source_ready = self.pll_input_hz(now) > 0;
        for (index, bit) in OSCILLATORS.into_iter().enumerate() {
            match (before & bit != 0, value & bit != 0) {
                (_, false) => self.ready[index] = None,
                (false, true) if index == HSE && self.crystal.dead => {}
                (false, true) if index >= PLL1 && !pll_source_ready => {
                    findings.note(format!("RCC_CR starts PLL{} before its source is ready", index - PLL1 + 1));
                }
                (false, true) => {
                    let start = match index {
                        0 => HSI_START,
                        1 => CSI_START,
                        HSI48 => HSI48_START,
                        HSE => HSE_START,
                        _ => PLL_LOCK,
                    };
                    self.ready[index] = Some(now + start);
                }
                (true, true) => {}
            }
        }
    }

    fn is_ready(&self, index: usize, now: Time) -> bool {
        self.ready[index].is_some_and(|at| at <= now)
    }

    /// The source that SW names (RM0433, 8.7), if it is ready.
    fn ready_source(&self, switch: u32, now: Time) -> Option<u32> {
        let index = match switch {
            0 => 0,
            1 => 1,
            2 => HSE,
            3 => PLL1,
            _ => return None,
        };
        self.is_ready(index, now).then_some(switch)
    }

    /// The source that the core runs by: HSI as long as the chosen one is not ready.
    fn source(&self, now: Time) -> u32 {
        self.ready_source(self.bank.get(CFGR) & 7, now).unwrap_or(0)
    }

    fn hsi_hz(&self) -> u64 {
        HSI_HZ >> (self.bank.get(CR) >> 3 & 3)
    }

    /// Frequency that goes into PLL1 after its divider; 0 where there is none.
    fn pll_input_hz(&self, now: Time) -> u64 {
        let select = self.bank.get(PLLCKSELR);
        let (index, hertz) = match select & 3 {
            0 => (0, self.hsi_hz()),
            1 => (1, CSI_HZ),
            2 => (HSE, self.crystal.hertz),
            _ => return 0,
        };
        let divider = u64::from(select >> 4 & 0x3F);
        if divider == 0 || !self.is_ready(index, now) { 0 } else { hertz / divider }
    }

    fn pll1_p_hz(&self, now: Time) -> u64 {
        let divr = self.bank.get(PLL1DIVR);
        self.pll_input_hz(now) * u64::from((divr & 0x1FF) + 1) / u64::from((divr >> 9 & 0x7F) + 1)
    }

    /// The system clock (sys_ck) in hertz.
    fn system_hz(&self, now: Time) -> u64 {
        match self.source(now) {
            1 => CSI_HZ,
            2 => self.crystal.hertz,
            3 => self.pll1_p_hz(now),
            _ => self.hsi_hz(),
        }
    }

    /// The core's clock in hertz.
    pub fn core_hz(&self, now: Time) -> u64 {
        (self.system_hz(now) / wide_prescaler(self.bank.get(D1CFGR) >> 8)).max(1)
    }

    /// The clock of the AXI and AHB buses in hertz.
    pub fn bus_hz(&self, now: Time) -> u64 {
        self.core_hz(now) / wide_prescaler(self.bank.get(D1CFGR))
    }

    /// The clock of APB1 in hertz.
    pub fn apb1_hz(&self, now: Time) -> u64 {
        self.bus_hz(now) / narrow_prescaler(self.bank.get(D2CFGR) >> 4)
    }

    /// The clock of timers on APB1 in hertz (RM0433, 8.5): twice the bus's where that is divided.
    pub fn timer_hz(&self, now: Time) -> u64 {
        let divided = narrow_prescaler(self.bank.get(D2CFGR) >> 4);
        let most = if self.bank.has(CFGR, 1 << 15) { 4 } else { 2 };
        self.bus_hz(now) / divided * divided.min(most)
    }

    /// The clock of I2C1 in hertz; 0 for sources that are not modelled.
    pub fn i2c_hz(&self, now: Time) -> u64 {
        match self.bank.get(D2CCIP2R) >> 12 & 3 {
            0 => self.apb1_hz(now),
            2 => self.hsi_hz(),
            3 => CSI_HZ,
            _ => 0,
        }
    }

    /// What the pin MCO1 gives, in hertz; 0 where it is still.
    pub fn mco1_hz(&self, now: Time) -> u64 {
        let cfgr = self.bank.get(CFGR);
        let divider = u64::from(cfgr >> 18 & 0xF);
        let (index, hertz) = match cfgr >> 22 & 7 {
            0 => (0, self.hsi_hz()),
            2 => (HSE, self.crystal.hertz),
            4 => (HSI48, HSI48_HZ),
            _ => return 0,
        };
        if divider == 0 || !self.is_ready(index, now) { 0 } else { hertz / divider }
    }

    /// Highest frequency of the APB buses in hertz.
    pub fn fastest_apb_hz(&self, now: Time) -> u64 {
        let (d1, d2, d3) = (self.bank.get(D1CFGR), self.bank.get(D2CFGR), self.bank.get(D3CFGR));
        let prescalers = [d1 >> 4, d2 >> 4, d2 >> 8, d3 >> 4].map(narrow_prescaler);
        self.bus_hz(now) / prescalers.into_iter().min().unwrap_or(1)
    }

    /// Whether the block whose enable is `bit` of the register at `offset` has its clock and is not held in reset.
    pub fn is_clocked(&self, offset: u32, bit: u32, now: Time) -> bool {
        let coming = self.coming.iter().any(|(register, bits, at)| *register == offset && bits & bit != 0 && now < *at);
        self.bank.has(offset, bit) && !coming
    }

    /// Whether the register at `offset` resets blocks, whose bits it then has set.
    pub fn resets(&self, offset: u32) -> Option<u32> {
        RESETS.contains(&offset).then(|| self.bank.get(offset))
    }

    /// When an oscillator is next ready.
    pub fn next_event(&self, now: Time) -> Time {
        self.ready.iter().flatten().copied().filter(|at| *at > now).min().unwrap_or(Time::NEVER)
    }
}

/// Bits of PLLCKSELR and PLLCFGR that PLL1 keeps while it runs (RM0433, 8.7).
const fn of_pll1(offset: u32) -> u32 {
    if offset == PLLCKSELR { 0x3F3 } else { 0x0007_000F }
}

/// HPRE and D1CPRE (RM0433, 8.7).
fn wide_prescaler(bits: u32) -> u64 {
    match bits & 0xF {
        0..8 => 1,
        8 => 2,
        9 => 4,
        10 => 8,
        11 => 16,
        12 => 64,
        13 => 128,
        14 => 256,
        _ => 512,
    }
}

/// D1PPRE to D3PPRE (RM0433, 8.7).
fn narrow_prescaler(bits: u32) -> u64 {
    match bits & 7 {
        0..4 => 1,
        4 => 2,
        5 => 4,
        6 => 8,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: u32 = 0xDC;

    fn rcc(dead: bool) -> (Rcc, Findings) {
        (Rcc::new(Crystal { hertz: 25_000_000, dead }), Findings::default())
    }

    /// Brings the core to 480 MHz as the manual says: the time it takes.
    fn bring_up(rcc: &mut Rcc, findings: &mut Findings) -> Time {
        let mut now = Time::us(10);
        rcc.write(CR, HSION | HSEON, now, findings);
        while rcc.read(CR, now, findings) & HSEON << 1 == 0 && now < Time::ms(100) {
            now = now + Time::us(10);
        }
        rcc.write(PLLCKSELR, 5 << 4 | 2, now, findings);
        rcc.write(PLL1DIVR, 0x0101_0000 | 1 << 9 | 191, now, findings);
        rcc.write(CR, HSION | HSEON | PLL1ON, now, findings);
        while rcc.read(CR, now, findings) & PLL1ON << 1 == 0 && now < Time::ms(100) {
            now = now + Time::us(10);
        }
        rcc.write(D1CFGR, 0x48, now, findings);
        rcc.write(CFGR, 3, now, findings);
        now
    }

    #[test]
    fn the_core_runs_at_480_megahertz_once_all_is_ready() {
        let (mut rcc, mut findings) = rcc(false);
        assert_eq!(rcc.core_hz(Time::ZERO), 64_000_000);
        let now = bring_up(&mut rcc, &mut findings);
        assert!((Time::ms(2)..Time::ms(3)).contains(&now), "{now:?}");
        assert_eq!((rcc.core_hz(now), rcc.bus_hz(now)), (480_000_000, 240_000_000));
        assert_eq!(rcc.read(CFGR, now, &mut findings) >> 3 & 7, 3);
        assert_eq!(findings.list(), [""; 0]);
        // What is locked while it runs, stays.
        rcc.write(PLL1DIVR, 0, now, &mut findings);
        assert_eq!((rcc.core_hz(now), findings.list().len()), (480_000_000, 1));
    }

    #[test]
    fn a_dead_crystal_is_never_ready_and_the_core_stays_slow() {
        let (mut rcc, mut findings) = rcc(true);
        let now = bring_up(&mut rcc, &mut findings);
        assert_eq!(now, Time::ms(100));
        assert_eq!(rcc.core_hz(now), 64_000_000);
        assert!(findings.list().iter().any(|what| what.contains("before")), "{findings:?}");
    }

    #[test]
    fn a_clock_comes_some_cycles_after_its_enable_or_when_that_is_read_back() {
        let (mut rcc, mut findings) = rcc(false);
        let now = Time::us(1);
        rcc.write(GATE, 1, now, &mut findings);
        assert!(!rcc.is_clocked(GATE, 1, now));
        assert!(rcc.is_clocked(GATE, 1, now + Time::us(1)));
        let (mut other, _) = self::rcc(false);
        other.write(GATE, 1, now, &mut findings);
        assert_eq!(other.read(GATE, now, &mut findings), 1);
        assert!(other.is_clocked(GATE, 1, now));
        other.write(GATE, 0, now, &mut findings);
        assert!(!other.is_clocked(GATE, 1, now));
    }

    #[test]
    fn causes_of_resets_stay_until_they_are_removed() {
        let (mut rcc, mut findings) = rcc(false);
        rcc.write(RSR, 1 << 16, Time::ZERO, &mut findings);
        assert_eq!(rcc.read(RSR, Time::ZERO, &mut findings), 0);
        rcc.reset(Cause::Watchdog);
        rcc.reset(Cause::Software);
        assert_eq!(rcc.read(RSR, Time::ZERO, &mut findings), 1 << 22 | 1 << 24 | 1 << 26);
    }
}
