//! Messages to a board that runs, and its answers: the very ones that emulated boards speak
//! ([`ocellus_shared::wire`]), by RTT beside the log.
//!
//! The program is restarted first, so that what an earlier run left in memory counts for nothing. No wait is unbounded, and
//! a board that starts anew in the middle, or a probe that is pulled out, is told from one that is only slow.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{Header, Kind, Refusal, Reply, packet, tensor_crc};
use probe_rs::rtt::{Error, Rtt, RttChannel, find_rtt_control_block_in_raw_file};

use super::{Link, identity, trouble};

/// Name of the line's channels, up and down.
const NAME: &str = "ocellus";
/// Numbers of its channels.
const UP: usize = 1;
const DOWN: usize = 0;
/// Time between two looks at a line that brought nothing.
const PAUSE: Duration = Duration::from_millis(1);
/// Most bytes of one look.
const READ_BYTES: usize = 4096;
/// Longest wait for an answer that takes no computing: a board may be bringing its sensor up, in three tries.
const PATIENCE: Duration = Duration::from_secs(8);
/// Cycles per multiply-accumulate above which a core counts as stuck: eight times what the slowest kernel takes.
const SLOWEST: u64 = 100;

/// A board that answers.
pub struct Conversation {
    link: Link,
    rtt: Rtt,
    /// What came, and is no whole packet yet.
    heard: Vec<u8>,
    sequence: u32,
    /// How long an inference may take.
    patience: Duration,
}

/// What each step of a run took on a real core, in its cycles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycles {
    /// The whole run.
    pub all: u64,
    /// Each step.
    pub steps: Vec<u64>,
    /// Most bytes of stack that the run used.
    pub stack_bytes: u32,
    /// The int8 scores.
    pub scores: Vec<i8>,
}

/// A frame as the board's sensor delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// How its pixels are stored.
    pub format: PixelFormat,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Its bytes, row by row.
    pub data: Vec<u8>,
}

impl Shot {
    /// The frame.
    ///
    /// # Errors
    /// The bytes are not as many as size and format say.
    pub fn frame(&self) -> Result<Frame<'_>> {
        Frame::new(self.format, self.width, self.height, &self.data).context("the board's frame")
    }
}

impl Link {
    /// Restarts the program on the board, which must be `elf`, and opens the line to it.
    ///
    /// # Errors
    /// `elf` is no firmware of a real board, the program on the board is another one or does not start, it has no line to
    /// the host, or the connection is lost.
    pub fn converse(mut self, elf: &[u8]) -> Result<Conversation> {
        let address = find_rtt_control_block_in_raw_file(elf).context("the program is no ELF file")?.context(
            "the program has no line to the host: it lacks the symbol _SEGGER_RTT, which firmware of real boards has",
        )?;
        self.clear(address)?;
        let mut rtt = self.find_block(address)?;
        let is_ours = |channel: Option<&dyn RttChannel>| channel.is_some_and(|c| c.name() == Some(NAME));
        let up = is_ours(rtt.up_channel(UP).map(|channel| &*channel as &dyn RttChannel));
        let down = is_ours(rtt.down_channel(DOWN).map(|channel| &*channel as &dyn RttChannel));
        ensure!(
            up && down,
            "the program on {} cannot be talked to, it is of an older Ocellus: write it anew with `ocellus flash`",
            self.board.name
        );
        Ok(Conversation { link: self, rtt, heard: Vec::new(), sequence: 0, patience: PATIENCE })
    }
}

impl Conversation {
    /// Makes sure that the board runs `plan`.
    ///
    /// # Errors
    /// It is another board, runs another model or none; or the connection is lost.
    pub fn check(&mut self, plan: &Plan) -> Result<()> {
        let sequence = self.send(Kind::Hello, &[])?;
        let greeting = self.wait(PATIENCE, |reply| matches!(reply, Reply::Ready { .. }))?;
        let name = self.link.board.name.clone();
        if let Reply::Ready { board, .. } = reply_of(&greeting)? {
            identity::check_program(board, &name)?;
        }
        let answer = self.wait(PATIENCE, |reply| matches!(reply, Reply::Plan { sequence: s, .. } if *s == sequence))?;
        let Reply::Plan { digest, .. } = reply_of(&answer)? else { bail!("not a plan") };
        identity::check_model(digest, plan, &name)?;
        let seconds = plan.work().saturating_mul(SLOWEST) / self.link.board.clock_hz.unwrap_or(1_000_000).max(1);
        self.patience = PATIENCE + Duration::from_secs(seconds);
        Ok(())
    }

