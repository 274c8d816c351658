//! The digital camera interface (RM0433, chapter 30).

use crate::chip::bank::{Bank, Register, register};
use crate::chip::bus::Findings;
use crate::chip::sensor::Polarity;

/// RM0433, 30.8.
const TABLE: &[Register] = &[
    register("CR", CR, 0, 0x001F_4FFF),
    register("SR", SR, 0, 0),
    register("RIS", RIS, 0, 0),
    register("IER", IER, 0, 0x1F),
    register("MIS", MIS, 0, 0),
    register("ICR", ICR, 0, 0),
    register("ESCR", 0x18, 0, u32::MAX),
    register("ESUR", 0x1C, 0, u32::MAX),
    register("CWSTRT", 0x20, 0, 0x1FFF_3FFF),
    register("CWSIZE", 0x24, 0, 0x3FFF_3FFF),
    register("DR", DR, 0, 0),
];

const CR: u32 = 0x00;
const SR: u32 = 0x04;
const RIS: u32 = 0x08;
const IER: u32 = 0x0C;
const MIS: u32 = 0x10;
const ICR: u32 = 0x14;
const DR: u32 = 0x28;
const CAPTURE: u32 = 1;
const CM: u32 = 1 << 1;
const PCKPOL: u32 = 1 << 5;
const HSPOL: u32 = 1 << 6;
const VSPOL: u32 = 1 << 7;
const ENABLE: u32 = 1 << 14;
/// Settings that are not modelled: cropping, JPEG, embedded synchronisation, rates, more than 8 bits.
const UNKNOWN: u32 = 0x001F_0F1C;
const FRAME: u32 = 1;
const OVR: u32 = 1 << 1;
const VSYNC: u32 = 1 << 3;
const LINE: u32 = 1 << 4;
/// Words of its FIFO (RM0433, 30.4).
pub const FIFO_WORDS: usize = 8;

/// The interface.
#[derive(Debug)]
pub struct Dcmi {
    bank: Bank,
    /// A frame is being taken since its beginning.
    takes: bool,
    /// Bytes of a word that is not complete, and words that no DMA has taken yet.
    rest: Vec<u8>,
    fifo: Vec<u32>,
}

impl Dcmi {
    /// As a reset leaves it.
    pub fn new() -> Self {
        Self { bank: Bank::new("DCMI", TABLE), takes: false, rest: Vec::new(), fifo: Vec::new() }
    }

