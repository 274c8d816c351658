//! Reading messages and telling replies, and the camera that is a message.

pub mod rtt;

use crate::camera::Camera;
use core::fmt::{Display, Write as _};
use ocellus_shared::Frame;
use ocellus_shared::wire::{HEADER_LEN, Header, HeaderError, Refusal, Reply};

/// Most bytes of an error's explanation.
const DETAIL_LEN: usize = 120;

/// The stream has no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfStream;

/// Where messages come from.
pub trait Source {
    /// Fills `buffer`.
    ///
    /// # Errors
    /// The stream ends before.
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), EndOfStream>;
}

/// Where replies go.
pub trait Report {
    /// Tells the host.
    fn reply(&mut self, reply: Reply<'_, &[i8]>);
}

/// Tells the host that message `sequence` cannot be done, with the `[needed, available]` bytes where that is the reason.
pub fn refuse(report: &mut impl Report, sequence: u32, refusal: Refusal, bytes: [u32; 2], detail: &dyn Display) {
    let mut text = heapless::String::<DETAIL_LEN>::new();
    // A longer explanation is cut where it no longer fits.
    let _ = write!(text, "{detail}");
    let [needed, available] = bytes;
    report.reply(Reply::Error { sequence, refusal, needed, available, detail: &text });
}

impl<S: Source, R: Report> Report for Link<S, R> {
    fn reply(&mut self, reply: Reply<'_, &[i8]>) {
        self.report.reply(reply);
    }
}

/// No further message can be read: the stream broke off or is out of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamError;

/// Both directions of a conversation.
#[derive(Debug)]
pub struct Link<S, R> {
    pub(crate) source: S,
    pub(crate) report: R,
    messages: u32,
}

impl<S: Source, R: Report> Link<S, R> {
    /// A link that has read nothing yet.
    pub fn new(source: S, report: R) -> Self {
        Self { source, report, messages: 0 }
    }

    /// Tells the host that the conversation is over.
    pub fn end(&mut self) {
        self.reply(Reply::End { messages: self.messages });
    }

    /// Tells the host that message `sequence` cannot be done, as [`refuse`].
    pub fn refuse(&mut self, sequence: u32, refusal: Refusal, bytes: [u32; 2], detail: &dyn Display) {
        refuse(&mut self.report, sequence, refusal, bytes, detail);
    }

    /// The next message's header.
    ///
    /// # Errors
    /// The stream ends, or what comes is no header.
    pub fn header(&mut self) -> Result<Header, StreamError> {
        let mut bytes = [0; HEADER_LEN];
        if self.source.read_exact(&mut bytes).is_err() {
            self.refuse(self.messages, Refusal::Truncated, [HEADER_LEN as u32, 0], &"no further message");
            return Err(StreamError);
        }
        let header = Header::parse(&bytes).map_err(|error: HeaderError| {
            self.refuse(self.messages, Refusal::BadHeader, [0, 0], &error);
            StreamError
        })?;
        self.messages = self.messages.wrapping_add(1);
        Ok(header)
    }

    /// Reads as much of a message's payload as `buffer` holds.
    ///
    /// # Errors
    /// The stream ends before.
    pub fn read(&mut self, header: &Header, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.source.read_exact(buffer).map_err(|EndOfStream| {
            self.refuse(header.sequence, Refusal::Truncated, [header.payload_len, 0], &"the payload breaks off");
            StreamError
        })
    }

    /// Refuses a message whose payload was not read yet, and leaves the payload out. `other` is the size that the
    /// payload should have had, or that there is room for.
    ///
    /// # Errors
    /// The stream ends before the payload does.
    pub fn pass_over(&mut self, header: &Header, refusal: Refusal, other: u32) -> Result<(), StreamError> {
        let sizes = match refusal {
            Refusal::BadTensor | Refusal::BadFrame => [other, header.payload_len],
            _ => [header.payload_len, other],
        };
        self.refuse(header.sequence, refusal, sizes, &"");
        self.leave_out(header)
    }

    /// Leaves out a message's payload, none of which was read yet.
    ///
    /// # Errors
    /// The stream ends before the payload does.
    pub fn leave_out(&mut self, header: &Header) -> Result<(), StreamError> {
        let mut left = header.payload_len as usize;
        let mut sink = [0; 256];
        while left > 0 {
            let part = left.min(sink.len());
            self.read(header, &mut sink[..part])?;
            left -= part;
        }
        Ok(())
    }
}

/// Why a frame's message gave no picture. Either way the host has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The message was refused; the next one can be read.
    Refused,
    /// The stream is lost.
    StreamError,
}

impl From<StreamError> for Broken {
    fn from(StreamError: StreamError) -> Self {
        Self::StreamError
    }
}

/// A frame's message as the camera that took it.
#[derive(Debug)]
pub struct FrameMessage<'l, S, R> {
    /// Where its pixels come from.
    pub link: &'l mut Link<S, R>,
    /// What was announced.
    pub header: &'l Header,
}

impl<S: Source, R: Report> Camera for FrameMessage<'_, S, R> {
    type Error = Broken;

    fn capture<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Frame<'b>, Broken> {
        let Some((format, width, height)) = self.header.frame else {
            self.link.pass_over(self.header, Refusal::BadFrame, 0)?;
            return Err(Broken::Refused);
        };
        let room = buffer.len() as u32;
        let Some(pixels) = buffer.get_mut(..self.header.payload_len as usize) else {
            self.link.pass_over(self.header, Refusal::FrameTooLarge, room)?;
            return Err(Broken::Refused);
        };
        self.link.read(self.header, pixels)?;
        Frame::new(format, width, height, pixels).map_err(|error| {
            self.link.refuse(self.header.sequence, Refusal::BadFrame, [0, self.header.payload_len], &error);
            Broken::Refused
        })
    }
}
