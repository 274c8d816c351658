//! The emulated Cortex-M4F board `mps2-an386`.
#![no_std]
#![no_main]

mod emulated;

use emulated::Memory;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    emulated::run(MEMORY)
}
