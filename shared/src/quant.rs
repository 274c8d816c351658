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
