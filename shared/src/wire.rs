//! The conversation between host and board.
//!
//! # Host to board
//!
//! A stream of messages, each a [`Header`] of [`HEADER_LEN`] bytes and its payload, little-endian, without padding:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `OCMS` |
//! | 4 | 1 | kind ([`Kind`]) |
//! | 5 | 1 | pixel format ([`PixelFormat`]); zero unless a frame |
//! | 6 | 2 | width; zero unless a frame |
//! | 8 | 2 | height; zero unless a frame |
//! | 10 | 2 | reserved, zero |
//! | 12 | 4 | sequence number, which the replies repeat |
//! | 16 | 4 | length of the payload |
//!
//! The first message is a plan, the last one [`Kind::End`]. A message whose content is wrong is answered with an error
//! and the next one is read; a header that is wrong ends the conversation, since the stream is lost.
//!
//! A real board that has its plan in flash takes no [`Kind::Plan`]: its first message may be any other, usually
//! [`Kind::Hello`], and after a header that is wrong, or a payload that breaks off, it waits for silence and goes on.
//!
//! # Board to host
//!
//! One defmt log line per reply; decoded, it is a word and then `key=value` pairs in this order. [`Reply::parse`] reads
//! them back; the firmware's `report` writes them. A real board answers in the binary form that [`packet`] describes, on
//! an RTT channel of its own beside the log.
//!
//! | line | when |
//! |---|---|
//! | `ready board=B plan_bytes=N arena_bytes=N` | once, before the first message |
//! | `plan seq=N digest=HEX16 steps=N arena_bytes=N` | a plan is in place |
//! | `scores seq=N crc=HEX8 values=[N, N, ...]` | the int8 scores of a tensor or frame, and the CRC-32 of them |
//! | `label seq=N class=N margin=F steady=BOOL name=TEXT` | after a frame's scores: the best class, its lead in logits, whether recent frames agree |
//! | `step seq=N index=N crc=HEX8` | after each step of a traced tensor: the CRC-32 of its output |
//! | `cost seq=N index=N instructions=N` | what each step of a profiled tensor took; on a real board core cycles |
//! | `profile seq=N instructions=N stack_bytes=N` | what the whole run took |
//! | `seen seq=N class=N settled=BOOL margin=F latency_us=N interval_us=N name=TEXT` | after the scores of each live frame: the label that stands once settled, its lead, the time from frame to label and from frame to frame |
//! | `fault seq=N what=WORD turns=N frames=N missing=N overruns=N losses=N restarts=N` | a live frame did not come: why, and how often what happened so far |
//! | `watched seq=N turns=N frames=N missing=N overruns=N losses=N restarts=N` | a watch is over |
//! | `error seq=N code=NAME needed=N available=N detail=TEXT` | instead of the reply that cannot be given |
//! | `end messages=N` | the last line |
//! | `picture seq=N format=N width=N height=N` | the newest camera frame follows; never in the log |
//! | `rows seq=N first=N` and bytes | some of its rows, from row `first` on; never in the log |

use crate::checksum::Crc32;
use crate::frame::PixelFormat;

pub mod packet;
mod reply;
mod simulation;

pub use reply::{Refusal, Reply, FrameCounts, Values};
pub use simulation::{EVENT_LEN, Event, MAX_EVENTS, CameraFault, WATCH_LEN};

