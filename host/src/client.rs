//! Talks to a board, emulated or real: messages go out over a [`Transport`], replies come back ([`ocellus_shared::wire`]).
//!
//! No wait is unbounded: a board that is silent for too long, stops, or starts anew is an error that says so.

mod live;
mod pool;

pub use live::{LiveEvent, LiveFrame, Simulation};
pub use pool::scores_of;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Plan;
use ocellus_shared::quant::QuantParams;
use ocellus_shared::wire::{Header, Kind, MAX_PAYLOAD_LEN, Refusal, Reply, packet, tensor_crc};

use crate::board::{Board, DoesNotFit};
use crate::probe::{self, Link, Settings};
use crate::toolchain;
use crate::transport::Transport;
use crate::transport::chip::{self, Chip};
use crate::transport::qemu::{self, ClockMode, Qemu};
use crate::transport::rtt::Rtt;

/// Longest wait for an emulated board to boot, or to answer a message that takes no computing.
const EMULATED_TIMEOUT: Duration = Duration::from_secs(60);
/// The same of a real board, which may be bringing its sensor up, in three tries.
const REAL_TIMEOUT: Duration = Duration::from_secs(8);
/// Multiply-accumulates a second below which an emulated board counts as stuck. Idle machines do over 50 million.
const SLOWEST_EMULATED: u64 = 500_000;
/// The same of a board whose chip is in software, instruction by instruction.
const SLOWEST_CHIP: u64 = 20_000;
/// Longest wait for such a board to answer a message that takes no computing.
const CHIP_TIMEOUT: Duration = Duration::from_secs(120);
/// Cycles per multiply-accumulate above which a core counts as stuck: eight times what the slowest kernel takes.
const SLOWEST_CYCLES: u64 = 100;

/// Time in which a board that has no room for more of a message makes some.
const PAUSE: Duration = Duration::from_millis(1);

/// A board that answers. Dropping it ends an emulated one.
pub struct Client {
    board: Board,
    transport: Box<dyn Transport>,
    /// What came, and is no whole packet yet.
    received: Vec<u8>,
    sequence: u32,
    /// Longest wait for an answer that takes no computing.
    timeout: Duration,
    /// How long an inference may take.
    run_timeout: Duration,
    /// The chip of the board is in software.
    is_chip: bool,
    /// Labels and scale of the plan's scores, once there is one.
    output: Option<(Vec<String>, QuantParams)>,
    /// The scores that belong to the next live frame.
    live_scores: Vec<i8>,
}

/// What a board says of a camera frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The int8 scores.
    pub scores: Vec<i8>,
    /// The best class's name.
    pub label: String,
    /// Its lead over the second class, in logits.
    pub margin: f32,
}

/// What an inference took: instructions on an emulated board, whose emulator knows no pipeline and no cache, and the core's
/// cycles on a real one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Of the whole run.
    pub total: u64,
    /// Most bytes of stack that the run used.
    pub stack_bytes: u32,
    /// Of each step.
    pub steps: Vec<u64>,
    /// The int8 scores.
    pub scores: Vec<i8>,
}

/// The CRC-32 of every step's output, and the scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// One per step.
    pub steps: Vec<u32>,
    /// The int8 scores.
    pub scores: Vec<i8>,
}

/// A frame as the board's sensor delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// How its pixels are stored.
    pub format: PixelFormat,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Its bytes, row by row.
    pub data: Vec<u8>,
}

impl RawFrame {
    /// The frame.
    ///
    /// # Errors
    /// The bytes are not as many as size and format say.
    pub fn frame(&self) -> Result<Frame<'_>> {
        Frame::new(self.format, self.width, self.height, &self.data).context("the board's frame")
    }
}

impl Client {
    /// Boots the firmware `elf` on the machine of `board`, which is emulated as a whole.
    ///
    /// # Errors
    /// No QEMU (with the fix), a board that is not emulated, firmware of another board, or no answer within a minute.
    pub fn boot(board: &Board, elf: &Path, clock: ClockMode) -> Result<Self> {
        let qemu = Qemu::start(board, elf, clock)?;
        let mut client = Self::new(board, Box::new(qemu), EMULATED_TIMEOUT);
        client.hello().map_err(qemu::explain)?;
        Ok(client)
    }

    /// The same, with the plan in `plan` in place. On a board of which the chip alone is modelled, both are in flash.
    ///
    /// # Errors
    /// As for [`Client::boot`], [`Chip::start`] and [`Client::set_plan`].
    pub fn boot_with(board: &Board, elf: &Path, clock: ClockMode, plan: &[u8]) -> Result<Self> {
        if board.machine.is_none() && chip::is_modelled(&board.name) {
            let elf = toolchain::read_program(board, elf)?;
            let mut client = Self::new(board, Box::new(Chip::start(board, &elf, plan)?), CHIP_TIMEOUT);
            client.is_chip = true;
            client.set_plan(plan)?;
            return Ok(client);
        }
        let mut client = Self::boot(board, elf, clock)?;
        client.set_plan(plan)?;
        Ok(client)
    }

