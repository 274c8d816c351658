//! What the program on a board says: defmt frames, by RTT (SEGGER's real-time transfer: ring buffers in the chip's RAM
//! that the probe reads while the program runs).

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use defmt_decoder::{DecodeError, StreamDecoder, Table};
use probe_rs::rtt::{ChannelMode, Error, Rtt, ScanRegion, find_rtt_control_block_in_raw_file};

use super::{Link, diagnostics};

/// Longest wait for the program to set its log up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two looks at a log that was empty.
const PAUSE: Duration = Duration::from_millis(5);
/// Most bytes of one look.
const READ_BYTES: usize = 4096;

/// Something that a board's log brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line, decoded.
    Line(&'a str),
    /// Nothing new.
    Silence,
    /// The program started anew: what it said before is over.
    Restart,
}

/// A log that is connected to.
struct Channel {
    rtt: Rtt,
    /// How the program treats a full log while nobody listens.
    alone: ChannelMode,
}

impl Link {
    /// Restarts the program on the board, which must be `elf`, and lets `hear` listen until it has enough.
    ///
    /// A log that an earlier run left in RAM is cleared before. While it is listened to the program waits for room in
    /// its log; afterwards it no longer does.
    ///
    /// # Errors
    /// `elf` has no log, the program on the board sets none up within three seconds, its bytes are no log of `elf`, or
    /// the connection is lost.
    pub fn listen(&mut self, elf: &[u8], hear: &mut dyn FnMut(Heard) -> ControlFlow<()>) -> Result<()> {
        let table = Table::parse(elf)
            .and_then(|table| table.ok_or_else(|| anyhow!("it holds no defmt log table")))
            .context("the program is not firmware of Ocellus")?;
        let address = find_rtt_control_block_in_raw_file(elf)
            .context("the program is no ELF file")?
            .context("the program has no log: it lacks the symbol _SEGGER_RTT, which firmware of real boards has")?;
        self.clear(address)?;
        let mut channel = self.connect(address)?;
        let mut decoder = table.new_stream_decoder();
        let result = self.follow(&mut channel, address, &mut decoder, &table, hear);
        // A failure to say goodbye must not hide why.
        let goodbye = self.set_mode(&mut channel, |channel| channel.alone);
        result.and(goodbye)
    }

    /// Halts the chip and clears the log's head in RAM, then resets.
    pub(super) fn clear(&mut self, address: u64) -> Result<()> {
        let what = diagnostics::lost(&self.board.name);
        let mut core = self.core()?;
        core.reset_and_halt(PATIENCE).context(what.clone())?;
        Rtt::clear_control_block(&mut core, &ScanRegion::Exact(address)).context(what.clone())?;
        core.run().context(what)
    }

    /// Waits until the program has set its channels up.
    pub(super) fn find_block(&mut self, address: u64) -> Result<Rtt> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let attached = Rtt::attach_at(&mut self.core()?, address);
            match attached {
                Ok(rtt) => return Ok(rtt),
                Err(Error::ControlBlockNotFound | Error::ControlBlockCorrupted(_)) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(self.no_log(address, error)),
            }
        }
    }

    /// Connects to the log, once it is there.
    fn connect(&mut self, address: u64) -> Result<Channel> {
        let mut rtt = self.find_block(address)?;
        let what = diagnostics::lost(&self.board.name);
        let up = rtt.up_channel(0).with_context(|| format!("the log at {address:#x} has no channel to read from"))?;
        let alone = up.mode(&mut self.core()?).context(what)?;
        let mut channel = Channel { rtt, alone };
        self.set_mode(&mut channel, |_| ChannelMode::BlockIfFull)?;
        Ok(channel)
    }

    fn no_log(&self, address: u64, error: Error) -> anyhow::Error {
        let board = &self.board.name;
        let what = match error {
            Error::Probe(_) => diagnostics::lost(board),
            _ => format!(
                "no log at {address:#x} of {board} after {} s: the program on it is another one, or it does not start; \
                 write it with `ocellus flash`",
                PATIENCE.as_secs()
            ),
        };
        diagnostics::without_channel(error, what)
    }

    fn set_mode(&mut self, channel: &mut Channel, mode: impl Fn(&Channel) -> ChannelMode) -> Result<()> {
        let (mode, what) = (mode(channel), diagnostics::lost(&self.board.name));
        let Some(up) = channel.rtt.up_channel(0) else { return Ok(()) };
        up.set_mode(&mut self.core()?, mode).context(what)
    }

    fn follow<'t>(
        &mut self,
        channel: &mut Channel,
        address: u64,
        decoder: &mut Box<dyn StreamDecoder + Send + Sync + 't>,
        table: &'t Table,
        hear: &mut dyn FnMut(Heard) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let len = match self.read(channel, &mut buffer) {
                Ok(len) => len,
                Err(Error::ReadPointerChanged | Error::ControlBlockCorrupted(_)) => {
                    *channel = self.connect(address)?;
                    *decoder = table.new_stream_decoder();
                    if hear(Heard::Restart).is_break() {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(anyhow!(error).context(diagnostics::lost(&self.board.name))),
            };
            decoder.received(&buffer[..len]);
            if decode(decoder.as_mut(), table, hear)?.is_break() {
                return Ok(());
            }
            if len == 0 {
                if hear(Heard::Silence).is_break() {
                    return Ok(());
                }
                thread::sleep(PAUSE);
            }
        }
    }

    fn read(&mut self, channel: &mut Channel, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut core = self.session.core(super::link::CORE)?;
        channel.rtt.up_channel(0).map_or(Ok(0), |up| up.read(&mut core, buffer))
    }
}

/// Lets `hear` have every whole line that is in `decoder`.
fn decode(
    decoder: &mut dyn StreamDecoder,
    table: &Table,
    hear: &mut dyn FnMut(Heard) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    loop {
        match decoder.decode() {
            Ok(frame) => {
                if hear(Heard::Line(&frame.display_message().to_string())).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Err(DecodeError::UnexpectedEof) => return Ok(ControlFlow::Continue(())),
            // A frame that was cut by a reset: the next one is found again.
            Err(DecodeError::Malformed) if table.encoding().can_recover() => {}
            Err(DecodeError::Malformed) => {
                bail!("the board's log cannot be decoded: the program on it is another build than the given one")
            }
        }
    }
}
