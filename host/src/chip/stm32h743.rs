//! STM32H743 in software, as its reference manual RM0433 describes it: the blocks that a camera board uses, and stricter than
//! silicon, which forgives what it does not promise.
//!
//! A block without clock swallows writes and reads as 0, and its clock comes some cycles after it was enabled. Registers that are
//! in use stay as they are. Oscillators, voltages, flash, bus and sensor take their time. Whatever a program does that relies on
//! less is a finding. A file below has each block, with the table of its registers; a cache is not modelled.

mod dcmi;
mod dma;
mod flash;
mod gpio;
mod i2c;
mod map;
mod pwr;
mod rcc;
mod timer;
mod watchdog;

pub use rcc::{Cause, Crystal};

use super::bus::{BusFault, Findings, Memory, Time, Width};
use super::core::{Area, Bus, Kind, Window};
use super::poll::{Look, Polling};
use super::sensor::{Sensor, Signal};
use dcmi::Dcmi;
use dma::Dma;
use flash::Flash;
use gpio::{Drive, Mode, Port};
use i2c::{I2c, Wire};
use map::{BLOCKS, Block, GPIO_ENABLES, Gate, PORTS, RESET_BELOW, SYSCFG_PWRCR, block, is_poll};
use pwr::Pwr;
use rcc::Rcc;
use timer::Timer;
use watchdog::Watchdog;

/// The chip's memory (RM0433, 2.3): ITCM, DTCM, AXI SRAM, SRAM4 and flash.
#[rustfmt::skip]
pub const AREAS: &[Area] = &[
    Area { start: 0x0000_0000, bytes: 0x1_0000, kind: Kind::Ram },
    Area { start: 0x2000_0000, bytes: 0x2_0000, kind: Kind::Ram },
    Area { start: 0x2400_0000, bytes: 0x8_0000, kind: Kind::Ram },
    Area { start: 0x3800_0000, bytes: 0x1_0000, kind: Kind::Ram },
    Area { start: flash::START, bytes: 0x20_0000, kind: Kind::Flash },
];
/// Where it boots from, as it leaves the factory (RM0433, chapter 2: BOOT_ADD0).
pub const VECTORS: u32 = flash::START;
/// Where registers answer; SRAM1 to 3 are here since they have clocks of their own, which are not modelled.
pub const WINDOWS: &[Window] = &[Window { start: 0x4000_0000, bytes: 0x2000_0000 }];
/// Bytes of a flash word, which becomes unreadable as a whole.
pub const FLASH_WORD_BYTES: u32 = flash::WORD_BYTES;

/// A line of the interrupt controller (RM0433, chapter 19).
const IRQ_DMA1_STREAM0: u16 = 11;
const IRQ_TIM8_BRK_TIM12: u16 = 43;
const IRQ_DCMI: u16 = 78;
/// Request line of the DCMI in DMAMUX1 (RM0433, chapter 17).
const REQUEST_DCMI: u32 = 75;
/// Alternate functions (data sheet).
const AF_MCO: u8 = 0;
const AF_I2C1: u8 = 4;
const AF_DCMI: u8 = 13;
/// Time that the last words of a row take from the interface to memory.
const TRANSFER: Time = Time::ns(150);
/// Identity: STM32H743 of revision V, or Y (RM0433, 60.5.8).
const IDCODE_V: u32 = 0x2003_6450;

/// A pin: its port, 0 for A, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub usize, pub u32);

/// What a board connects to the chip.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The crystal of HSE.
    pub crystal: Crystal,
    /// D0 to D7, HSYNC, VSYNC and PIXCLK of the sensor.
    pub camera: [Pin; 11],
    /// The pin that powers the sensor down while it is high.
    pub power_down: Pin,
    /// The pin that holds the sensor in reset while it is low, where there is one.
    pub reset: Option<Pin>,
    /// Resistors on the board pull SCL and SDA up.
    pub pulls_bus_up: bool,
}

/// SCL and SDA of I2C1, and MCO1, on all boards that are modelled.
const SCL: Pin = Pin(1, 8);
const SDA: Pin = Pin(1, 9);
const MCO1: Pin = Pin(0, 8);

