//! The flash memory's controller (RM0433, chapter 4): two banks of 1 MB with sectors of 128 kB, programmed in words of 32 bytes
//! each of which has an error-correcting code, erased by sectors.

use std::collections::BTreeSet;

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::{Findings, Memory, Time, Width};

/// Where the flash is.
pub const START: u32 = 0x0800_0000;
/// Bytes of a bank.
const BANK_BYTES: u32 = 0x10_0000;
/// Bytes of a sector.
pub const SECTOR_BYTES: u32 = 0x2_0000;
/// Bytes of a word of the flash, which its code covers.
pub const WORD_BYTES: u32 = 32;
/// Offset of the second bank's registers.
const SECOND: u32 = 0x100;
/// Times to program a word and to erase a sector (STM32H743 data sheet, typical).
const PROGRAMMING: Time = Time::us(100);
const ERASING: Time = Time::ms(500);

/// RM0433, 4.9. A bank's registers; the second bank's lie 0x100 above.
const TABLE: &[Register] = &[
    register("ACR", ACR, 0x37, 0x3F),
    register("KEYR", KEYR, 0, 0),
    register("OPTKEYR", 0x08, 0, 0),
    register("CR", CR, LOCK, 0x0FE6_87FE),
    register("SR", SR, 0, 0),
    register("CCR", CCR, 0, 0),
    register("OPTCR", 0x18, 1, 0),
    register("OPTSR_CUR", 0x1C, 0x13C6_AAF0, 0),
    register("OPTSR_PRG", 0x20, 0x13C6_AAF0, 0),
    register("ECC_FAR", FAR, 0, 0),
];

const ACR: u32 = 0x00;
const KEYR: u32 = 0x04;
const CR: u32 = 0x0C;
const SR: u32 = 0x10;
const CCR: u32 = 0x14;
const FAR: u32 = 0x60;
const LOCK: u32 = 1;
const PG: u32 = 1 << 1;
const SER: u32 = 1 << 2;
const BER: u32 = 1 << 3;
const FW: u32 = 1 << 6;
const STARTS: u32 = 1 << 7;
const BSY: u32 = 1;
const WBNE: u32 = 1 << 1;
const QW: u32 = 1 << 2;
const EOP: u32 = 1 << 16;
const PGSERR: u32 = 1 << 18;
const STRBERR: u32 = 1 << 19;
const INCERR: u32 = 1 << 21;
const DBECCERR: u32 = 1 << 26;
/// The two keys that unlock a bank's CR.
const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];

/// What a bank does at the moment.
#[derive(Clone, Debug)]
enum Job {
    Program(u32, Vec<u8>),
    Erase(u32, u32),
}

/// A bank.
#[derive(Debug)]
struct Half {
    bank: Bank,
    keys: usize,
    /// A wrong key locks until the next reset.
    barred: bool,
    /// The word that is being filled: its address and the bytes that are there.
    buffer: Option<(u32, Vec<Option<u8>>)>,
    job: Option<(Job, Time)>,
}

/// The controller.
#[derive(Debug)]
pub struct Flash {
    halves: [Half; 2],
    /// Words that cannot be read.
    spoilt: BTreeSet<u32>,
    /// Words that became so, or can be read again, since the core was told.
    changed: Vec<(u32, bool)>,
}

impl Flash {
    /// After power-up.
    pub fn new() -> Self {
        let half = |name| Half { bank: Bank::new(name, TABLE), keys: 0, barred: false, buffer: None, job: None };
        Self { halves: [half("FLASH bank 1"), half("FLASH bank 2")], spoilt: BTreeSet::new(), changed: Vec::new() }
    }

    /// A reset of the system, or the loss of power: what was under way leaves words that cannot be read.
    pub fn reset(&mut self) {
        for half in &mut self.halves {
            match half.job.take() {
                Some((Job::Program(address, _), _)) => self.changed.push((address, true)),
                Some((Job::Erase(address, bytes), _)) => {
                    self.changed.extend((address..address + bytes).step_by(WORD_BYTES as usize).map(|at| (at, true)));
                }
                None => {}
            }
            half.bank.reset();
            (half.keys, half.barred, half.buffer) = (0, false, None);
        }
    }

    /// Makes the word at `address` unreadable, or readable again.
    pub fn spoil(&mut self, address: u32, spoilt: bool) {
        self.changed.push((address / WORD_BYTES * WORD_BYTES, spoilt));
    }

    /// Words that became unreadable (true) or readable since the last call.
    pub fn take_changes(&mut self) -> Vec<(u32, bool)> {
        let changes = std::mem::take(&mut self.changed);
        for (address, spoilt) in &changes {
            match spoilt {
                true => self.spoilt.insert(*address),
                false => self.spoilt.remove(address),
            };
        }
        changes
    }

