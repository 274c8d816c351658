//! The debug port and its access ports: ARM's Debug Interface Architecture v5.2, on two wires.

use super::Fault;
use super::chip::Chip;

/// Identity of the debug port: DPv2 of ARM.
const DPIDR: u32 = 0x6BA0_2477;
/// Access ports: a bus of the core's domain, one of another domain, and the debug bus, with their identities.
const ACCESS_PORTS: [u32; 3] = [0x8477_0001, 0x8477_0001, 0x5477_0002];
/// The one that reaches the core and its memories, and the one that reaches the debug components.
const CORE_PORT: usize = 0;
const DEBUG_PORT: usize = 2;

/// Clock cycles with the data line high that are a line reset, and with it low that must follow (B4.3.3).
const RESET_CYCLES: u32 = 50;
const IDLE_CYCLES: u32 = 2;
/// Bits that make the port one for two wires (B5.2.1).
const TO_SWD: (u8, u64) = (16, 0xE79E);

const POWER_REQUESTS: u32 = 1 << 28 | 1 << 30;
const STICKY_ERROR: u32 = 1 << 5;
/// Access ports increment their address in its lowest ten bits at least, and more is not promised (C2.2.2).
const INCREMENT_BLOCK: u32 = 0x400;

/// What the port answers instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing at all.
    Silence,
    /// That it cannot.
    Fault,
}

/// State of the two wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing that is sent is understood.
    Unknown,
    /// After a line reset: the port's identity must be read first.
    Reset,
    /// Registers can be read and written.
    Ready,
}

/// Registers of one access port.
#[derive(Clone, Copy, Debug)]
struct AccessPort {
    control: u32,
    address: u32,
    /// The address was incremented out of its block.
    lost: bool,
}

/// The debug port of a chip.
#[derive(Debug)]
pub struct DebugPort {
    /// The chip.
    pub chip: Chip,
    fault: Option<Fault>,
    line: Line,
    two_wires: bool,
    ones: u32,
    zeros: u32,
    select: u32,
    control: u32,
    sticky: bool,
    ports: [AccessPort; ACCESS_PORTS.len()],
    /// Whether a fault that happens once has happened.
    stumbled: bool,
    /// Whether the chip was once reached in reset.
    tamed: bool,
}

impl DebugPort {
    /// The port of a chip that was just powered.
    pub fn new(chip: Chip, fault: Option<Fault>) -> Self {
        let port = AccessPort { control: 0x4000_0042, address: 0, lost: true };
        Self {
            chip,
            fault,
            line: Line::Unknown,
            two_wires: false,
            ones: 0,
            zeros: 0,
            select: 0,
            control: 0,
            sticky: false,
            ports: [port; ACCESS_PORTS.len()],
            stumbled: false,
            tamed: false,
        }
    }

    /// Drives the data line with `bits`, lowest first.
    pub fn sequence(&mut self, len: u8, bits: u64) {
        self.two_wires |= (len, bits) == TO_SWD;
        self.line = Line::Unknown;
        for bit in 0..len {
            match bits >> bit & 1 {
                1 if self.zeros > 0 => (self.ones, self.zeros) = (1, 0),
                1 => self.ones += 1,
                _ => self.zeros += 1,
            }
        }
        if self.ones >= RESET_CYCLES && self.zeros >= IDLE_CYCLES {
            self.line = Line::Reset;
            self.select = 0;
        }
    }

    /// Reads a register of the debug port: `address` is its two-bit address times four.
    pub fn read(&mut self, address: u8, bank: Option<u8>) -> Result<u32, Answer> {
        self.listen(address == 0)?;
        self.check_bank(bank)?;
        match (address, self.select & 0xF) {
            (0x0, 0) => Ok(DPIDR),
            (0x4, 0) => {
                let granted = (self.control & POWER_REQUESTS) << 1;
                Ok(self.control | granted | if self.sticky { STICKY_ERROR } else { 0 })
            }
            (0xC, _) => Ok(0),
            _ => self.refuse(format!("reads register {address:#x} of the debug port")),
        }
    }

    /// Writes a register of the debug port.
    pub fn write(&mut self, address: u8, bank: Option<u8>, value: u32) -> Result<(), Answer> {
        self.listen(false)?;
        self.check_bank(bank)?;
        match (address, self.select & 0xF) {
            (0x0, _) => self.sticky &= value & 1 << 2 == 0,
            (0x4, 0) => self.control = value & !STICKY_ERROR,
            (0x8, _) => self.select = value,
            _ => return self.refuse(format!("writes register {address:#x} of the debug port")),
        }
        Ok(())
    }

