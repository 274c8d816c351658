//! Programming a board's flash.

use std::io::Cursor;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use probe_rs::MemoryInterface;
use probe_rs::flashing::{
    DownloadOptions, ElfLoader, ElfOptions, FlashLoader, FlashProgress, ProgressEvent, ProgressOperation,
};

use super::{Link, diagnostics};
use crate::board::{DoesNotFit, Region};

/// A word of erased flash.
const ERASED: u32 = u32::MAX;

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The program, an ELF file; nothing to keep the one on the board.
    pub elf: Option<&'a [u8]>,
    /// The plan, which goes into the flash that the board sets aside for it.
    pub plan: &'a [u8],
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Erasing sectors.
    Erase,
    /// Writing pages.
    Program,
    /// Reading everything back.
    Verify,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the program.
    pub program_bytes: u64,
    /// Bytes of the plan.
    pub model_bytes: u64,
    /// Whether there is a program that runs it: this one, or one that was there before.
    pub starts: bool,
    /// How long it took.
    pub time: Duration,
}

impl Link {
    /// Writes `image`, reads it back, and resets the chip. Flash outside of the sectors that it needs is not touched.
    ///
    /// `progress` hears, again and again, the phase, the bytes that are done and all bytes of the phase.
    ///
    /// # Errors
    /// [`DoesNotFit`] before anything is written; a program that would overwrite the model's flash, or is no ELF file;
    /// flash that is locked or reads back wrong; a connection that is lost in the middle.
    pub fn flash(&mut self, image: &Image, progress: &mut dyn FnMut(Phase, u64, u64)) -> Result<Written> {
        let start = Instant::now();
        let board = self.board.clone();
        let (Some(program), Some(model)) = (board.flash, board.model) else {
            bail!("the table of {} lacks [flash] or [model]", board.name);
        };
        let mut loader = self.session.target().flash_loader();
        if let Some(elf) = image.elf {
            let format = ElfLoader(ElfOptions::default());
            loader.load_image(&mut self.session, &mut Cursor::new(elf), format, None).with_context(|| {
                format!("the program is none for {}: build it anew with `ocellus firmware`", board.name)
            })?;
        }
        let program_bytes = check_program(&loader, program, &board.name)?;
        if image.plan.len() as u64 > u64::from(model.bytes) {
            return Err(too_large("plan", image.plan.len() as u64, model, &board.name).into());
        }
        loader.add_data(model.start.into(), image.plan).context("the model's flash is none of the chip's")?;
        self.write(&loader, progress)?;
        let starts = self.has_program(program)?;
        self.restart()?;
        Ok(Written { program_bytes, model_bytes: image.plan.len() as u64, starts, time: start.elapsed() })
    }

    /// Whether the flash for the program begins with vectors; erased flash does not.
    fn has_program(&mut self, program: Region) -> Result<bool> {
        let what = diagnostics::lost(&self.board.name);
        let stack = self.core()?.read_word_32(program.start.into()).context(what)?;
        Ok(stack != ERASED)
    }

    fn write(&mut self, loader: &FlashLoader, progress: &mut dyn FnMut(Phase, u64, u64)) -> Result<()> {
        let erase_all = self.erase_all;
        let mut options = DownloadOptions::new();
        options.verify = true;
        let mut counts = Counts::default();
        options.progress = FlashProgress::new(move |event| {
            if let Some((phase, done, all)) = counts.hear(&event) {
                progress(phase, done, all);
            }
        });
        loader.commit(&mut self.session, options).map_err(|error| {
            let remedy = diagnostics::flash_remedy(&error, erase_all);
            anyhow!(error).context(format!("programming {} failed: {remedy}", self.board.name))
        })
    }
}

/// Bytes of the program in `loader`, all of which must go where the board has its program.
fn check_program(loader: &FlashLoader, room: Region, board: &str) -> Result<u64> {
    let mut bytes = 0;
    for (start, data) in loader.data() {
        let range = start..start + data.len() as u64;
        bytes += data.len() as u64;
        if range.start == u64::from(room.start) && data.len() as u64 > u64::from(room.bytes) {
            return Err(too_large("program", data.len() as u64, room, board).into());
        }
        if !room.holds(&range) {
            bail!(
                "the program has bytes at {:#x}..{:#x}, outside of {board}'s flash for it at {:#x}: is it another board's?",
                range.start,
                range.end,
                room.start
            );
        }
    }
    Ok(bytes)
}

fn too_large(what: &str, bytes: u64, room: Region, board: &str) -> DoesNotFit {
    DoesNotFit::new(format!(
        "the {what} does not fit {board}: it has {bytes} bytes, its flash at {:#x} holds {}; train a narrower network or \
         choose another --board",
        room.start, room.bytes
    ))
}

/// Bytes done and to do of each phase, from probe-rs's events.
#[derive(Default)]
struct Counts([(u64, u64); 3]);

impl Counts {
    /// Phase, bytes done and all bytes, where `event` changes them.
    fn hear(&mut self, event: &ProgressEvent) -> Option<(Phase, u64, u64)> {
        let (operation, done, all) = match event {
            ProgressEvent::AddProgressBar { operation, total } => (operation, 0, total.unwrap_or_default()),
            ProgressEvent::Progress { operation, size, .. } => (operation, *size, 0),
            _ => return None,
        };
        let phase = match operation {
            ProgressOperation::Erase => Phase::Erase,
            ProgressOperation::Program => Phase::Program,
            ProgressOperation::Verify => Phase::Verify,
            ProgressOperation::Fill => return None,
        };
        let count = &mut self.0[phase as usize];
        *count = (count.0 + done, count.1 + all);
        Some((phase, count.0, count.1))
    }
}
