//! DMA1 and its request multiplexer (RM0433, chapters 15 and 17): streams from a peripheral to memory.

use crate::chip::bus::{Findings, Memory, Time};

/// Streams of a controller.
const STREAMS: usize = 8;
/// Time that a stream takes to stop: the transfer that has begun is finished first.
const STOPPING: Time = Time::ns(60);

const EN: u32 = 1;
const MINC: u32 = 1 << 10;
const CIRC: u32 = 1 << 8;
/// DIR, PSIZE and MSIZE.
const SHAPE: u32 = 3 << 6 | 3 << 11 | 3 << 13;
/// From the peripheral to memory, in words.
const WORDS_IN: u32 = 2 << 11 | 2 << 13;
/// Bits of CR that keep what is written (RM0433, 15.5).
const CR_KEPT: u32 = 0x01FF_FFFF;
/// Bits of FCR that do (15.5), and its value after a reset.
const FCR_KEPT: u32 = 0x87;
const FCR_RESET: u32 = 0x21;
/// Flags of a stream: half and whole transfer, and transfer error.
const HTIF: u32 = 1 << 4;
const TCIF: u32 = 1 << 5;
const TEIF: u32 = 1 << 3;
/// Addresses that this controller does not reach (RM0433, 2.1): the tightly coupled memories.
const OUT_OF_REACH: [std::ops::Range<u32>; 2] = [0x0000_0000..0x0001_0000, 0x2000_0000..0x2002_0000];

/// A stream (RM0433, 15.5).
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    cr: u32,
    /// Transfers that are left, and how many there were.
    left: u32,
    count: u32,
    /// PAR, M0AR, M1AR.
    addresses: [u32; 3],
    fcr: u32,
    /// Its part of LISR or HISR.
    flags: u32,
    /// When EN reads 0 after it was cleared.
    stopped: Option<Time>,
}

/// The controller with its multiplexer.
#[derive(Debug)]
pub struct Dma {
    streams: [Stream; STREAMS],
    /// CCR of each channel of DMAMUX1 (RM0433, 17.6).
    requests: [u32; STREAMS],
}

impl Dma {
    /// As a reset leaves it.
    pub fn new() -> Self {
        Self { streams: [Stream { fcr: FCR_RESET, ..Stream::default() }; STREAMS], requests: [0; STREAMS] }
    }

    /// Resets it.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Finishes what was to be stopped by `now`.
    pub fn advance(&mut self, now: Time) {
        for stream in &mut self.streams {
            if stream.stopped.is_some_and(|at| at <= now) {
                (stream.cr, stream.stopped) = (stream.cr & !EN, None);
                stream.flags |= TCIF;
            }
        }
    }

