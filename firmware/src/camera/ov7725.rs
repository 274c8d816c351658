//! OmniVision OV7725: 640x480, which its DSP scales down.
//!
//! Register names and bits follow the OV7725 datasheet (version 1.2), values its application note. VSYNC marks invalid data
//! by high and HREF by low, data is valid at the rising edge of PCLK.

use super::sccb::{Bus, Sccb};
use super::sensor::{Sensor, SensorError, Setting, Settings, Window};
use embedded_hal::delay::DelayNs;
use ocellus_shared::PixelFormat;

/// Its 7-bit address.
pub const ADDRESS: u8 = 0x21;

/// Time that a reset takes.
const RESET_MS: u32 = 10;
/// Time after which the first pictures are of any use. Exposure and white balance go on finding their place in them.
const SETTLE_MS: u32 = 100;

const PID: u8 = 0x0a;
const PID_OV7725: u8 = 0x77;
const COM3: u8 = 0x0c;
const COM3_FLIP: u8 = 0x80;
const COM3_MIRROR: u8 = 0x40;
/// Y before its colour.
const COM3_SWAP_YUV: u8 = 0x10;
const COM3_SWAP_BYTES: u8 = 0x08;
const COM3_COLOUR_BAR: u8 = 0x01;
const COM4: u8 = 0x0d;
const COM4_PLL_4X: u8 = 0x41;
const COM5: u8 = 0x0e;
const COM6: u8 = 0x0f;
const CLKRC: u8 = 0x11;
/// Set after a reset.
const CLKRC_RESERVED: u8 = 0x80;
const COM7: u8 = 0x12;
const COM7_RESET: u8 = 0x80;
const COM7_YUV: u8 = 0x00;
const COM7_RGB565: u8 = 0x06;
const COM8: u8 = 0x13;
const COM8_AGC: u8 = 0x04;
const COM8_AEC: u8 = 0x01;
const COM9: u8 = 0x14;
const HSTART: u8 = 0x17;
const HSIZE: u8 = 0x18;
const VSTRT: u8 = 0x19;
const VSIZE: u8 = 0x1a;
const AEW: u8 = 0x24;
const AEB: u8 = 0x25;
const VPT: u8 = 0x26;
const HOUTSIZE: u8 = 0x29;
const EXHCH: u8 = 0x2a;
const VOUTSIZE: u8 = 0x2c;
const HREF: u8 = 0x32;
const COM12: u8 = 0x3d;
const DSP_CTRL1: u8 = 0x64;
const DSP_CTRL2: u8 = 0x65;
const DSP_CTRL3: u8 = 0x66;
const DSP_CTRL3_COLOUR_BAR: u8 = 0x20;
const DSP_CTRL4: u8 = 0x67;
const AWB_CTRL0: u8 = 0x63;
const DSPAUTO: u8 = 0xac;

/// What does not depend on the settings.
#[rustfmt::skip]
const TABLE: &[(u8, u8)] = &[
    (COM12, 0x03), (COM4, COM4_PLL_4X), (COM5, 0x65), (COM6, 0xc5),
    // Gain, exposure and white balance automatic, at most fourfold gain; brightness to stay at, and how fast.
    (COM8, 0xff), (COM9, 0x11), (AEW, 0x40), (AEB, 0x30), (VPT, 0xa1),
    // White balance, gamma and colour matrix on; both directions scaled by factors that the DSP finds itself.
    (AWB_CTRL0, 0xe0), (DSP_CTRL1, 0xff), (DSP_CTRL2, 0x2f), (DSP_CTRL3, 0x00), (DSP_CTRL4, 0x00), (DSPAUTO, 0xff),
];

/// First column and row of the 640x480 window in the pixel array.
const LEFT: u16 = 140;
const TOP: u16 = 14;

/// The sensor.
#[derive(Debug)]
pub struct Ov7725<B, D>(Sccb<B, D>);

impl<B: Bus, D: DelayNs> Ov7725<B, D> {
    /// The sensor on `bus`.
    pub fn new(bus: B, delay: D) -> Self {
        Self(Sccb::new(bus, delay, ADDRESS))
    }

    /// Gives the bus back.
    pub fn release(self) -> B {
        self.0.release()
    }
}

/// COM7 and COM3 for a pixel format.
fn format(format: PixelFormat) -> Result<[(u8, u8); 2], SensorError> {
    match format {
        PixelFormat::Rgb565Be => Ok([(COM7, COM7_RGB565), (COM3, 0)]),
        PixelFormat::Rgb565Le => Ok([(COM7, COM7_RGB565), (COM3, COM3_SWAP_BYTES)]),
        PixelFormat::Yuv422 => Ok([(COM7, COM7_YUV), (COM3, COM3_SWAP_YUV)]),
        PixelFormat::Rgb888 | PixelFormat::Grey8 => Err(SensorError::Unsupported(Setting::Format)),
    }
}