    /// Wait states, and the delay that is set for programming (WRHIGHFREQ).
    pub fn wait_states(&self) -> (u32, u32) {
        let acr = self.halves[0].bank.get(ACR);
        (acr & 0xF, acr >> 4 & 3)
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        // Both banks share the first register.
        let (half, offset) = if offset & SECOND == 0 { (0, offset) } else { (1, offset & !SECOND) };
        if offset == ACR { self.halves[0].bank.get(ACR) } else { self.halves[half].bank.read(offset, findings) }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        let (index, offset) = if offset & SECOND == 0 { (0, offset) } else { (1, offset & !SECOND) };
        let half = &mut self.halves[if offset == ACR { 0 } else { index }];
        match offset {
            KEYR => half.key(value),
            CCR => half.set_flags(0, value & 0x0FFF_0000),
            CR => half.control(START + index as u32 * BANK_BYTES, value, now, findings),
            _ => half.bank.write(offset, value, findings),
        }
    }

    /// A store to the flash itself at `address`.
    pub fn store(&mut self, address: u32, width: Width, value: u32, now: Time, findings: &mut Findings) {
        let bytes = &value.to_le_bytes()[..match width {
            Width::Byte => 1,
            Width::Half => 2,
            Width::Word => 4,
        }];
        let index = ((address - START) / BANK_BYTES) as usize;
        if let Some(half) = self.halves.get_mut(index) {
            half.store(address, bytes, now, findings);
        }
    }

    /// A load of what cannot be read, at `address`, which the bus answers with an error.
    pub fn fail(&mut self, address: u32) {
        let index = ((address - START) / BANK_BYTES) as usize;
        if let Some(half) = self.halves.get_mut(index) {
            half.set_flags(DBECCERR, 0);
            half.bank.set(FAR, (address - START) % BANK_BYTES / WORD_BYTES);
        }
    }

    /// Does what is over by `now`.
    pub fn advance(&mut self, now: Time, memory: &mut dyn Memory) {
        for half in &mut self.halves {
            let Some((job, _)) = half.job.take_if(|(_, end)| *end <= now) else { continue };
            half.set_flags(EOP, BSY | QW);
            match job {
                Job::Program(address, bytes) => {
                    // A word that is not erased gets bits of both, and a code of neither.
                    let mut before = vec![0; bytes.len()];
                    let erased = memory.load(address, &mut before).is_ok() && before.iter().all(|byte| *byte == 0xFF);
                    let mixed: Vec<u8> = bytes.iter().zip(&before).map(|(new, old)| new & old).collect();
                    let _ = memory.store(address, &mixed);
                    if !erased || self.spoilt.contains(&address) {
                        self.changed.push((address, true));
                    }
                }
                Job::Erase(address, bytes) => {
                    let _ = memory.store(address, &vec![0xFF; bytes as usize]);
                    let readable = self.spoilt.range(address..address + bytes).map(|at| (*at, false));
                    self.changed.extend(readable);
                }
            }
        }
    }

    /// When something is over.
    pub fn next_event(&self) -> Time {
        if !self.changed.is_empty() {
            return Time::ZERO;
        }
        self.halves.iter().filter_map(|half| half.job.as_ref().map(|(_, end)| *end)).min().unwrap_or(Time::NEVER)
    }
}

impl Half {
    fn set_flags(&mut self, set: u32, cleared: u32) {
        self.bank.set(SR, self.bank.get(SR) & !cleared | set);
    }

    fn key(&mut self, value: u32) {
        if self.barred || !self.bank.has(CR, LOCK) || value != KEYS[self.keys] {
            (self.barred, self.keys) = (true, 0);
        } else {
            self.keys = (self.keys + 1) % KEYS.len();
            if self.keys == 0 {
                self.bank.set(CR, self.bank.get(CR) & !LOCK);
            }
        }
    }

    fn control(&mut self, start: u32, value: u32, now: Time, findings: &mut Findings) {
        if self.bank.has(CR, LOCK) {
            findings.note(format!("{} is written while it is locked, and stays", self.bank.name(CR)));
            return;
        }
        if self.job.is_some() {
            findings.note(format!("{} is written while the bank is busy, and stays", self.bank.name(CR)));
            return;
        }
        self.bank.write(CR, value & !(STARTS | FW), findings);
        self.bank.set(CR, self.bank.get(CR) | value & LOCK);
        if value & FW != 0 && self.buffer.is_some() {
            self.program(now);
        }
        if value & STARTS != 0 {
            let sector = value >> 8 & 7;
            let job = match (value & BER != 0, value & SER != 0) {
                (true, _) => Job::Erase(start, BANK_BYTES),
                (_, true) => Job::Erase(start + sector * SECTOR_BYTES, SECTOR_BYTES),
                _ => return self.set_flags(PGSERR, 0),
            };
            self.set_flags(BSY | QW, 0);
            self.job = Some((job, now + ERASING));
        }
    }

