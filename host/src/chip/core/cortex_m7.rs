//! rsemu's ARMv7E-M core with a single-precision FPU: an interpreter that counts cycles roughly. It knows no cache, and nothing
//! of double precision.

use std::fmt;
use std::sync::Arc;

use rsemu::core::error::BusError;
use rsemu::core::space::{
    AccessConstraints, AddressSpace, Mapping, MappingId, MemAttrs, MemOps, MemResult, Perms, RamStore, Region,
    UnassignedPolicy,
};
use rsemu::core::value::{Endian, Width as BusWidth};
use rsemu::cpu::arm::v7m::sys::Sys;
use rsemu::cpu::arm::v7m::{ArmV7m, Config, Regs};

use super::{Area, Core, Kind, Registers, Window};
use crate::chip::bus::{BusFault, Memory, Width};

/// Where memory is placed, where nothing else counts; what cannot be read lies above it.
const PLAIN: i32 = 0;
const ABOVE: i32 = 1;

/// A Cortex-M7 with an FPU.
pub struct CortexM7 {
    cpu: ArmV7m,
    space: Arc<AddressSpace>,
    stores: Stores,
    doors: Arc<dyn Registers>,
    spoilt: Vec<(u32, MappingId)>,
}

impl CortexM7 {
    /// A core with the memory of `areas`, whose other loads and stores go to `doors` where `windows` say so. A reset takes the
    /// vectors at `vectors`.
    ///
    /// # Errors
    /// Areas or windows do not fit the address space.
    pub fn new(areas: &[Area], windows: &[Window], vectors: u32, doors: Arc<dyn Registers>) -> anyhow::Result<Self> {
        let space = Arc::new(AddressSpace::new("chip", 32).with_unassigned(UnassignedPolicy::FAULT));
        let mut stores = Vec::new();
        {
            let mut topology = space.topology();
            for area in areas {
                let store = Arc::new(RamStore::new(area.bytes.into()));
                let region = Region::ram("memory", Arc::clone(&store));
                let mapping = Mapping::new(region, area.start.into()).with_priority(PLAIN);
                match area.kind {
                    Kind::Ram => topology.map_with(mapping).map_err(failed)?,
                    Kind::Flash => {
                        let door = Door { start: area.start, doors: Arc::clone(&doors) };
                        let writes = Mapping::new(door.region(area.bytes), area.start.into()).with_perms(Perms::WRITE);
                        topology.map_with(writes).map_err(failed)?;
                        topology.map_with(mapping.with_perms(Perms::RX)).map_err(failed)?
                    }
                };
                stores.push((area.start, store));
            }
            for window in windows {
                let door = Door { start: window.start, doors: Arc::clone(&doors) };
                topology.map(door.region(window.bytes), window.start.into()).map_err(failed)?;
            }
        }
        let cpu = ArmV7m::new(Config::CORTEX_M7F.with_reset_vtor(vectors));
        cpu.attach_space(Arc::clone(&space));
        Ok(Self { cpu, space, stores: Stores(stores), doors, spoilt: Vec::new() })
    }
}

fn failed(error: impl fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("the chip's memory cannot be laid out: {error}")
}

impl Core for CortexM7 {
    fn step(&mut self) -> u64 {
        self.cpu.step().max(1)
    }

    fn reset(&mut self) {
        self.cpu.set_regs(Regs::new());
        // Everything that a program may have set in the core's own registers.
        self.cpu.with_sys(|sys| {
            let fresh = Sys::new(sys.cpuid, sys.priority_bits, sys.mpu_regions);
            *sys = if sys.fp_present() { fresh.with_fp(sys.mvfr) } else { fresh };
        });
        self.cpu.request_reset();
        self.cpu.step();
    }

    fn set_interrupt(&mut self, line: u16, level: bool) {
        self.cpu.set_irq(line, level);
    }

