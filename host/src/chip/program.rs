//! A program as a chip's flash has it after `ocellus flash`.

use anyhow::{Context, Result, anyhow};
use object::elf::PT_LOAD;
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{LittleEndian, Object, ObjectSymbol};

use super::bus::Memory;

/// Where a program has its RTT channels.
const RTT: &str = "_SEGGER_RTT";

/// Writes what `elf` has for memory that is not cleared at the start to where it is stored.
///
/// # Errors
/// It is no such file, or the chip has no memory there.
pub fn load(elf: &[u8], memory: &mut dyn Memory) -> Result<()> {
    let file = ElfFile32::<LittleEndian>::parse(elf).context("the program is no ELF file of a 32-bit chip")?;
    let loaded = file.elf_program_headers().iter().filter(|header| header.p_type(LittleEndian) == PT_LOAD);
    for header in loaded {
        let address = header.p_paddr(LittleEndian);
        let bytes = header.data(LittleEndian, elf).map_err(|()| anyhow!("the program's file is cut off"))?;
        if !bytes.is_empty() && memory.store(address, bytes).is_err() {
            return Err(anyhow!(
                "the program wants {} bytes at {address:#x}, where the chip has no memory",
                bytes.len()
            ));
        }
    }
    Ok(())
}

/// Where `elf` has its RTT channels.
///
/// # Errors
/// It has none.
pub fn channels(elf: &[u8]) -> Result<u32> {
    symbol(elf, RTT).with_context(|| format!("the program lacks the symbol {RTT}, which firmware of real boards has"))
}

/// Value of the symbol `name` of `elf`.
pub fn symbol(elf: &[u8], name: &str) -> Option<u32> {
    let file = ElfFile32::<LittleEndian>::parse(elf).ok()?;
    file.symbol_by_name(name)?.address().try_into().ok()
}
