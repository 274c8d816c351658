//! The emulated board: boots QEMU with a board's firmware and talks to it as a host talks to a board.
//!
//! Messages ([`ocellus_shared::wire`]) go in through QEMU's standard input, which the firmware reads by semihosting;
//! replies come back as defmt logs on its standard output. No wait is unbounded: a board that is silent for too long,
//! or that stops, is an error that repeats the last things it said.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::frame::Frame;
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{Header, Kind, Refusal, Reply, tensor_crc};

use crate::board::{Board, DoesNotFit};
use crate::toolchain;

mod process;
mod swarm;
mod watch;

use process::{Event, Process};
pub use swarm::scores_of;
pub use watch::{Seen, Watched};

/// Longest wait for a board to boot, or to answer a message that takes no computing.
const PATIENCE: Duration = Duration::from_secs(60);
/// Multiply-accumulates a second below which an emulated board counts as stuck. Idle machines do over 50 million.
const SLOWEST_MACS_PER_SECOND: u64 = 500_000;
/// Lines of the board's log that an error repeats.
const KEPT_LINES: usize = 12;

/// How QEMU's clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As fast as it can: for scores.
    Free,
    /// One nanosecond per instruction, so that the board can count its own instructions: slower, and deterministic.
    Instructions,
}

/// A running emulated board. Dropping it ends QEMU.
pub struct Sim {
    board: Board,
    process: Process,
    clock: Clock,
    sequence: u32,
    /// How long one inference may take.
    patience: Duration,
    /// The board's last log lines, replies included.
    log: VecDeque<String>,
}

/// What a board says of a camera frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The int8 scores.
    pub scores: Vec<i8>,
    /// The best class's name.
    pub label: String,
    /// Its lead over the second class, in logits.
    pub margin: f32,
}

/// Instructions that an inference took. They are not cycles: the emulator knows no pipeline and no cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Of the whole run.
    pub instructions: u64,
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

impl Sim {
    /// Boots the firmware `elf` on the machine of `board` and waits until it is ready.
    ///
    /// # Errors
    /// No QEMU (with the fix), a board that is not emulated, firmware that is not ours, or no word within a minute.
    pub fn boot(board: &Board, elf: &Path, clock: Clock) -> Result<Self> {
        let machine = board.machine.as_ref().with_context(|| format!("{} is not an emulated board", board.name))?;
        let qemu = find_qemu()?;
        let process = Process::spawn(&qemu, machine, elf, clock)?;
        let (board, log) = (board.clone(), VecDeque::new());
        let mut sim = Self { board, process, clock, sequence: 0, patience: PATIENCE, log };
        let ready = sim.wait(PATIENCE, |reply| matches!(reply, Reply::Ready { .. })).map_err(|error| {
            let is_qemu = qemu_version(&qemu).is_some();
            if is_qemu { error } else { error.context(format!("{} is no QEMU: {}", qemu.display(), qemu_remedy())) }
        })?;
        match Reply::parse(&ready) {
            Some(Reply::Ready { board, .. }) if board == sim.board.name => Ok(sim),
            _ => bail!("{} holds the firmware of another board: {ready}", elf.display()),
        }
    }

    /// Gives the board the plan that it runs from now on.
    ///
    /// # Errors
    /// [`DoesNotFit`] where it is too large; the board's refusal otherwise.
    pub fn load_plan(&mut self, bytes: &[u8]) -> Result<()> {
        let plan = Plan::parse(bytes)?;
        self.board.check_fit(&plan)?;
        let work = plan.work();
        self.patience = PATIENCE + Duration::from_secs(work / SLOWEST_MACS_PER_SECOND);
        let sequence = self.send(Kind::Plan, bytes)?;
        // The board checks every byte, of which there are no more than multiply-accumulates.
        self.wait(self.patience, |reply| matches!(reply, Reply::Plan { sequence: s, .. } if *s == sequence))?;
        Ok(())
    }

    /// Scores of an int8 image `(h, w, c)`.
    ///
    /// # Errors
    /// The board refuses the image, stops, or is silent for too long.
    pub fn scores(&mut self, image: &[i8]) -> Result<Vec<i8>> {
        let sequence = self.send(Kind::Tensor, bytemuck::cast_slice(image))?;
        self.wait_scores(sequence)
    }

