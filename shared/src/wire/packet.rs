//! Replies as bytes.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `OCR2`, whose digit is the version: others are refused |
//! | 4 | 4 | length of the body |
//! | 8 | 4 | CRC-32 (ISO-HDLC) of the body |
//! | 12 | 1 | which reply: 0 to 13 in the order of [`Reply`] |
//! | 13 | | its fields in their order, little-endian and without padding, except that a text, the scores or pixels come last and fill what is left |
//!
//! Words have 4 bytes, instruction counts 8, a digest its own 8 and a frame's width and height 2 each; formats, refusals
//! (numbered in their order) and truth values have one; a margin is the bits of its f32; a counts is its six words.
//! A fault's word comes behind its counts, as a text does.

use super::reply::{FrameCounts, Refusal, Reply};
use crate::checksum::Crc32;
use crate::frame::PixelFormat;

/// First bytes of every packet.
pub const MAGIC: [u8; 4] = *b"OCR2";
/// Bytes before the body.
pub const HEADER_LEN: usize = 12;
/// Longest body that is believed: more than any reply of a board has.
pub const MOST_BYTES: usize = 1 << 20;

/// A reply as packets carry it.
pub type Said<'a> = Reply<'a>;

/// Bytes are not a packet, or were changed on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl core::fmt::Display for Damaged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "what the board sent is no reply: bytes were lost or changed on their way, or the program on it is of another \
             version of Ocellus, and `ocellus flash` writes it anew",
        )
    }
}

impl core::error::Error for Damaged {}

/// Gives `sink` the bytes of `reply`, piece by piece.
pub fn emit(reply: &Reply, sink: &mut dyn FnMut(&[u8])) {
    let (mut length, mut crc) = (0u32, Crc32::new());
    body(reply, &mut |bytes| {
        length += bytes.len() as u32;
        crc.update(bytes);
    });
    sink(&MAGIC);
    sink(&length.to_le_bytes());
    sink(&crc.finish().to_le_bytes());
    body(reply, sink);
}

