//! The conversation between host and board.
//!
//! # Host to board
//!
//! A stream of messages, each a [`Header`] of [`HEADER_LEN`] bytes and its payload, little-endian, without padding:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `OCM2`, whose digit is the version: others are refused |
//! | 4 | 1 | kind ([`Kind`]) |
//! | 5 | 1 | pixel format ([`PixelFormat`]); zero unless a frame |
//! | 6 | 2 | width; zero unless a frame |
//! | 8 | 2 | height; zero unless a frame |
//! | 10 | 2 | reserved, zero |
//! | 12 | 4 | sequence number, which the replies repeat |
//! | 16 | 4 | length of the payload |
//!
//! No payload is longer than [`MAX_PAYLOAD_LEN`]. A message whose content is wrong is answered with an error and the next one is
//! read. After a header that is wrong, or a payload that breaks off, the stream is out of step: a real board waits for silence
//! and goes on, an emulated one ends.
//!
//! There is nothing to open, but a host begins with [`Kind::Hello`]. A board with a slot for a plan in RAM runs images once it
//! got a [`Kind::Plan`]; one that has its plan in flash takes none.
//!
//! # Board to host
//!
//! Packets with one [`Reply`] each, as [`packet`] describes. Nothing else is written to that stream: logs for people go elsewhere.

use crate::checksum::Crc32;
use crate::frame::PixelFormat;

pub mod packet;
mod reply;
mod simulation;

pub use reply::{FrameCounts, Refusal, Reply};
pub use simulation::{CameraFault, EVENT_LEN, Event, MAX_EVENTS, SIMULATION_LEN};

/// First bytes of every message.
pub const MAGIC: [u8; 4] = *b"OCM2";
/// Bytes of a header.
pub const HEADER_LEN: usize = 20;
/// Longest payload: twice what any board has room for.
pub const MAX_PAYLOAD_LEN: u32 = 1 << 24;

/// What a message asks for, and the replies that answer it. A message that cannot be done is answered by [`Reply::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Take the payload as the plan to run from now on: [`Reply::Plan`].
    Plan = 1,
    /// Run an int8 image `(h, w, c)` as it is: [`Reply::Scores`].
    Tensor = 2,
    /// Preprocess and run a camera frame: [`Reply::Scores`] and [`Reply::Label`].
    Frame = 3,
    /// Run an int8 image and checksum every step's output: [`Reply::Step`] for each, and [`Reply::Scores`].
    Trace = 4,
    /// Run an int8 image and count what it takes: [`Reply::Cost`] for each step, [`Reply::Profile`] and [`Reply::Scores`].
    Profile = 5,
    /// Stop, also following: [`Reply::End`].
    End = 6,
    /// Run the camera loop on a simulated sensor, through the events in the payload ([`Event`]): what [`Kind::Follow`] brings,
    /// and at last [`Reply::Simulated`].
    Simulate = 7,
    /// Say who you are and what you run: [`Reply::Ready`], and then [`Reply::Plan`] or [`Reply::Error`].
    Hello = 8,
    /// Send the newest camera frame as the sensor delivered it: [`Reply::Frame`] and [`Reply::Rows`].
    NewestFrame = 9,
    /// Send what the camera loop does from now on: [`Reply::Scores`] and [`Reply::Classified`] for each frame, and
    /// [`Reply::Fault`] for each that does not come.
    Follow = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Plan,
        Self::Tensor,
        Self::Frame,
        Self::Trace,
        Self::Profile,
        Self::End,
        Self::Simulate,
        Self::Hello,
        Self::NewestFrame,
        Self::Follow,
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
    /// The payload is longer than [`MAX_PAYLOAD_LEN`].
    Length,
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Magic => {
                "a message does not begin with `OCM2`: program and host are of different versions, or bytes were lost"
            }
            Self::Field => "a message of unknown kind or format",
            Self::Length => "a message is longer than any that there is",
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
        let payload_len = word(16);
        if payload_len > MAX_PAYLOAD_LEN {
            return Err(HeaderError::Length);
        }
        Ok(Self { kind, sequence: word(12), frame, payload_len })
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
            Header::new(Kind::Simulate, 12, 20),
            Header::new(Kind::Hello, 13, 0),
            Header::new(Kind::NewestFrame, 14, 0),
            Header::new(Kind::Follow, 15, MAX_PAYLOAD_LEN),
        ] {
            assert_eq!(Header::parse(&header.emit()), Ok(header));
        }
    }

    #[test]
    fn lengths_that_no_message_has_are_refused() {
        for length in [MAX_PAYLOAD_LEN + 1, u32::MAX] {
            assert_eq!(Header::parse(&Header::new(Kind::Plan, 1, length).emit()), Err(HeaderError::Length));
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
