//! What a board says, and reading it back from its log.

use crate::frame::PixelFormat;

/// Why a board could not do what a message asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header is not one; the board stops.
    BadHeader,
    /// The stream ended within a message; the board stops.
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
    /// The watch's payload does not parse, or the network cannot watch.
    BadWatch,
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
        Self::BadWatch,
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
            Self::BadWatch => "bad-watch",
            Self::NoFrame => "no-frame",
        }
    }
}

/// A board's reply: what the board logs, and what the host reads from the decoded line.
///
/// The two hold scores differently: the board, and a packet, as `&[i8]`, the log's reader as text that is known to parse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a, V = Values<'a>> {
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
        values: V,
    },
    /// What a frame shows.
    Label {
        /// The message's number.
        sequence: u32,
        /// Best class.
        class: u32,
        /// Its lead over the second, in logits.
        margin: f32,
        /// Whether most of the recent frames showed it too.
        steady: bool,
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
    Seen {
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
        tally: FrameCounts,
    },
    /// A watch is over.
    Watched {
        /// The message's number.
        sequence: u32,
        /// What happened.
        tally: FrameCounts,
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
    Picture {
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
    /// Frames that were seen.
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

impl FrameCounts {
    fn parse(fields: &mut &str) -> Option<Self> {
        Some(Self {
            turns: number(fields, "turns")?,
            frames: number(fields, "frames")?,
            missing: number(fields, "missing")?,
            overruns: number(fields, "overruns")?,
            losses: number(fields, "losses")?,
            restarts: number(fields, "restarts")?,
        })
    }
}

impl<'a> Reply<'a> {
    /// The reply in `line`; `None` for any other line of the log.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (kind, mut rest) = line.trim().split_once(' ')?;
        let fields = &mut rest;
        let reply = match kind {
            "ready" => Self::Ready {
                board: word(fields, "board")?,
                plan_bytes: number(fields, "plan_bytes")?,
                arena_bytes: number(fields, "arena_bytes")?,
            },
            "plan" => Self::Plan {
                sequence: number(fields, "seq")?,
                digest: hex(word(fields, "digest")?, 16)?.to_be_bytes(),
                steps: number(fields, "steps")?,
                arena_bytes: number(fields, "arena_bytes")?,
            },
            "scores" => Self::Scores {
                sequence: number(fields, "seq")?,
                crc: crc(fields)?,
                values: Values::parse(text(fields, "values")?)?,
            },
            "label" => Self::Label {
                sequence: number(fields, "seq")?,
                class: number(fields, "class")?,
                margin: number(fields, "margin")?,
                steady: number(fields, "steady")?,
                name: text(fields, "name")?,
            },
            "step" => {
                Self::Step { sequence: number(fields, "seq")?, index: number(fields, "index")?, crc: crc(fields)? }
            }
            "cost" => Self::Cost {
                sequence: number(fields, "seq")?,
                index: number(fields, "index")?,
                instructions: number(fields, "instructions")?,
            },
            "profile" => Self::Profile {
                sequence: number(fields, "seq")?,
                instructions: number(fields, "instructions")?,
                stack_bytes: number(fields, "stack_bytes")?,
            },
            "seen" => Self::Seen {
                sequence: number(fields, "seq")?,
                class: number(fields, "class")?,
                settled: number(fields, "settled")?,
                margin: number(fields, "margin")?,
                latency_us: number(fields, "latency_us")?,
                interval_us: number(fields, "interval_us")?,
                name: text(fields, "name")?,
            },
            "fault" => Self::Fault {
                sequence: number(fields, "seq")?,
                what: word(fields, "what")?,
                tally: FrameCounts::parse(fields)?,
            },
            "watched" => Self::Watched { sequence: number(fields, "seq")?, tally: FrameCounts::parse(fields)? },
            "error" => Self::Error {
                sequence: number(fields, "seq")?,
                refusal: word(fields, "code").and_then(|code| Refusal::ALL.into_iter().find(|r| r.name() == code))?,
                needed: number(fields, "needed")?,
                available: number(fields, "available")?,
                detail: text(fields, "detail")?,
            },
            "end" => Self::End { messages: number(fields, "messages")? },
            _ => return None,
        };
        rest.is_empty().then_some(reply)
    }
}

/// The scores of a reply, still as text that is known to parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a>(&'a str);

impl<'a> Values<'a> {
    /// The list `[n, n, ...]` of int8 values.
    fn parse(text: &'a str) -> Option<Self> {
        let list = Self(text.strip_prefix('[')?.strip_suffix(']')?);
        list.items().all(|item| item.parse::<i8>().is_ok()).then_some(list)
    }

    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = i8> + use<'a> {
        // Every item parsed before, so `ok` drops nothing.
        self.items().filter_map(|item| item.parse().ok())
    }

    fn items(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.split(',').map(str::trim).filter(|item| !item.is_empty())
    }
}

/// Takes `key=value` with a one-word value off the front of `rest`.
fn word<'a>(rest: &mut &'a str, key: &str) -> Option<&'a str> {
    let tail = rest.strip_prefix(key)?.strip_prefix('=')?;
    let (value, tail) = tail.split_once(' ').unwrap_or((tail, ""));
    *rest = tail;
    Some(value)
}