    /// Scores of an int8 image `(h, w, c)`.
    ///
    /// # Errors
    /// The board refuses the image, starts anew, or is silent for too long; or the connection is lost.
    pub fn scores(&mut self, image: &[i8]) -> Result<Vec<i8>> {
        let sequence = self.send(Kind::Tensor, bytemuck::cast_slice(image))?;
        self.wait_scores(sequence)
    }

    /// Scores of a camera frame that the board preprocesses.
    ///
    /// # Errors
    /// As for [`Conversation::scores`].
    pub fn frame(&mut self, frame: &Frame) -> Result<Vec<i8>> {
        let len = u32::try_from(frame.data().len()).context("the frame is too large")?;
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let header = Header::frame(frame.format(), frame.width(), frame.height(), sequence, len);
        self.write(&[&header.emit()[..], frame.data()].concat())?;
        self.wait_scores(sequence)
    }

    /// Runs an int8 image: the CRC-32 of every step's output.
    ///
    /// # Errors
    /// As for [`Conversation::scores`].
    pub fn trace(&mut self, image: &[i8]) -> Result<Vec<u32>> {
        let sequence = self.send(Kind::Trace, bytemuck::cast_slice(image))?;
        let mut steps = Vec::new();
        loop {
            let packet = self.wait(self.patience, |reply| {
                matches!(reply, Reply::Step { sequence: s, .. } | Reply::Scores { sequence: s, .. } if *s == sequence)
            })?;
            match reply_of(&packet)? {
                Reply::Step { crc, .. } => steps.push(crc),
                _ => return Ok(steps),
            }
        }
    }

    /// Runs an int8 image and counts the core's cycles.
    ///
    /// # Errors
    /// As for [`Conversation::scores`].
    pub fn profile(&mut self, image: &[i8]) -> Result<Cycles> {
        let sequence = self.send(Kind::Profile, bytemuck::cast_slice(image))?;
        let mut cycles = Cycles { all: 0, steps: Vec::new(), stack_bytes: 0, scores: Vec::new() };
        loop {
            let packet = self.wait(self.patience, |reply| {
                matches!(reply, Reply::Cost { sequence: s, .. } | Reply::Profile { sequence: s, .. }
                              | Reply::Scores { sequence: s, .. } if *s == sequence)
            })?;
            match reply_of(&packet)? {
                Reply::Cost { instructions, .. } => cycles.steps.push(instructions),
                Reply::Profile { instructions, stack_bytes, .. } => {
                    (cycles.all, cycles.stack_bytes) = (instructions, stack_bytes)
                }
                _ => return Ok(Cycles { scores: checked_scores(&packet)?, ..cycles }),
            }
        }
    }

    /// The newest frame of the board's camera; nothing while it has none.
    ///
    /// # Errors
    /// The board starts anew, or is silent for too long; or the connection is lost.
    pub fn shot(&mut self) -> Result<Option<Shot>> {
        let sequence = self.send(Kind::Show, &[])?;
        let packet = self.wait(PATIENCE, |reply| match reply {
            Reply::Picture { sequence: s, .. } => *s == sequence,
            Reply::Error { refusal, .. } => *refusal == Refusal::NoFrame,
            _ => false,
        })?;
        let Reply::Picture { format, width, height, .. } = reply_of(&packet)? else { return Ok(None) };
        let bytes = Frame::bytes(format, width, height).context("the board's frame is too large")?;
        let row = usize::from(width) * format.bytes_per_pixel();
        let mut shot = Shot { format, width, height, data: Vec::with_capacity(bytes) };
        while shot.data.len() < bytes {
            let packet =
                self.wait(PATIENCE, |reply| matches!(reply, Reply::Rows { sequence: s, .. } if *s == sequence))?;
            let Reply::Rows { first, bytes, .. } = reply_of(&packet)? else { bail!("not rows") };
            ensure!(first as usize * row == shot.data.len(), "rows of the board's frame were lost on their way");
            shot.data.extend_from_slice(bytes);
        }
        ensure!(shot.data.len() == bytes, "the board's frame has {} bytes instead of {bytes}", shot.data.len());
        Ok(Some(shot))
    }

    /// Ends the conversation in good order.
    ///
    /// # Errors
    /// As for [`Conversation::release`].
    pub fn end(mut self) -> Result<()> {
        self.release()
    }

    /// Lets the board go on watching, which it does not while messages come.
    ///
    /// # Errors
    /// It does not answer; or the connection is lost.
    pub fn release(&mut self) -> Result<()> {
        self.send(Kind::End, &[])?;
        self.wait(PATIENCE, |reply| matches!(reply, Reply::End { .. }))?;
        Ok(())
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let len = u32::try_from(payload.len()).context("the message is too large")?;
        self.write(&[&Header::new(kind, self.sequence, len).emit()[..], payload].concat())?;
        Ok(self.sequence)
    }