    /// When a stream has stopped.
    pub fn next_event(&self) -> Time {
        self.streams.iter().filter_map(|stream| stream.stopped).min().unwrap_or(Time::NEVER)
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        match offset {
            0x00 | 0x04 => {
                (0..4).fold(0, |flags, i| flags | self.streams[offset as usize + i].flags << [0, 6, 16, 22][i])
            }
            0x10..0xD0 => {
                let stream = &self.streams[(offset as usize - 0x10) / 0x18];
                match (offset - 0x10) % 0x18 {
                    0x00 => stream.cr,
                    0x04 => stream.left,
                    at @ (0x08 | 0x0C | 0x10) => stream.addresses[(at as usize - 8) / 4],
                    _ => stream.fcr,
                }
            }
            _ => {
                findings.note(format!("DMA1+{offset:#x} is read, which is no register"));
                0
            }
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        match offset {
            0x08 | 0x0C => {
                for i in 0..4 {
                    self.streams[offset as usize - 8 + i].flags &= !(value >> [0, 6, 16, 22][i]);
                }
            }
            0x10..0xD0 => {
                let index = (offset as usize - 0x10) / 0x18;
                self.streams[index].write(index, (offset - 0x10) % 0x18, value, now, findings);
            }
            _ => findings.note(format!("DMA1+{offset:#x} is written, which is no register for it")),
        }
    }

    /// What the program reads of the multiplexer.
    pub fn read_mux(&self, offset: u32) -> u32 {
        self.requests.get(offset as usize / 4).copied().unwrap_or_default()
    }

    /// What it writes there.
    pub fn write_mux(&mut self, offset: u32, value: u32, findings: &mut Findings) {
        match self.requests.get_mut(offset as usize / 4) {
            Some(_) if self.streams[offset as usize / 4].cr & EN != 0 => {
                findings.note("DMAMUX1 is written for a stream that runs");
            }
            Some(request) => *request = value & 0x7F,
            None => findings.note(format!("DMAMUX1+{offset:#x} is written, which is no register here")),
        }
    }

    /// A peripheral whose request line is `request` hands over `words`: how many were taken.
    pub fn take(&mut self, request: u32, words: &[u32], memory: &mut dyn Memory) -> usize {
        let wanted = |index: &usize| self.requests[*index] == request && self.streams[*index].cr & EN != 0;
        let Some(index) = (0..STREAMS).find(wanted) else { return 0 };
        words.iter().take_while(|word| self.streams[index].transfer(**word, memory)).count()
    }

    /// Whether stream `index` has done all that it was to do.
    pub fn is_done(&self, index: usize) -> bool {
        self.streams[index].flags & TCIF != 0 && self.streams[index].left == 0
    }

    /// Level of the interrupt of stream `index`: half, whole, error, where they are asked for.
    pub fn interrupt(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        // TEIE, HTIE and TCIE are bits 2 to 4 of CR, their flags bits 3 to 5.
        stream.flags >> 1 & stream.cr & 0x1C != 0
    }
}

impl Stream {
    fn write(&mut self, index: usize, offset: u32, value: u32, now: Time, findings: &mut Findings) {
        let runs = self.cr & EN != 0;
        if runs && offset != 0 && offset != 0x0C && offset != 0x10 {
            findings.note(format!("DMA1 stream {index}+{offset:#x} is written while it runs, and stays"));
            return;
        }
        match offset {
            0x00 => self.control(index, value, now, findings),
            0x04 => (self.left, self.count) = (value & 0xFFFF, value & 0xFFFF),
            0x0C | 0x10 if runs => {
                findings.note(format!("DMA1 stream {index} gets another address while it runs"));
            }
            0x08 | 0x0C | 0x10 => self.addresses[(offset as usize - 8) / 4] = value,
            _ => self.fcr = self.fcr & !FCR_KEPT | value & FCR_KEPT,
        }
    }

    fn control(&mut self, index: usize, value: u32, now: Time, findings: &mut Findings) {
        match (self.cr & EN != 0, value & EN != 0) {
            (true, true) if (value ^ self.cr) & CR_KEPT & !EN != 0 => {
                findings.note(format!("DMA1 stream {index} is set up anew while it runs, and stays"));
            }
            (true, true) => {}
            // What else is written with it does not count while the stream runs.
            (true, false) => self.stopped = Some(self.stopped.unwrap_or(now + STOPPING)),
            (false, false) => self.cr = value & CR_KEPT,
            (false, true) if self.flags != 0 => {
                findings.note(format!("DMA1 stream {index} is enabled with flags of its last run, and stays off"));
                self.cr = value & CR_KEPT & !EN;
            }
            (false, true) => {
                if value & SHAPE != WORDS_IN {
                    findings.note(format!("DMA1 stream {index} is set up for what is not modelled: {value:#x}"));
                }
                (self.cr, self.left) = (value & CR_KEPT, self.count);
            }
        }
    }

