//! What the program on a board reads and writes while it runs: RTT (SEGGER's real-time transfer), ring buffers in the chip's
//! RAM that the probe reads and fills.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use probe_rs::rtt::{Error, Rtt, RttChannel, ScanRegion, find_rtt_control_block_in_raw_file};

use super::{Link, diagnostics};

/// Name of the transport's channels, up and down.
const NAME: &str = "ocellus";
/// Numbers of its channels, and of the log's.
const UP: usize = 1;
const DOWN: usize = 0;
const LOG: usize = 0;
/// Longest wait for the program to set its channels up.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two looks for them.
const PAUSE: Duration = Duration::from_millis(5);

/// The program started anew: what it was asked before counts no more. The next access reaches the new run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    board: String,
}

impl fmt::Display for Restarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} started anew in the middle: its watchdog, its supply or its reset button; run the command again, and if it \
             happens again, `ocellus monitor` says whether it was the watchdog",
            self.board
        )
    }
}

impl std::error::Error for Restarted {}

/// The channels of a program that runs.
pub struct Channels {
    link: Link,
    address: u64,
    /// Nothing after a restart.
    rtt: Option<Rtt>,
}

impl Link {
    /// Restarts the program on the board, which must be `elf`, and opens its channels. What an earlier run left in memory
    /// counts for nothing.
    ///
    /// # Errors
    /// `elf` is no firmware of a real board, the program on the board is another one or does not start, it has no channels for
    /// the host, or the connection is lost.
    pub fn open_channels(mut self, elf: &[u8]) -> Result<Channels> {
        let address = find_rtt_control_block_in_raw_file(elf).context("the program is no ELF file")?.context(
            "the program cannot be reached: it lacks the symbol _SEGGER_RTT, which firmware of real boards has",
        )?;
        self.clear(address)?;
        let mut channels = Channels { link: self, address, rtt: None };
        let (board, rtt) = (channels.link.board.name.clone(), channels.attached()?);
        let is_ours = |channel: Option<&dyn RttChannel>| channel.is_some_and(|c| c.name() == Some(NAME));
        let up = is_ours(rtt.up_channel(UP).map(|channel| &*channel as &dyn RttChannel));
        let down = is_ours(rtt.down_channel(DOWN).map(|channel| &*channel as &dyn RttChannel));
        ensure!(
            up && down,
            "the program on {board} cannot be talked to, it is of an older Ocellus: write it anew with `ocellus flash`"
        );
        Ok(channels)
    }

    /// Halts the chip and clears the control block in RAM, then lets the program start.
    fn clear(&mut self, address: u64) -> Result<()> {
        let what = diagnostics::lost(&self.board.name);
        let mut core = self.core()?;
        core.reset_and_halt(TIMEOUT).context(what.clone())?;
        Rtt::clear_control_block(&mut core, &ScanRegion::Exact(address)).context(what.clone())?;
        core.run().context(what)
    }

    /// Waits until the program has set its channels up.
    fn find_block(&mut self, address: u64) -> Result<Rtt> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let attached = Rtt::attach_at(&mut self.core()?, address);
            match attached {
                Ok(rtt) => return Ok(rtt),
                Err(Error::ControlBlockNotFound | Error::ControlBlockCorrupted(_)) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(self.no_block(address, error)),
            }
        }
    }

    fn no_block(&self, address: u64, error: Error) -> anyhow::Error {
        let board = &self.board.name;
        let what = match error {
            Error::Probe(_) => diagnostics::lost(board),
            _ => format!(
                "no channels at {address:#x} of {board} after {} s: the program on it is another one, or it does not start; \
                 write it with `ocellus flash`",
                TIMEOUT.as_secs()
            ),
        };
        diagnostics::without_channel(error, what)
    }
}

impl Channels {
    /// The board whose program it is.
    pub fn board(&self) -> &str {
        &self.link.board.name
    }

    /// Hands the program as many of `bytes` as there is room for: how many.
    ///
    /// # Errors
    /// [`Restarted`], or the connection is lost.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.access(|rtt, core| rtt.down_channel(DOWN).map_or(Ok(0), |channel| channel.write(core, bytes)))
    }

    /// Takes what the program has for the host: how many bytes of `buffer`.
    ///
    /// # Errors
    /// [`Restarted`], or the connection is lost.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.access(|rtt, core| rtt.up_channel(UP).map_or(Ok(0), |channel| channel.read(core, buffer)))
    }

    /// Takes what the program has logged: how many bytes of `buffer`.
    ///
    /// # Errors
    /// [`Restarted`], or the connection is lost.
    pub fn read_log(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.access(|rtt, core| rtt.up_channel(LOG).map_or(Ok(0), |channel| channel.read(core, buffer)))
    }

    fn attached(&mut self) -> Result<&mut Rtt> {
        let rtt = match self.rtt.take() {
            Some(rtt) => rtt,
            None => self.link.find_block(self.address)?,
        };
        Ok(self.rtt.insert(rtt))
    }

    fn access(&mut self, act: impl FnOnce(&mut Rtt, &mut probe_rs::Core) -> Result<usize, Error>) -> Result<usize> {
        self.attached()?;
        let mut core = self.link.core()?;
        let outcome = self.rtt.as_mut().map_or(Ok(0), |rtt| act(rtt, &mut core));
        drop(core);
        outcome.map_err(|error| {
            let board = self.link.board.name.clone();
            match error {
                Error::ReadPointerChanged | Error::ControlBlockCorrupted(_) | Error::ControlBlockNotFound => {
                    self.rtt = None;
                    anyhow!(Restarted { board })
                }
                error => diagnostics::without_channel(error, diagnostics::lost(&board)),
            }
        })
    }
}
