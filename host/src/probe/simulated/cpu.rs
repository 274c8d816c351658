//! A Cortex-M7 core as a debugger sees it: the registers of ARMv7-M's Architecture Reference Manual, part C.

use super::Violation;

/// Debug Halting Control and Status Register, C1.6.2.
pub const DHCSR: u32 = 0xE000_EDF0;
/// Debug Core Register Selector Register, C1.6.3.
const DCRSR: u32 = 0xE000_EDF4;
/// Debug Core Register Data Register, C1.6.4.
const DCRDR: u32 = 0xE000_EDF8;
/// Debug Exception and Monitor Control Register, C1.6.5.
const DEMCR: u32 = 0xE000_EDFC;
/// Debug Fault Status Register, C1.6.1.
const DFSR: u32 = 0xE000_ED30;
/// Application Interrupt and Reset Control Register, B3.2.6.
const AIRCR: u32 = 0xE000_ED0C;
/// CPUID Base Register, B3.2.3, of an r1p1.
const CPUID: (u32, u32) = (0xE000_ED00, 0x411F_C271);
/// Media and VFP Feature Register 0, B4.7.1: single and double precision.
const MVFR0: (u32, u32) = (0xE000_EF40, 0x1011_0221);
/// FlashPatch Control Register, C1.11.3: version 2, eight comparators.
const FP_CTRL: u32 = 0xE000_2000;
const FP_COMPARATORS: u32 = 0xE000_2008;
const FP_VERSION: u32 = 0x1000_0080;

const C_DEBUGEN: u32 = 1;
const C_HALT: u32 = 1 << 1;
const C_STEP: u32 = 1 << 2;
const C_MASKINTS: u32 = 1 << 3;
const S_REGRDY: u32 = 1 << 16;
const S_HALT: u32 = 1 << 17;
const S_RESET_ST: u32 = 1 << 25;
const VC_CORERESET: u32 = 1;
const THUMB: u32 = 1 << 24;

/// Why a core halted: the bits of the Debug Fault Status Register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Halt {
    /// It was told to, or made a step.
    Request = 1,
    /// It came to a breakpoint instruction.
    Breakpoint = 1 << 1,
    /// It came out of reset while that is caught.
    VectorCatch = 1 << 3,
}

/// What a write makes the core do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but what the write itself is.
    None,
    /// One instruction.
    Step,
    /// Go on.
    Resume,
    /// Start anew.
    Reset,
}

/// Numbers of registers, as the selector register has them.
#[derive(Clone, Copy, Debug)]
pub enum Register {
    /// First argument, and the result.
    R0 = 0,
    /// Second argument.
    R1 = 1,
    /// Third argument.
    R2 = 2,
    /// Stack pointer.
    Sp = 13,
    /// Where a call returns to.
    Lr = 14,
    /// Program counter.
    Pc = 15,
    /// Program status.
    Xpsr = 16,
}

/// The core.
#[derive(Debug)]
pub struct Core {
    registers: [u32; 128],
    control: u32,
    halted: bool,
    reset_seen: bool,
    demcr: u32,
    dfsr: u32,
    dcrdr: u32,
    breakpoints_on: bool,
    comparators: [u32; 8],
    /// Where the last step began.
    pub stepped_from: Option<u32>,
}

impl Core {
    /// A core that runs, and whose debugging is off.
    pub fn new() -> Self {
        Self {
            registers: [0; 128],
            control: 0,
            halted: false,
            reset_seen: true,
            demcr: 0,
            dfsr: 0,
            dcrdr: 0,
            breakpoints_on: false,
            comparators: [0; 8],
            stepped_from: None,
        }
    }

    /// Whether it executes instructions.
    pub fn is_running(&self) -> bool {
        !self.halted
    }

    /// A register.
    pub fn get(&self, register: Register) -> u32 {
        self.registers[register as usize]
    }

    /// Changes a register.
    pub fn set(&mut self, register: Register, value: u32) {
        self.registers[register as usize] = value;
    }

    /// Stops executing, which the control bit then says, whatever the reason.
    pub fn halt(&mut self, reason: Halt) {
        self.halted = true;
        self.control |= C_HALT;
        self.dfsr |= reason as u32;
    }

    /// Starts executing.
    pub fn go(&mut self) {
        self.halted = false;
    }

