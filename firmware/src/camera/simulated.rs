//! An OV2640 in software, on a bus in software, that things happen to: for boards without a camera, and for tests.
//!
//! It is stricter than the real one. A transaction that SCCB does not have is an error, and so is talking during a reset;
//! frames come only from a sensor whose registers say so, in the size and format that they say, and only in its rhythm. A
//! frame that is not as long as the buffer does not fill it, or runs over.

use super::live::{CaptureError, Grabber};
use super::ov2640;
use super::sccb::Bus;
use super::sensor::Settings;
use crate::time::Clock;
use core::cell::RefCell;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use ocellus_shared::PixelFormat;
use ocellus_shared::wire::{CameraFault, Event};

/// What it is set to where nothing else is wanted.
pub const SETTINGS: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);
/// Time of a frame at full rate, in microseconds: 30 a second.
pub const FRAME_US: u64 = 33_333;
/// Time that the grabber waits for a frame.
pub const TIMEOUT_US: u64 = 8 * FRAME_US;
/// Time after a reset in which the sensor does not answer.
const RESET_US: u64 = 5_000;
/// Time of a bit on the bus: 100 kHz.
const BIT_US: u64 = 10;

/// Registers by bank and number, as far as the sensor's behaviour follows from them.
const BANKS: usize = 2;
const BANK_SELECT: u8 = 0xff;
const DSP: usize = 0;
const SENSOR: usize = 1;
const PIDH: usize = 0x0a;
const CLKRC: usize = 0x11;
const COM7: usize = 0x12;
const R_BYPASS: usize = 0x05;
const ZMOW: usize = 0x5a;
const ZMOH: usize = 0x5b;
const IMAGE_MODE: usize = 0xda;

/// The bars of the test pattern, left to right: RGB565, and Y, U, V (BT.601, full range).
const BARS: [(u16, [u8; 3]); 8] = [
    (0xffff, [255, 128, 128]),
    (0xffe0, [226, 0, 149]),
    (0x07ff, [179, 171, 0]),
    (0x07e0, [150, 44, 21]),
    (0xf81f, [105, 212, 235]),
    (0xf800, [76, 85, 255]),
    (0x001f, [29, 255, 107]),
    (0x0000, [0, 128, 128]),
];

/// The sensor, its bus and the camera interface. `&Simulated` is the bus and the grabber.
#[derive(Debug)]
pub struct Simulated<'s, K> {
    clock: K,
    events: &'s [Event],
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    registers: [[u8; 256]; BANKS],
    bank: usize,
    /// The register that the next read gives.
    selected: Option<u8>,
    /// When a reset is over.
    ready_us: u64,
    /// When the next frame is complete.
    due_us: u64,
    /// Frames that were asked for.
    grabs: u32,
    unplugged: bool,
    stuck: bool,
}

impl State {
    fn power_up(&mut self) {
        self.registers = [[0; 256]; BANKS];
        self.registers[SENSOR][PIDH] = 0x26;
        (self.bank, self.selected) = (DSP, None);
    }

    /// Takes one write of a register number, with or without its value.
    fn write(&mut self, bytes: &[u8], now_us: u64) -> Result<(), ErrorKind> {
        match *bytes {
            [register] => self.selected = Some(register),
            [BANK_SELECT, bank] => self.bank = usize::from(bank & 1),
            [0x12, value] if self.bank == SENSOR && value & 0x80 != 0 => {
                self.power_up();
                self.ready_us = now_us + RESET_US;
            }
            [register, value] => self.registers[self.bank][usize::from(register)] = value,
            _ => return Err(ErrorKind::Other),
        }
        Ok(())
    }

    /// Columns, rows and IMAGE_MODE of the frames that come out; nothing where none do.
    fn output(&self) -> Option<(usize, usize, u8)> {
        let [dsp, sensor] = &self.registers;
        let runs = sensor[COM7] & 0x70 == 0x40 && dsp[R_BYPASS] & 1 == 0;
        let (columns, rows) = (4 * usize::from(dsp[ZMOW]), 4 * usize::from(dsp[ZMOH]));
        (runs && columns * rows > 0).then_some((columns, rows, dsp[IMAGE_MODE]))
    }

    /// Time from frame to frame.
    fn period_us(&self) -> u64 {
        FRAME_US * (u64::from(self.registers[SENSOR][CLKRC] & 0x3f) + 1) / 2
    }
}

impl<'s, K: Clock> Simulated<'s, K> {
    /// A sensor that was just powered, and what will happen to it.
    pub fn new(clock: K, events: &'s [Event]) -> Self {
        let registers = [[0; 256]; BANKS];
        let mut state = State {
            registers,
            bank: DSP,
            selected: None,
            ready_us: 0,
            due_us: 0,
            grabs: 0,
            unplugged: false,
            stuck: false,
        };
        state.power_up();
        Self { clock, events, state: RefCell::new(state) }
    }

    /// The sensor's registers, bank by bank.
    pub fn registers(&self) -> [[u8; 256]; BANKS] {
        self.state.borrow().registers
    }