    /// Restarts the program on the board behind `link`, which must be `elf`.
    ///
    /// # Errors
    /// As for [`Link::open_channels`].
    pub fn restart(board: &Board, link: Link, elf: &[u8]) -> Result<Self> {
        let transport = Rtt::new(link.open_channels(elf)?, elf);
        Ok(Self::new(board, Box::new(transport), REAL_TIMEOUT))
    }

    /// A real board that runs the program `elf` and `plan`, restarted; a simulated one is given both first.
    ///
    /// # Errors
    /// As for [`probe::reach`], [`Client::restart`] and [`Client::set_plan`].
    pub fn on_board(board: &Board, settings: &Settings, elf: &[u8], plan: &[u8]) -> Result<Self> {
        let mut client = Self::restart(board, probe::reach(board, settings, elf, plan)?, elf)?;
        client.set_plan(plan)?;
        Ok(client)
    }

    /// A client of `board` over any transport, whose answers take no longer than `timeout` where nothing is computed.
    pub fn new(board: &Board, transport: Box<dyn Transport>, timeout: Duration) -> Self {
        let (received, live_scores) = (Vec::new(), Vec::new());
        Self {
            board: board.clone(),
            transport,
            received,
            sequence: 0,
            timeout,
            run_timeout: timeout,
            is_chip: false,
            output: None,
            live_scores,
        }
    }

    /// Makes sure that the board runs the plan in `bytes`: an emulated one gets it, a real one must have it in its flash.
    ///
    /// # Errors
    /// [`DoesNotFit`] where it is too large; the board is another one, refuses the plan, or runs another one.
    pub fn set_plan(&mut self, bytes: &[u8]) -> Result<()> {
        let plan = Plan::parse(bytes)?;
        self.board.check_fit(&plan)?;
        let work = plan.work();
        let seconds = match self.board.machine {
            Some(_) => work / SLOWEST_EMULATED,
            None if self.is_chip => work / SLOWEST_CHIP,
            None => work.saturating_mul(SLOWEST_CYCLES) / self.board.clock_hz.unwrap_or(1_000_000).max(1),
        };
        self.run_timeout = self.timeout + Duration::from_secs(seconds);
        self.output = Some((plan.labels().map(str::to_owned).collect(), plan.output_params()));
        let digest = match self.board.machine {
            // The board checks every byte, of which there are no more than multiply-accumulates.
            Some(_) => self.send_plan(bytes)?,
            None => self.hello()?.context("the board has no plan")?,
        };
        self.check_digest(digest, plan.digest())
    }

    /// Scores of an int8 image `(h, w, c)`.
    ///
    /// # Errors
    /// The board refuses the image, stops, starts anew, or is silent for too long.
    pub fn scores(&mut self, image: &[i8]) -> Result<Vec<i8>> {
        let sequence = self.send(Kind::Tensor, bytemuck::cast_slice(image))?;
        self.wait(self.run_timeout, |reply| scores_in(reply, sequence))?
    }

    /// Classifies a camera frame: a board whose chip is in software takes it in through its camera, others are sent it as a
    /// sensor would deliver it.
    ///
    /// # Errors
    /// As for [`Client::scores`]; or the board's camera gives no frames.
    pub fn frame(&mut self, frame: &Frame) -> Result<Classification> {
        if self.transport.show(frame) {
            return self.watched_frame();
        }
        let (data, sequence) = (frame.data(), self.next_sequence());
        let header = Header::frame(frame.format(), frame.width(), frame.height(), sequence, payload_len(data)?);
        self.write(&[&header.emit()[..], data].concat())?;
        let scores = self.wait(self.run_timeout, |reply| scores_in(reply, sequence))??;
        self.wait(self.timeout, |reply| match *reply {
            Reply::Label { sequence: s, name, margin, .. } if s == sequence => Some((name.to_owned(), margin)),
            _ => None,
        })
        .map(|(label, margin)| Classification { scores, label, margin })
    }

    /// Runs an int8 image and says what every step's output was.
    ///
    /// # Errors
    /// As for [`Client::scores`].
    pub fn trace(&mut self, image: &[i8]) -> Result<Trace> {
        let sequence = self.send(Kind::Trace, bytemuck::cast_slice(image))?;
        let mut steps = Vec::new();
        let scores = self.wait(self.run_timeout, |reply| {
            match *reply {
                Reply::Step { sequence: s, crc, .. } if s == sequence => steps.push(crc),
                _ => return scores_in(reply, sequence),
            }
            None
        })??;
        Ok(Trace { steps, scores })
    }