    /// Out of reset, with the stack pointer and the entry of the vector table.
    pub fn reset(&mut self, stack: u32, entry: u32) {
        self.registers = [0; 128];
        self.set(Register::Sp, stack & !3);
        self.set(Register::Pc, entry & !1);
        self.set(Register::Xpsr, THUMB);
        (self.reset_seen, self.halted, self.stepped_from) = (true, false, None);
        if self.control & C_DEBUGEN != 0 && self.demcr & VC_CORERESET != 0 {
            self.halt(Halt::VectorCatch);
        }
    }

    /// Reads one of the registers of the Private Peripheral Bus.
    ///
    /// # Errors
    /// There is none at `address`.
    pub fn read(&mut self, address: u32) -> Result<u32, Violation> {
        Ok(match address {
            DHCSR => {
                let reset = if std::mem::take(&mut self.reset_seen) { S_RESET_ST } else { 0 };
                self.control | S_REGRDY | if self.halted { S_HALT } else { 0 } | reset
            }
            DCRDR => self.dcrdr,
            DEMCR => self.demcr,
            DFSR => self.dfsr,
            AIRCR => 0xFA05_0000,
            FP_CTRL => FP_VERSION | u32::from(self.breakpoints_on),
            _ if address == CPUID.0 => CPUID.1,
            _ if address == MVFR0.0 => MVFR0.1,
            _ => match self.comparator(address) {
                Some(index) => self.comparators[index],
                None => return Err(format!("reads {address:#x}, where is no register of the core")),
            },
        })
    }

    /// Writes one of the registers of the Private Peripheral Bus.
    ///
    /// # Errors
    /// There is none at `address`, or the write has no effect on a real core.
    pub fn write(&mut self, address: u32, value: u32) -> Result<Effect, Violation> {
        match address {
            DHCSR => return self.control(value),
            DCRSR => self.transfer(value)?,
            DCRDR => self.dcrdr = value,
            DEMCR => self.demcr = value,
            DFSR => self.dfsr &= !value,
            AIRCR if value >> 16 != 0x05FA => return Err(format!("writes AIRCR = {value:#x} without its key")),
            AIRCR if value & 4 != 0 => return Ok(Effect::Reset),
            AIRCR => {}
            FP_CTRL if value & 2 == 0 => return Err("writes FP_CTRL without its key".to_owned()),
            FP_CTRL => self.breakpoints_on = value & 1 != 0,
            _ => match self.comparator(address) {
                Some(index) => self.comparators[index] = value,
                None => return Err(format!("writes {address:#x}, where is no register of the core")),
            },
        }
        Ok(Effect::None)
    }

    fn comparator(&self, address: u32) -> Option<usize> {
        let index = (address.checked_sub(FP_COMPARATORS)? / 4) as usize;
        (address.is_multiple_of(4) && index < self.comparators.len()).then_some(index)
    }

    fn control(&mut self, value: u32) -> Result<Effect, Violation> {
        if value >> 16 != 0xA05F {
            return Err(format!("writes DHCSR = {value:#x} without its key"));
        }
        if value & C_DEBUGEN == 0 && value & (C_HALT | C_STEP) != 0 {
            return Err(format!("writes DHCSR = {value:#x} while debugging is off"));
        }
        if (value ^ self.control) & C_MASKINTS != 0 && !self.halted {
            return Err("changes C_MASKINTS of a running core".to_owned());
        }
        self.control = value & (C_DEBUGEN | C_HALT | C_STEP | C_MASKINTS);
        match (self.halted, value & C_HALT != 0, value & C_STEP != 0) {
            (false, true, _) => self.halt(Halt::Request),
            (true, false, true) => return Ok(Effect::Step),
            (true, false, false) => return Ok(Effect::Resume),
            _ => {}
        }
        Ok(Effect::None)
    }

    /// Moves a register to or from the data register.
    fn transfer(&mut self, selector: u32) -> Result<(), Violation> {
        let number = (selector & 0x7F) as usize;
        if !self.halted {
            return Err(format!("touches register {number} of a running core"));
        }
        match selector & 1 << 16 != 0 {
            true if number == Register::Pc as usize => self.set(Register::Pc, self.dcrdr & !1),
            true => self.registers[number] = self.dcrdr,
            false => self.dcrdr = self.registers[number],
        }
        if selector & 1 << 16 != 0 && number == Register::Pc as usize {
            self.stepped_from = None;
        }
        Ok(())
    }
}