    /// Resets it.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// What the program reads.
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        match offset {
            MIS => self.bank.get(RIS) & self.bank.get(IER),
            DR => {
                findings.note("DCMI_DR is read by the core, which is not modelled");
                0
            }
            _ => self.bank.read(offset, findings),
        }
    }

    /// What the program writes.
    pub fn write(&mut self, offset: u32, value: u32, findings: &mut Findings) {
        match offset {
            ICR => self.bank.set(RIS, self.bank.get(RIS) & !value),
            CR => self.control(value, findings),
            _ => self.bank.write(offset, value, findings),
        }
    }

    fn control(&mut self, value: u32, findings: &mut Findings) {
        let before = self.bank.get(CR);
        if before & CAPTURE != 0 && (value ^ before) & !(CAPTURE | ENABLE) != 0 {
            findings.note("DCMI_CR is set up anew while it captures");
        }
        if value & UNKNOWN != 0 {
            findings.note(format!("DCMI_CR is set to what is not modelled: {value:#x}"));
        }
        if value & CAPTURE != 0 && value & ENABLE == 0 {
            findings.note("DCMI_CR captures without being enabled");
        }
        self.bank.write(CR, value, findings);
        if value & ENABLE == 0 || value & CAPTURE == 0 {
            self.takes = false;
            self.rest.clear();
            self.fifo.clear();
        }
    }

    /// Whether lines are of any use to it.
    pub fn takes(&self) -> bool {
        self.takes
    }

    /// The sensor begins a frame; `polarity` is what its lines mean.
    pub fn begin_frame(&mut self, polarity: Polarity, findings: &mut Findings) {
        if !self.bank.has(CR, ENABLE) {
            return;
        }
        let bits = [
            (polarity.vsync_blanks_high, VSPOL),
            (polarity.hsync_blanks_high, HSPOL),
            (polarity.valid_at_rising, PCKPOL),
        ];
        let expected = bits.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, bit)| all | bit);
        if self.bank.get(CR) & (VSPOL | HSPOL | PCKPOL) != expected {
            // What is taken then begins in the middle of lines and ends there.
            findings.note("DCMI_CR has other polarities than the sensor: no frame is ever whole");
            return;
        }
        self.bank.set(RIS, self.bank.get(RIS) | VSYNC);
        self.takes = self.bank.has(CR, CAPTURE);
        self.rest.clear();
        self.fifo.clear();
    }

    /// A line's bytes come; [`Dcmi::hand_over`] then gives them away.
    pub fn take_line(&mut self, bytes: &[u8]) {
        self.rest.extend(bytes);
        let whole = self.rest.len() / 4 * 4;
        let words = self.rest.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        self.fifo.extend(words);
        self.rest.drain(..whole);
        self.bank.set(RIS, self.bank.get(RIS) | LINE);
    }

    /// Words that wait for the DMA: all, or all but those that are still on their way.
    pub fn waiting(&self, all: bool) -> &[u32] {
        let kept = if all { 0 } else { (FIFO_WORDS / 2).min(self.fifo.len()) };
        &self.fifo[..self.fifo.len() - kept]
    }

    /// The DMA took `taken` words. What does not fit the FIFO then is lost.
    pub fn hand_over(&mut self, taken: usize) {
        self.fifo.drain(..taken);
        if self.fifo.len() > FIFO_WORDS {
            self.bank.set(RIS, self.bank.get(RIS) | OVR);
            self.fifo.clear();
        }
    }

    /// The frame ends.
    pub fn end_frame(&mut self) {
        if self.takes {
            self.bank.set(RIS, self.bank.get(RIS) | FRAME);
            self.takes = false;
            if self.bank.has(CR, CM) {
                self.bank.set(CR, self.bank.get(CR) & !CAPTURE);
            }
        }
    }

    /// Whether the flags say that a frame has ended without a loss.
    pub fn has_ended(&self) -> bool {
        self.bank.get(RIS) & (FRAME | OVR) == FRAME
    }

    /// Whether words are left for the DMA.
    pub fn has_words(&self) -> bool {
        !self.fifo.is_empty()
    }

    /// Level of its interrupt.
    pub fn interrupt(&self) -> bool {
        self.bank.get(RIS) & self.bank.get(IER) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLARITY: Polarity = Polarity { vsync_blanks_high: false, hsync_blanks_high: false, valid_at_rising: true };

    fn capturing() -> (Dcmi, Findings) {
        let (mut dcmi, mut findings) = (Dcmi::new(), Findings::default());
        dcmi.write(CR, CM | PCKPOL, &mut findings);
        dcmi.write(CR, CM | PCKPOL | ENABLE, &mut findings);
        dcmi.write(CR, CM | PCKPOL | ENABLE | CAPTURE, &mut findings);
        (dcmi, findings)
    }

    #[test]
    fn a_snapshot_begins_with_a_frame_and_ends_with_it() {
        let (mut dcmi, mut findings) = capturing();
        dcmi.end_frame();
        assert_eq!(dcmi.read(RIS, &mut findings), 0, "the frame that was under way is not taken");
        dcmi.begin_frame(POLARITY, &mut findings);
        dcmi.take_line(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(dcmi.waiting(true), [0x0403_0201]);
        dcmi.hand_over(1);
        dcmi.take_line(&[7, 8]);
        assert_eq!(dcmi.waiting(true), [0x0807_0605]);
        dcmi.hand_over(1);
        dcmi.end_frame();
        assert_eq!(dcmi.read(RIS, &mut findings), FRAME | VSYNC | LINE);
        assert_eq!(dcmi.read(CR, &mut findings) & CAPTURE, 0);
        assert_eq!(findings.list(), [""; 0]);
    }

    #[test]
    fn words_that_nobody_takes_are_an_overrun() {
        let (mut dcmi, mut findings) = capturing();
        dcmi.begin_frame(POLARITY, &mut findings);
        dcmi.take_line(&[0; 4 * FIFO_WORDS]);
        dcmi.hand_over(0);
        assert_eq!(dcmi.read(RIS, &mut findings) & OVR, 0);
        dcmi.take_line(&[0; 4]);
        dcmi.hand_over(0);
        assert_eq!(dcmi.read(RIS, &mut findings) & OVR, OVR);
    }

    #[test]
    fn other_polarities_than_the_sensors_never_give_a_frame() {
        let (mut dcmi, mut findings) = capturing();
        dcmi.begin_frame(Polarity { vsync_blanks_high: true, ..POLARITY }, &mut findings);
        assert!(!dcmi.takes());
        assert_eq!(findings.list().len(), 1);
    }
}
