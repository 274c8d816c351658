//! Convolutions: three patches times filters in pairs, then the results of four channels at a time.

use core::arch::asm;
use ocellus_shared::op::PATCHES;
use ocellus_shared::plan::Step;

/// Pairs of filters whose sums are held before they are requantized.
pub(super) const PAIRS: usize = 16;

/// Applies all whole pairs of the filters of `step`, each of `row` bytes, to the `PATCHES` rows, and writes the results of
/// as many of them as there are `pixels`; how many pairs.
pub fn filter(step: &Step, rows: &[i8], row: usize, pixels: &mut [i8]) -> usize {
    let channels = usize::from(step.output.shape.c);
    let rows = &rows[..PATCHES * row];
    let mut sums = [[0i32; 2 * PAIRS]; PATCHES];
    let pairs = channels / 2;
    for first in (0..pairs).step_by(PAIRS) {
        let count = PAIRS.min(pairs - first);
        let weights = &step.weights[first * 2 * row..][..count * 2 * row];
        let parameters = 2 * first..2 * (first + count);
        let biases = &step.biases.as_bytes()[parameters.clone()];
        let multipliers = &step.multipliers.as_bytes()[parameters.clone()];
        // SAFETY: each of the rows has as many bytes as each of the filters, of which there are `count` pairs, and there is
        // room for their sums.
        unsafe { dots(rows.as_ptr(), row, weights.as_ptr(), count, &mut sums) }
        for (sums, pixel) in sums.iter().zip(pixels.chunks_exact_mut(channels)) {
            let (pixel, zero) = (&mut pixel[parameters.clone()], i32::from(step.output.zero));
            // SAFETY: all of these are as long as the pixel's part, which is not empty.
            unsafe {
                finish(sums.as_ptr(), biases.as_ptr(), multipliers.as_ptr(), zero, pixel.as_mut_ptr(), pixel.len())
            }
        }
    }
    pairs
}

/// Sums of each patch with both filters of each of `count` pairs, at least one.
#[inline(never)]
pub(super) unsafe fn dots(
    rows: *const i8,
    row: usize,
    pairs: *const i8,
    count: usize,
    sums: &mut [[i32; 2 * PAIRS]; PATCHES],
) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "sub sp, #8",
            "str r3, [sp]",
            "mov r5, r2",
            "mov r9, r12",
            "and r7, r1, #15",
            "lsr r11, r1, #4",
            "add r3, r0, r1, lsl #1",
            "add r1, r0",
            "1:",
            "mov r2, #0",
            "mov r4, #0",
            "mov r6, #0",
            "mov r8, #0",
            "mov r10, #0",
            "mov r12, #0",
            "wls lr, r11, 3f",
            "2:",
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
            "le lr, 2b",
            "sub r0, r0, r11, lsl #4",
            "sub r1, r1, r11, lsl #4",
            "sub r3, r3, r11, lsl #4",
            "3:",
            "cbz r7, 4f",
            // Lanes beyond the rest are loaded as zeros.
            "vctp.8 r7",
            "add lr, r0, r11, lsl #4",
            "vpst",
            "vldrbt.u8 q0, [r5]",
            "add r5, r7",
            "vpstt",
            "vldrbt.u8 q1, [r5]",
            "vldrbt.u8 q2, [lr]",
            "add lr, r1, r11, lsl #4",
            "add r5, r7",
            "vpst",
            "vldrbt.u8 q3, [lr]",
            "add lr, r3, r11, lsl #4",
            "vmladava.s8 r2, q2, q0",
            "vmladava.s8 r4, q2, q1",
            "vmladava.s8 r6, q3, q0",
            "vmladava.s8 r8, q3, q1",
            "vpst",
            "vldrbt.u8 q2, [lr]",
            "vmladava.s8 r10, q2, q0",
            "vmladava.s8 r12, q2, q1",
            "4:",
            "strd r2, r4, [r9]",
            "strd r6, r8, [r9, #{second}]",
            "strd r10, r12, [r9, #{third}]",
            "add r9, #8",
            "ldr lr, [sp]",
            "subs lr, #1",
            "str lr, [sp]",
            "bne 1b",
            "add sp, #8",
            "pop {{r4-r11}}",
            second = const 8 * PAIRS,
            third = const 16 * PAIRS,
            inout("r0") rows => _,
            inout("r1") row => _,
            inout("r2") pairs => _,
            inout("r3") count => _,
            inout("r12") sums => _,
            out("lr") _,
            out("q0") _,
            out("q1") _,
            out("q2") _,
            out("q3") _,
        )
    }
}

/// Adds biases to sums and requantizes `count` of them, at least one, by the rounding rule: the vector's conversion rounds
/// half to even, and saturates as the result does.
#[inline(always)]
unsafe fn finish(
    sums: *const i32,
    biases: *const [u8; 4],
    multipliers: *const [u8; 4],
    zero: i32,
    results: *mut i8,
    count: usize,
) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers.
    unsafe {
        asm!(
            "dlstp.32 lr, {count}",
            "1:",
            "vldrw.u32 q0, [{sums}], #16",
            // Bytes, because parameters may lie at any alignment.
            "vldrb.u8 q1, [{biases}], #16",
            "vldrb.u8 q2, [{multipliers}], #16",
            "vadd.i32 q0, q0, q1",
            "vcvt.f32.s32 q0, q0",
            "vmul.f32 q0, q0, q2",
            "vcvtn.s32.f32 q0, q0",
            "vqadd.s32 q0, q0, {zero}",
            "vqmovnb.s32 q0, q0",
            "vqmovnb.s16 q0, q0",
            "vstrb.32 q0, [r2], #4",
            "letp lr, 1b",
            sums = inout(reg) sums => _,
            biases = inout(reg) biases => _,
            multipliers = inout(reg) multipliers => _,
            zero = in(reg) zero,
            count = in(reg) count,
            inout("r2") results => _,
            out("lr") _,
            out("q0") _,
            out("q1") _,
            out("q2") _,
            options(nostack),
        )
    }
}

/// Copies values; there is at least one.
#[inline(always)]
pub fn copy(target: &mut [i8], source: &[i8]) {
    assert!(!target.is_empty() && target.len() <= source.len());
    // SAFETY: the code reads and writes as many bytes as both have, and its registers.
    unsafe {
        asm!(
            "dlstp.8 lr, {count}",
            "1:",
            "vldrb.u8 q0, [{source}], #16",
            "vstrb.u8 q0, [{target}], #16",
            "letp lr, 1b",
            source = inout(reg) source.as_ptr() => _,
            target = inout(reg) target.as_mut_ptr() => _,
            count = in(reg) target.len(),
            out("lr") _,
            out("q0") _,
            options(nostack),
        )
    }
}
