//! What a chip needs of the processor core in it. [`cortex_m7`] is one; another may take its place behind the same trait.

pub mod cortex_m7;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bus::{BusFault, Memory, Width};

/// What a core's loads and stores reach where there is no memory: the registers of a chip's blocks.
pub trait Bus: Send {
    /// The clock of the core has ticked `cycles` times since power-up, time that was skipped included.
    fn set_cycles(&mut self, cycles: u64);

    /// A load.
    ///
    /// # Errors
    /// Nothing answers at `address`.
    fn read(&mut self, address: u32, width: Width) -> Result<u32, BusFault>;

    /// A store.
    ///
    /// # Errors
    /// As for [`Bus::read`].
    fn write(&mut self, address: u32, width: Width, value: u32) -> Result<(), BusFault>;

    /// When the chip next has something to do by itself, in cycles of the core. It may be over already.
    fn next_event(&self) -> u64;

    /// Cycles that may be skipped, since the program only polls; asked for after every access.
    fn take_skip(&mut self) -> u64;
}

/// A bus between a core and whoever keeps time: the core locks it for each access, and leaves behind when the chip wants to
/// be looked at.
pub struct Shared<B> {
    bus: Mutex<B>,
    cycles: AtomicU64,
    deadline: AtomicU64,
    skip: AtomicU64,
}

impl<B: Bus> Shared<B> {
    /// Shares `bus`.
    pub fn new(bus: B) -> Arc<Self> {
        let [cycles, deadline, skip] = [(); 3].map(|()| AtomicU64::new(0));
        Arc::new(Self { bus: Mutex::new(bus), cycles, deadline, skip })
    }

    /// The bus; what a thread that panicked left is as good as any other state.
    pub fn lock(&self) -> MutexGuard<'_, B> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock's count before the next instruction.
    pub fn set_cycles(&self, cycles: u64) {
        self.cycles.store(cycles, Ordering::Relaxed);
    }

    /// When to look at the chip.
    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Sets it after the chip was looked at, or changed from outside.
    pub fn set_deadline(&self, cycles: u64) {
        self.deadline.store(cycles, Ordering::Relaxed);
    }

    /// Cycles to be skipped.
    pub fn take_skip(&self) -> u64 {
        self.skip.swap(0, Ordering::Relaxed)
    }

    fn access<T>(&self, act: impl FnOnce(&mut B) -> T) -> T {
        let mut bus = self.lock();
        bus.set_cycles(self.cycles.load(Ordering::Relaxed));
        let outcome = act(&mut bus);
        let skip = bus.take_skip();
        self.skip.store(skip, Ordering::Relaxed);
        // Skipped time is accounted for at once.
        self.set_deadline(if skip > 0 { 0 } else { bus.next_event() });
        outcome
    }
}

/// Shared registers, without their type.
pub trait Registers: Send + Sync {
    /// As [`Bus::read`].
    ///
    /// # Errors
    /// As for [`Bus::read`].
    fn read(&self, address: u32, width: Width) -> Result<u32, BusFault>;

    /// As [`Bus::write`].
    ///
    /// # Errors
    /// As for [`Bus::read`].
    fn write(&self, address: u32, width: Width, value: u32) -> Result<(), BusFault>;
}

impl<B: Bus> Registers for Shared<B> {
    fn read(&self, address: u32, width: Width) -> Result<u32, BusFault> {
        self.access(|bus| bus.read(address, width))
    }

    fn write(&self, address: u32, width: Width, value: u32) -> Result<(), BusFault> {
        self.access(|bus| bus.write(address, width, value))
    }
}

/// What memory takes from the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Loads and stores.
    Ram,
    /// Loads; stores go to the registers, which decide what becomes of them.
    Flash,
}

/// Memory of a chip.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub bytes: u32,
    /// What it takes.
    pub kind: Kind,
}

/// Addresses at which registers answer.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub bytes: u32,
}

/// A processor core with its memory.
pub trait Core {
    /// Carries out an instruction or the entry of an exception: the cycles that it took, at least one.
    fn step(&mut self) -> u64;

    /// Resets the core, which takes its first vectors. Memory stays as it is.
    fn reset(&mut self);

    /// Sets the level of an interrupt line.
    fn set_interrupt(&mut self, line: u16, level: bool);

    /// Whether the program has asked for a reset (AIRCR.SYSRESETREQ) since the last call.
    fn take_reset_request(&mut self) -> bool;

    /// Whether the core waits for an interrupt.
    fn is_asleep(&self) -> bool;

    /// Whether a fault came where none can be handled: only a reset helps.
    fn is_locked_up(&self) -> bool;

    /// `cycles` passed without an instruction: the core's counters go on.
    fn skip(&mut self, cycles: u64);

    /// Register `index` of 16; 13 is the stack pointer, 15 the program counter.
    fn register(&self, index: u8) -> u32;

    /// Sets it.
    fn set_register(&mut self, index: u8, value: u32);

    /// Makes the flash word of `bytes` bytes at `address` unreadable, as an error does that its code cannot correct; or
    /// readable again.
    fn spoil(&mut self, address: u32, bytes: u32, spoilt: bool);

    /// The memory, without the core.
    fn memory(&mut self) -> &mut dyn Memory;
}
