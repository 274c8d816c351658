//! Sums of two maps: `SMLAD` takes a value of each at once.

use core::arch::asm;

/// Values that are added together.
const WORD: usize = 4;

/// What [`words`] does.
#[repr(C)]
struct Sum {
    /// Values of both maps, and room for the results.
    a: *const i8,
    b: *const i8,
    output: *mut i8,
    /// The lower half is the factor of the first map, the upper that of the second.
    factors: u32,
    offset: i32,
    zero: i32,
    end: *const i8,
    multiplier: f32,
}

/// Writes `a * factors[0] + b * factors[1] + offset`, requantized, for as many values as make whole words; how many. None
/// where a factor does not fit 16 bits.
pub fn run(a: &[i8], b: &[i8], factors: [i32; 2], offset: i32, multiplier: f32, zero: i8, output: &mut [i8]) -> usize {
    let (Ok(first), Ok(second)) = (i16::try_from(factors[0]), i16::try_from(factors[1])) else { return 0 };
    let count = output.len() / WORD * WORD;
    let (a, b) = (a[..count].as_ptr_range(), b[..count].as_ptr());
    if count > 0 {
        let factors = u32::from(first as u16) | u32::from(second as u16) << 16;
        let output = output.as_mut_ptr();
        let mut job = Sum { a: a.start, b, output, factors, offset, zero: zero.into(), end: a.end, multiplier };
        // SAFETY: both maps and the output have `count` values.
        unsafe { words(&mut job) }
    }
    count
}

/// Adds up to the end, which is not the start.
#[inline(never)]
unsafe fn words(job: &mut Sum) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "vldr s4, [r0, #28]",
            "ldr r1, [r0, #24]",
            "push {{r0, r1}}",
            "ldm r0, {{r0-r5}}",
            "1:",
            "ldr r6, [r0], #4",
            "ldr r7, [r1], #4",
            "sxtb16 r8, r6",
            "sxtb16 r6, r6, ror #8",
            "sxtb16 r9, r7",
            "sxtb16 r7, r7, ror #8",
            "pkhbt r10, r8, r9, lsl #16",
            "pkhtb r11, r9, r8, asr #16",
            "pkhbt r12, r6, r7, lsl #16",
            "pkhtb lr, r7, r6, asr #16",
            "smlad r10, r10, r3, r4",
            "smlad r12, r12, r3, r4",
            "smlad r11, r11, r3, r4",
            "smlad lr, lr, r3, r4",
            "vmov s0, s1, r10, r12",
            "vmov s2, s3, r11, lr",
            "vcvt.f32.s32 s0, s0",
            "vcvt.f32.s32 s1, s1",
            "vcvt.f32.s32 s2, s2",
            "vcvt.f32.s32 s3, s3",
            "vmul.f32 s0, s0, s4",
            "vmul.f32 s1, s1, s4",
            "vmul.f32 s2, s2, s4",
            "vmul.f32 s3, s3, s4",
            "vcvtr.s32.f32 s0, s0",
            "vcvtr.s32.f32 s1, s1",
            "vcvtr.s32.f32 s2, s2",
            "vcvtr.s32.f32 s3, s3",
            "vmov r10, r12, s0, s1",
            "vmov r11, lr, s2, s3",
            "qadd r10, r10, r5",
            "qadd r12, r12, r5",
            "qadd r11, r11, r5",
            "qadd lr, lr, r5",
            "ssat r10, #8, r10",
            "ssat r12, #8, r12",
            "ssat r11, #8, r11",
            "ssat lr, #8, lr",
            "strb r12, [r2, #1]",
            "strb r11, [r2, #2]",
            "strb lr, [r2, #3]",
            "strb r10, [r2], #4",
            "ldr r6, [sp, #4]",
            "cmp r0, r6",
            "bne 1b",
            "add sp, #8",
            "pop {{r4-r11}}",
            inout("r0") job => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
            out("lr") _,
            out("s0") _,
            out("s1") _,
            out("s2") _,
            out("s3") _,
            out("s4") _,
        )
    }
}