/// The chip with what a board connects to it.
#[derive(Debug)]
pub struct Stm32h743 {
    wiring: Wiring,
    rcc: Rcc,
    pwr: Pwr,
    flash: Flash,
    ports: [Port; PORTS],
    timer: Timer,
    i2c: I2c,
    dma: Dma,
    dcmi: Dcmi,
    watchdog: Watchdog,
    overdrive: u32,
    debug_cr: u32,
    /// The sensor at the other end of the pins.
    pub sensor: Sensor,
    findings: Findings,
    polling: Polling,
    skip: u64,
    /// The core's clock ticked so often at `origin`, and ticks with `hertz` since.
    cycles: u64,
    base: u64,
    origin: Time,
    hertz: u64,
    now: Time,
    /// Until then nothing but the timer has anything to do by itself that a program would see.
    settled: Time,
    /// When words of a row that wait are in memory.
    transferred: Time,
    /// Frames that were taken.
    frames: u64,
    /// SCL as it was seen last.
    scl: bool,
    /// Something changed that the core must be told.
    dirty: bool,
}

impl Stm32h743 {
    /// A chip that just got power.
    pub fn new(wiring: Wiring, sensor: Sensor) -> Self {
        let mut chip = Self {
            rcc: Rcc::new(wiring.crystal),
            wiring,
            pwr: Pwr::new(),
            flash: Flash::new(),
            ports: std::array::from_fn(Port::new),
            timer: Timer::new(),
            i2c: I2c::new(),
            dma: Dma::new(),
            dcmi: Dcmi::new(),
            watchdog: Watchdog::new(),
            overdrive: 0,
            debug_cr: 0,
            sensor,
            findings: Findings::default(),
            polling: Polling::default(),
            skip: 0,
            cycles: 0,
            base: 0,
            origin: Time::ZERO,
            hertz: 0,
            now: Time::ZERO,
            settled: Time::ZERO,
            transferred: Time::NEVER,
            frames: 0,
            scl: true,
            dirty: true,
        };
        chip.rcc.reset(Cause::Power);
        chip.hertz = chip.rcc.core_hz(Time::ZERO);
        chip
    }

    /// A reset of the system for `cause`. Memory stays; the core is reset by who calls this.
    pub fn reset(&mut self, cause: Cause) {
        self.rcc.reset(cause);
        self.pwr.reset(cause == Cause::Power);
        self.flash.reset();
        self.ports.iter_mut().for_each(Port::reset);
        self.timer.reset();
        self.i2c.reset();
        self.dma.reset();
        self.dcmi.reset();
        self.watchdog.reset();
        (self.overdrive, self.debug_cr, self.transferred) = (0, 0, Time::NEVER);
        self.polling = Polling::default();
        self.settle();
    }

    /// What the program did that silicon does not promise to do as it wants.
    pub fn findings(&self) -> &[String] {
        self.findings.list()
    }

    /// The time since power-up.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The core's clock in hertz.
    pub fn core_hz(&self) -> u64 {
        self.hertz
    }

    /// Whether the watchdog has bitten.
    pub fn has_bitten(&self) -> bool {
        self.watchdog.next_event() <= self.now
    }

    /// Whether the watchdog runs.
    pub fn is_watched(&self) -> bool {
        self.watchdog.is_running()
    }

    /// Frames that the camera interface took from their beginning to their end, every byte of them in memory.
    pub fn frames_taken(&self) -> u64 {
        self.frames
    }

    /// Makes the flash word at `address` unreadable, or readable again.
    pub fn spoil_flash(&mut self, address: u32, spoilt: bool) {
        self.flash.spoil(address, spoilt);
    }

    /// Flash words that became unreadable (true) or readable since the last call.
    pub fn take_flash_changes(&mut self) -> Vec<(u32, bool)> {
        self.flash.take_changes()
    }

    /// Levels of the interrupt lines that are modelled.
    pub fn interrupts(&self) -> [(u16, bool); 3] {
        [
            (IRQ_TIM8_BRK_TIM12, self.timer.interrupt()),
            (IRQ_DMA1_STREAM0, self.dma.interrupt(0)),
            (IRQ_DCMI, self.dcmi.interrupt()),
        ]
    }

    /// Level of the pin as an output; nothing where it is none.
    pub fn output(&self, pin: Pin) -> Option<bool> {
        match self.ports[pin.0].drive(pin.1) {
            Drive::Low => Some(false),
            Drive::High => Some(true),
            Drive::PulledUp | Drive::Open => None,
        }
    }

