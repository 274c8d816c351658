//! OV2640 (data sheet, version 1.6): two banks of registers, frames from its DSP.

use ocellus_shared::frame::PixelFormat;

use super::Output;
use crate::chip::bus::Time;

/// Its 7-bit address.
pub(super) const ADDRESS: u8 = 0x30;
/// Bank select; it is in both banks.
const RA_DLMT: u8 = 0xFF;

// Bank 0, the DSP.
const R_BYPASS: usize = 0x05;
const ZMOW: usize = 0x5A;
const ZMOH: usize = 0x5B;
const ZMHH: usize = 0x5C;
const IMAGE_MODE: usize = 0xDA;
const RESET: usize = 0xE0;
/// The video port is held in reset.
const RESET_DVP: u8 = 0x04;

// Bank 1, the sensor.
const REG04: usize = 0x04;
const COM7: usize = 0x12;
const CLKRC: usize = 0x11;
const COM7_SRST: u8 = 0x80;
const COM7_BARS: u8 = 0x02;

/// A picture of 800x600 at the usual clock takes so long with a divider of 2: 30 a second.
const FRAME_US: u64 = 33_333;
const USUAL_HZ: u64 = 24_000_000;

/// Registers after power-up: those that a driver reads, the others 0.
pub(super) fn defaults() -> [[u8; 256]; 2] {
    let (mut dsp, mut sensor) = ([0; 256], [0; 256]);
    (dsp[R_BYPASS], dsp[RESET]) = (1, RESET_DVP);
    for (register, value) in [(0x0A, 0x26), (0x0B, 0x42), (0x1C, 0x7F), (0x1D, 0xA2), (0x13, 0xC7), (0x04, 0x20)] {
        sensor[register] = value;
    }
    [dsp, sensor]
}

/// Sets a register of the selected bank: whether that resets the sensor.
pub(super) fn write(banks: &mut [[u8; 256]; 2], register: u8, value: u8) -> bool {
    if register == RA_DLMT {
        banks.iter_mut().for_each(|bank| bank[usize::from(RA_DLMT)] = value & 1);
        return false;
    }
    let bank = usize::from(banks[0][usize::from(RA_DLMT)]);
    let is_fixed = bank == 1 && matches!(register, 0x0A | 0x0B | 0x1C | 0x1D);
    if !is_fixed {
        banks[bank][usize::from(register)] = value;
    }
    bank == 1 && usize::from(register) == COM7 && value & COM7_SRST != 0
}

/// A register of the selected bank.
pub(super) fn read(banks: &[[u8; 256]; 2], register: u8) -> u8 {
    banks[usize::from(banks[0][usize::from(RA_DLMT)])][usize::from(register)]
}

/// What it sends with a clock of `clock_hz`.
pub(super) fn output([dsp, sensor]: &[[u8; 256]; 2], clock_hz: u64) -> Option<Output> {
    let width = 4 * (u16::from(dsp[ZMOW]) | u16::from(dsp[ZMHH] & 3) << 8);
    let height = 4 * (u16::from(dsp[ZMOH]) | u16::from(dsp[ZMHH] >> 2 & 1) << 8);
    let format = match (dsp[IMAGE_MODE] & 0x0C, dsp[IMAGE_MODE] & 1) {
        (0x08, 0) => PixelFormat::Rgb565Be,
        (0x08, _) => PixelFormat::Rgb565Le,
        (0x00, 0) => PixelFormat::Yuv422,
        _ => return None,
    };
    if width == 0 || height == 0 || dsp[RESET] & RESET_DVP != 0 || clock_hz == 0 {
        return None;
    }
    let divider = u64::from(sensor[CLKRC] & 0x3F) + 1;
    Some(Output {
        format,
        width,
        height,
        mirror: sensor[REG04] & 0x80 != 0,
        flip: sensor[REG04] & 0x40 != 0,
        pattern: sensor[COM7] & COM7_BARS != 0,
        period: Time::us(FRAME_US * divider / 2 * (USUAL_HZ / 1000) / (clock_hz / 1000)),
    })
}