    /// Reads a register of the selected access port.
    pub fn read_port(&mut self, address: u8) -> Result<u32, Answer> {
        let Some(index) = self.port(address)? else { return Ok(0) };
        match address {
            0x00 => Ok(self.ports[index].control | 0x40),
            0x04 => Ok(self.ports[index].address),
            0x0C => self.transfer(index, None),
            0xF4 => Ok(0),
            0xF8 => Ok(0xE00F_E003),
            0xFC => Ok(ACCESS_PORTS[index]),
            _ => self.refuse(format!("reads register {address:#x} of access port {index}")),
        }
    }

    /// Writes a register of the selected access port.
    pub fn write_port(&mut self, address: u8, value: u32) -> Result<(), Answer> {
        let Some(index) = self.port(address)? else {
            return self.refuse("writes to an access port that does not exist".to_owned());
        };
        match address {
            0x00 => self.ports[index].control = value,
            0x04 => (self.ports[index].address, self.ports[index].lost) = (value, false),
            0x0C => return self.transfer(index, Some(value)).map(|_| ()),
            _ => return self.refuse(format!("writes register {address:#x} of access port {index}")),
        }
        Ok(())
    }

    /// Whether anything is understood now.
    fn listen(&mut self, is_identity: bool) -> Result<(), Answer> {
        self.tamed |= self.chip.is_held();
        let deaf = self.fault == Some(Fault::Silent) || (self.fault == Some(Fault::NeedsReset) && !self.tamed);
        match self.line {
            _ if deaf || !self.two_wires => Err(Answer::Silence),
            Line::Unknown => Err(Answer::Silence),
            Line::Reset if !is_identity => {
                self.chip.violations.push("talks after a line reset without reading the port's identity".to_owned());
                Err(Answer::Silence)
            }
            Line::Reset | Line::Ready => {
                self.line = Line::Ready;
                Ok(())
            }
        }
    }

    fn check_bank(&mut self, bank: Option<u8>) -> Result<(), Answer> {
        match bank {
            Some(bank) if u32::from(bank) != self.select & 0xF => self.refuse(format!("means bank {bank}")),
            _ => Ok(()),
        }
    }

    /// The selected access port, if there is one.
    fn port(&mut self, address: u8) -> Result<Option<usize>, Answer> {
        self.listen(false)?;
        if self.fault == Some(Fault::Stumbles) && !std::mem::replace(&mut self.stumbled, true) {
            self.line = Line::Unknown;
            return Err(Answer::Silence);
        }
        if self.control & POWER_REQUESTS != POWER_REQUESTS {
            return self.refuse("uses an access port without power".to_owned());
        }
        if self.sticky {
            return Err(Answer::Fault);
        }
        if self.select >> 4 & 0xF != u32::from(address >> 4) {
            return self.refuse(format!("means bank {} of an access port", address >> 4));
        }
        let index = (self.select >> 24) as usize;
        Ok((index < ACCESS_PORTS.len()).then_some(index))
    }

    /// One access to memory, at the address and of the size that the access port is set to.
    fn transfer(&mut self, index: usize, value: Option<u32>) -> Result<u32, Answer> {
        let AccessPort { control, address, lost } = self.ports[index];
        let (size, lane) = (1usize << (control & 7), 8 * (address % 4));
        if size > 4 || !(address as usize).is_multiple_of(size) || lost {
            return self.refuse(format!("an access of {size} bytes at {address:#x} (known: {})", !lost));
        }
        let reaches = match index {
            CORE_PORT => true,
            DEBUG_PORT => (0xE00E_0000..0xE010_0000).contains(&address),
            _ => false,
        };
        if !reaches {
            return self.refuse(format!("access port {index} does not reach {address:#x}"));
        }
        let result = match value {
            None => self.chip.read(address, size).map(|value| value << lane),
            Some(value) => self.chip.write(address, size, value >> lane).map(|()| value),
        };
        if control >> 4 & 3 == 1 {
            self.ports[index].address = address.wrapping_add(size as u32);
            self.ports[index].lost = (address + size as u32 - 1) % INCREMENT_BLOCK == INCREMENT_BLOCK - 1;
        }
        result.or_else(|what| self.refuse(what))
    }

    /// Takes note of what a correct debugger does not do, and answers with a fault.
    fn refuse<T>(&mut self, what: String) -> Result<T, Answer> {
        self.chip.violations.push(what);
        self.sticky = true;
        Err(Answer::Fault)
    }
}
