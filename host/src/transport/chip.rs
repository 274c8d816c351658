//! The rings of the flashed program on a chip in software. The chip runs while somebody waits for it, and its time is the one
//! that counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ocellus_shared::frame::Frame;
use ocellus_shared::plan::Plan;

use super::Transport;
use super::log::Log;
use crate::board::Board;
use crate::chip::bus::Time;
use crate::chip::rings::Rings;
use crate::chip::sensor::{Sensor, Trouble};
use crate::chip::{Machine, Stop, boards, program};
use crate::data::picture::Picture;

/// Channels: the log and replies up, messages down.
const LOG: u32 = 0;
const UP: u32 = 1;
const DOWN: u32 = 0;
/// How long the chip runs between two looks at its rings.
const SLICE: Time = Time::us(200);
/// Its time in which a program has set its channels up.
const START: Time = Time::ms(500);
/// What is before the lens as long as nobody shows anything: grey.
const GREY: u8 = 128;

/// Whether there is a model of the chip of the board called `name`.
pub fn is_modelled(name: &str) -> bool {
    boards::layout(name).is_some()
}

/// A board whose chip is in software.
pub struct Chip {
    board: String,
    machine: Machine,
    /// Where the program has its channels.
    block: u32,
    log: Option<Log>,
}

impl Chip {
    /// `board` with the program `elf` and `plan` in its flash, after power came.
    ///
    /// # Errors
    /// There is no model of its chip; `elf` is no program for it, or has no channels; or it does not set them up.
    pub fn start(board: &Board, elf: &[u8], plan: &[u8]) -> Result<Self> {
        let scene = Picture { width: 1, height: 1, pixels: vec![GREY; 3] };
        let mut chip = Self::new(board, elf, plan, scene)?;
        let until = chip.machine.now() + START;
        while chip.rings().is_none() {
            chip.go_on()?;
            if chip.machine.now() > until {
                bail!("the program on {} sets no channels up: build it anew with `ocellus firmware`", board.name);
            }
        }
        Ok(chip)
    }

    fn new(board: &Board, elf: &[u8], plan: &[u8], scene: Picture) -> Result<Self> {
        let layout = boards::layout(&board.name)
            .with_context(|| format!("the chip of {}, {}, is not modelled in software", board.name, board.chip))?;
        let mut machine = Machine::stm32h743(layout.wiring, Sensor::new(layout.sensor, scene, Trouble::None))?;
        program::load(elf, machine.memory())?;
        if let Some(model) = board.model.filter(|_| !plan.is_empty()) {
            // What follows a plan in its file is not flashed.
            let plan = &plan[..Plan::parse(plan).map_or(plan.len(), |parsed| parsed.bytes().len())];
            if machine.memory().store(model.start, plan).is_err() {
                bail!("{} has no room for a model of {} bytes", board.name, plan.len());
            }
        }
        machine.start();
        Ok(Self { board: board.name.clone(), machine, block: program::channels(elf)?, log: Log::of(elf) })
    }

    fn rings(&mut self) -> Option<Rings> {
        Rings::find(self.machine.memory(), self.block)
    }

    /// Lets the chip run for a slice, and takes its log.
    fn go_on(&mut self) -> Result<()> {
        let stop = self.machine.run(SLICE);
        if let Some(rings) = self.rings() {
            let bytes = rings.take(self.machine.memory(), LOG).unwrap_or_default();
            if let Some(log) = self.log.as_ref().filter(|_| !bytes.is_empty()) {
                log.feed(&bytes);
            }
        }
        match stop {
            Stop::Time => Ok(()),
            Stop::Reset(cause) => bail!("the chip of {} was reset in the middle: {cause:?}", self.board),
            Stop::LockedUp => bail!("the core of {} is locked up: a fault came where none can be handled", self.board),
        }
    }
}

impl Transport for Chip {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(rings) = self.rings() else {
            self.go_on()?;
            return Ok(0);
        };
        let lost = || format!("the rings of {} do not lie in its memory", self.board);
        rings.give(self.machine.memory(), DOWN, bytes).ok().with_context(lost)
    }

    fn read(&mut self, received: &mut Vec<u8>, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.go_on()?;
            let rings = self.rings();
            let bytes = rings.and_then(|rings| rings.take(self.machine.memory(), UP).ok()).unwrap_or_default();
            received.extend_from_slice(&bytes);
            if !bytes.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    fn show(&mut self, frame: &Frame) -> bool {
        self.machine.with_chip(|chip| chip.sensor.show_frame(frame))
    }

    fn log(&mut self) -> Vec<String> {
        self.log.as_ref().map(Log::lines).unwrap_or_default()
    }

    fn explain_silence(&self, timeout: Duration) -> String {
        format!("{} in software did not answer within {} s", self.board, timeout.as_secs())
    }

    /// The board goes on until it is dropped.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
