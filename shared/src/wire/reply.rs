//! What a board answers.

use crate::frame::PixelFormat;

/// Why a board could not do what a message asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header is not one: the stream is out of step.
    BadHeader,
    /// The stream ended, or fell silent, within a message.
    Truncated,
    /// The plan is larger than the memory set aside for it.
    PlanTooLarge,
    /// The plan does not parse.
    BadPlan,
    /// The plan's arena is larger than the board's.
    ArenaTooSmall,
    /// No plan is in place yet.
    NoPlan,
    /// The tensor has another length than the plan's input.
    BadTensor,
    /// The frame's size and length do not match, or the network takes no colour image.
    BadFrame,
    /// The frame is larger than the memory set aside for it.
    FrameTooLarge,
    /// The camera loop cannot run: a simulation's payload does not parse, or the model or its label is none for it.
    CameraLoop,
    /// No camera frame is there to be sent.
    NoFrame,
}

impl Refusal {
    /// Every one, in the order of their codes.
    pub(super) const ALL: [Self; 11] = [
        Self::BadHeader,
        Self::Truncated,
        Self::PlanTooLarge,
        Self::BadPlan,
        Self::ArenaTooSmall,
        Self::NoPlan,
        Self::BadTensor,
        Self::BadFrame,
        Self::FrameTooLarge,
        Self::CameraLoop,
        Self::NoFrame,
    ];

    /// Its name in a reply.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadHeader => "bad-header",
            Self::Truncated => "truncated",
            Self::PlanTooLarge => "plan-too-large",
            Self::BadPlan => "bad-plan",
            Self::ArenaTooSmall => "arena-too-small",
            Self::NoPlan => "no-plan",
            Self::BadTensor => "bad-tensor",
            Self::BadFrame => "bad-frame",
            Self::FrameTooLarge => "frame-too-large",
            Self::CameraLoop => "camera-loop",
            Self::NoFrame => "no-frame",
        }
    }
}

/// A board's reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a> {
    /// The board runs.
    Ready {
        /// Its name.
        board: &'a str,
        /// Memory for a plan.
        plan_bytes: u32,
        /// Memory for feature maps.
        arena_bytes: u32,
    },
    /// A plan is in place.
    Plan {
        /// The message's number.
        sequence: u32,
        /// The plan's digest.
        digest: [u8; 8],
        /// Its number of steps.
        steps: u32,
        /// The memory it takes from the arena.
        arena_bytes: u32,
    },
    /// A network's int8 scores.
    Scores {
        /// The message's number.
        sequence: u32,
        /// CRC-32 of the scores.
        crc: u32,
        /// The scores.
        values: &'a [i8],
    },
    /// What a frame shows.
    Label {
        /// The message's number.
        sequence: u32,
        /// Best class.
        class: u32,
        /// Its lead over the second, in logits.
        margin: f32,
        /// The class's name.
        name: &'a str,
    },
    /// One step of a traced run.
    Step {
        /// The message's number.
        sequence: u32,
        /// The step.
        index: u32,
        /// CRC-32 of its output.
        crc: u32,
    },
    /// One step of a profiled run.
    Cost {
        /// The message's number.
        sequence: u32,
        /// The step.
        index: u32,
        /// What it took.
        instructions: u64,
    },
    /// A whole profiled run.
    Profile {
        /// The message's number.
        sequence: u32,
        /// What it took.
        instructions: u64,
        /// Most bytes of stack that the run used.
        stack_bytes: u32,
    },
    /// What a live frame shows, with those before it.
    Classified {
        /// The frame's number.
        sequence: u32,
        /// The label that stands, or the likeliest class while there is none.
        class: u32,
        /// Whether it stands.
        settled: bool,
        /// Its lead over the second, averaged over time, in logits.
        margin: f32,
        /// Time from when the frame was there to when it had been acted on.
        latency_us: u32,
        /// Time since the frame before; 0 for the first.
        interval_us: u32,
        /// The class's name.
        name: &'a str,
    },
    /// A live frame did not come.
    Fault {
        /// Number of the turn.
        sequence: u32,
        /// What happened, in one word.
        what: &'a str,
        /// What happened so far.
        counts: FrameCounts,
    },
    /// A simulation is over.
    Simulated {
        /// The message's number.
        sequence: u32,
        /// What happened.
        counts: FrameCounts,
    },
    /// Something could not be done.
    Error {
        /// The message's number.
        sequence: u32,
        /// Why.
        refusal: Refusal,
        /// Bytes that it would take, or 0.
        needed: u32,
        /// Bytes that there are, or 0.
        available: u32,
        /// More about it, for people.
        detail: &'a str,
    },
    /// The conversation is over.
    End {
        /// Messages that were read.
        messages: u32,
    },
    /// The newest camera frame follows.
    Frame {
        /// The message's number.
        sequence: u32,
        /// How its pixels are stored.
        format: PixelFormat,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Some rows of that frame.
    Rows {
        /// The message's number.
        sequence: u32,
        /// The first of them.
        first: u32,
        /// Their pixels, without gaps.
        bytes: &'a [u8],
    },
}

/// How often what happened to a camera loop; each stays at its largest value once it gets there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Turns of the loop: the sum of the next four.
    pub turns: u32,
    /// Frames that were classified.
    pub frames: u32,
    /// Frames that did not come in time.
    pub missing: u32,
    /// Frames that were damaged.
    pub overruns: u32,
    /// Times that the sensor was found not to answer.
    pub losses: u32,
    /// Times that the sensor was brought up again.
    pub restarts: u32,
}
