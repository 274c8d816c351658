//! RTT (SEGGER's real-time transfer) as a debugger sees it: rings in a chip's memory that a program reads and fills.
//!
//! The control block (SEGGER's "RTT control block", 16 bytes of identity, the counts of both kinds of channels, then 24 bytes
//! a channel: name, buffer, size, write position, read position, flags) lies where the program's symbol `_SEGGER_RTT` says.

use super::bus::{BusFault, Memory};

/// What begins a block that is set up.
const IDENTITY: &[u8; 16] = b"SEGGER RTT\0\0\0\0\0\0";
/// Offset of the first channel, and length of one.
const CHANNELS: u32 = 24;
const CHANNEL: u32 = 24;
/// Offsets in a channel.
const BUFFER: u32 = 4;
const SIZE: u32 = 8;
const WRITTEN: u32 = 12;
const READ: u32 = 16;
/// Most bytes of a ring that is believed.
const MOST_BYTES: u32 = 1 << 16;
/// Most channels of a kind that are.
const MOST_CHANNELS: u32 = 16;

/// The rings of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    block: u32,
    ups: u32,
    downs: u32,
}

/// A ring as it stands.
struct Ring {
    at: u32,
    buffer: u32,
    size: u32,
    written: u32,
    read: u32,
}

impl Rings {
    /// The rings that a program has set up at `block`; nothing as long as it has not.
    pub fn find(memory: &dyn Memory, block: u32) -> Option<Self> {
        let mut identity = [0; 16];
        memory.load(block, &mut identity).ok()?;
        let counts = [16, 20].map(|offset| memory.word(block + offset).unwrap_or(u32::MAX));
        let is_set_up = identity == *IDENTITY && counts.iter().all(|count| *count <= MOST_CHANNELS);
        is_set_up.then_some(Self { block, ups: counts[0], downs: counts[1] })
    }

    fn ring(&self, memory: &dyn Memory, index: u32) -> Option<Ring> {
        let at = self.block + CHANNELS + CHANNEL * index;
        let [buffer, size, written, read] = [BUFFER, SIZE, WRITTEN, READ].map(|offset| memory.word(at + offset));
        let ring = Ring { at, buffer: buffer.ok()?, size: size.ok()?, written: written.ok()?, read: read.ok()? };
        let is_sound = (1..=MOST_BYTES).contains(&ring.size) && ring.written < ring.size && ring.read < ring.size;
        is_sound.then_some(ring)
    }

    /// Takes what the program wrote to its channel `up`; nothing where there is no such channel.
    ///
    /// # Errors
    /// The ring does not lie in memory.
    pub fn take(&self, memory: &mut dyn Memory, up: u32) -> Result<Vec<u8>, BusFault> {
        let Some(ring) = (up < self.ups).then(|| self.ring(memory, up)).flatten() else { return Ok(Vec::new()) };
        let count = ((ring.written + ring.size - ring.read) % ring.size) as usize;
        let mut bytes = vec![0; count];
        let (first, second) = bytes.split_at_mut(count.min((ring.size - ring.read) as usize));
        memory.load(ring.buffer + ring.read, first)?;
        memory.load(ring.buffer, second)?;
        memory.store(ring.at + READ, &ring.written.to_le_bytes())?;
        Ok(bytes)
    }

    /// Hands the program's channel `down` as many of `bytes` as there is room for: how many.
    ///
    /// # Errors
    /// As for [`Rings::take`].
    pub fn give(&self, memory: &mut dyn Memory, down: u32, bytes: &[u8]) -> Result<usize, BusFault> {
        let ring = (down < self.downs).then(|| self.ring(memory, self.ups + down)).flatten();
        let Some(ring) = ring else { return Ok(0) };
        let room = (ring.read + ring.size - ring.written - 1) % ring.size;
        let bytes = &bytes[..bytes.len().min(room as usize)];
        let (first, second) = bytes.split_at(((ring.size - ring.written) as usize).min(bytes.len()));
        memory.store(ring.buffer + ring.written, first)?;
        memory.store(ring.buffer, second)?;
        let written = (ring.written + bytes.len() as u32) % ring.size;
        memory.store(ring.at + WRITTEN, &written.to_le_bytes())?;
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory at 0.
    struct Ram(Vec<u8>);

    impl Memory for Ram {
        fn load(&self, address: u32, bytes: &mut [u8]) -> Result<(), BusFault> {
            let at = address as usize;
            bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or(BusFault)?);
            Ok(())
        }

        fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), BusFault> {
            let at = address as usize;
            self.0.get_mut(at..at + bytes.len()).ok_or(BusFault)?.copy_from_slice(bytes);
            Ok(())
        }
    }

    /// A block at 0 with a channel up at 200, of 8 bytes, and one down at 208.
    fn ram() -> Ram {
        let mut ram = Ram(vec![0; 256]);
        ram.store(0, IDENTITY).unwrap();
        for (at, word) in [(16, 1u32), (20, 1), (28, 200), (32, 8), (52, 208), (56, 8)] {
            ram.store(at, &word.to_le_bytes()).unwrap();
        }
        ram
    }

    #[test]
    fn bytes_come_and_go_around_the_end_of_a_ring() {
        let mut ram = ram();
        let rings = Rings::find(&ram, 0).unwrap();
        assert_eq!(rings.take(&mut ram, 0), Ok(vec![]));
        ram.store(200, b"cdefgzab").unwrap();
        ram.store(CHANNELS + READ, &6u32.to_le_bytes()).unwrap();
        ram.store(CHANNELS + WRITTEN, &5u32.to_le_bytes()).unwrap();
        assert_eq!(rings.take(&mut ram, 0), Ok(b"abcdefg".to_vec()));
        assert_eq!(rings.take(&mut ram, 0), Ok(vec![]));
        assert_eq!(rings.give(&mut ram, 0, b"0123456789"), Ok(7));
        assert_eq!(rings.give(&mut ram, 0, b"x"), Ok(0));
        // The program took five.
        ram.store(CHANNELS + CHANNEL + READ, &5u32.to_le_bytes()).unwrap();
        assert_eq!(rings.give(&mut ram, 0, b"abcdef"), Ok(5));
        assert_eq!(&ram.0[208..216], b"bcde456a");
        assert_eq!((rings.take(&mut ram, 7), rings.give(&mut ram, 7, b"x")), (Ok(vec![]), Ok(0)));
    }

    #[test]
    fn rings_that_are_not_set_up_are_none() {
        let mut ram = ram();
        ram.store(0, b"X").unwrap();
        assert_eq!(Rings::find(&ram, 0), None);
        let mut ram = self::ram();
        ram.store(CHANNELS + WRITTEN, &8u32.to_le_bytes()).unwrap();
        let rings = Rings::find(&ram, 0).unwrap();
        assert_eq!(rings.take(&mut ram, 0), Ok(vec![]), "a position outside of its ring");
    }
}
