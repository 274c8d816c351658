//! Answers a host, over any transport: takes messages, runs images and frames, and tells what came out.
//!
//! A message that cannot be done is refused and passed over; only a stream that is out of step ends a call. What a board can
//! do is in [`BoardInfo`] (a slot for plans, a camera), in its [`Counter`] (of instructions or cycles), and in the
//! [`HostContext`] of each call (a model, a frame, room for one). What needs more than that, a new plan or a simulation, is
//! left to who owns the memory: [`Request`].

mod messages;

use crate::app::{Denial, HostContext, HostHandler, plan_reply};
use crate::engine::Engine;
use crate::profile::Counter;
use crate::transport::Transport;
use ocellus_shared::Frame;
use ocellus_shared::scores;
use ocellus_shared::wire::{Header, Kind, Refusal, Reply, tensor_crc};

/// How long a board waits for the next message of a host that has just sent one.
const LINGER_US: u64 = 500_000;
/// Most bytes of one reply with rows; a row that is longer has one for itself.
const ROWS_BYTES: usize = 1024;

/// What a board says of itself.
#[derive(Clone, Copy, Debug)]
pub struct BoardInfo {
    /// Its name.
    pub name: &'static str,
    /// Room for a plan.
    pub plan_bytes: u32,
    /// Room for feature maps.
    pub arena_bytes: u32,
    /// Hosts bring its plans; else it has one in flash.
    pub plan_slot: bool,
    /// It has a camera; else it simulates one where a host wants that.
    pub live_camera: bool,
}

impl BoardInfo {
    /// Its greeting.
    pub fn reply(self) -> Reply<'static> {
        Reply::Ready { board: self.name, plan_bytes: self.plan_bytes, arena_bytes: self.arena_bytes }
    }
}

/// No further message can be read: the stream broke off or is out of step. The host has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamError;

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The host is done.
    Done,
    /// It sends a plan, whose payload is not read yet.
    Plan(Header),
    /// It wants a simulation, whose payload is not read yet.
    Simulate(Header),
}

/// The board's side of the conversation.
#[derive(Debug)]
pub struct Server<T, C> {
    transport: T,
    counter: C,
    info: BoardInfo,
    messages: u32,
    /// A host follows what the camera loop does.
    follows: bool,
}

impl<T: Transport, C: Counter> Server<T, C> {
    /// A server that has read nothing yet.
    pub fn new(transport: T, counter: C, info: BoardInfo) -> Self {
        Self { transport, counter, info, messages: 0, follows: false }
    }

    /// Answers messages until the host is done or falls silent, or asks for something that is not done here.
    ///
    /// # Errors
    /// The stream breaks off or is out of step.
    pub fn serve(&mut self, context: &mut HostContext) -> Result<Request, StreamError> {
        loop {
            let header = self.header()?;
            if let Some(request) = self.answer(&header, context)? {
                return Ok(request);
            }
            if !self.transport.wait(LINGER_US) {
                return Ok(Request::Done);
            }
        }
    }

    fn answer(&mut self, header: &Header, context: &mut HostContext) -> Result<Option<Request>, StreamError> {
        match (header.kind, &mut context.engine) {
            (Kind::Plan, _) if self.info.plan_slot => return Ok(Some(Request::Plan(*header))),
            (Kind::Simulate, Ok(_)) if !self.info.live_camera => return Ok(Some(Request::Simulate(*header))),
            (Kind::Frame, Ok(engine)) => self.frame(header, engine, context.buffer)?,
            (Kind::Tensor | Kind::Trace | Kind::Profile, Ok(engine)) => self.tensor(header, engine)?,
            _ => {
                // All others have no payload, or one that is not wanted.
                self.discard(header)?;
                return Ok(self.control(header, context));
            }
        }
        Ok(None)
    }

    /// Answers a message that runs nothing.
    fn control(&mut self, header: &Header, context: &HostContext) -> Option<Request> {
        let sequence = header.sequence;
        match (header.kind, &context.engine) {
            (Kind::End, _) => {
                self.follows = false;
                self.reply(&Reply::End { messages: self.messages });
                return Some(Request::Done);
            }
            (Kind::Hello, engine) => {
                self.reply(&self.info.reply());
                match engine {
                    Ok(engine) => self.reply(&plan_reply(sequence, engine.plan())),
                    Err(denial) => self.refuse(sequence, *denial),
                }
            }
            (Kind::Plan, _) => {
                let detail = &"this board runs the plan in its flash: write another with `ocellus flash --model`";
                let needed = header.payload_len;
                self.refuse(sequence, Denial { needed, ..Denial::new(Refusal::PlanTooLarge, detail) });
            }
            (_, Err(denial)) => self.refuse(sequence, *denial),
            (Kind::Follow, _) if self.info.live_camera => {
                self.follows = true;
                return Some(Request::Done);
            }
            (Kind::NewestFrame, _) => self.newest_frame(sequence, context.frame.as_ref()),
            _ => self.refuse(sequence, Denial::new(Refusal::CameraLoop, &"this board has no such camera")),
        }
        None
    }