    /// Sends a camera frame, as a sensor would deliver it.
    ///
    /// # Errors
    /// As for [`Sim::scores`].
    pub fn frame(&mut self, frame: &Frame) -> Result<Sighting> {
        let data = frame.data();
        let sequence = self.next_sequence();
        let len = u32::try_from(data.len()).context("the frame is too large")?;
        let header = Header::frame(frame.format(), frame.width(), frame.height(), sequence, len);
        self.process.send([&header.emit()[..], data].concat());
        let scores = self.wait_scores(sequence)?;
        let line = self.wait(PATIENCE, |reply| matches!(reply, Reply::Label { sequence: s, .. } if *s == sequence))?;
        match Reply::parse(&line) {
            Some(Reply::Label { name, margin, .. }) => Ok(Sighting { scores, label: name.to_owned(), margin }),
            _ => bail!("not a label: {line}"),
        }
    }

    /// Runs an int8 image and says what every step's output was.
    ///
    /// # Errors
    /// As for [`Sim::scores`].
    pub fn trace(&mut self, image: &[i8]) -> Result<Trace> {
        let sequence = self.send(Kind::Trace, bytemuck::cast_slice(image))?;
        let mut steps = Vec::new();
        loop {
            let line = self.wait(self.patience, |reply| {
                matches!(reply, Reply::Step { sequence: s, .. } | Reply::Scores { sequence: s, .. } if *s == sequence)
            })?;
            match Reply::parse(&line) {
                Some(Reply::Step { crc, .. }) => steps.push(crc),
                _ => return Ok(Trace { steps, scores: checked_scores(&line)? }),
            }
        }
    }

    /// Runs an int8 image and counts instructions.
    ///
    /// # Errors
    /// As for [`Sim::scores`]; or the board was booted with another clock than [`Clock::Instructions`].
    pub fn profile(&mut self, image: &[i8]) -> Result<Profile> {
        ensure!(self.clock == Clock::Instructions, "instructions are counted on a board booted for it");
        let sequence = self.send(Kind::Profile, bytemuck::cast_slice(image))?;
        let mut profile = Profile { instructions: 0, stack_bytes: 0, steps: Vec::new(), scores: Vec::new() };
        loop {
            let line = self.wait(self.patience, |reply| {
                matches!(reply, Reply::Cost { sequence: s, .. } | Reply::Profile { sequence: s, .. }
                              | Reply::Scores { sequence: s, .. } if *s == sequence)
            })?;
            match Reply::parse(&line) {
                Some(Reply::Cost { instructions, .. }) => profile.steps.push(instructions),
                Some(Reply::Profile { instructions, stack_bytes, .. }) => {
                    (profile.instructions, profile.stack_bytes) = (instructions, stack_bytes);
                }
                _ => return Ok(Profile { scores: checked_scores(&line)?, ..profile }),
            }
        }
    }