/// Takes `key=` and everything after it: the last field of a line may hold spaces.
fn text<'a>(rest: &mut &'a str, key: &str) -> Option<&'a str> {
    let value = rest.strip_prefix(key)?.strip_prefix('=')?;
    *rest = "";
    Some(value)
}

fn number<T: core::str::FromStr>(rest: &mut &str, key: &str) -> Option<T> {
    word(rest, key)?.parse().ok()
}

fn crc(rest: &mut &str) -> Option<u32> {
    u32::try_from(hex(word(rest, "crc")?, 8)?).ok()
}

/// A number of exactly `digits` hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALLY: FrameCounts = FrameCounts { turns: 10, frames: 5, missing: 2, overruns: 1, losses: 2, restarts: 1 };

    #[test]
    fn replies_parse() {
        let values = |line| match Reply::parse(line) {
            Some(Reply::Scores { sequence: 3, crc: 0xdead_beef, values }) => values.iter().collect::<Vec<_>>(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(values("scores seq=3 crc=deadbeef values=[-128, 127, 0]"), [-128, 127, 0]);
        assert_eq!(values("scores seq=3 crc=deadbeef values=[]"), []);
        for (line, expected) in [
            (
                "ready board=mps2-an500 plan_bytes=8 arena_bytes=4",
                Reply::Ready { board: "mps2-an500", plan_bytes: 8, arena_bytes: 4 },
            ),
            (
                "plan seq=0 digest=0123456789abcdef steps=12 arena_bytes=40960",
                Reply::Plan {
                    sequence: 0,
                    digest: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
                    steps: 12,
                    arena_bytes: 40960,
                },
            ),
            (
                "label seq=4 class=7 margin=2.25 steady=true name=sea lion = seal",
                Reply::Label { sequence: 4, class: 7, margin: 2.25, steady: true, name: "sea lion = seal" },
            ),
            ("step seq=5 index=2 crc=0000000a", Reply::Step { sequence: 5, index: 2, crc: 10 }),
            (
                "cost seq=5 index=2 instructions=5000000000",
                Reply::Cost { sequence: 5, index: 2, instructions: 5_000_000_000 },
            ),
            (
                "profile seq=5 instructions=1 stack_bytes=2",
                Reply::Profile { sequence: 5, instructions: 1, stack_bytes: 2 },
            ),
            (
                "error seq=6 code=arena-too-small needed=9 available=8 detail=",
                Reply::Error { sequence: 6, refusal: Refusal::ArenaTooSmall, needed: 9, available: 8, detail: "" },
            ),
            (
                "seen seq=4 class=7 settled=true margin=2.25 latency_us=41000 interval_us=33333 name=sea lion",
                Reply::Seen {
                    sequence: 4,
                    class: 7,
                    settled: true,
                    margin: 2.25,
                    latency_us: 41_000,
                    interval_us: 33_333,
                    name: "sea lion",
                },
            ),
            (
                "fault seq=9 what=no-acknowledge turns=10 frames=5 missing=2 overruns=1 losses=2 restarts=1",
                Reply::Fault { sequence: 9, what: "no-acknowledge", tally: TALLY },
            ),
            (
                "watched seq=1 turns=10 frames=5 missing=2 overruns=1 losses=2 restarts=1",
                Reply::Watched { sequence: 1, tally: TALLY },
            ),
            ("end messages=2", Reply::End { messages: 2 }),
        ] {
            assert_eq!(Reply::parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn other_lines_are_not_replies() {
        for line in [
            "",
            "scores",
            "scores seq=3 crc=deadbeef values=[-129]",
            "scores seq=3 crc=deadbeef values=[1",
            "scores seq=3 crc=+eadbeef values=[1]",
            "scores crc=deadbeef seq=3 values=[1]",
            "plan seq=0 digest=0123 steps=1 arena_bytes=1",
            "step seq=5 index=2 crc=0000000a more",
            "error seq=6 code=unheard-of needed=0 available=0 detail=x",
            "end messages=-1",
            "watched seq=1 turns=10 frames=5 missing=2 overruns=1 losses=2",
            "fault seq=9 turns=10 frames=5 missing=2 overruns=1 losses=2 restarts=1",
            "exposure settled",
        ] {
            assert_eq!(Reply::parse(line), None, "{line}");
        }
    }
}
