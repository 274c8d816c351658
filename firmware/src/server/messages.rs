//! Reading messages and sending replies.

use super::{Server, StreamError};
use crate::app::Denial;
use crate::transport::{EndOfStream, Transport};
use ocellus_shared::wire::{HEADER_LEN, Header, Refusal, Reply, packet};

impl<T: Transport, C> Server<T, C> {
    /// Sends a reply.
    pub fn reply(&mut self, reply: &Reply) {
        packet::emit(reply, &mut |bytes| self.transport.write(bytes));
        self.transport.flush();
    }

    /// Tells the host that message `sequence` cannot be done.
    pub fn refuse(&mut self, sequence: u32, denial: Denial) {
        denial.send(sequence, |reply| self.reply(reply));
    }

    /// The payload of a message in `buffer`; nothing where it has no room there, and is refused as `too_large`.
    ///
    /// # Errors
    /// The stream ends before the payload does.
    pub fn receive<'b>(
        &mut self,
        header: &Header,
        buffer: &'b mut [u8],
        too_large: Refusal,
    ) -> Result<Option<&'b [u8]>, StreamError> {
        let room = buffer.len() as u32;
        match buffer.get_mut(..header.payload_len as usize) {
            Some(payload) => {
                self.read(header, payload)?;
                Ok(Some(payload))
            }
            None => {
                self.pass_over(header, too_large, [header.payload_len, room])?;
                Ok(None)
            }
        }
    }

    /// The next message's header.
    pub(super) fn header(&mut self) -> Result<Header, StreamError> {
        let mut bytes = [0; HEADER_LEN];
        if self.transport.read_exact(&mut bytes).is_err() {
            let needed = HEADER_LEN as u32;
            self.refuse(self.messages, Denial { needed, ..Denial::new(Refusal::Truncated, &"no further message") });
            return Err(StreamError);
        }
        let header = Header::parse(&bytes).map_err(|error| {
            self.refuse(self.messages, Denial::new(Refusal::BadHeader, &error));
            StreamError
        })?;
        self.messages = self.messages.wrapping_add(1);
        Ok(header)
    }

    /// Reads as much of a message's payload as `buffer` holds.
    pub(super) fn read(&mut self, header: &Header, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.transport.read_exact(buffer).map_err(|EndOfStream| {
            let needed = header.payload_len;
            let denial = Denial { needed, ..Denial::new(Refusal::Truncated, &"the payload breaks off") };
            self.refuse(header.sequence, denial);
            StreamError
        })
    }

    /// Refuses a message for the bytes that it needs and that there are, and leaves its payload out.
    pub(super) fn pass_over(
        &mut self,
        header: &Header,
        refusal: Refusal,
        [needed, available]: [u32; 2],
    ) -> Result<(), StreamError> {
        self.refuse(header.sequence, Denial { needed, available, ..Denial::new(refusal, &"") });
        self.discard(header)
    }

    /// Leaves out a message's payload, none of which was read yet.
    pub(super) fn discard(&mut self, header: &Header) -> Result<(), StreamError> {
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