/// The reply at the start of `bytes` and how many of them it takes; nothing where more must come first.
///
/// # Errors
/// They are not what [`emit`] writes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Damaged> {
    let magic = bytes.len().min(MAGIC.len());
    if bytes[..magic] != MAGIC[..magic] {
        return Err(Damaged);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let mut fields = Fields(&header[MAGIC.len()..]);
    let (length, crc) = (fields.word().ok_or(Damaged)? as usize, fields.word().ok_or(Damaged)?);
    if length > MOST_BYTES {
        return Err(Damaged);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    if Crc32::of(body) != crc {
        return Err(Damaged);
    }
    let reply = Fields(body).reply().ok_or(Damaged)?;
    Ok(Some((reply, HEADER_LEN + length)))
}

/// Everything behind the header.
fn body(reply: &Reply, sink: &mut dyn FnMut(&[u8])) {
    let mut start = |tag: u8, words: &[u32]| {
        sink(&[tag]);
        words.iter().for_each(|word| sink(&word.to_le_bytes()));
    };
    match *reply {
        Reply::Ready { board, plan_bytes, arena_bytes } => {
            start(0, &[plan_bytes, arena_bytes]);
            sink(board.as_bytes());
        }
        Reply::Plan { sequence, digest, steps, arena_bytes } => {
            start(1, &[sequence, steps, arena_bytes]);
            sink(&digest);
        }
        Reply::Scores { sequence, crc, values } => {
            start(2, &[sequence, crc]);
            sink(bytemuck::cast_slice(values));
        }
        Reply::Label { sequence, class, margin, name } => {
            start(3, &[sequence, class, margin.to_bits()]);
            sink(name.as_bytes());
        }
        Reply::Step { sequence, index, crc } => start(4, &[sequence, index, crc]),
        Reply::Cost { sequence, index, instructions } => {
            start(5, &[sequence, index]);
            sink(&instructions.to_le_bytes());
        }
        Reply::Profile { sequence, instructions, stack_bytes } => {
            start(6, &[sequence, stack_bytes]);
            sink(&instructions.to_le_bytes());
        }
        Reply::Classified { sequence, class, settled, margin, latency_us, interval_us, name } => {
            start(7, &[sequence, class, margin.to_bits(), latency_us, interval_us]);
            sink(&[u8::from(settled)]);
            sink(name.as_bytes());
        }
        Reply::Fault { sequence, what, counts } => {
            start(8, &[sequence]);
            words_of(counts).iter().for_each(|word| sink(&word.to_le_bytes()));
            sink(what.as_bytes());
        }
        Reply::Simulated { sequence, counts } => {
            start(9, &[sequence]);
            words_of(counts).iter().for_each(|word| sink(&word.to_le_bytes()));
        }
        Reply::Error { sequence, refusal, needed, available, detail } => {
            start(10, &[sequence, needed, available]);
            sink(&[refusal as u8]);
            sink(detail.as_bytes());
        }
        Reply::End { messages } => start(11, &[messages]),
        Reply::Frame { sequence, format, width, height } => {
            start(12, &[sequence]);
            sink(&[format as u8]);
            sink(&width.to_le_bytes());
            sink(&height.to_le_bytes());
        }
        Reply::Rows { sequence, first, bytes } => {
            start(13, &[sequence, first]);
            sink(bytes);
        }
    }
}

fn words_of(counts: FrameCounts) -> [u32; 6] {
    let FrameCounts { turns, frames, missing, overruns, losses, restarts } = counts;
    [turns, frames, missing, overruns, losses, restarts]
}

/// What is left to be read of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn truth(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn counts(&mut self) -> Option<FrameCounts> {
        Some(FrameCounts {
            turns: self.word()?,
            frames: self.word()?,
            missing: self.word()?,
            overruns: self.word()?,
            losses: self.word()?,
            restarts: self.word()?,
        })
    }

    /// All that is left.
    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.rest()).ok()
    }

    /// The whole body.
    fn reply(mut self) -> Option<Reply<'a>> {
        let [tag] = self.array()?;
        let reply = match tag {
            0 => {
                let (plan_bytes, arena_bytes) = (self.word()?, self.word()?);
                Reply::Ready { board: self.text()?, plan_bytes, arena_bytes }
            }
            11 => Reply::End { messages: self.word()? },
            _ => {
                let sequence = self.word()?;
                self.numbered(tag, sequence)?
            }
        };
        self.0.is_empty().then_some(reply)
    }

    /// The rest of a reply that begins with a message's number.
    fn numbered(&mut self, tag: u8, sequence: u32) -> Option<Reply<'a>> {
        Some(match tag {
            1 => {
                let (steps, arena_bytes) = (self.word()?, self.word()?);
                Reply::Plan { sequence, digest: self.array()?, steps, arena_bytes }
            }
            2 => Reply::Scores { sequence, crc: self.word()?, values: bytemuck::cast_slice(self.rest()) },
            3 => {
                let (class, margin) = (self.word()?, f32::from_bits(self.word()?));
                Reply::Label { sequence, class, margin, name: self.text()? }
            }
            4 => Reply::Step { sequence, index: self.word()?, crc: self.word()? },
            5 => Reply::Cost { sequence, index: self.word()?, instructions: self.long()? },
            6 => {
                let stack_bytes = self.word()?;
                Reply::Profile { sequence, instructions: self.long()?, stack_bytes }
            }
            7 => {
                let (class, margin) = (self.word()?, f32::from_bits(self.word()?));
                let (latency_us, interval_us, settled) = (self.word()?, self.word()?, self.truth()?);
                Reply::Classified { sequence, class, settled, margin, latency_us, interval_us, name: self.text()? }
            }
            8 => {
                let counts = self.counts()?;
                Reply::Fault { sequence, what: self.text()?, counts }
            }
            9 => Reply::Simulated { sequence, counts: self.counts()? },
            10 => {
                let (needed, available, [code]) = (self.word()?, self.word()?, self.array()?);
                let refusal = *Refusal::ALL.get(usize::from(code))?;
                Reply::Error { sequence, refusal, needed, available, detail: self.text()? }
            }
            12 => {
                let [code] = self.array()?;
                let (width, height) = (u16::from_le_bytes(self.array()?), u16::from_le_bytes(self.array()?));
                Reply::Frame { sequence, format: PixelFormat::from_code(code)?, width, height }
            }
            13 => Reply::Rows { sequence, first: self.word()?, bytes: self.rest() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(reply: &Reply) -> Vec<u8> {
        let mut bytes = Vec::new();
        emit(reply, &mut |part| bytes.extend_from_slice(part));
        bytes
    }

    /// One of each kind, no two fields alike.
    fn every() -> Vec<Reply<'static>> {
        let counts = FrameCounts { turns: 10, frames: 5, missing: 2, overruns: 1, losses: 7, restarts: 3 };
        let (sequence, class, margin) = (4, 7, -2.25);
        vec![
            Reply::Ready { board: "weact-h743", plan_bytes: 8, arena_bytes: 9 },
            Reply::Plan { sequence, digest: [1, 2, 3, 4, 5, 6, 7, 8], steps: 12, arena_bytes: 40960 },
            Reply::Scores { sequence, crc: 0xdead_beef, values: &[-128, 127, 0] },
            Reply::Scores { sequence, crc: 0, values: &[] },
            Reply::Label { sequence, class, margin, name: "sea lion = größer" },
            Reply::Step { sequence, index: 2, crc: 10 },
            Reply::Cost { sequence, index: 2, instructions: 5_000_000_000 },
            Reply::Profile { sequence, instructions: u64::MAX, stack_bytes: 6 },
            Reply::Classified {
                sequence,
                class,
                settled: true,
                margin,
                latency_us: 41,
                interval_us: 33,
                name: "sea lion",
            },
            Reply::Fault { sequence, what: "no-acknowledge", counts },
            Reply::Simulated { sequence, counts },
            Reply::Error { sequence, refusal: Refusal::NoFrame, needed: 9, available: 8, detail: "" },
            Reply::End { messages: 2 },
            Reply::Frame { sequence, format: PixelFormat::Yuv422, width: 160, height: 121 },
            Reply::Rows { sequence, first: 3, bytes: b"OCR2 and anything" },
        ]
    }

    #[test]
    fn replies_survive_the_trip_also_in_a_row() {
        let stream: Vec<u8> = every().iter().flat_map(bytes_of).collect();
        let mut rest = &stream[..];
        for reply in every() {
            let (read, length) = parse(rest).unwrap().expect("a whole packet");
            assert_eq!(read, reply);
            rest = &rest[length..];
        }
        assert_eq!(parse(rest), Ok(None));
    }

    #[test]
    fn a_part_of_a_packet_is_waited_for_and_a_change_is_noticed() {
        for reply in every() {
            let bytes = bytes_of(&reply);
            assert!((0..bytes.len()).all(|length| parse(&bytes[..length]) == Ok(None)), "{reply:?}");
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                // A longer length waits for bytes; the silence after it is the reader's to notice.
                assert!(!matches!(parse(&changed), Ok(Some(_))), "{reply:?}, byte {at}");
            }
        }
    }

    #[test]
    fn bodies_that_are_too_long_or_of_no_reply_are_damaged() {
        let packet = |body: &[u8]| {
            let length = (body.len() as u32).to_le_bytes();
            [&MAGIC[..], &length, &Crc32::of(body).to_le_bytes(), body].concat()
        };
        assert!(matches!(parse(&packet(&[11, 2, 0, 0, 0])), Ok(Some((Reply::End { messages: 2 }, 17)))));
        for body in [&[][..], &[11, 2, 0, 0], &[11, 2, 0, 0, 0, 0], &[14, 1, 0, 0, 0], &[12, 1, 0, 0, 0, 9, 1, 0, 1, 0]]
        {
            assert_eq!(parse(&packet(body)), Err(Damaged), "{body:?}");
        }
        let mut endless = packet(&[]);
        endless[4..8].copy_from_slice(&(MOST_BYTES as u32 + 1).to_le_bytes());
        assert_eq!(parse(&endless), Err(Damaged));
    }
}
