//! The rounding rule, the only one of the project.
//!
//! An int32 accumulator becomes an int8 value by one conversion to f32, one multiplication by a factor stored in the
//! model, rounding half to even, and the zero point:
//!
//! ```text
//! y = clamp(round_half_even(f32(acc) * multiplier) + zero, -128, 127)
//! ```
//!
//! Both f32 steps round to nearest, ties to even (IEEE 754 default), and are never contracted into a fused
//! multiply-add: there is no addition to fuse with.

/// Scale and zero point of a tensor: `real = scale * (int8 - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantParams {
    /// Size of one step, in the tensor's real unit; finite and positive.
    pub scale: f32,
    /// The int8 value that stands for 0.
    pub zero: i8,
}

impl QuantParams {
    /// The input image's: `int8 = pixel - 128`, where the pixel stands for `pixel / 255`.
    pub const IMAGE: Self = Self { scale: 1.0 / 255.0, zero: -128 };

    /// Real value of `q`.
    pub fn dequantize(self, q: i8) -> f32 {
        self.scale * (i32::from(q) - i32::from(self.zero)) as f32
    }

    /// Nearest int8 value to `x`, saturating.
    pub fn quantize(self, x: f32) -> i8 {
        saturate(round_half_even(x / self.scale), self.zero)
    }
}

/// The requantization of an accumulator: see the module's formula.
///
/// `multiplier` must be finite and positive, which a parsed plan guarantees.
#[inline(always)]
pub fn requantize(acc: i32, multiplier: f32, zero: i8) -> i8 {
    if NO_FPU { requantize_soft(acc, multiplier, zero) } else { requantize_float(acc, multiplier, zero) }
}

/// Whether f32 operations would be library calls: ARM targets without the hard-float calling convention.
const NO_FPU: bool = cfg!(all(target_arch = "arm", target_os = "none", not(target_abi = "eabihf")));

#[inline(always)]
fn requantize_float(acc: i32, multiplier: f32, zero: i8) -> i8 {
    saturate(round_half_even(acc as f32 * multiplier), zero)
}

/// Nearest integer, ties to even, of `p` clamped to +-1024: far beyond any int8 result, near enough that
/// adding 1.5 * 2^23 leaves no fraction bits, so that the addition itself does the rounding.
#[inline(always)]
pub fn round_half_even(p: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    let bounded = p.clamp(-1024.0, 1024.0);
    (bounded + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

#[inline(always)]
fn saturate(q: i32, zero: i8) -> i8 {
    (q + i32::from(zero)).clamp(-128, 127) as i8
}

/// [`requantize`] in integers only, for cores without an FPU: the same result for every accumulator and every
/// finite, normal, positive multiplier.
///
/// The three roundings of the f32 version (conversion, product, result) are done one after the other on 24-bit
/// significands, since rounding once at the end would differ on ties.
pub fn requantize_soft(acc: i32, multiplier: f32, zero: i8) -> i8 {
    let magnitude = product_magnitude(acc.unsigned_abs(), multiplier);
    saturate(if acc < 0 { -magnitude } else { magnitude }, zero)
}

/// `round_half_even(f32(magnitude) * multiplier)`, at most 1024.
fn product_magnitude(magnitude: u32, multiplier: f32) -> i32 {
    const SIGNIFICAND_BITS: u32 = 24;
    if magnitude == 0 {
        return 0;
    }
    let bits = multiplier.to_bits();
    let significand = u64::from(bits & 0x007f_ffff | 0x0080_0000);
    let exponent = (bits >> 23) as i32 - 150;
    let (acc, acc_exponent) = round_to_bits(u64::from(magnitude), SIGNIFICAND_BITS);
    let (product, product_exponent) = round_to_bits(acc * significand, SIGNIFICAND_BITS);
    let exponent = exponent + acc_exponent + product_exponent;
    let rounded = match exponent {
        // At least 2^23 where the significand is full, and otherwise exact; both far from overflow after the bound.
        0.. => product.checked_shl(exponent as u32).filter(|p| exponent < 32 && *p < 1024).unwrap_or(1024),
        // Below a quarter.
        ..-25 => 0,
        _ => shift_half_even(product, -exponent as u32),
    };
    rounded.min(1024) as i32
}

/// `value` as a significand of at most `bits` bits, ties to even, and the exponent that goes with it.
fn round_to_bits(value: u64, bits: u32) -> (u64, i32) {
    let excess = (u64::BITS - value.leading_zeros()).saturating_sub(bits);
    // Rounding up may carry into one more bit; the value is then a power of two and still exact as an f32.
    (shift_half_even(value, excess), excess as i32)
}

/// `value / 2^shift`, ties to even, for a shift below 64.
fn shift_half_even(value: u64, shift: u32) -> u64 {
    if shift == 0 {
        return value;
    }
    let (floor, rest, half) = (value >> shift, value & ((1 << shift) - 1), 1 << (shift - 1));
    floor + u64::from(rest > half || (rest == half && floor & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_ties_to_even() {
        for (p, q) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.5, 126), (127.5, 128), (0.500_000_06, 1)]
        {
            assert_eq!(round_half_even(p), q, "{p}");
        }
        assert_eq!(round_half_even(f32::INFINITY), 1024);
        assert_eq!(round_half_even(-3e38), -1024);
    }

    #[test]
    fn adds_the_zero_point_after_rounding() {
        // 2.5 rounds to 2 whatever the zero point; adding 1 first would have made it 4.
        assert_eq!(requantize(5, 0.5, 0), 2);
        assert_eq!(requantize(5, 0.5, 1), 3);
        assert_eq!(requantize(i32::MAX, 1.0, -128), 127);
        assert_eq!(requantize(i32::MIN, 1.0, 127), -128);
    }

    #[test]
    fn quantizes_the_image_exactly() {
        for pixel in 0..=255u8 {
            let q = QuantParams::IMAGE.quantize(f32::from(pixel) / 255.0);
            assert_eq!(i32::from(q), i32::from(pixel) - 128);
        }
    }

    /// xorshift64*, enough to spread cases; the constant is Vigna's (2016).
    fn next(state: &mut u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    #[test]
    fn the_integer_version_equals_the_f32_one() {
        let mut state = 42;
        let check = |acc: i32, multiplier: f32| {
            assert_eq!(
                requantize_soft(acc, multiplier, 3),
                requantize_float(acc, multiplier, 3),
                "{acc} * {multiplier:e}"
            );
        };
        for multiplier in [f32::MIN_POSITIVE, f32::MAX, 1.0, 0.5, 1.0 / 3.0, 1.5e-5] {
            for acc in [0, 1, -1, 3, i32::MAX, i32::MIN, (1 << 24) + 1, (1 << 25) + 2, -((1 << 24) + 3)] {
                check(acc, multiplier);
            }
        }
        for _ in 0..2_000_000 {
            let r = next(&mut state);
            // All accumulator widths, and multipliers around what brings them into int8.
            let acc = (r as i32) >> (r >> 59);
            let exponent = 80 + (r >> 32) as u32 % 60;
            check(acc, f32::from_bits(exponent << 23 | (next(&mut state) as u32 & 0x007f_ffff)));
            // Exact ties: an odd accumulator times one half, a quarter, ...
            check(acc | 1, f32::from_bits((127 - (r >> 40) as u32 % 12) << 23));
        }
    }
}
