//! How files store floats.

use half::{bf16, f16};

/// How a float is stored, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    /// Bytes of one.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The f32 nearest to the one that `bytes` are.
    ///
    /// # Panics
    /// They are fewer than [`Float::bytes`].
    pub(super) fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F64 => f64::from_le_bytes(bytes.try_into().expect("8 bytes")) as f32,
            Self::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")),
            Self::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::BF16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        }
    }

    /// The nearest f32 of each.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(self.bytes()).map(|number| self.read(number)).collect()
    }
}