    fn take_reset_request(&mut self) -> bool {
        let requested = self.cpu.reset_requested();
        self.cpu.clear_reset_request();
        requested
    }

    fn is_asleep(&self) -> bool {
        self.cpu.is_asleep()
    }

    fn is_locked_up(&self) -> bool {
        self.cpu.is_locked_up()
    }

    fn skip(&mut self, cycles: u64) {
        self.cpu.with_sys(|sys| sys.tick_cyccnt(cycles));
    }

    fn register(&self, index: u8) -> u32 {
        self.cpu.reg(index)
    }

    fn set_register(&mut self, index: u8, value: u32) {
        self.cpu.set_reg(index, value);
    }

    fn spoil(&mut self, address: u32, bytes: u32, spoilt: bool) {
        let known = self.spoilt.iter().position(|(at, _)| *at == address);
        let mut topology = self.space.topology();
        match (known, spoilt) {
            (None, true) => {
                let door = Door { start: address, doors: Arc::clone(&self.doors) };
                let mapping = Mapping::new(door.region(bytes), address.into()).with_priority(ABOVE);
                if let Ok(id) = topology.map_with(mapping) {
                    self.spoilt.push((address, id));
                }
            }
            (Some(index), false) => {
                let (_, id) = self.spoilt.swap_remove(index);
                // Fails only where there is no such mapping.
                let _ = topology.unmap(id);
            }
            _ => {}
        }
    }

    fn memory(&mut self) -> &mut dyn Memory {
        &mut self.stores
    }
}

/// The chip's memory, by first address.
struct Stores(Vec<(u32, Arc<RamStore>)>);

impl Stores {
    fn find(&self, address: u32, bytes: usize) -> Result<(&RamStore, u64), BusFault> {
        let holds =
            |start: u32, store: &RamStore| address >= start && u64::from(address - start) + bytes as u64 <= store.len();
        let found = self.0.iter().find(|(start, store)| holds(*start, store));
        found.map(|(start, store)| (&**store, u64::from(address - start))).ok_or(BusFault)
    }
}

impl Memory for Stores {
    fn load(&self, address: u32, bytes: &mut [u8]) -> Result<(), BusFault> {
        let (store, at) = self.find(address, bytes.len())?;
        store.read_at(at, bytes).map_err(|_| BusFault)
    }

    fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), BusFault> {
        let (store, at) = self.find(address, bytes.len())?;
        store.write_at(at, bytes).map_err(|_| BusFault)
    }
}

/// Registers as rsemu's address space sees them.
struct Door {
    start: u32,
    doors: Arc<dyn Registers>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registers at {:#x}", self.start)
    }
}

impl Door {
    fn region(self, bytes: u32) -> Region {
        Region::io("registers", bytes.into(), Arc::new(self))
    }

    fn address(&self, offset: u64) -> u32 {
        self.start.wrapping_add(offset as u32)
    }
}

fn width(bytes: usize) -> Result<Width, BusError> {
    match bytes {
        1 => Ok(Width::Byte),
        2 => Ok(Width::Half),
        4 => Ok(Width::Word),
        _ => Err(BusError::BadAccess),
    }
}

impl MemOps for Door {
    fn read(&self, offset: u64, dst: &mut [u8], _: MemAttrs) -> MemResult {
        let value = self.doors.read(self.address(offset), width(dst.len())?).map_err(|_| BusError::BadAccess)?;
        dst.copy_from_slice(&value.to_le_bytes()[..dst.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, src: &[u8], _: MemAttrs) -> MemResult {
        let width = width(src.len())?;
        let mut bytes = [0; 4];
        bytes[..src.len()].copy_from_slice(src);
        let value = u32::from_le_bytes(bytes);
        self.doors.write(self.address(offset), width, value).map_err(|_| BusError::BadAccess)
    }

    fn constraints(&self) -> AccessConstraints {
        AccessConstraints::IO.with_widths(BusWidth::U8, BusWidth::U32).with_endian(Endian::Little)
    }
}