/// The window of the sensor's picture, which is as wide as the frame's aspect ratio allows, and the size of the frame.
///
/// Columns are counted in 4 and rows in 2; what is left of a first column goes to HREF, of a size to EXHCH.
fn scaling(settings: &Settings) -> Result<[(u8, u8); 8], SensorError> {
    let (width, height) = (settings.width, settings.height);
    let (most_width, most_height) = match settings.window {
        Window::Whole => (640, 480),
        Window::Middle => (320, 240),
    };
    let whole = width > 0 && height > 0 && width.is_multiple_of(4) && height.is_multiple_of(2);
    if !whole || width > most_width || height > most_height {
        return Err(SensorError::Unsupported(Setting::Size));
    }
    let fit = |most: u16, part: u16, other: u16| (u32::from(most) * u32::from(part) / u32::from(other)) as u16;
    let window_width = fit(most_height, width, height).min(most_width) / 4 * 4;
    let window_height = (fit(most_width, height, width)).min(most_height) / 2 * 2;
    let (left, top) = (LEFT + (640 - window_width) / 2, TOP + (480 - window_height) / 2);
    Ok([
        (HSTART, (left / 4) as u8),
        (HSIZE, (window_width / 4) as u8),
        (VSTRT, (top / 2) as u8),
        (VSIZE, (window_height / 2) as u8),
        (HREF, (((left % 4) << 4) | (top % 2)) as u8),
        (HOUTSIZE, (width / 4) as u8),
        (VOUTSIZE, (height / 2) as u8),
        (EXHCH, 0),
    ])
}

impl<B: Bus, D: DelayNs> Sensor for Ov7725<B, D> {
    fn identify(&mut self) -> Result<(), SensorError> {
        match self.0.read(PID)? {
            PID_OV7725 => Ok(()),
            other => Err(SensorError::WrongId(other)),
        }
    }

    fn reset(&mut self) -> Result<(), SensorError> {
        self.0.write(COM7, COM7_RESET)?;
        self.0.wait_ms(RESET_MS);
        Ok(())
    }

    fn configure(&mut self, settings: &Settings) -> Result<(), SensorError> {
        let (format, scaling) = (format(settings.format)?, scaling(settings)?);
        self.0.write_all(TABLE)?;
        // The PLL's clock is divided by twice one more than the lower bits: 12 MHz in make 24, which are 30 frames a second.
        self.0.write(CLKRC, CLKRC_RESERVED | (settings.rate.divisor() - 1))?;
        self.0.write_all(&format)?;
        self.0.write_all(&scaling)?;
        self.0.wait_ms(SETTLE_MS);
        Ok(())
    }

    fn orient(&mut self, mirror: bool, flip: bool) -> Result<(), SensorError> {
        let (mirrored, flipped) = (if mirror { COM3_MIRROR } else { 0 }, if flip { COM3_FLIP } else { 0 });
        self.0.modify(COM3, COM3_MIRROR | COM3_FLIP, mirrored | flipped)
    }

    fn lock(&mut self, locked: bool) -> Result<(), SensorError> {
        self.0.modify(COM8, COM8_AGC | COM8_AEC, if locked { 0 } else { COM8_AGC | COM8_AEC })
    }

    fn show_pattern(&mut self, on: bool) -> Result<(), SensorError> {
        // The sensor draws the bars, and the DSP must let them through.
        self.0.modify(COM3, COM3_COLOUR_BAR, u8::from(on))?;
        self.0.modify(DSP_CTRL3, DSP_CTRL3_COLOUR_BAR, if on { DSP_CTRL3_COLOUR_BAR } else { 0 })
    }

    fn clear_bus(&mut self) {
        self.0.clear();
    }

