//! A probe and a board in software, for probe-rs: to rehearse a command without a board, and to test what happens when
//! one fails.
//!
//! probe-rs itself is the real one. It talks to a debug port register by register, as it does through
//! a CMSIS-DAP probe, and behind that port are the core's debug registers, the chip's memories as probe-rs knows them, and
//! its flash. What runs on it is a [`Program`]: one of a test, or the very firmware, on this machine's processor, with
//! a sensor in software. The simulation is stricter than hardware: whatever works there by luck (an access that is not aligned or
//! comes before power, flash that was not erased, a call into code that is not there) is refused and remembered. It
//! proves how probe-rs is used; of USB and of silicon it proves nothing.

mod chip;
mod cpu;
mod dummy_plan;
mod firmware;
mod flash;
mod memory;
mod port;

pub use chip::{Chip, Program};
pub use dummy_plan::dummy_plan;
pub use memory::Memory;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow, bail};
use flash::Flash;
use port::{Answer, DebugPort};
use probe_rs::architecture::arm::sequences::ArmDebugSequence;
use probe_rs::architecture::arm::{
    ArmCommunicationInterface, ArmDebugInterface, ArmError, DapError, DapProbe, RawDapAccess, RegisterAddress,
};
use probe_rs::config::MemoryRegion;
use probe_rs::flashing::FlashAlgorithm;
use probe_rs::probe::list::{Accessibility, Lister, ProbeListItem, ProbeLister};
use probe_rs::probe::{
    DebugProbe, DebugProbeError, DebugProbeInfo, DebugProbeSelector, Probe, ProbeCreationError, ProbeFactory,
    WireProtocol,
};
use probe_rs::rtt::find_rtt_control_block_in_raw_file;
use probe_rs::{CoreStatus, Target};

use super::target::target_of;
use crate::board::Board;

/// Ids of the simulated probe: those that pid.codes keeps for tests.
const IDS: (u16, u16) = (0x1209, 0x0001);
/// Fastest clock of the simulated probe, in kHz.
const FASTEST_KHZ: u32 = 20_000;
/// The line that resets the chip, among the probe's pins.
const RESET_PIN: u32 = 1 << 7;

/// What stands against an access that a correct debugger does not make.
pub type Violation = String;

/// In what way a simulated board fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no probe.
    Absent,
    /// The probe may not be opened.
    Denied,
    /// The chip is another one of the family.
    WrongChip,
    /// The chip never answers.
    Silent,
    /// The chip answers only when it is held in reset.
    NeedsReset,
    /// The chip leaves one question unanswered.
    Stumbles,
    /// The flash is write-protected.
    Locked,
    /// A bit of the flash does not keep what is written.
    Worn,
    /// The probe is pulled out in the middle of programming.
    Unplugged,
    /// The probe is pulled out while messages are streamed to the program.
    UnpluggedLater,
    /// The chip is reset while messages are streamed to the program.
    Resets,
    /// The program stands still before it has set its channels up, which an earlier one left in RAM.
    Stale,
    /// The model in flash is not the one that was written.
    OtherModel,
    /// The board computes something else: a parameter of its last layer is another one, and no checksum says so.
    Miscomputes,
}

impl Fault {
    const ALL: [(&'static str, Self); 14] = [
        ("absent", Self::Absent),
        ("denied", Self::Denied),
        ("wrong-chip", Self::WrongChip),
        ("silent", Self::Silent),
        ("needs-reset", Self::NeedsReset),
        ("stumbles", Self::Stumbles),
        ("locked", Self::Locked),
        ("worn", Self::Worn),
        ("unplugged", Self::Unplugged),
        ("unplugged-later", Self::UnpluggedLater),
        ("resets", Self::Resets),
        ("stale", Self::Stale),
        ("other-model", Self::OtherModel),
        ("miscomputes", Self::Miscomputes),
    ];
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = || Self::ALL.map(|(name, _)| name).join(", ");
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, fault)| *fault).ok_or_else(|| anyhow!("a simulated board cannot fail like that: {}", names()))
    }
}

/// A board on a bench, and the probe that is wired to it. Clones are of the same board.
#[derive(Clone, Debug)]
pub struct TestBench {
    fault: Option<Fault>,
    port: Option<Arc<Mutex<DebugPort>>>,
}

impl TestBench {
    /// A probe that no board is wired to.
    pub fn new(fault: Option<Fault>) -> Self {
        Self { fault, port: None }
    }

