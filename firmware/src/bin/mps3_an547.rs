//! The emulated Cortex-M55 board `mps3-an547`.
#![no_std]
#![no_main]

mod emulated;

use emulated::Memory;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    emulated::run(MEMORY)
}
