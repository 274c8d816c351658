//! CRC-32 (ISO-HDLC, the one of zip files): over plans, and over what host and board tell each other.
//!
//! Half a byte at a time: 11 instructions for a byte and a table of 64 bytes. The usual table of 256 entries would take 1 KiB
//! of a board's flash, a twentieth of the whole engine; without one a byte takes 65 instructions, which a slow board's start
//! would show.

/// The CRC's polynomial, its lowest power in the highest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// What four bits become once they are shifted out.
const TABLE: [u32; 16] = {
    let (mut table, mut index) = ([0; 16], 0);
    while index < table.len() {
        let (mut value, mut bit) = (index as u32, 0);
        while bit < 4 {
            value = value >> 1 ^ if value & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// The checksum of bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc32(u32);

impl Crc32 {
    /// Of none.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// With `bytes` behind those of before. One function for all: a board's flash pays for each copy.
    #[inline(never)]
    pub fn update(&mut self, bytes: &[u8]) {
        let shifted = |value: u32| value >> 4 ^ TABLE[(value & 15) as usize];
        self.0 = bytes.iter().fold(self.0, |crc, byte| shifted(shifted(crc ^ u32::from(*byte))));
    }

    /// The checksum.
    pub const fn finish(self) -> u32 {
        !self.0
    }

    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> u32 {
        let mut crc = Self::new();
        crc.update(bytes);
        crc.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_reference() {
        let reference = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i / 8) as u8).collect();
        for len in [0, 1, 2, 3, 16, 255, 256, 1000] {
            assert_eq!(Crc32::of(&bytes[..len]), reference.checksum(&bytes[..len]), "{len}");
        }
        // The check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(Crc32::of(b"123456789"), 0xcbf4_3926);
        let mut pieces = Crc32::new();
        bytes.chunks(7).for_each(|piece| pieces.update(piece));
        assert_eq!(pieces.finish(), Crc32::of(&bytes));
    }
}