    /// Ends the conversation in good order.
    ///
    /// # Errors
    /// The board does not end, or not with exit code 0.
    pub fn shut_down(mut self) -> Result<()> {
        self.send(Kind::End, &[])?;
        self.wait(PATIENCE, |reply| matches!(reply, Reply::End { .. }))?;
        let status = self.process.wait_exit(PATIENCE).with_context(|| self.story("it said `end` but goes on"))?;
        ensure!(status.success(), self.story(&format!("QEMU ended with {status}")));
        Ok(())
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<u32> {
        let sequence = self.next_sequence();
        let len = u32::try_from(payload.len()).context("the message is too large")?;
        self.process.send([&Header::new(kind, sequence, len).emit()[..], payload].concat());
        Ok(sequence)
    }

    fn wait_scores(&mut self, sequence: u32) -> Result<Vec<i8>> {
        let wanted = |reply: &Reply| matches!(reply, Reply::Scores { sequence: s, .. } if *s == sequence);
        let line = self.wait(self.patience, wanted)?;
        checked_scores(&line)
    }

    /// The next log line whose reply is `wanted`. Other lines are remembered; an error reply ends the wait.
    fn wait(&mut self, patience: Duration, wanted: impl Fn(&Reply) -> bool) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let line = match self.process.next(deadline.saturating_duration_since(Instant::now())) {
                Event::Line(line) => line,
                Event::Damaged(what) => bail!(self.story(&what)),
                Event::Silence => bail!(self.story(&format!("no answer within {} s", patience.as_secs()))),
                Event::Closed => {
                    let status = self.process.wait_exit(Duration::from_secs(5));
                    let end =
                        status.map_or_else(|| "it closed its output".to_owned(), |s| format!("it ended with {s}"));
                    bail!(self.story(&end))
                }
            };
            self.log.push_back(line.clone());
            self.log.drain(..self.log.len().saturating_sub(KEPT_LINES));
            match Reply::parse(&line) {
                Some(reply) if wanted(&reply) => return Ok(line),
                Some(Reply::Error { refusal, needed, available, detail, .. }) => {
                    return Err(self.refused(refusal, needed, available, detail));
                }
                _ => {}
            }
        }
    }

    fn refused(&self, refusal: Refusal, needed: u32, available: u32, detail: &str) -> anyhow::Error {
        let name = &self.board.name;
        match refusal {
            Refusal::PlanTooLarge | Refusal::ArenaTooSmall => DoesNotFit::new(format!(
                "{name} refuses the plan ({}): it needs {needed} bytes, the board has {available}",
                refusal.name()
            ))
            .into(),
            Refusal::FrameTooLarge => anyhow::anyhow!(
                "{name} refuses the frame ({}): it has {needed} bytes, the board has room for {available}; choose a \
                 smaller --frame-size, or a --frame-format with fewer bytes a pixel",
                refusal.name()
            ),
            _ => anyhow::anyhow!("{name} refuses a message: {} {detail}", refusal.name()),
        }
    }

    /// What happened, with the last things that the board and QEMU said.
    fn story(&self, what: &str) -> String {
        let mut story = format!("the emulated board {} failed: {what}", self.board.name);
        for line in &self.log {
            story.push_str(&format!("\n  board: {line}"));
        }
        for line in self.process.complaints() {
            story.push_str(&format!("\n  qemu: {line}"));
        }
        story
    }
}

/// The scores of a reply line, if its checksum is theirs.
fn checked_scores(line: &str) -> Result<Vec<i8>> {
    let Some(Reply::Scores { crc, values, .. }) = Reply::parse(line) else { bail!("not scores: {line}") };
    let values: Vec<i8> = values.iter().collect();
    ensure!(tensor_crc(&values) == crc, "scores were damaged on their way: {line}");
    Ok(values)
}

/// The variable that names the QEMU program.
pub(crate) const QEMU_VARIABLE: &str = "OCELLUS_QEMU";

/// What to do about a QEMU program that cannot be used: that depends on who chose it.
fn qemu_remedy() -> &'static str {
    match std::env::var_os(QEMU_VARIABLE) {
        Some(_) => "OCELLUS_QEMU must name a qemu-system-arm, or be unset",
        None => "is qemu-system-arm installed?",
    }
}

/// What the program `qemu` says of its version; nothing where it does not run, or is another program.
pub(crate) fn qemu_version(qemu: &Path) -> Option<String> {
    toolchain::first_line(qemu, &["--version"]).filter(|line| line.starts_with("QEMU emulator"))
}

/// The QEMU program: `$OCELLUS_QEMU`, else `qemu-system-arm` in `PATH`.
///
/// # Errors
/// There is none.
pub fn find_qemu() -> Result<PathBuf> {
    match std::env::var_os(QEMU_VARIABLE) {
        Some(path) => Ok(PathBuf::from(path)),
        None => toolchain::find_program("qemu-system-arm").context(
            "qemu-system-arm is not installed\nfix: sudo apt-get install qemu-system-arm   (or `ocellus doctor --install`)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_scores_are_noticed() {
        let crc = tensor_crc(&[1, -2]);
        assert_eq!(checked_scores(&format!("scores seq=1 crc={crc:08x} values=[1, -2]")).unwrap(), [1, -2]);
        assert!(checked_scores(&format!("scores seq=1 crc={crc:08x} values=[1, -3]")).is_err());
        assert!(checked_scores("end messages=1").is_err());
    }
}