    /// Puts a message into the board's ring, as it makes room.
    fn write(&mut self, message: &[u8]) -> Result<()> {
        let (mut rest, mut deadline) = (message, Instant::now() + self.patience);
        while !rest.is_empty() {
            // What the board says meanwhile must be taken, or it would wait for that.
            let (written, read) = (self.write_some(rest)?, self.read_some()?);
            rest = &rest[written..];
            if written + read > 0 {
                deadline = Instant::now() + self.patience;
            } else if Instant::now() > deadline {
                bail!(self.silent());
            } else {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut core = self.link.core()?;
        let written = self.rtt.down_channel(DOWN).map_or(Ok(0), |channel| channel.write(&mut core, bytes));
        drop(core);
        written.map_err(|error| self.broken(error))
    }

    /// Takes what came: how many bytes.
    fn read_some(&mut self) -> Result<usize> {
        let mut buffer = [0; READ_BYTES];
        let mut core = self.link.core()?;
        let read = self.rtt.up_channel(UP).map_or(Ok(0), |channel| channel.read(&mut core, &mut buffer));
        drop(core);
        let read = read.map_err(|error| self.broken(error))?;
        self.heard.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    /// What it means that a channel could not be read or written.
    fn broken(&self, error: Error) -> anyhow::Error {
        let board = &self.link.board.name;
        let what = match error {
            Error::ReadPointerChanged | Error::ControlBlockCorrupted(_) | Error::ControlBlockNotFound => format!(
                "{board} started anew in the middle: its watchdog, its supply or its reset button; run the command again, \
                 and if it happens again, `ocellus monitor` says whether it was the watchdog"
            ),
            _ => trouble::lost(board),
        };
        trouble::without_channel(error, what)
    }

    fn silent(&self) -> String {
        format!(
            "{} no longer answers, for {} s: it stands still, or was reset in the middle of a message; press its reset \
             button and run the command again",
            self.link.board.name,
            self.patience.as_secs()
        )
    }

    /// The next packet whose reply is `wanted`; an error that is not ends the wait.
    fn wait(&mut self, patience: Duration, wanted: impl Fn(&Reply<'_, &[i8]>) -> bool) -> Result<Vec<u8>> {
        let mut deadline = Instant::now() + patience;
        loop {
            if let Some((reply, len)) = packet::parse(&self.heard)? {
                let (found, refusal) = (wanted(&reply), refused(&self.link.board.name, &reply));
                let packet = self.heard.drain(..len).collect();
                match (found, refusal) {
                    (true, _) => return Ok(packet),
                    (false, Some(refusal)) => return Err(refusal),
                    (false, None) => continue,
                }
            }
            if self.read_some()? > 0 {
                deadline = Instant::now() + patience;
            } else if Instant::now() > deadline {
                bail!(self.silent());
            } else {
                thread::sleep(PAUSE);
            }
        }
    }

    fn wait_scores(&mut self, sequence: u32) -> Result<Vec<i8>> {
        let wanted = |reply: &Reply<'_, &[i8]>| matches!(reply, Reply::Scores { sequence: s, .. } if *s == sequence);
        checked_scores(&self.wait(self.patience, wanted)?)
    }
}

/// The board's refusal, where `reply` is one, with what to do about it.
fn refused(board: &str, reply: &Reply<'_, &[i8]>) -> Option<anyhow::Error> {
    let Reply::Error { refusal, needed, available, detail, .. } = reply else { return None };
    let remedy = match refusal {
        Refusal::NoPlan | Refusal::BadPlan => format!("; write one with `ocellus flash MODEL --board {board} --model`"),
        Refusal::BadHeader | Refusal::Truncated => "; run the command again, with a lower --speed".to_owned(),
        Refusal::FrameTooLarge => {
            format!("; it has {needed} bytes, the board has room for {available}: choose a smaller --frame-size")
        }
        _ => format!(" (needed {needed}, there are {available})"),
    };
    Some(anyhow!("{board} refuses: {} {detail}{remedy}", refusal.name()))
}

fn reply_of(packet: &[u8]) -> Result<Reply<'_, &[i8]>> {
    packet::parse(packet)?.map(|(reply, _)| reply).context("half a packet")
}

/// The scores in a packet, if their checksum is theirs.
fn checked_scores(packet: &[u8]) -> Result<Vec<i8>> {
    let Reply::Scores { crc, values, .. } = reply_of(packet)? else { bail!("not scores") };
    ensure!(tensor_crc(values) == crc, "scores were damaged on the board: its memory does not keep what is written");
    Ok(values.to_vec())
}
