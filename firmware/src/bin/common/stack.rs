//! How far the stack reaches: the memory below it is painted, and looked at later.

use core::arch::asm;

/// What is painted: no address and no likely value.
const PAINT: u32 = 0x5ac3_96f1;
/// Bytes from the stack's start that are looked at. Static variables end far below.
const DEPTH: usize = 32 * 1024;

unsafe extern "C" {
    /// Where the stack starts, from which it grows down: a symbol of the linker script, with no value of its own.
    static _stack_start: u32;
}

/// The words that are looked at, the lowest first.
fn words() -> impl Iterator<Item = *mut u32> {
    let top = (&raw const _stack_start).cast_mut();
    (1..=DEPTH / 4).rev().map(move |below| top.wrapping_sub(below))
}

/// Paints everything below the stack of its caller, and tells where that is.
#[inline(never)]
pub fn paint() -> usize {
    let here: usize;
    // SAFETY: the instruction touches nothing but its register.
    unsafe { asm!("mov {}, sp", out(reg) here, options(nomem, nostack, preserves_flags)) }
    for word in words().take_while(|word| word.addr() < here) {
        // SAFETY: nobody owns the memory below the stack; interrupts that use it in between have ended.
        unsafe { word.write_volatile(PAINT) }
    }
    here
}

/// Bytes from `here`, which [`paint`] told, to the lowest that was written since.
pub fn reached(here: usize) -> u32 {
    // SAFETY: the memory is there, and whatever it holds is a number.
    let lowest = words().find(|word| unsafe { word.read_volatile() } != PAINT);
    lowest.map_or(0, |word| here.saturating_sub(word.addr())) as u32
}