    /// A probe with `board`, whose flash is erased.
    ///
    /// # Errors
    /// The board is emulated, or its chip is none that this simulates: an STM32H7.
    pub fn of(board: &Board, fault: Option<Fault>) -> Result<Self> {
        let target = target_of(board)?;
        let (true, Some(id)) = (board.chip.starts_with("STM32H7"), board.chip_id) else {
            bail!("the simulated probe knows the debug port of STM32H7 chips only, not that of {}", board.chip);
        };
        let ram = target.memory_map.iter().filter_map(MemoryRegion::as_ram_region).map(|region| region.range.clone());
        let memory = Memory::new(ram, Flash::new(algorithm(&target, board)?, fault));
        let port = DebugPort::new(Chip::new(memory, id, fault), fault);
        Ok(Self { fault, port: Some(Arc::new(Mutex::new(port))) })
    }

    /// Lets the chip run the firmware from the next reset on, as long as its flash holds a program. Its channels are where
    /// `elf` has them; it logs nothing.
    ///
    /// # Errors
    /// `elf` has none.
    pub fn run_firmware(&self, board: &Board, elf: &[u8]) -> Result<()> {
        let address = find_rtt_control_block_in_raw_file(elf).ok().flatten().and_then(|at| u32::try_from(at).ok());
        let address = address.ok_or_else(|| anyhow!("the program lacks the symbol _SEGGER_RTT, which firmware has"))?;
        let firmware = firmware::Firmware::new(board, address, self.fault);
        self.with_chip(|chip| {
            firmware.leave_traces(&mut chip.memory);
            chip.load(Box::new(firmware));
        });
        Ok(())
    }

    /// A lister that knows this probe alone.
    pub fn lister(&self) -> Lister {
        Lister::with_lister(Box::new(self.clone()))
    }

    /// Looks at the chip, or changes it, while no command to it is under way.
    ///
    /// # Panics
    /// No board is wired to the probe.
    pub fn with_chip<T>(&self, look: impl FnOnce(&mut Chip) -> T) -> T {
        let port = self.port.as_ref().expect("a board is wired to the probe");
        look(&mut lock(port).chip)
    }
}

/// The lock on a port; what a thread that panicked left is as good as any other state of a board.
fn lock(port: &Mutex<DebugPort>) -> MutexGuard<'_, DebugPort> {
    port.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What programs the board's flash.
fn algorithm(target: &Target, board: &Board) -> Result<FlashAlgorithm> {
    let start = board.flash.map(|flash| u64::from(flash.start)).unwrap_or_default();
    let raw = target.flash_algorithms.iter().find(|raw| raw.flash_properties.address_range.contains(&start));
    let raw = raw.ok_or_else(|| anyhow!("probe-rs cannot program {} at {start:#x}", board.chip))?;
    Ok(FlashAlgorithm::assemble_from_raw_with_core(raw, &target.default_core().name, target)?)
}

/// The family that the simulated probe is of.
#[derive(Debug)]
struct Family;

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

impl ProbeFactory for Family {
    fn open(&self, _: &DebugProbeSelector) -> Result<Box<dyn DebugProbe>, DebugProbeError> {
        Err(ProbeCreationError::NotFound.into())
    }

    fn list_probes(&self) -> Vec<ProbeListItem> {
        Vec::new()
    }
}

impl ProbeLister for TestBench {
    fn open(&self, selector: &DebugProbeSelector) -> Result<Probe, DebugProbeError> {
        let Some(port) = self.port.as_ref().filter(|_| !self.list(Some(selector)).is_empty()) else {
            return Err(ProbeCreationError::NotFound.into());
        };
        if self.fault == Some(Fault::Denied) {
            return Err(ProbeCreationError::CouldNotOpen.into());
        }
        Ok(Probe::new(SimulatedProbe { port: port.clone(), attached: false, speed_khz: 1000 }))
    }

    fn list_with_access(&self, selector: Option<&DebugProbeSelector>) -> Vec<ProbeListItem> {
        let info = DebugProbeInfo::new("simulated probe", IDS.0, IDS.1, None, &Family, None, false);
        let accessibility = match self.fault {
            Some(Fault::Denied) => Accessibility::PermissionDenied,
            _ => Accessibility::Accessible,
        };
        let there = self.fault != Some(Fault::Absent) && selector.is_none_or(|ids| ids.matches_probe(&info));
        there.then_some(ProbeListItem { info, accessibility }).into_iter().collect()
    }
}

/// The probe.
#[derive(Debug)]
struct SimulatedProbe {
    port: Arc<Mutex<DebugPort>>,
    attached: bool,
    speed_khz: u32,
}

impl SimulatedProbe {
    /// Asks the port, as long as the probe is plugged in and attached.
    fn ask<T>(&mut self, question: impl FnOnce(&mut DebugPort) -> Result<T, Answer>) -> Result<T, ArmError> {
        let mut port = self.port()?;
        question(&mut port).map_err(|answer| match answer {
            Answer::Silence => DapError::NoAcknowledge.into(),
            Answer::Fault => DapError::FaultResponse.into(),
        })
    }