/// First bytes of every message.
pub const MAGIC: [u8; 4] = *b"OCMS";
/// Bytes of a header.
pub const HEADER_LEN: usize = 20;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Take the payload as the plan to run from now on. Answered by `plan`.
    Plan = 1,
    /// Run an int8 image `(h, w, c)` as it is. Answered by `scores`.
    Tensor = 2,
    /// Preprocess and run a camera frame. Answered by `scores` and `label`.
    Frame = 3,
    /// Run an int8 image and tell every step's output. Answered by `step` lines and `scores`.
    Trace = 4,
    /// Run an int8 image and tell what it took. Answered by `cost` lines, `profile` and `scores`.
    Profile = 5,
    /// Stop. Answered by `end`.
    End = 6,
    /// Run the camera loop on a simulated sensor, through the events in the payload ([`Event`]). Answered by `seen` and
    /// `fault` lines and at last by `watched`.
    Watch = 7,
    /// Say who you are and what you run. Answered by `ready`, and then by `plan` or `error`.
    Hello = 8,
    /// Send the newest camera frame as the sensor delivered it. Answered by `picture` and `rows`.
    Show = 9,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Plan,
        Self::Tensor,
        Self::Frame,
        Self::Trace,
        Self::Profile,
        Self::End,
        Self::Watch,
        Self::Hello,
        Self::Show,
    ];
}

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What is asked for.
    pub kind: Kind,
    /// Number that the replies repeat.
    pub sequence: u32,
    /// Format, width and height of a [`Kind::Frame`]; unused otherwise.
    pub frame: Option<(PixelFormat, u16, u16)>,
    /// Bytes that follow.
    pub payload_len: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// They do not begin with [`MAGIC`].
    Magic,
    /// Unknown kind or pixel format, or a field that must be zero is not.
    Field,
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Magic => "a message does not begin with `OCMS`",
            Self::Field => "a message of unknown kind or format",
        })
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// A message without a frame.
    pub fn new(kind: Kind, sequence: u32, payload_len: u32) -> Self {
        Self { kind, sequence, frame: None, payload_len }
    }

    /// A frame's message.
    pub fn frame(format: PixelFormat, width: u16, height: u16, sequence: u32, payload_len: u32) -> Self {
        Self { kind: Kind::Frame, sequence, frame: Some((format, width, height)), payload_len }
    }

    /// Its bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        if let Some((format, width, height)) = self.frame {
            bytes[5] = format as u8;
            bytes[6..8].copy_from_slice(&width.to_le_bytes());
            bytes[8..10].copy_from_slice(&height.to_le_bytes());
        }
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes
    }

    /// Reads a header back.
    ///
    /// # Errors
    /// What [`Header::emit`] never writes.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        if bytes[..4] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[4]).ok_or(HeaderError::Field)?;
        let frame = if kind == Kind::Frame {
            let format = PixelFormat::from_code(bytes[5]).ok_or(HeaderError::Field)?;
            Some((format, half(6), half(8)))
        } else {
            None
        };
        let stray = half(10) != 0 || (frame.is_none() && bytes[5..10] != [0; 5]);
        if stray {
            return Err(HeaderError::Field);
        }
        Ok(Self { kind, sequence: word(12), frame, payload_len: word(16) })
    }
}

/// CRC-32 (ISO-HDLC) of a tensor, as replies carry it.
pub fn tensor_crc(values: &[i8]) -> u32 {
    Crc32::of(bytemuck::cast_slice(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_trip() {
        for header in [
            Header::new(Kind::Plan, 0, 654_321),
            Header::new(Kind::Tensor, u32::MAX, 3072),
            Header::frame(PixelFormat::Yuv422, 160, 120, 7, 38_400),
            Header::frame(PixelFormat::Rgb888, u16::MAX, 1, 8, 196_605),
            Header::new(Kind::Trace, 9, 1),
            Header::new(Kind::Profile, 10, 2),
            Header::new(Kind::End, 11, 0),
            Header::new(Kind::Watch, 12, 20),
            Header::new(Kind::Hello, 13, 0),
            Header::new(Kind::Show, 14, 0),
        ] {
            assert_eq!(Header::parse(&header.emit()), Ok(header));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_or_lands_in_a_value() {
        let good = Header::new(Kind::Tensor, 1, 2);
        for at in 0..HEADER_LEN {
            for flip in 1..=255 {
                let mut bytes = good.emit();
                bytes[at] ^= flip;
                if let Ok(read) = Header::parse(&bytes) {
                    assert_ne!(read, good, "byte {at}");
                    assert!(at == 4 || at >= 12, "byte {at}");
                }
            }
        }
    }
}
