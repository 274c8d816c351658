//! The emulated Cortex-M33 board `mps2-an505`.
#![no_std]
#![no_main]

mod emulated;

use emulated::Memory;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    emulated::run(MEMORY)
}