    /// Does what the chip does by itself until now.
    pub fn advance(&mut self, memory: &mut dyn Memory) {
        self.dirty = false;
        self.settle();
        self.flash.advance(self.now, memory);
        self.dma.advance(self.now);
        while let Some(signal) = self.sensor.signal(self.now) {
            self.hear(&signal, memory);
        }
        if self.transferred <= self.now {
            self.transfer(true, memory);
            self.transferred = Time::NEVER;
            self.frames += u64::from(self.dcmi.has_ended() && self.dma.is_done(0));
        }
    }

    /// The sensor's lines change.
    fn hear(&mut self, signal: &Signal, memory: &mut dyn Memory) {
        match signal {
            Signal::Begin if self.rcc.is_clocked(0xDC, 1, self.now) => {
                let unconnected = |pin: &&Pin| self.ports[pin.0].mode(pin.1) != Mode::Alternate(AF_DCMI);
                match self.wiring.camera.iter().find(unconnected) {
                    Some(pin) => self.findings.note(format!("{pin:?} is not the camera interface's")),
                    None => self.dcmi.begin_frame(self.sensor.polarity(), &mut self.findings),
                }
            }
            Signal::Row(row) if self.dcmi.takes() => {
                self.dcmi.take_line(self.sensor.row(*row));
                self.transfer(false, memory);
                self.transferred = self.now + TRANSFER;
            }
            Signal::End => self.dcmi.end_frame(),
            Signal::Begin | Signal::Row(_) => {}
        }
    }

    fn transfer(&mut self, all: bool, memory: &mut dyn Memory) {
        if self.dcmi.has_words() {
            let taken = self.dma.take(REQUEST_DCMI, self.dcmi.waiting(all), memory);
            self.dcmi.hand_over(taken);
        }
    }

    /// Brings clocks, time base, pins and control bus up to now.
    fn settle(&mut self) {
        let now = self.now;
        self.keep_time();
        self.timer.advance(now, self.rcc.timer_hz(now));
        self.supply_sensor();
        let (hertz, wire) = (self.rcc.i2c_hz(now), self.bus_levels());
        let mut wire = Bitten { sensor: &mut self.sensor, free: wire, now };
        self.i2c.advance(now, hertz, &mut wire);
        let events = [self.rcc.next_event(now), self.pwr.next_event(now), self.i2c.next_event()];
        self.settled = events.into_iter().min().unwrap_or(Time::NEVER);
    }

    /// The core's clock may be another one from now on.
    fn keep_time(&mut self) {
        let hertz = self.rcc.core_hz(self.now);
        if hertz != self.hertz {
            (self.base, self.origin, self.hertz) = (self.cycles, self.now, hertz);
            self.check_speed();
        }
    }

    /// Whether voltage and wait states allow the clock that the core got (RM0433, chapter 4; data sheet).
    fn check_speed(&mut self) {
        let (scale, bus) = (self.pwr.scale(self.now), self.rcc.bus_hz(self.now));
        if self.hertz > scale.fastest_hz() {
            self.findings.note(format!("the core runs at {} Hz at {scale:?}", self.hertz));
        }
        if self.rcc.fastest_apb_hz(self.now) > 120_000_000 {
            self.findings.note("a peripheral bus runs faster than 120 MHz");
        }
        let (states, delay) = self.flash.wait_states();
        // Fastest bus, wait states, delay.
        let steps = [(70, 0, 0), (140, 1, 1), (185, 2, 1), (210, 2, 2), (225, 3, 2)];
        let step = steps.into_iter().find(|(megahertz, _, _)| bus <= megahertz * 1_000_000);
        let needed = step.map_or((4, 2), |(_, states, delay)| (states, delay));
        if states < needed.0 || delay < needed.1 {
            self.findings.note(format!("flash has {states} wait states and delay {delay} at {bus} Hz"));
        }
    }

    fn supply_sensor(&mut self) {
        let high = |pin: Pin| self.output(pin) == Some(true);
        let runs = self.output(self.wiring.power_down) == Some(false) && self.wiring.reset.is_none_or(high);
        let clocked = self.ports[MCO1.0].mode(MCO1.1) == Mode::Alternate(AF_MCO);
        let hertz = if runs && clocked { self.rcc.mco1_hz(self.now) } else { 0 };
        self.sensor.supply(hertz, self.now);
    }