    /// Runs an int8 image and counts what it takes. An emulated board must have been booted with
    /// [`ClockMode::Instructions`], else the figures mean nothing.
    ///
    /// # Errors
    /// As for [`Client::scores`].
    pub fn profile(&mut self, image: &[i8]) -> Result<Profile> {
        let sequence = self.send(Kind::Profile, bytemuck::cast_slice(image))?;
        let mut profile = Profile::default();
        let scores = self.wait(self.run_timeout, |reply| {
            match *reply {
                Reply::Cost { sequence: s, instructions, .. } if s == sequence => profile.steps.push(instructions),
                Reply::Profile { sequence: s, instructions, stack_bytes } if s == sequence => {
                    (profile.total, profile.stack_bytes) = (instructions, stack_bytes);
                }
                _ => return scores_in(reply, sequence),
            }
            None
        })??;
        Ok(Profile { scores, ..profile })
    }

    /// The newest frame of the board's camera; nothing while it has none.
    ///
    /// # Errors
    /// The board starts anew, or is silent for too long.
    pub fn newest_frame(&mut self) -> Result<Option<RawFrame>> {
        let sequence = self.send(Kind::NewestFrame, &[])?;
        let head = self.wait(self.timeout, |reply| match *reply {
            Reply::Frame { sequence: s, format, width, height } if s == sequence => Some(Some((format, width, height))),
            Reply::Error { refusal: Refusal::NoFrame, .. } => Some(None),
            _ => None,
        })?;
        let Some((format, width, height)) = head else { return Ok(None) };
        let bytes = Frame::bytes(format, width, height).context("the board's frame is too large")?;
        let row = usize::from(width) * format.bytes_per_pixel();
        let mut data = Vec::new();
        while data.len() < bytes {
            let (first, rows) = self.wait(self.timeout, |reply| match *reply {
                Reply::Rows { sequence: s, first, bytes } if s == sequence => Some((first, bytes.to_vec())),
                _ => None,
            })?;
            let is_next = first as usize * row == data.len() && !rows.is_empty();
            ensure!(is_next, "rows of the board's frame were lost on their way");
            data.extend(rows);
        }
        ensure!(data.len() == bytes, "the board's frame has {} bytes instead of {bytes}", data.len());
        Ok(Some(RawFrame { format, width, height, data }))
    }

    /// Lets a real board go on with its camera loop, which rests while messages come; an emulated one ends.
    ///
    /// # Errors
    /// It does not answer, or the connection is lost.
    pub fn release(&mut self) -> Result<()> {
        self.send(Kind::End, &[])?;
        self.wait(self.timeout, |reply| matches!(reply, Reply::End { .. }).then_some(()))
    }

    /// Ends the conversation in good order.
    ///
    /// # Errors
    /// As for [`Client::release`]; or an emulated board does not end, or not with exit code 0.
    pub fn end(mut self) -> Result<()> {
        self.release()?;
        self.transport.close()
    }

    /// Lines of the board's log since the last call.
    pub fn log(&mut self) -> Vec<String> {
        self.transport.log()
    }

    /// Asks who the board is, and the digest of the plan that it runs. An emulated one may have none yet.
    fn hello(&mut self) -> Result<Option<[u8; 8]>> {
        let (sequence, may_lack) = (self.send(Kind::Hello, &[])?, self.board.machine.is_some());
        let name = self.wait(self.timeout, |reply| match reply {
            Reply::Ready { board, .. } => Some((*board).to_owned()),
            _ => None,
        })?;
        let board = &self.board.name;
        ensure!(
            name == *board,
            "the program on the board is that of {name}, not of {board}: write the right one with `ocellus flash`"
        );
        self.wait(self.timeout, |reply| match *reply {
            Reply::Plan { sequence: s, digest, .. } if s == sequence => Some(Some(digest)),
            Reply::Error { sequence: s, refusal: Refusal::NoPlan, .. } if s == sequence && may_lack => Some(None),
            _ => None,
        })
    }

    /// Sends the plan; the digest that the board read in it.
    fn send_plan(&mut self, bytes: &[u8]) -> Result<[u8; 8]> {
        let sequence = self.send(Kind::Plan, bytes)?;
        self.wait(self.run_timeout, |reply| match *reply {
            Reply::Plan { sequence: s, digest, .. } if s == sequence => Some(digest),
            _ => None,
        })
    }

