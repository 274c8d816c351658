//! Flash cells, and the flash algorithm that programs them.
//!
//! The algorithm's machine code is not executed. Its entry points are known (probe-rs puts the code into RAM and calls
//! them), and each does here what CMSIS-Pack, "Flash Programming", says of it.

use probe_rs::flashing::FlashAlgorithm;

use super::{Fault, Violation};

/// Bytes that are programmed together, with one error-correcting code: a flash word of 256 bits (RM0433, 4.3.1).
const WORD_BYTES: usize = 32;
/// Pages after which a probe that fails so is pulled out.
const PAGES_UNTIL_UNPLUGGED: usize = 20;

/// Return code of a routine that failed.
const FAILED: u32 = 1;

/// What `Init` prepares the flash for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Erase = 1,
    Program = 2,
    Verify = 3,
}

/// The flash of a chip.
#[derive(Debug)]
pub struct Flash {
    algorithm: FlashAlgorithm,
    cells: Vec<u8>,
    /// Which words were programmed since they were erased.
    programmed: Vec<bool>,
    /// What `Init` was called for, until `UnInit`.
    operation: Option<Operation>,
    fault: Option<Fault>,
    pages: usize,
}

impl Flash {
    /// Erased flash that `algorithm` programs.
    pub fn new(algorithm: FlashAlgorithm, fault: Option<Fault>) -> Self {
        let range = &algorithm.flash_properties.address_range;
        let len = (range.end - range.start) as usize;
        let (cells, programmed) = (vec![0xFF; len], vec![false; len / WORD_BYTES]);
        Self { algorithm, cells, programmed, operation: None, fault, pages: 0 }
    }

    /// `len` bytes from `address` on, if all of them are flash.
    pub fn read(&self, address: u32, len: usize) -> Option<&[u8]> {
        let at = self.offset(address)?;
        self.cells.get(at..at + len)
    }

    /// First address.
    pub fn start(&self) -> u32 {
        self.algorithm.flash_properties.address_range.start as u32
    }

    /// The algorithm.
    pub fn algorithm(&self) -> &FlashAlgorithm {
        &self.algorithm
    }

    /// Whether the probe is to be pulled out by now.
    pub fn pulls_the_plug(&self) -> bool {
        self.fault == Some(Fault::Unplugged) && self.pages >= PAGES_UNTIL_UNPLUGGED
    }

    /// A reset: an algorithm that was at work no longer is.
    pub fn reset(&mut self) {
        self.operation = None;
    }

    /// Calls the routine at `entry` with the arguments r0 to r2; `page` is what r2 points to if it is memory.
    ///
    /// # Errors
    /// A call that real hardware might let pass, but that no correct caller makes.
    pub fn call(&mut self, entry: u32, [r0, r1, r2]: [u32; 3], page: Option<&[u8]>) -> Result<u32, Violation> {
        let at = |pc: u64| pc as u32 & !1 == entry;
        let algorithm = &self.algorithm;
        if algorithm.pc_init.is_some_and(at) {
            self.init(r0, r2)
        } else if algorithm.pc_uninit.is_some_and(at) {
            self.uninit(r0)
        } else if at(algorithm.pc_erase_sector) {
            self.erase_sector(r0)
        } else if algorithm.pc_erase_all.is_some_and(at) {
            self.erase_all()
        } else if at(algorithm.pc_program_page) {
            let page = page.and_then(|page| page.get(..r1 as usize));
            self.program_page(r0, page.ok_or_else(|| format!("programs {r1} bytes from {r2:#x}, which is no RAM"))?)
        } else {
            Err(format!("calls {entry:#x}, which is no routine of the flash algorithm"))
        }
    }

    fn init(&mut self, address: u32, function: u32) -> Result<u32, Violation> {
        let known = [Operation::Erase, Operation::Program, Operation::Verify];
        let operation = known.into_iter().find(|operation| *operation as u32 == function);
        match (self.operation, operation) {
            (None, Some(_)) if address == self.start() => {
                self.operation = operation;
                Ok(0)
            }
            (before, _) => Err(format!("calls Init({address:#x}, {function}) during {before:?}")),
        }
    }

    fn uninit(&mut self, function: u32) -> Result<u32, Violation> {
        match self.operation.take() {
            Some(operation) if operation as u32 == function => Ok(0),
            other => Err(format!("calls UnInit({function}) during {other:?}")),
        }
    }

    fn erase_sector(&mut self, address: u32) -> Result<u32, Violation> {
        let sector = self.algorithm.sector_info(address.into()).filter(|s| s.base_address == u64::from(address));
        let (Some(sector), Some(Operation::Erase)) = (sector, self.operation) else {
            return Err(format!("erases {address:#x}, not the start of a sector, or not while erasing"));
        };
        if self.fault == Some(Fault::Locked) {
            return Ok(FAILED);
        }
        let (at, len) = ((address - self.start()) as usize, sector.size as usize);
        self.cells[at..at + len].fill(0xFF);
        self.programmed[at / WORD_BYTES..(at + len) / WORD_BYTES].fill(false);
        Ok(0)
    }

    fn erase_all(&mut self) -> Result<u32, Violation> {
        if self.operation != Some(Operation::Erase) {
            return Err("erases everything, but not while erasing".to_owned());
        }
        if self.fault == Some(Fault::Locked) {
            return Ok(FAILED);
        }
        self.cells.fill(0xFF);
        self.programmed.fill(false);
        Ok(0)
    }

    fn program_page(&mut self, address: u32, page: &[u8]) -> Result<u32, Violation> {
        let len = page.len();
        let at = self.offset(address).filter(|at| at % WORD_BYTES == 0 && len.is_multiple_of(WORD_BYTES));
        let (Some(at), Some(Operation::Program)) = (at, self.operation) else {
            return Err(format!(
                "programs {len} bytes at {address:#x}: not whole flash words, or not while programming"
            ));
        };
        if len == 0 || len > self.algorithm.flash_properties.page_size as usize || at + len > self.cells.len() {
            return Err(format!("programs {len} bytes at {address:#x}: no page"));
        }
        let words = at / WORD_BYTES..(at + len) / WORD_BYTES;
        if self.programmed[words.clone()].contains(&true) {
            return Err(format!("programs {address:#x} without erasing it before"));
        }
        self.cells[at..at + len].copy_from_slice(page);
        self.programmed[words].fill(true);
        if self.fault == Some(Fault::Worn) && self.pages == 1 {
            self.cells[at + len / 2] ^= 0x10;
        }
        self.pages += 1;
        Ok(0)
    }

    fn offset(&self, address: u32) -> Option<usize> {
        let at = address.checked_sub(self.start())? as usize;
        (at < self.cells.len()).then_some(at)
    }
}