    /// Writes one word to memory: whether it was taken.
    fn transfer(&mut self, word: u32, memory: &mut dyn Memory) -> bool {
        if self.left == 0 || self.cr & EN == 0 || self.stopped.is_some() {
            return false;
        }
        let done = if self.cr & MINC != 0 { 4 * (self.count - self.left) } else { 0 };
        let address = self.addresses[1].wrapping_add(done);
        let within_reach = OUT_OF_REACH.iter().all(|range| !range.contains(&address));
        if !within_reach || memory.store(address, &word.to_le_bytes()).is_err() {
            (self.flags, self.cr) = (self.flags | TEIF, self.cr & !EN);
            return false;
        }
        self.left -= 1;
        if self.left == self.count / 2 {
            self.flags |= HTIF;
        }
        if self.left == 0 {
            self.flags |= TCIF;
            if self.cr & CIRC != 0 { self.left = self.count } else { self.cr &= !EN }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::bus::BusFault;

    const DCMI: u32 = 75;

    /// Memory at 0x24000000.
    struct Ram(Vec<u8>);

    impl Memory for Ram {
        fn load(&self, address: u32, bytes: &mut [u8]) -> Result<(), BusFault> {
            let at = address.checked_sub(0x2400_0000).ok_or(BusFault)? as usize;
            bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or(BusFault)?);
            Ok(())
        }

        fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), BusFault> {
            let at = address.checked_sub(0x2400_0000).ok_or(BusFault)? as usize;
            self.0.get_mut(at..at + bytes.len()).ok_or(BusFault)?.copy_from_slice(bytes);
            Ok(())
        }
    }

    /// A stream for `count` words to `address`.
    fn started(address: u32, count: u32) -> (Dma, Findings) {
        let (mut dma, mut findings) = (Dma::new(), Findings::default());
        dma.write_mux(0, DCMI, &mut findings);
        for (offset, value) in [(0x18, 0x4802_0028), (0x1C, address), (0x14, count), (0x10, WORDS_IN | MINC | EN)] {
            dma.write(offset, value, Time::ZERO, &mut findings);
        }
        (dma, findings)
    }

    #[test]
    fn words_come_in_their_order_until_all_are_there() {
        let (mut dma, mut findings) = started(0x2400_0010, 4);
        let mut ram = Ram(vec![0; 64]);
        assert_eq!(dma.take(DCMI, &[1, 2], &mut ram), 2);
        assert_eq!((dma.read(0x14, &mut findings), dma.read(0, &mut findings)), (2, HTIF));
        assert_eq!(dma.take(DCMI, &[3, 4, 5], &mut ram), 2);
        assert_eq!(dma.read(0x10, &mut findings) & EN, 0);
        assert_eq!(dma.read(0, &mut findings), HTIF | TCIF);
        assert_eq!([0x10, 0x14, 0x18, 0x1C, 0x20].map(|at| ram.0[at]), [1, 2, 3, 4, 0]);
        assert_eq!(findings.list(), [""; 0]);
    }

    #[test]
    fn memory_out_of_reach_is_an_error() {
        let (mut dma, mut findings) = started(0x2000_0000, 4);
        assert_eq!(dma.take(DCMI, &[1], &mut Ram(vec![0; 64])), 0);
        assert_eq!((dma.read(0, &mut findings), dma.read(0x10, &mut findings) & EN), (TEIF, 0));
    }

    #[test]
    fn what_runs_stays_as_it_is_and_stops_after_a_while() {
        let (mut dma, mut findings) = started(0x2400_0000, 4);
        dma.write(0x14, 9, Time::ZERO, &mut findings);
        assert_eq!((dma.read(0x14, &mut findings), findings.list().len()), (4, 1));
        dma.write(0x10, 0, Time::ZERO, &mut findings);
        assert_eq!(dma.read(0x10, &mut findings) & EN, EN);
        dma.advance(dma.next_event());
        assert_eq!((dma.read(0x10, &mut findings) & EN, dma.read(0, &mut findings)), (0, TCIF));
        // With the flag of the last run it does not start.
        dma.write(0x10, WORDS_IN | EN, Time::us(1), &mut findings);
        assert_eq!(dma.read(0x10, &mut findings) & EN, 0);
        dma.write(0x08, 0x3D, Time::us(1), &mut findings);
        dma.write(0x10, WORDS_IN | EN, Time::us(1), &mut findings);
        assert_eq!(dma.read(0x10, &mut findings) & EN, EN);
    }
}