    /// Puts levels on SCL and SDA: whether both are free for I2C1, whose pins they must be.
    fn bus_levels(&mut self) -> bool {
        let holds = self.sensor.holds_data();
        let [scl, sda] = [(SCL, false), (SDA, holds)].map(|(pin, held)| {
            let port = &self.ports[pin.0];
            let (drive, pulled) = (port.drive(pin.1), port.is_pulled_up(pin.1) || self.wiring.pulls_bus_up);
            !held && drive != Drive::Low && (pulled || drive == Drive::High)
        });
        self.ports[SCL.0].set_input(SCL.1, scl);
        self.ports[SDA.0].set_input(SDA.1, sda);
        if scl && !self.scl {
            self.sensor.clock_bus();
        }
        self.scl = scl;
        let is_bus = |pin: Pin| {
            let port = &self.ports[pin.0];
            port.mode(pin.1) == Mode::Alternate(AF_I2C1) && port.is_open_drain(pin.1)
        };
        scl && sda && is_bus(SCL) && is_bus(SDA)
    }

    fn is_clocked(&self, gate: Gate) -> bool {
        gate.is_none_or(|(offset, bit)| {
            let held = self.rcc.resets(offset - RESET_BELOW).unwrap_or_default() & bit != 0;
            self.rcc.is_clocked(offset, bit, self.now) && !held
        })
    }

    fn load(&mut self, block: Block, offset: u32) -> u32 {
        let (now, findings) = (self.now, &mut self.findings);
        match block {
            Block::Timer => self.timer.read(offset, findings),
            Block::I2c => self.i2c.read(offset, now, self.rcc.i2c_hz(now), findings),
            Block::Dma => self.dma.read(offset, findings),
            Block::DmaMux => self.dma.read_mux(offset),
            Block::Dcmi => self.dcmi.read(offset, findings),
            Block::Watchdog => self.watchdog.read(offset, now, findings),
            Block::Flash => self.flash.read(offset, findings),
            Block::Gpio(port) => self.ports[port].read(offset, findings),
            Block::Rcc => self.rcc.read(offset, now, findings),
            Block::Pwr => self.pwr.read(offset, now, findings),
            Block::Syscfg if offset == SYSCFG_PWRCR => self.overdrive,
            Block::Identity if offset == 0 => IDCODE_V,
            Block::Identity if offset == 4 => self.debug_cr,
            Block::Syscfg | Block::Identity | Block::Interconnect => 0,
        }
    }

    fn store(&mut self, block: Block, offset: u32, value: u32) {
        let (now, findings) = (self.now, &mut self.findings);
        match block {
            Block::Timer => self.timer.write(offset, value, now, findings),
            Block::I2c => self.i2c.write(offset, value, now, self.rcc.i2c_hz(now), findings),
            Block::Dma => self.dma.write(offset, value, now, findings),
            Block::DmaMux => self.dma.write_mux(offset, value, findings),
            Block::Dcmi => self.dcmi.write(offset, value, findings),
            Block::Watchdog => {
                self.watchdog.write(offset, value, now, findings);
                if self.watchdog.is_running() {
                    self.rcc.force_lsi(now);
                }
            }
            Block::Flash => self.flash.write(offset, value, now, findings),
            Block::Gpio(port) => self.ports[port].write(offset, value, findings),
            Block::Rcc => {
                self.rcc.write(offset, value, now, findings);
                self.reset_blocks(offset);
            }
            Block::Pwr => self.pwr.write(offset, value, now, findings),
            Block::Syscfg if offset == SYSCFG_PWRCR => {
                self.overdrive = value & 1;
                self.pwr.set_overdrive(value & 1 != 0, now, findings);
            }
            Block::Identity if offset == 4 => self.debug_cr = value,
            Block::Syscfg | Block::Identity => findings.note(format!("{block:?}+{offset:#x} is written")),
            Block::Interconnect => {}
        }
    }

    /// Resets the blocks whose bits are set in the register at `offset`.
    fn reset_blocks(&mut self, offset: u32) {
        let Some(bits) = self.rcc.resets(offset) else { return };
        for (_, _, block, gate) in BLOCKS {
            let held = gate.is_some_and(|(enables, bit)| enables - RESET_BELOW == offset && bits & bit != 0);
            match block {
                Block::Timer if held => self.timer.reset(),
                Block::I2c if held => self.i2c.reset(),
                Block::Dma if held => self.dma.reset(),
                Block::Dcmi if held => self.dcmi.reset(),
                _ => {}
            }
        }
        if offset == GPIO_ENABLES - RESET_BELOW {
            let held = |(port, _): &(usize, &mut Port)| bits & 1 << port != 0;
            self.ports.iter_mut().enumerate().filter(held).for_each(|(_, port)| port.reset());
        }
    }
}