    /// Lets happen what happens from frame `grab` on, and says what the frame itself suffers.
    fn fault(&self, state: &mut State, grab: u32) -> Option<(CameraFault, u16)> {
        state.unplugged = false;
        let mut suffered = None;
        for event in self.events.iter().filter(|e| (e.turn..e.turn.saturating_add(e.turns.into())).contains(&grab)) {
            let begins = grab == event.turn;
            match event.fault {
                CameraFault::Unplugged => state.unplugged = true,
                CameraFault::Stuck if begins => state.stuck = true,
                CameraFault::Forgetful if begins => state.power_up(),
                CameraFault::Slow if begins => suffered = Some((CameraFault::Slow, event.turns)),
                CameraFault::Missing | CameraFault::Overrun => suffered = Some((event.fault, 1)),
                _ => {}
            }
        }
        if state.unplugged {
            // What it was told is gone.
            state.power_up();
        }
        suffered
    }

    /// When the frame is complete that begins after `now_us`.
    fn schedule(&self, state: &mut State, now_us: u64, extra: u64) -> u64 {
        let period = state.period_us();
        let behind = now_us.saturating_sub(state.due_us);
        // The sensor keeps its rhythm, whoever looks: frames that nobody took in are gone.
        state.due_us += period * (behind / period + 1 + extra);
        state.due_us
    }
}

impl<K> ErrorType for &Simulated<'_, K> {
    type Error = ErrorKind;
}

impl<K: Clock> I2c for &Simulated<'_, K> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), ErrorKind> {
        // Start, stop, and nine bits for the address and for every byte.
        let bytes = operations.iter().map(|operation| match operation {
            Operation::Read(buffer) => buffer.len(),
            Operation::Write(bytes) => bytes.len(),
        });
        let bits = 2 + 9 * (1 + bytes.sum::<usize>() as u64);
        let now_us = self.clock.now_us() + bits * BIT_US;
        self.clock.wait_until_us(now_us);
        let state = &mut *self.state.borrow_mut();
        if state.stuck {
            return Err(ErrorKind::Other);
        }
        if address != ov2640::ADDRESS || state.unplugged || now_us < state.ready_us {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        match operations {
            [Operation::Write(bytes)] => state.write(bytes, now_us),
            [Operation::Read([value])] => {
                let register = state.selected.take().ok_or(ErrorKind::Other)?;
                *value = state.registers[state.bank][usize::from(register)];
                Ok(())
            }
            // A repeated start, which SCCB does not have.
            _ => Err(ErrorKind::Bus),
        }
    }
}

impl<K: Clock> Bus for &Simulated<'_, K> {
    fn clear(&mut self) {
        self.state.borrow_mut().stuck = false;
    }
}

impl<K: Clock> Grabber for &Simulated<'_, K> {
    fn grab_while<T>(&mut self, buffer: &mut [u8], work: impl FnOnce() -> T) -> (T, Result<(), CaptureError>) {
        let start_us = self.clock.now_us();
        let mut state = self.state.borrow_mut();
        let grab = state.grabs;
        state.grabs = grab.wrapping_add(1);
        let suffered = self.fault(&mut state, grab);
        let output = state.output().filter(|_| !state.unplugged && !state.stuck);
        let output = output.filter(|_| !matches!(suffered, Some((CameraFault::Missing, _))));
        let extra = if let Some((CameraFault::Slow, frames)) = suffered { u64::from(frames) } else { 0 };
        let due_us = output.map(|_| self.schedule(&mut state, start_us, extra));
        let pattern = state.registers[SENSOR][COM7] & 2 != 0;
        drop(state);
        let done = work();
        let (Some((columns, rows, mode)), Some(due_us)) = (output, due_us.filter(|due| *due <= start_us + TIMEOUT_US))
        else {
            self.clock.wait_until_us(start_us + TIMEOUT_US);
            return (done, Err(CaptureError::Missing));
        };
        self.clock.wait_until_us(due_us);
        let bytes = 2 * columns * rows;
        // The bars stand in the test pattern, and walk otherwise.
        let shift = if pattern { 0 } else { grab as usize };
        buffer.iter_mut().take(bytes).enumerate().for_each(|(at, byte)| *byte = pixel_byte(at, columns, shift, mode));
        let outcome = match bytes.cmp(&buffer.len()) {
            core::cmp::Ordering::Less => Err(CaptureError::Missing),
            core::cmp::Ordering::Equal if !matches!(suffered, Some((CameraFault::Overrun, _))) => Ok(()),
            _ => Err(CaptureError::Overrun),
        };
        (done, outcome)
    }
}

/// Byte `at` of a frame with `columns` columns, whose bars moved to the left by `shift`.
fn pixel_byte(at: usize, columns: usize, shift: usize, mode: u8) -> u8 {
    let pixel = at / 2;
    let (rgb565, [y, u, v]) = BARS[(pixel % columns + shift) % columns * BARS.len() / columns];
    let [high, low] = rgb565.to_be_bytes();
    match (mode, at % 2, pixel % 2) {
        (0x08, 0, _) | (0x09, 1, _) => high,
        (0x08 | 0x09, ..) => low,
        (_, 0, _) => y,
        (_, _, 0) => u,
        _ => v,
    }
}
