//! A chip's memories: RAM, and flash that is only ever read here.

use std::ops::Range;

use super::Violation;
use super::flash::Flash;

/// RAM and flash.
#[derive(Debug)]
pub struct Memory {
    ram: Vec<(Range<u64>, Vec<u8>)>,
    /// The flash.
    pub flash: Flash,
    /// The probe was pulled out.
    pub is_out_of_reach: bool,
}

impl Memory {
    /// Memory with RAM at `regions`, whose content after power-on is arbitrary.
    pub fn new(regions: impl IntoIterator<Item = Range<u64>>, flash: Flash) -> Self {
        let fill = |range: Range<u64>| {
            let len = (range.end - range.start) as usize;
            (range, vec![0xA5; len])
        };
        Self { ram: regions.into_iter().map(fill).collect(), flash, is_out_of_reach: false }
    }

    /// `len` bytes from `address` on.
    ///
    /// # Errors
    /// They are not all in one memory.
    pub fn read(&self, address: u32, len: usize) -> Result<&[u8], Violation> {
        let (at, nothing) =
            (u64::from(address), || format!("reads {len} bytes at {address:#010x}, where is no memory"));
        let ram = self.ram.iter().find(|(range, _)| range.contains(&at));
        match ram {
            Some((range, bytes)) => bytes.get((at - range.start) as usize..).and_then(|b| b.get(..len)),
            None => self.flash.read(address, len),
        }
        .ok_or_else(nothing)
    }

    /// A little-endian word.
    ///
    /// # Errors
    /// As for [`Memory::read`].
    pub fn word(&self, address: u32) -> Result<u32, Violation> {
        let bytes = self.read(address, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Writes RAM.
    ///
    /// # Errors
    /// The bytes are not all in one RAM; flash is not written like this.
    pub fn write(&mut self, address: u32, data: &[u8]) -> Result<(), Violation> {
        let at = u64::from(address);
        let target = self.ram.iter_mut().find(|(range, _)| range.contains(&at)).and_then(|(range, bytes)| {
            let at = (at - range.start) as usize;
            bytes.get_mut(at..at + data.len())
        });
        match target {
            Some(target) => target.copy_from_slice(data),
            None => return Err(format!("writes {} bytes at {address:#010x}, where is no RAM", data.len())),
        }
        Ok(())
    }
}