    fn port(&self) -> Result<MutexGuard<'_, DebugPort>, DebugProbeError> {
        let port = lock(&self.port);
        if port.chip.memory.flash.pulls_the_plug() || port.chip.memory.is_out_of_reach {
            return Err(DebugProbeError::Usb(io::Error::new(io::ErrorKind::NotConnected, "the device is gone")));
        }
        if self.attached { Ok(port) } else { Err(DebugProbeError::NotAttached) }
    }
}

impl DebugProbe for SimulatedProbe {
    fn get_name(&self) -> &str {
        "simulated probe"
    }

    fn speed_khz(&self) -> u32 {
        self.speed_khz
    }

    fn set_speed(&mut self, speed_khz: u32) -> Result<u32, DebugProbeError> {
        if !(1..=FASTEST_KHZ).contains(&speed_khz) {
            return Err(DebugProbeError::UnsupportedSpeed(speed_khz));
        }
        self.speed_khz = speed_khz;
        Ok(speed_khz)
    }

    fn attach(&mut self) -> Result<(), DebugProbeError> {
        self.attached = true;
        Ok(())
    }

    fn detach(&mut self) -> Result<(), probe_rs::Error> {
        self.attached = false;
        Ok(())
    }

    fn target_reset(&mut self) -> Result<(), DebugProbeError> {
        self.target_reset_assert()?;
        self.target_reset_deassert()
    }

    fn target_reset_assert(&mut self) -> Result<(), DebugProbeError> {
        lock(&self.port).chip.hold_in_reset(true);
        Ok(())
    }

    fn target_reset_deassert(&mut self) -> Result<(), DebugProbeError> {
        lock(&self.port).chip.hold_in_reset(false);
        Ok(())
    }

    fn select_protocol(&mut self, protocol: WireProtocol) -> Result<(), DebugProbeError> {
        match protocol {
            WireProtocol::Swd => Ok(()),
            other => Err(DebugProbeError::UnsupportedProtocol(other)),
        }
    }

    fn active_protocol(&self) -> Option<WireProtocol> {
        Some(WireProtocol::Swd)
    }

    fn has_arm_interface(&self) -> bool {
        true
    }

    fn try_get_arm_debug_interface<'probe>(
        self: Box<Self>,
        sequence: Arc<dyn ArmDebugSequence>,
    ) -> Result<Box<dyn ArmDebugInterface + 'probe>, (Box<dyn DebugProbe>, ArmError)> {
        Ok(ArmCommunicationInterface::create(self, sequence, false))
    }

    fn try_as_dap_probe(&mut self) -> Option<&mut dyn DapProbe> {
        Some(self)
    }

    fn into_probe(self: Box<Self>) -> Box<dyn DebugProbe> {
        self
    }
}

impl DapProbe for SimulatedProbe {}

impl RawDapAccess for SimulatedProbe {
    fn raw_read_register(&mut self, address: RegisterAddress) -> Result<u32, ArmError> {
        self.ask(|port| match address {
            RegisterAddress::DpRegister(register) => port.read(register.address, register.bank),
            RegisterAddress::ApRegister(address) => port.read_port(address),
        })
    }

    fn raw_write_register(&mut self, address: RegisterAddress, value: u32) -> Result<(), ArmError> {
        self.ask(|port| match address {
            RegisterAddress::DpRegister(register) => port.write(register.address, register.bank, value),
            RegisterAddress::ApRegister(address) => port.write_port(address, value),
        })
    }

    fn jtag_sequence(&mut self, _: u8, _: bool, _: u64) -> Result<(), DebugProbeError> {
        Err(DebugProbeError::UnsupportedProtocol(WireProtocol::Jtag))
    }

    fn swj_sequence(&mut self, bit_len: u8, bits: u64) -> Result<(), DebugProbeError> {
        self.port()?.sequence(bit_len, bits);
        Ok(())
    }

    /// Pins can be driven before the chip is attached to: that is how it is held in reset.
    fn swj_pins(&mut self, pin_out: u32, pin_select: u32, _: u32) -> Result<u32, DebugProbeError> {
        let mut port = lock(&self.port);
        let chip = &mut port.chip;
        if pin_select & RESET_PIN != 0 {
            chip.hold_in_reset(pin_out & RESET_PIN == 0);
        }
        Ok(if chip.is_held() { 0 } else { RESET_PIN })
    }

    fn into_probe(self: Box<Self>) -> Box<dyn DebugProbe> {
        self
    }

    fn core_status_notification(&mut self, _: CoreStatus) -> Result<(), DebugProbeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
