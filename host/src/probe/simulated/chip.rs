//! The chip: a core on a bus with memories, the flash algorithm's calls, and whatever program runs on it.

use super::cpu::{Core, Effect, Halt, Register};
use super::memory::Memory;
use super::{Fault, Violation};
use crate::board::ChipId;

/// Registers of the core.
const PRIVATE_BUS: std::ops::Range<u32> = 0xE000_0000..0xE00E_0000;
/// DBGMCU as a debugger's access port has it, and as the core has it (RM0433, 60.5.8): identity and control.
const DBGMCU: [u32; 2] = [0xE00E_1000, 0x5C00_1000];

/// A program, in place of the instructions of one.
pub trait Program: Send {
    /// The chip came out of reset.
    fn start(&mut self, memory: &mut Memory);
    /// It has run for a while.
    fn go_on(&mut self, memory: &mut Memory);
}

/// A chip that is powered.
pub struct Chip {
    core: Core,
    /// Its memories.
    pub memory: Memory,
    id: ChipId,
    debug_control: u32,
    program: Option<Box<dyn Program>>,
    held_in_reset: bool,
    /// Out of reset, and not an instruction further.
    fresh: bool,
    /// What was done to it that a correct debugger does not do.
    pub violations: Vec<Violation>,
}

impl std::fmt::Debug for Chip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chip").field("core", &self.core).field("violations", &self.violations).finish_non_exhaustive()
    }
}

impl Chip {
    /// A chip with erased flash.
    pub fn new(memory: Memory, id: ChipId, fault: Option<Fault>) -> Self {
        // A relative: the device id of STM32H723.
        let value = if fault == Some(Fault::WrongChip) { 0x483 } else { id.value };
        let mut chip = Self {
            core: Core::new(),
            memory,
            id: ChipId { value, ..id },
            debug_control: 0,
            program: None,
            held_in_reset: false,
            fresh: true,
            violations: Vec::new(),
        };
        chip.reset();
        chip
    }

    /// What runs on it from the next reset on.
    pub fn load(&mut self, program: Box<dyn Program>) {
        self.program = Some(program);
    }

    /// Pulls the reset line, or lets it go.
    pub fn hold_in_reset(&mut self, hold: bool) {
        let leaves = self.held_in_reset && !hold;
        self.held_in_reset = hold;
        if leaves {
            self.reset();
        }
    }

    /// Whether the reset line is pulled.
    pub fn is_held(&self) -> bool {
        self.held_in_reset
    }

    /// Reads `size` bytes at `address`, which it is a multiple of.
    ///
    /// # Errors
    /// There is nothing.
    pub fn read(&mut self, address: u32, size: usize) -> Result<u32, Violation> {
        self.let_run();
        if let Some(register) = self.debug_register(address) {
            return Ok(if register == 0 { self.id.value & self.id.mask | 0x2003_0000 } else { self.debug_control });
        }
        if PRIVATE_BUS.contains(&address) {
            return if size == 4 { self.core.read(address) } else { Err(format!("reads part of {address:#x}")) };
        }
        let mut bytes = [0; 4];
        bytes[..size].copy_from_slice(self.memory.read(address, size)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes the lowest `size` bytes of `value` at `address`, which it is a multiple of.
    ///
    /// # Errors
    /// There is nothing that can be written like this.
    pub fn write(&mut self, address: u32, size: usize, value: u32) -> Result<(), Violation> {
        if let Some(register) = self.debug_register(address) {
            if register == 0 {
                return Err("writes the chip's identity".to_owned());
            }
            self.debug_control = value;
            return Ok(());
        }
        if !PRIVATE_BUS.contains(&address) {
            return self.memory.write(address, &value.to_le_bytes()[..size]);
        }
        if size != 4 {
            return Err(format!("writes part of {address:#x}"));
        }
        match self.core.write(address, value)? {
            Effect::None => Ok(()),
            Effect::Reset => {
                self.reset();
                Ok(())
            }
            Effect::Step => {
                self.step();
                Ok(())
            }
            Effect::Resume => self.resume(),
        }
    }

    fn debug_register(&self, address: u32) -> Option<u32> {
        DBGMCU.iter().find_map(|base| address.checked_sub(*base).filter(|offset| [0, 4].contains(offset)))
    }

    /// Out of reset: the vector table is at the start of flash.
    fn reset(&mut self) {
        let start = self.memory.flash.start();
        self.memory.flash.reset();
        let vector = |at| self.memory.word(at).unwrap_or_default();
        let (stack, entry) = (vector(start), vector(start + 4));
        self.core.reset(stack, entry);
        self.fresh = true;
        if self.core.is_running() {
            self.start();
        }
    }

    /// The program begins, if the flash holds one: an erased vector table points nowhere.
    fn start(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        let bootable = self.memory.word(self.memory.flash.start()).is_ok_and(|stack| stack != u32::MAX);
        if let Some(program) = self.program.as_mut().filter(|_| bootable) {
            program.start(&mut self.memory);
        }
    }

    fn let_run(&mut self) {
        if let Some(program) = self.program.as_mut().filter(|_| self.core.is_running() && !self.held_in_reset) {
            program.go_on(&mut self.memory);
        }
    }

    fn step(&mut self) {
        let pc = self.core.get(Register::Pc);
        self.core.stepped_from.get_or_insert(pc);
        // A first half-word of 0b11101, 0b11110 or 0b11111 begins an instruction of two (ARMv7-M, A5.1).
        let long = self.memory.read(pc, 2).is_ok_and(|half| half[1] >> 3 >= 0b11101);
        self.core.set(Register::Pc, pc.wrapping_add(if long { 4 } else { 2 }));
        self.core.halt(Halt::Request);
    }

    fn resume(&mut self) -> Result<(), Violation> {
        let entry = self.core.stepped_from.take().unwrap_or(self.core.get(Register::Pc));
        let algorithm = self.memory.flash.algorithm();
        let (load, len) = (algorithm.load_address as u32, 4 * algorithm.instructions.len() as u32);
        self.core.go();
        if !(load..load + len).contains(&entry) {
            self.start();
            return Ok(());
        }
        self.check_call(load)?;
        let [r0, r1, r2] = [Register::R0, Register::R1, Register::R2].map(|register| self.core.get(register));
        let page = self.memory.read(r2, r1 as usize).map(<[u8]>::to_vec).ok();
        let code = self.memory.flash.call(entry, [r0, r1, r2], page.as_deref())?;
        self.core.set(Register::R0, code);
        self.core.set(Register::Pc, load);
        self.core.halt(Halt::Breakpoint);
        Ok(())
    }

    /// Whether a call into the flash algorithm can work: its code is in RAM, it has a stack, and it returns to the
    /// breakpoint in front of the code.
    fn check_call(&self, load: u32) -> Result<(), Violation> {
        let code: Vec<u8> = self.memory.flash.algorithm().instructions.iter().flat_map(|w| w.to_le_bytes()).collect();
        if self.memory.read(load, code.len())? != code {
            return Err("calls a flash algorithm that is not in RAM".to_owned());
        }
        let stack = self.core.get(Register::Sp);
        if !stack.is_multiple_of(8) || self.memory.read(stack.wrapping_sub(64), 64).is_err() {
            return Err(format!("calls the flash algorithm with its stack at {stack:#x}"));
        }
        if self.core.get(Register::Lr) != load | 1 {
            return Err("calls the flash algorithm, which could not return".to_owned());
        }
        Ok(())
    }
}