    fn wait_ms(&mut self, time_ms: u32) {
        self.0.wait_ms(time_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::sccb::tests::{Desk, NACK, read, writes};
    use crate::camera::sensor::Rate;
    use crate::camera::sensor::tests::assert_cures;
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::Transaction;

    const QVGA: Settings = Settings::new(PixelFormat::Rgb565Be, 320, 240);

    fn sensor(desk: &mut Desk) -> Ov7725<&mut Desk, NoopDelay> {
        Ov7725::new(desk, NoopDelay::new())
    }

    fn modified(register: u8, before: u8, after: u8) -> Vec<Transaction> {
        [read(0x21, register, before), writes(0x21, &[(register, after)])].concat()
    }

    fn configured(clock: u8, format: [(u8, u8); 2], scaling: &[(u8, u8)]) -> Vec<Transaction> {
        [writes(0x21, TABLE), writes(0x21, &[(0x11, clock)]), writes(0x21, &format), writes(0x21, scaling)].concat()
    }

    /// 320x240 of all 640x480.
    const QVGA_SCALING: [(u8, u8); 8] =
        [(0x17, 35), (0x18, 160), (0x19, 7), (0x1a, 240), (0x32, 0), (0x29, 80), (0x2c, 120), (0x2a, 0)];

    #[test]
    fn a_sensor_is_brought_up_by_these_transactions() {
        let expected = [
            read(0x21, 0x0a, 0x77),
            writes(0x21, &[(0x12, 0x80)]),
            configured(0x80, [(0x12, 0x06), (0x0c, 0)], &QVGA_SCALING),
            modified(0x0c, 0x00, 0xc0),
            modified(0x0c, 0xc0, 0xc1),
            modified(0x66, 0x00, 0x20),
            modified(0x13, 0xff, 0xfa),
        ];
        let settings = Settings { mirror: true, flip: true, pattern: true, locked: true, ..QVGA };
        let mut desk = Desk::new(&expected.concat());
        assert_eq!(sensor(&mut desk).bring_up(&settings), Ok(()));
        desk.done();
    }

    #[test]
    fn modes_differ_in_clock_format_and_window() {
        // The middle 320x240 begins 160 columns and 120 rows further in.
        let middle = [(0x17, 75), (0x18, 80), (0x19, 67), (0x1a, 120), (0x32, 0), (0x29, 80), (0x2c, 120), (0x2a, 0)];
        // A square of the whole height.
        let square = [(0x17, 55), (0x18, 120), (0x19, 7), (0x1a, 240), (0x32, 0), (0x29, 24), (0x2c, 48), (0x2a, 0)];
        for (settings, clock, format, scaling) in [
            (Settings { window: Window::Middle, ..QVGA }, 0x80, [(0x12, 0x06), (0x0c, 0)], middle),
            (Settings { width: 96, height: 96, rate: Rate::Half, ..QVGA }, 0x81, [(0x12, 0x06), (0x0c, 0)], square),
            (Settings { format: PixelFormat::Rgb565Le, ..QVGA }, 0x80, [(0x12, 0x06), (0x0c, 0x08)], QVGA_SCALING),
            (Settings { format: PixelFormat::Yuv422, ..QVGA }, 0x80, [(0x12, 0x00), (0x0c, 0x10)], QVGA_SCALING),
        ] {
            let mut desk = Desk::new(&configured(clock, format, &scaling));
            assert_eq!(sensor(&mut desk).configure(&settings), Ok(()), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn what_the_sensor_does_not_have_is_refused_before_anything_is_written() {
        for (settings, setting) in [
            (Settings { format: PixelFormat::Grey8, ..QVGA }, Setting::Format),
            (Settings { width: 322, ..QVGA }, Setting::Size),
            (Settings { height: 482, ..QVGA }, Setting::Size),
            (Settings { width: 0, ..QVGA }, Setting::Size),
            (Settings { width: 324, window: Window::Middle, ..QVGA }, Setting::Size),
        ] {
            let mut desk = Desk::new(&[]);
            assert_eq!(sensor(&mut desk).configure(&settings), Err(SensorError::Unsupported(setting)), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn silence_and_strangers_are_told_apart() {
        let silence = Transaction::write(0x21, vec![0x0a]).with_error(NACK);
        let mut desk = Desk::new(&[silence]);
        assert_eq!(sensor(&mut desk).identify(), Err(SensorError::NoAcknowledge));
        desk.done();
        let mut desk = Desk::new(&read(0x21, 0x0a, 0x76));
        assert_eq!(sensor(&mut desk).identify(), Err(SensorError::WrongId(0x76)));
        desk.done();
    }

    /// All that brings the sensor up.
    fn started() -> Vec<Transaction> {
        [
            read(0x21, 0x0a, 0x77),
            writes(0x21, &[(0x12, 0x80)]),
            configured(0x80, [(0x12, 0x06), (0x0c, 0)], &QVGA_SCALING),
            modified(0x0c, 0x00, 0x00),
            modified(0x0c, 0x00, 0x00),
            modified(0x66, 0x00, 0x00),
            modified(0x13, 0xff, 0xff),
        ]
        .concat()
    }

    #[test]
    fn every_failure_has_its_cure() {
        assert_cures(&started(), 0x76, |desk| sensor(desk).bring_up(&QVGA));
    }
}
