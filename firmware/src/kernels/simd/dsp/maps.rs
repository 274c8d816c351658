//! Sums and products of two maps, and entries of a table, four values at a time.
//!
//! `SMLAD` takes a value of each map at once for a sum. For a product, `SXTAB16` widens two values and takes their zero point
//! off.

use core::arch::asm;

/// Values that are computed together.
const WORD: usize = 4;

/// What [`sums`] and [`products`] do.
#[repr(C)]
struct Job {
    /// Values of both maps, and room for the results.
    a: *const i8,
    b: *const i8,
    output: *mut i8,
    /// Sums: in the lower half the factor of the first map, in the upper that of the second. Products: the first map's zero
    /// point, negated, in both halves.
    first: u32,
    /// Sums: the offset. Products: the second map's zero point like the first's.
    second: u32,
    zero: i32,
    end: *const i8,
    multiplier: f32,
}

/// Writes `a * factors[0] + b * factors[1] + offset`, requantized, for as many values as make whole words; how many. None
/// where a factor does not fit 16 bits.
pub fn add(a: &[i8], b: &[i8], factors: [i32; 2], offset: i32, multiplier: f32, zero: i8, output: &mut [i8]) -> usize {
    let (Ok(first), Ok(second)) = (i16::try_from(factors[0]), i16::try_from(factors[1])) else { return 0 };
    let first = u32::from(first as u16) | u32::from(second as u16) << 16;
    let count = output.len() / WORD * WORD;
    let (a, b) = (a[..count].as_ptr_range(), b[..count].as_ptr());
    let (output, zero) = (output.as_mut_ptr(), zero.into());
    if count > 0 {
        // SAFETY: both maps and the output have `count` values.
        unsafe { sums(&Job { a: a.start, b, output, first, second: offset as u32, zero, end: a.end, multiplier }) }
    }
    count
}

/// Writes `(value - zeros[0]) * (factor - zeros[1])`, requantized, for as many values of each pixel of `map`, which has as
/// many channels as there are `factors`, as make whole words; how many of a pixel.
pub fn mul(map: &[i8], factors: &[i8], zeros: [i8; 2], multiplier: f32, zero: i8, output: &mut [i8]) -> usize {
    let [first, second] = zeros.map(|zero| u32::from(-i16::from(zero) as u16) * 0x1_0001);
    let (channels, b, zero) = (factors.len(), factors.as_ptr(), zero.into());
    let count = channels / WORD * WORD;
    if count > 0 {
        for (values, results) in map.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            let (a, output) = (values[..count].as_ptr_range(), results.as_mut_ptr());
            // SAFETY: the pixel, the factors and the results have `count` values.
            unsafe { products(&Job { a: a.start, b, output, first, second, zero, end: a.end, multiplier }) }
        }
    }
    count
}

/// Writes the entries of `table`, whose first is that of -128, for as many values as make whole words; how many.
pub fn lut(table: &[i8; 256], input: &[i8], output: &mut [i8]) -> usize {
    let count = output.len() / WORD * WORD;
    let (input, output) = (input[..count].as_ptr_range(), output.as_mut_ptr());
    if count > 0 {
        // SAFETY: there are `count` values and room for as many results, and a value is an entry's place from the middle of
        // the table.
        unsafe {
            asm!(
                "1:",
                "ldr {d}, [{input}], #4",
                "sxtb {a}, {d}",
                "sxtb {b}, {d}, ror #8",
                "sxtb {c}, {d}, ror #16",
                "asr {d}, #24",
                "ldrb {a}, [{table}, {a}]",
                "ldrb {b}, [{table}, {b}]",
                "ldrb {c}, [{table}, {c}]",
                "ldrb {d}, [{table}, {d}]",
                "strb {b}, [{output}, #1]",
                "strb {c}, [{output}, #2]",
                "strb {d}, [{output}, #3]",
                "strb {a}, [{output}], #4",
                "cmp {input}, {end}",
                "bne 1b",
                input = inout(reg) input.start => _,
                output = inout(reg) output => _,
                end = in(reg) input.end,
                table = in(reg) table[128..].as_ptr(),
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                d = out(reg) _,
                options(nostack),
            );
        }
    }
    count
}

/// A loop over words up to the job's end, which is not its start: `$lines` make the accumulators of the values in `r6` and
/// `r7`, with the job's numbers in `r3` and `r4`. Those of the values of a word are `r10`, `r12`, `r11`, `lr`.
macro_rules! each_word {
    ($job:ident, $($lines:literal,)+) => {
        asm!(
            "push {{r4-r11}}",
            "vldr s4, [r0, #28]",
            "ldr r1, [r0, #24]",
            "push {{r0, r1}}",
            "ldm r0, {{r0-r5}}",
            "1:",
            "ldr r6, [r0], #4",
            "ldr r7, [r1], #4",
            $($lines,)+
            "vmov s0, s1, r10, r12",
            "vmov s2, s3, r11, lr",
            round_four!(),
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
            inout("r0") $job => _,
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
    };
}

/// Adds.
#[inline(never)]
unsafe fn sums(job: &Job) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        each_word!(
            job,
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
        )
    }
}

/// Multiplies.
#[inline(never)]
unsafe fn products(job: &Job) {
    // SAFETY: as for `sums`.
    unsafe {
        each_word!(
            job,
            "sxtab16 r8, r3, r6",
            "sxtab16 r6, r3, r6, ror #8",
            "sxtab16 r9, r4, r7",
            "sxtab16 r7, r4, r7, ror #8",
            "smulbb r10, r8, r9",
            "smultt r11, r8, r9",
            "smulbb r12, r6, r7",
            "smultt lr, r6, r7",
        )
    }
}
