//! OV7725 (data sheet, version 1.2).

use ocellus_shared::frame::PixelFormat;

use super::Output;
use crate::chip::bus::Time;

/// Its 7-bit address.
pub(super) const ADDRESS: u8 = 0x21;

const COM3: usize = 0x0C;
const COM4: usize = 0x0D;
const CLKRC: usize = 0x11;
const COM7: usize = 0x12;
const HOUTSIZE: usize = 0x29;
const EXHCH: usize = 0x2A;
const VOUTSIZE: usize = 0x2C;
const DSP_CTRL3: usize = 0x66;
/// Clocks of a frame of 640x480 at 30 a second with 24 MHz inside.
const CLOCKS_OF_A_FRAME: u64 = 800_000;

/// Registers after power-up: those that a driver reads, the others 0.
pub(super) fn defaults() -> [[u8; 256]; 2] {
    let mut bank = [0; 256];
    for (register, value) in [
        (0x0A, 0x77),
        (0x0B, 0x21),
        (0x1C, 0x7F),
        (0x1D, 0xA2),
        (COM3, 0x10),
        (COM4, 0x41),
        (CLKRC, 0x80),
        (0x13, 0x8F),
        (HOUTSIZE, 0xA0),
        (VOUTSIZE, 0xF0),
    ] {
        bank[register] = value;
    }
    [bank, [0; 256]]
}

/// Sets a register: whether that resets the sensor.
pub(super) fn write(banks: &mut [[u8; 256]; 2], register: u8, value: u8) -> bool {
    if !matches!(register, 0x0A | 0x0B | 0x1C | 0x1D) {
        banks[0][usize::from(register)] = value;
    }
    usize::from(register) == COM7 && value & 0x80 != 0
}

/// What it sends with a clock of `clock_hz`.
pub(super) fn output([bank, _]: &[[u8; 256]; 2], clock_hz: u64) -> Option<Output> {
    let width = 4 * u16::from(bank[HOUTSIZE]) + u16::from(bank[EXHCH] & 3);
    let height = 2 * u16::from(bank[VOUTSIZE]) + u16::from(bank[EXHCH] >> 2 & 1);
    // COM7: 2 in the lowest bits is RGB, 1 in the next 565; COM3 swaps bytes, or brightness and colour.
    let format = match (bank[COM7] & 0x0F, bank[COM3] & 0x18) {
        (0x06, 0x00) => PixelFormat::Rgb565Be,
        (0x06, 0x08) => PixelFormat::Rgb565Le,
        (0x00, 0x10) => PixelFormat::Yuv422,
        _ => return None,
    };
    let times = [1, 4, 6, 8][usize::from(bank[COM4] >> 6)];
    let inside_hz = clock_hz * times / (2 * (u64::from(bank[CLKRC] & 0x3F) + 1));
    if width == 0 || height == 0 || inside_hz == 0 {
        return None;
    }
    Some(Output {
        format,
        width,
        height,
        mirror: bank[COM3] & 0x40 != 0,
        flip: bank[COM3] & 0x80 != 0,
        pattern: bank[COM3] & 1 != 0 && bank[DSP_CTRL3] & 0x20 != 0,
        period: Time::cycles(CLOCKS_OF_A_FRAME, inside_hz),
    })
}
