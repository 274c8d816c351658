//! For Cortex-M55: sixteen products and their sum per instruction.

pub mod conv;
pub mod depthwise;
mod product;

use core::arch::asm;
use ocellus_shared::op::PATCHES;

pub use product::Product;

/// See [`portable::pair`](super::portable::pair()).
#[inline(always)]
pub fn pair(rows: &[i8], pair: &[i8]) -> [[i32; 2]; PATCHES] {
    let row = pair.len() / 2;
    let rows = &rows[..PATCHES * row];
    let mut sums = [[0; 2]; PATCHES];
    // SAFETY: each of the rows has as many bytes as each filter of the pair.
    unsafe { pair_dots(rows.as_ptr(), row, pair.as_ptr(), &mut sums) }
    sums
}

/// Six dot products at once, over whole vectors and then the rest of `row`.
#[inline(always)]
unsafe fn pair_dots(rows: *const i8, row: usize, pair: *const i8, sums: &mut [[i32; 2]; PATCHES]) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r3-r10}}",
            "mov r5, r2",
            "and r7, r1, #15",
            "lsr lr, r1, #4",
            "add r3, r0, r1, lsl #1",
            "add r1, r0",
            "mov r2, #0",
            "mov r4, #0",
            "mov r6, #0",
            "mov r8, #0",
            "mov r10, #0",
            "mov r12, #0",
            "cmp lr, #0",
            "beq 2f",
            "dls lr, lr",
            "1:",
            "vldrb.u8 q0, [r5], #16",
            "vldrb.u8 q1, [r5], #16",
            "vldrb.u8 q2, [r0], #16",
            "vmladava.s8 r2, q2, q0",
            "vldrb.u8 q3, [r1], #16",
            "vmladava.s8 r4, q2, q1",
            "vmladava.s8 r6, q3, q0",
            "vldrb.u8 q2, [r3], #16",
            "vmladava.s8 r8, q3, q1",
            "vmladava.s8 r10, q2, q0",
            "vmladava.s8 r12, q2, q1",
            "le lr, 1b",
            "2:",
            "cbz r7, 3f",
            // Lanes beyond the rest are loaded as zeros.
            "vctp.8 r7",
            "add lr, r5, r7",
            "vpstt",
            "vldrbt.u8 q0, [r5]",
            "vldrbt.u8 q1, [lr]",
            "vpsttt",
            "vldrbt.u8 q2, [r0]",
            "vldrbt.u8 q3, [r1]",
            "vmladavat.s8 r2, q2, q0",
            "vmladava.s8 r4, q2, q1",
            "vmladava.s8 r6, q3, q0",
            "vmladava.s8 r8, q3, q1",
            "vpst",
            "vldrbt.u8 q2, [r3]",
            "vmladava.s8 r10, q2, q0",
            "vmladava.s8 r12, q2, q1",
            "3:",
            "ldr r7, [sp]",
            "strd r2, r4, [r7]",
            "strd r6, r8, [r7, #8]",
            "strd r10, r12, [r7, #16]",
            "pop {{r3-r10}}",
            inout("r0") rows => _,
            inout("r1") row => _,
            inout("r2") pair => _,
            inout("r3") sums => _,
            out("r12") _,
            out("lr") _,
            out("q0") _,
            out("q1") _,
            out("q2") _,
            out("q3") _,
        )
    }
}