    /// Runs an image as it comes, and tells what the message asked for.
    fn tensor(&mut self, header: &Header, engine: &mut Engine) -> Result<(), StreamError> {
        let input = bytemuck::cast_slice_mut(engine.input_mut());
        if header.payload_len as usize != input.len() {
            return self.pass_over(header, Refusal::BadTensor, [input.len() as u32, header.payload_len]);
        }
        self.read(header, input)?;
        match header.kind {
            Kind::Trace => self.trace(header.sequence, engine),
            Kind::Profile => self.profile(header.sequence, engine),
            _ => self.scores(header.sequence, engine.run()),
        }
        Ok(())
    }

    fn scores(&mut self, sequence: u32, values: &[i8]) {
        self.reply(&Reply::Scores { sequence, crc: tensor_crc(values), values });
    }

    /// Runs the image in place and tells every step's output.
    fn trace(&mut self, sequence: u32, engine: &mut Engine) {
        let values = engine.run_observed(|index, _, output| {
            self.reply(&Reply::Step { sequence, index: index as u32, crc: tensor_crc(output) });
        });
        self.scores(sequence, values);
    }

    /// Runs the image in place and tells what every step took. The telling itself is not counted, but what it takes of the
    /// stack is.
    fn profile(&mut self, sequence: u32, engine: &mut Engine) {
        self.counter.watch_stack();
        let (mut total, mut before) = (0, self.counter.instructions());
        let values = engine.run_observed(|index, _, _| {
            let instructions = self.counter.instructions().saturating_sub(before);
            total += instructions;
            self.reply(&Reply::Cost { sequence, index: index as u32, instructions });
            before = self.counter.instructions();
        });
        let stack_bytes = self.counter.stack_bytes();
        self.reply(&Reply::Profile { sequence, instructions: total, stack_bytes });
        self.scores(sequence, values);
    }

    /// Classifies a frame that the host sends as if the camera had taken it.
    fn frame(&mut self, header: &Header, engine: &mut Engine, buffer: &mut [u8]) -> Result<(), StreamError> {
        let sequence = header.sequence;
        let Some((format, width, height)) = header.frame else {
            return self.pass_over(header, Refusal::BadFrame, [0, header.payload_len]);
        };
        let Some(pixels) = self.receive(header, buffer, Refusal::FrameTooLarge)? else { return Ok(()) };
        let plan = *engine.plan();
        let frame = match Frame::new(format, width, height, pixels) {
            Ok(frame) => frame,
            Err(error) => {
                let available = header.payload_len;
                self.refuse(sequence, Denial { available, ..Denial::new(Refusal::BadFrame, &error) });
                return Ok(());
            }
        };
        match engine.classify(&frame) {
            Ok(values) => {
                self.scores(sequence, values);
                let class = scores::best(values).class;
                let name = plan.label(usize::from(class)).unwrap_or_default();
                let margin = scores::margin(values, plan.output_params());
                self.reply(&Reply::Label { sequence, class: u32::from(class), margin, name });
            }
            Err(error) => self.refuse(sequence, Denial::new(Refusal::BadFrame, &error)),
        }
        Ok(())
    }

    /// Sends a frame, some rows at a time.
    fn newest_frame(&mut self, sequence: u32, frame: Option<&Frame>) {
        let Some(frame) = frame else {
            let detail = &"the camera has given no frame yet, or none any more: the log says why";
            return self.refuse(sequence, Denial::new(Refusal::NoFrame, detail));
        };
        let (format, width, height) = (frame.format(), frame.width(), frame.height());
        self.reply(&Reply::Frame { sequence, format, width, height });
        let row = usize::from(width) * format.bytes_per_pixel();
        let rows = (ROWS_BYTES / row).max(1);
        for (part, bytes) in frame.data().chunks(rows * row).enumerate() {
            self.reply(&Reply::Rows { sequence, first: (part * rows) as u32, bytes });
        }
    }
}

/// A host that may call between two frames, or follow them.
impl<T: Transport, C: Counter> HostHandler for Server<T, C> {
    fn poll(&mut self, mut context: HostContext) -> bool {
        if !self.transport.poll() {
            return false;
        }
        if self.serve(&mut context).is_err() {
            // What the host sends of the broken message must not be taken for another.
            self.follows = false;
            self.transport.resynchronize();
        }
        true
    }

    fn report(&mut self, reply: &Reply) {
        if self.follows {
            self.reply(reply);
            self.follows = !self.transport.is_abandoned();
        }
    }
}

#[cfg(test)]
mod tests;