/// I2C1's pins with the sensor at their end.
struct Bitten<'a> {
    sensor: &'a mut Sensor,
    free: bool,
    now: Time,
}

impl Wire for Bitten<'_> {
    fn is_free(&self) -> bool {
        self.free
    }

    fn start(&mut self, address: u8, _: bool) -> bool {
        self.sensor.start(address, self.now)
    }

    fn write(&mut self, byte: u8) -> bool {
        self.sensor.write(byte, self.now);
        true
    }

    fn read(&mut self) -> u8 {
        self.sensor.read()
    }

    fn stop(&mut self) {
        self.sensor.stop();
    }
}

impl Bus for Stm32h743 {
    fn set_cycles(&mut self, cycles: u64) {
        self.cycles = cycles;
        self.now = self.now.max(self.origin + Time::cycles(cycles.saturating_sub(self.base), self.hertz));
    }

    fn read(&mut self, address: u32, width: Width) -> Result<u32, BusFault> {
        if AREAS.iter().any(|area| area.kind == Kind::Flash && address.wrapping_sub(area.start) < area.bytes) {
            self.flash.fail(address);
            return Err(BusFault);
        }
        let Some((block, base, gate)) = block(address) else {
            self.findings.note(format!("{address:#x} is read, where nothing is modelled"));
            return Err(BusFault);
        };
        if !self.is_clocked(gate) {
            self.findings.note(format!("{block:?}+{:#x} is read without its clock", address - base));
            return Ok(0);
        }
        if self.now >= self.settled {
            self.settle();
        } else if block == Block::Timer {
            self.timer.advance(self.now, self.rcc.timer_hz(self.now));
        }
        let offset = (address - base) & !3;
        let value = self.load(block, offset);
        let look = if is_poll(block, offset) { Look::Poll } else { Look::Work };
        self.skip = self.polling.look(look, self.cycles, self.hertz, self.next_event());
        if block == Block::I2c {
            // A transfer may have gone on.
            self.settle();
        }
        let shift = 8 * (address & 3);
        Ok(match width {
            Width::Byte => value >> shift & 0xFF,
            Width::Half => value >> shift & 0xFFFF,
            Width::Word => value,
        })
    }

    fn write(&mut self, address: u32, width: Width, value: u32) -> Result<(), BusFault> {
        self.dirty = true;
        self.polling.look(Look::Work, self.cycles, self.hertz, 0);
        if AREAS.iter().any(|area| area.kind == Kind::Flash && address.wrapping_sub(area.start) < area.bytes) {
            self.flash.store(address, width, value, self.now, &mut self.findings);
            return Ok(());
        }
        let Some((block, base, gate)) = block(address) else {
            self.findings.note(format!("{address:#x} is written, where nothing is modelled"));
            return Err(BusFault);
        };
        let offset = address - base;
        if !self.is_clocked(gate) {
            self.findings.note(format!("{block:?}+{offset:#x} is written without its clock: {value:#x} is lost"));
            return Ok(());
        }
        // Timers may be written by halves (RM0433, 39.4).
        if width == Width::Byte || width == Width::Half && block != Block::Timer {
            self.findings.note(format!("{block:?}+{offset:#x} is written as {width:?}"));
        }
        self.settle();
        self.store(block, offset & !3, value);
        self.settle();
        Ok(())
    }

    fn next_event(&self) -> u64 {
        if self.dirty {
            return 0;
        }
        let events = [
            self.rcc.next_event(self.now),
            self.pwr.next_event(self.now),
            self.flash.next_event(),
            self.timer.next_event(),
            self.i2c.next_event(),
            self.dma.next_event(),
            self.watchdog.next_event(),
            self.sensor.next_event(),
            self.transferred,
        ];
        let next = events.into_iter().min().unwrap_or(Time::NEVER);
        if next == Time::NEVER {
            return u64::MAX;
        }
        // The first cycle at which it is there.
        self.base + next.since(self.origin).periods(self.hertz) + 1
    }

    fn take_skip(&mut self) -> u64 {
        std::mem::take(&mut self.skip)
    }
}
