//! A connection to the chip of a board.

use anyhow::{Context, Result, bail};
use probe_rs::probe::DebugProbeSelector;
use probe_rs::probe::list::Lister;
use probe_rs::{Core, MemoryInterface, Permissions, Session, Target};

use super::simulated::TestBench;
use super::target::target_of;
use super::{NONE_FOUND, Selector, access_fix, diagnostics, found};
use crate::board::{Board, ChipId};

/// The core that runs our program; the boards' chips have one, or use their first.
pub(super) const CORE: usize = 0;

/// How to reach a board.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which probe.
    pub probe: Selector,
    /// Clock of the debug connection in kHz; else the probe's usual one.
    pub speed_khz: Option<u32>,
    /// Hold the chip in reset while connecting.
    pub under_reset: bool,
    /// Let a locked chip be unlocked, which erases it.
    pub allow_erase_all: bool,
}

/// A chip that is attached to.
pub struct Link {
    pub(super) session: Session,
    pub(super) board: Board,
    /// A locked chip may be unlocked, which erases it.
    pub(super) erase_all: bool,
}

impl Link {
    /// Attaches to the chip of `board`; a first failure is tried again once.
    ///
    /// # Errors
    /// The board is emulated, no or several probes, one that may not be opened, a chip that does not answer or is
    /// another one: each with its remedy.
    pub fn attach(board: &Board, settings: &Settings) -> Result<Self> {
        match settings.probe {
            Selector::Simulated(fault) => Self::attach_to(&TestBench::of(board, fault)?, board, settings),
            _ => Self::attach_on(&Lister::new(), board, settings),
        }
    }

    /// Attaches to the board on `bench`, which must be a `board`.
    ///
    /// # Errors
    /// As for [`Link::attach`].
    pub fn attach_to(bench: &TestBench, board: &Board, settings: &Settings) -> Result<Self> {
        Self::attach_on(&bench.lister(), board, settings)
    }

    /// Attaches through a probe of `lister`.
    fn attach_on(lister: &Lister, board: &Board, settings: &Settings) -> Result<Self> {
        let target = target_of(board)?;
        let ids = choose(lister, &settings.probe)?;
        let attempt = || open(lister, &ids, &target, settings);
        let session = attempt().or_else(|_| attempt()).map_err(|error| {
            let hint = diagnostics::attach_remedy(&error, settings.under_reset);
            anyhow::Error::new(error).context(format!("cannot attach to {} of {}: {hint}", board.chip, board.name))
        })?;
        let mut link = Self { session, board: board.clone(), erase_all: settings.allow_erase_all };
        link.check_chip()?;
        Ok(link)
    }

    /// The core.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn core(&mut self) -> Result<Core<'_>> {
        let what = diagnostics::lost(&self.board.name);
        self.session.core(CORE).context(what)
    }

    /// Resets the chip, whose program then starts.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn restart(&mut self) -> Result<()> {
        let what = diagnostics::lost(&self.board.name);
        self.core()?.reset().context(what)
    }

    /// Refuses any chip but the board's.
    fn check_chip(&mut self) -> Result<()> {
        let Some(ChipId { register, mask, value }) = self.board.chip_id else { return Ok(()) };
        let what = diagnostics::lost(&self.board.name);
        let id = self.core()?.read_word_32(register.into()).context(what)? & mask;
        if id != value {
            bail!(
                "the chip behind the probe is not that of {}: its device id is {id:#x}, that of {} {value:#x}; connect \
                 the right board, or name the one that is connected with --board",
                self.board.name,
                self.board.chip
            );
        }
        Ok(())
    }
}

/// The ids of the probe to open.
fn choose(lister: &Lister, wanted: &Selector) -> Result<DebugProbeSelector> {
    let items = lister.list_all_with_access();
    let matching: Vec<_> =
        items.iter().filter(|item| !matches!(wanted, Selector::Named(ids) if !ids.matches_probe(&item.info))).collect();
    let [item] = matching[..] else {
        let known: Vec<String> = items.iter().map(|item| format!("\n  {}", item.info)).collect();
        match (items.is_empty(), matching.is_empty()) {
            (true, _) => bail!(NONE_FOUND),
            (_, true) => bail!("no probe has the ids that --probe names; there are:{}", known.concat()),
            _ => bail!("there are several probes: choose one with --probe:{}", known.concat()),
        }
    };
    if let Some(fix) = access_fix(&found(lister)).filter(|_| !super::ProbeInfo::from(item).usable) {
        bail!("no permission to open {}: {fix}", item.info.identifier);
    }
    Ok(DebugProbeSelector::from(&item.info))
}

fn open(
    lister: &Lister,
    ids: &DebugProbeSelector,
    target: &Target,
    settings: &Settings,
) -> Result<Session, probe_rs::Error> {
    let mut probe = lister.open(ids.clone())?;
    if let Some(speed) = settings.speed_khz {
        probe.set_speed(speed)?;
    }
    let permissions = match settings.allow_erase_all {
        true => Permissions::new().allow_erase_all(),
        false => Permissions::new(),
    };
    match settings.under_reset {
        true => probe.attach_under_reset(target.clone(), permissions),
        false => probe.attach(target.clone(), permissions),
    }
}