    fn check_digest(&self, found: [u8; 8], wanted: [u8; 8]) -> Result<()> {
        let hex = |digest: [u8; 8]| format!("{:016x}", u64::from_be_bytes(digest));
        if found != wanted {
            bail!(
                "{board} runs another model: its digest is {}, that of the given one {}; write the given one with \
                 `ocellus flash MODEL --board {board} --model`",
                hex(found),
                hex(wanted),
                board = self.board.name
            );
        }
        Ok(())
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends a message: its number.
    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<u32> {
        let sequence = self.next_sequence();
        let header = Header::new(kind, sequence, payload_len(payload)?);
        self.write(&[&header.emit()[..], payload].concat())?;
        Ok(sequence)
    }

    /// Hands a message over, as the board makes room.
    fn write(&mut self, message: &[u8]) -> Result<()> {
        let (mut rest, mut deadline) = (message, Instant::now() + self.run_timeout);
        while !rest.is_empty() {
            let written = self.reached(|transport, _| transport.write(rest))?;
            rest = &rest[written..];
            if written > 0 {
                deadline = Instant::now() + self.run_timeout;
            } else if Instant::now() > deadline {
                bail!(self.transport.explain_silence(self.run_timeout));
            } else {
                // What the board says meanwhile must be taken, or it would wait for that.
                self.reached(|transport, received| transport.read(received, PAUSE))?;
            }
        }
        Ok(())
    }

    /// What `take` makes of the first reply that it wants. Others are passed over, but an error ends the wait.
    fn wait<V>(&mut self, timeout: Duration, take: impl FnMut(&Reply) -> Option<V>) -> Result<V> {
        self.poll(timeout, take)?.with_context(|| self.transport.explain_silence(timeout))
    }

    /// The same; nothing where none came in time.
    fn poll<V>(&mut self, timeout: Duration, mut take: impl FnMut(&Reply) -> Option<V>) -> Result<Option<V>> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some((reply, len)) = packet::parse(&self.received)? {
                let outcome = take(&reply).map(Ok).or_else(|| self.refusal(&reply).map(Err));
                self.received.drain(..len);
                if let Some(outcome) = outcome {
                    return outcome.map(Some);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.reached(|transport, received| transport.read(received, left))?;
        }
    }

    /// Uses the transport. After a failure, what came before counts no more.
    fn reached<V>(&mut self, act: impl FnOnce(&mut dyn Transport, &mut Vec<u8>) -> Result<V>) -> Result<V> {
        let outcome = act(self.transport.as_mut(), &mut self.received);
        if outcome.is_err() {
            self.received.clear();
        }
        outcome
    }

    /// The board's refusal, where `reply` is one, with what to do about it.
    fn refusal(&self, reply: &Reply) -> Option<anyhow::Error> {
        let Reply::Error { refusal, needed, available, detail, .. } = *reply else { return None };
        let (board, code, is_real) = (&self.board.name, refusal.name(), self.board.machine.is_none());
        let remedy = match refusal {
            Refusal::PlanTooLarge | Refusal::ArenaTooSmall => {
                let sizes = format!("it needs {needed} bytes, the board has {available}");
                return Some(DoesNotFit::new(format!("{board} refuses the plan ({code}): {sizes}")).into());
            }
            Refusal::FrameTooLarge => format!(
                "it has {needed} bytes, the board has room for {available}; choose a smaller --frame-size, or a \
                 --frame-format with fewer bytes a pixel"
            ),
            Refusal::NoPlan | Refusal::BadPlan if is_real => {
                format!("{detail}; write one with `ocellus flash MODEL --board {board} --model`")
            }
            Refusal::BadHeader | Refusal::Truncated if is_real => {
                format!("{detail}; run the command again, with a lower --speed")
            }
            _ => format!("{detail} (needed {needed}, there are {available})"),
        };
        Some(anyhow!("{board} refuses: {code} {remedy}"))
    }
}

/// Counts what the plan in `plan` takes for an int8 image `(h, w, c)` on `board`, which is emulated and runs `elf`.
///
/// # Errors
/// As for [`Client::boot_with`] and [`Client::profile`].
pub fn profile(board: &Board, elf: &Path, plan: &[u8], image: &[i8]) -> Result<Profile> {
    let mut client = Client::boot_with(board, elf, ClockMode::Instructions, plan)?;
    let profile = client.profile(image)?;
    client.end()?;
    Ok(profile)
}

fn payload_len(payload: &[u8]) -> Result<u32> {
    let len = u32::try_from(payload.len()).ok().filter(|len| *len <= MAX_PAYLOAD_LEN);
    len.with_context(|| format!("{} bytes are more than any board has room for", payload.len()))
}

/// The scores that answer message `sequence`, if their checksum is theirs.
fn scores_in(reply: &Reply, sequence: u32) -> Option<Result<Vec<i8>>> {
    match *reply {
        Reply::Scores { sequence: s, crc, values } if s == sequence => Some(checked(crc, values)),
        _ => None,
    }
}

fn checked(crc: u32, values: &[i8]) -> Result<Vec<i8>> {
    ensure!(tensor_crc(values) == crc, "scores were damaged on the board: its memory does not keep what is written");
    Ok(values.to_vec())
}

#[cfg(test)]
mod tests;
