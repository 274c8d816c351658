//! A chip that runs: its core step by step, and beside it what the chip does by itself at its own times.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::bus::{Memory, Time};
use super::core::cortex_m7::CortexM7;
use super::core::{Bus, Core, Shared};
use super::sensor::Sensor;
use super::stm32h743::{self, Cause, Stm32h743, Wiring};

/// Memory is full of this after power-up: what a program reads before it wrote it.
const NOISE: u64 = 0x9E37_79B9_7F4A_7C15;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The time is over.
    Time,
    /// The core was reset for this.
    Reset(Cause),
    /// The core is locked up, with no watchdog that would help.
    LockedUp,
}

/// A chip with its core and its memory.
pub struct Machine {
    core: Box<dyn Core>,
    chip: Arc<Shared<Stm32h743>>,
    cycles: u64,
    instructions: u64,
    resets: Vec<Cause>,
}

impl Machine {
    /// An STM32H743 on a board that is wired so, with a sensor. Its flash is erased, and the rest of its memory noise.
    ///
    /// # Errors
    /// Its memory cannot be laid out.
    pub fn stm32h743(wiring: Wiring, sensor: Sensor) -> Result<Self> {
        let chip = Shared::new(Stm32h743::new(wiring, sensor));
        let mut core = CortexM7::new(stm32h743::AREAS, stm32h743::WINDOWS, stm32h743::VECTORS, chip.clone())?;
        for area in stm32h743::AREAS {
            let contents = match area.kind {
                super::core::Kind::Flash => vec![0xFF; area.bytes as usize],
                super::core::Kind::Ram => noise(area.bytes as usize),
            };
            if core.memory().store(area.start, &contents).is_err() {
                bail!("the chip has no memory at {:#x}", area.start);
            }
        }
        Ok(Self { core: Box::new(core), chip, cycles: 0, instructions: 0, resets: Vec::new() })
    }

    /// Starts the program in flash, as power does.
    pub fn start(&mut self) {
        self.core.reset();
        self.chip.set_deadline(0);
    }

    /// The memory, behind the core's back: a probe's view of it.
    pub fn memory(&mut self) -> &mut dyn Memory {
        self.core.memory()
    }

    /// Looks at the chip, or changes what is connected to it.
    pub fn with_chip<T>(&mut self, look: impl FnOnce(&mut Stm32h743) -> T) -> T {
        let outcome = look(&mut self.chip.lock());
        self.chip.set_deadline(0);
        outcome
    }

    /// Instructions since power-up, entries of exceptions included.
    pub fn instructions(&self) -> u64 {
        self.instructions
    }

    /// The time since power-up.
    pub fn now(&self) -> Time {
        self.chip.lock().now()
    }

    /// Causes of all resets so far, the first power-up excluded.
    pub fn resets(&self) -> &[Cause] {
        &self.resets
    }

    /// Register `index` of 16 of the core.
    pub fn register(&self, index: u8) -> u32 {
        self.core.register(index)
    }

    /// Sets it: what a debugger does with a core that it halted.
    pub fn set_register(&mut self, index: u8, value: u32) {
        self.core.set_register(index, value);
    }

    /// Resets the chip for `cause`.
    pub fn reset(&mut self, cause: Cause) {
        self.chip.lock().reset(cause);
        self.resets.push(cause);
        self.start();
    }

    /// Runs until `duration` is over, or a reset.
    pub fn run(&mut self, duration: Time) -> Stop {
        let end = self.now() + duration;
        loop {
            // A fixed number of steps, between which nobody needs to ask for the time.
            for _ in 0..256 {
                self.chip.set_cycles(self.cycles);
                self.cycles += self.core.step();
                self.instructions += 1;
                if self.cycles >= self.chip.deadline()
                    && let Some(stop) = self.look()
                {
                    return stop;
                }
            }
            if let Some(stop) = self.look() {
                return stop;
            }
            if self.now() >= end {
                return Stop::Time;
            }
        }
    }

    /// Lets the chip do what it does by itself.
    fn look(&mut self) -> Option<Stop> {
        let skip = self.chip.take_skip();
        self.cycles += skip;
        self.core.skip(skip);
        let mut chip = self.chip.lock();
        if self.core.is_asleep() || self.core.is_locked_up() {
            // Nothing happens before the next event.
            self.cycles = self.cycles.max(chip.next_event().min(self.cycles + chip.core_hz() / 1000));
        }
        chip.set_cycles(self.cycles);
        chip.advance(self.core.memory());
        for (address, spoilt) in chip.take_flash_changes() {
            self.core.spoil(address, stm32h743::FLASH_WORD_BYTES, spoilt);
        }
        for (line, level) in chip.interrupts() {
            self.core.set_interrupt(line, level);
        }
        self.chip.set_deadline(chip.next_event());
        let (bitten, watched) = (chip.has_bitten(), chip.is_watched());
        drop(chip);
        let cause = match (bitten, self.core.take_reset_request()) {
            (true, _) => Cause::Watchdog,
            (_, true) => Cause::Software,
            _ if self.core.is_locked_up() && !watched => return Some(Stop::LockedUp),
            _ => return None,
        };
        self.reset(cause);
        Some(Stop::Reset(cause))
    }
}

/// Bytes of no pattern.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = NOISE;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}