    fn store(&mut self, address: u32, bytes: &[u8], now: Time, findings: &mut Findings) {
        if self.bank.has(CR, LOCK) || !self.bank.has(CR, PG) {
            findings.note(format!("flash at {address:#x} is written without PG in {}", self.bank.name(CR)));
            return self.set_flags(PGSERR, 0);
        }
        if self.job.is_some() {
            findings.note(format!("flash at {address:#x} is written while its bank is busy"));
            return self.set_flags(PGSERR, 0);
        }
        let word = address / WORD_BYTES * WORD_BYTES;
        let (begun, buffer) = self.buffer.get_or_insert_with(|| (word, vec![None; WORD_BYTES as usize]));
        if *begun != word {
            return self.set_flags(INCERR, 0);
        }
        let mut twice = false;
        for (place, byte) in buffer[(address - word) as usize..].iter_mut().zip(bytes) {
            twice |= place.replace(*byte).is_some();
        }
        let full = buffer.iter().all(Option::is_some);
        self.set_flags(WBNE | if twice { STRBERR } else { 0 }, 0);
        if full {
            self.program(now);
        }
    }

    /// The buffer goes into the flash; bytes that nobody wrote are erased ones.
    fn program(&mut self, now: Time) {
        if let Some((address, bytes)) = self.buffer.take() {
            let bytes = bytes.into_iter().map(|byte| byte.unwrap_or(0xFF)).collect();
            self.set_flags(BSY | QW, WBNE);
            self.job = Some((Job::Program(address, bytes), now + PROGRAMMING));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::bus::BusFault;

    /// The first sector, and part of the next.
    struct Cells(Vec<u8>);

    impl Memory for Cells {
        fn load(&self, address: u32, bytes: &mut [u8]) -> Result<(), BusFault> {
            let at = (address - START) as usize;
            bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or(BusFault)?);
            Ok(())
        }

        fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), BusFault> {
            let at = (address - START) as usize;
            self.0.get_mut(at..at + bytes.len()).ok_or(BusFault)?.copy_from_slice(bytes);
            Ok(())
        }
    }

    fn bench() -> (Flash, Cells, Findings) {
        (Flash::new(), Cells(vec![0xFF; 2 * SECTOR_BYTES as usize]), Findings::default())
    }

    fn unlocked() -> (Flash, Cells, Findings) {
        let (mut flash, cells, mut findings) = bench();
        KEYS.iter().for_each(|key| flash.write(KEYR, *key, Time::ZERO, &mut findings));
        (flash, cells, findings)
    }

    /// Programs the word at `address` with `first`, `first` + 1, ...
    fn program(flash: &mut Flash, address: u32, first: u32, findings: &mut Findings) {
        flash.write(CR, PG, Time::ZERO, findings);
        (0..8).for_each(|i| flash.store(address + 4 * i, Width::Word, first + i, Time::ZERO, findings));
    }

    #[test]
    fn a_word_is_there_once_all_of_it_came_and_the_time_is_over() {
        let (mut flash, mut cells, mut findings) = unlocked();
        program(&mut flash, START + 64, 7, &mut findings);
        assert_eq!(flash.read(SR, &mut findings) & (BSY | QW), BSY | QW);
        flash.advance(Time::us(99), &mut cells);
        assert_eq!(cells.0[64], 0xFF);
        flash.advance(flash.next_event(), &mut cells);
        assert_eq!((cells.word(START + 64), cells.word(START + 92)), (Ok(7), Ok(14)));
        assert_eq!(flash.read(SR, &mut findings), EOP);
        assert_eq!((flash.take_changes(), findings.list()), (vec![], &[][..]));
    }

    #[test]
    fn a_locked_bank_takes_nothing_and_a_wrong_key_bars_it() {
        let (mut flash, mut cells, mut findings) = bench();
        program(&mut flash, START, 1, &mut findings);
        assert_eq!(flash.read(SR, &mut findings), PGSERR);
        flash.advance(Time::ms(10), &mut cells);
        assert_eq!(cells.0[0], 0xFF);
        flash.write(KEYR, 1, Time::ZERO, &mut findings);
        KEYS.iter().for_each(|key| flash.write(KEYR, *key, Time::ZERO, &mut findings));
        assert_eq!(flash.read(CR, &mut findings), LOCK);
    }

    #[test]
    fn a_word_that_is_written_twice_cannot_be_read_until_its_sector_is_erased() {
        let (mut flash, mut cells, mut findings) = unlocked();
        for first in [1, 2] {
            program(&mut flash, START, first, &mut findings);
            flash.advance(Time::us(100), &mut cells);
        }
        assert_eq!(flash.take_changes(), [(START, true)]);
        flash.write(CR, SER | STARTS, Time::ZERO, &mut findings);
        flash.advance(ERASING, &mut cells);
        assert_eq!((flash.take_changes(), cells.0[0]), (vec![(START, false)], 0xFF));
    }

    #[test]
    fn power_that_goes_leaves_what_was_being_written_unreadable() {
        let (mut flash, _, mut findings) = unlocked();
        program(&mut flash, START + 32, 1, &mut findings);
        flash.reset();
        assert_eq!(flash.take_changes(), [(START + 32, true)]);
        flash.fail(START + 40);
        assert_eq!((flash.read(SR, &mut findings), flash.read(FAR, &mut findings)), (DBECCERR, 1));
    }
}
