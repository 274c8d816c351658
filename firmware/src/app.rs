//! What a camera board does: [`camera_loop`] takes frames and classifies them, [`smooth`] keeps labels from flickering.
//!
//! Between two frames a host may ask for something: the loop knows it as a [`HostHandler`].

pub mod camera_loop;
pub mod smooth;

use crate::engine::Engine;
use core::fmt::{Display, Write as _};
use ocellus_shared::Frame;
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{Refusal, Reply};

/// Most bytes of an error's explanation; a longer one is cut.
const DETAIL_LEN: usize = 120;

/// Why something cannot be done, as a host is told.
#[derive(Clone, Copy)]
pub struct Denial<'d> {
    /// Its kind.
    pub refusal: Refusal,
    /// Bytes that it would take, where that is the reason.
    pub needed: u32,
    /// Bytes that there are, where that is the reason.
    pub available: u32,
    /// More about it, for people.
    pub detail: &'d dyn Display,
}

impl<'d> Denial<'d> {
    /// A denial that no number of bytes is the reason of.
    pub fn new(refusal: Refusal, detail: &'d dyn Display) -> Self {
        Self { refusal, needed: 0, available: 0, detail }
    }

    /// Gives `send` the reply to message `sequence`.
    pub fn send(self, sequence: u32, send: impl FnOnce(&Reply)) {
        let Self { refusal, needed, available, detail } = self;
        let mut text = heapless::String::<DETAIL_LEN>::new();
        let _ = write!(text, "{detail}");
        send(&Reply::Error { sequence, refusal, needed, available, detail: &text });
    }
}

/// Which plan is in place, as the reply to message `sequence`.
pub fn plan_reply(sequence: u32, plan: &Plan) -> Reply<'static> {
    let (steps, arena_bytes) = (plan.step_count() as u32, plan.arena_bytes() as u32);
    Reply::Plan { sequence, digest: plan.digest(), steps, arena_bytes }
}

/// What a host can ask about.
pub struct HostContext<'s, 'p, 'm> {
    /// What runs the model, or why nothing does.
    pub engine: Result<&'s mut Engine<'p, 'm>, Denial<'s>>,
    /// The newest camera frame.
    pub frame: Option<Frame<'s>>,
    /// Room for a frame that the host sends.
    pub buffer: &'s mut [u8],
}

/// A host beside a loop that does something else.
pub trait HostHandler {
    /// Answers the host if it has sent something: whether it had. It may take long, but has an end, and the watchdog is fed.
    fn poll(&mut self, context: HostContext) -> bool;

    /// Tells whoever wants to know what the loop does.
    fn report(&mut self, reply: &Reply);
}
