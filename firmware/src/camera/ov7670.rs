//! OmniVision OV7670: 640x480, and its halves and quarters.
//!
//! Register names and bits follow the OV7670 datasheet (version 1.4), scaling and colour values OmniVision's implementation
//! guide. VSYNC marks invalid data by high and HREF by low, data is valid at the rising edge of PCLK.

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

const VREF: u8 = 0x03;
const PID: u8 = 0x0a;
const PID_OV7670: u8 = 0x76;
const COM3: u8 = 0x0c;
const COM3_DCW: u8 = 0x04;
const COM3_SWAP_BYTES: u8 = 0x40;
const CLKRC: u8 = 0x11;
const COM7: u8 = 0x12;
const COM7_RESET: u8 = 0x80;
const COM7_RGB: u8 = 0x04;
const COM8: u8 = 0x13;
const COM8_AGC: u8 = 0x04;
const COM8_AEC: u8 = 0x01;
const COM9: u8 = 0x14;
const COM10: u8 = 0x15;
/// PCLK rests between rows, which a capture that counts its edges needs.
const COM10_PCLK_BLANK: u8 = 0x20;
const HSTART: u8 = 0x17;
const HSTOP: u8 = 0x18;
const VSTART: u8 = 0x19;
const VSTOP: u8 = 0x1a;
const MVFP: u8 = 0x1e;
const MVFP_MIRROR: u8 = 0x20;
const MVFP_FLIP: u8 = 0x10;
const AEW: u8 = 0x24;
const AEB: u8 = 0x25;
const VPT: u8 = 0x26;
const HREF: u8 = 0x32;
const TSLB: u8 = 0x3a;
const COM13: u8 = 0x3d;
const COM14: u8 = 0x3e;
const COM15: u8 = 0x40;
const COM15_FULL_RANGE: u8 = 0xc0;
const COM15_RGB565: u8 = 0x10;
const COM17: u8 = 0x42;
const COM17_COLOUR_BAR: u8 = 0x08;
const MTX1: u8 = 0x4f;
const SCALING_XSC: u8 = 0x70;
const SCALING_YSC: u8 = 0x71;
const SCALING_DCWCTR: u8 = 0x72;
const SCALING_PCLK_DIV: u8 = 0x73;
const RGB444: u8 = 0x8c;
const SCALING_PCLK_DELAY: u8 = 0xa2;

/// What does not depend on the settings.
#[rustfmt::skip]
const TABLE: Table = &[
    // Gain, exposure and white balance automatic, at most 16-fold gain; brightness to stay at, and how fast.
    (COM8, 0xe7), (COM9, 0x38), (AEW, 0x95), (AEB, 0x33), (VPT, 0xe3), (COM10, COM10_PCLK_BLANK),
    (RGB444, 0x00), (SCALING_XSC, 0x3a), (SCALING_YSC, 0x35), (SCALING_PCLK_DELAY, 0x02),
    // Reserved; without it colours are wrong.
    (0xb0, 0x84),
];

/// Colour matrix and format of RGB565.
#[rustfmt::skip]
const RGB565: Table = &[
    (COM7, COM7_RGB), (COM15, COM15_FULL_RANGE | COM15_RGB565), (TSLB, 0x04), (COM13, 0x80),
    (MTX1, 0xb3), (MTX1 + 1, 0xb3), (MTX1 + 2, 0x00), (MTX1 + 3, 0x3d), (MTX1 + 4, 0xa7), (MTX1 + 5, 0xe4),
];

/// Colour matrix and format of Y U Y V.
#[rustfmt::skip]
const YUYV: Table = &[
    (COM7, 0x00), (COM15, COM15_FULL_RANGE), (TSLB, 0x04), (COM13, 0x80),
    (MTX1, 0x80), (MTX1 + 1, 0x80), (MTX1 + 2, 0x00), (MTX1 + 3, 0x22), (MTX1 + 4, 0x5e), (MTX1 + 5, 0x80),
];

/// The sensor.
#[derive(Debug)]
pub struct Ov7670<B, D>(Sccb<B, D>);

impl<B: Bus, D: DelayNs> Ov7670<B, D> {
    /// The sensor on `bus`.
    pub fn new(bus: B, delay: D) -> Self {
        Self(Sccb::new(bus, delay, ADDRESS))
    }

    /// Gives the bus back.
    pub fn release(self) -> B {
        self.0.release()
    }
}

/// Registers and their values.
type Table = &'static [(u8, u8)];

/// Format registers, and the bits of COM3 that belong to them.
fn format(format: PixelFormat) -> Result<(Table, u8), SensorError> {
    match format {
        PixelFormat::Rgb565Be => Ok((RGB565, 0)),
        PixelFormat::Rgb565Le => Ok((RGB565, COM3_SWAP_BYTES)),
        PixelFormat::Yuv422 => Ok((YUYV, 0)),
        PixelFormat::Rgb888 | PixelFormat::Grey8 => Err(SensorError::Unsupported(Setting::Format)),
    }
}

/// Window, down-sampling and pixel clock of 640x480, 320x240 or 160x120; and the bits of COM3 that belong to them.
fn scaling(settings: &Settings) -> Result<([(u8, u8); 9], u8), SensorError> {
    if settings.window != Window::Whole {
        return Err(SensorError::Unsupported(Setting::Window));
    }
    // The edges of the picture shift by some pixels with the clock: a table of the implementation guide.
    let (halvings, start, stop, edges) = match (settings.width, settings.height) {
        (640, 480) => (0, 0x13, 0x01, 0xb6),
        (320, 240) => (1, 0x15, 0x04, 0xa4),
        (160, 120) => (2, 0x16, 0x04, 0xa4),
        _ => return Err(SensorError::Unsupported(Setting::Size)),
    };
    let scaled = if halvings == 0 { 0 } else { 0x18 };
    let registers = [
        (COM14, scaled | halvings),
        (SCALING_DCWCTR, (halvings << 4) | halvings),
        (SCALING_PCLK_DIV, 0xf0 | halvings),
        (HSTART, start),
        (HSTOP, stop),
        (HREF, edges),
        (VSTART, 0x02),
        (VSTOP, 0x7a),
        (VREF, 0x0a),
    ];
    Ok((registers, if halvings == 0 { 0 } else { COM3_DCW }))
}

impl<B: Bus, D: DelayNs> Sensor for Ov7670<B, D> {
    fn identify(&mut self) -> Result<(), SensorError> {
        match self.0.read(PID)? {
            PID_OV7670 => Ok(()),
            other => Err(SensorError::WrongId(other)),
        }
    }

    fn reset(&mut self) -> Result<(), SensorError> {
        self.0.write(COM7, COM7_RESET)?;
        self.0.wait_ms(RESET_MS);
        Ok(())
    }

    fn configure(&mut self, settings: &Settings) -> Result<(), SensorError> {
        let ((format, order), (scaling, scaled)) = (format(settings.format)?, scaling(settings)?);
        // The clock that comes in is divided by one more than this.
        self.0.write(CLKRC, settings.rate.divisor() - 1)?;
        self.0.write_all(TABLE)?;
        self.0.write_all(format)?;
        self.0.write(COM3, order | scaled)?;
        self.0.write_all(&scaling)?;
        self.0.wait_ms(SETTLE_MS);
        Ok(())
    }

    fn orient(&mut self, mirror: bool, flip: bool) -> Result<(), SensorError> {
        let (mirrored, flipped) = (if mirror { MVFP_MIRROR } else { 0 }, if flip { MVFP_FLIP } else { 0 });
        self.0.modify(MVFP, MVFP_MIRROR | MVFP_FLIP, mirrored | flipped)
    }

    fn lock(&mut self, locked: bool) -> Result<(), SensorError> {
        self.0.modify(COM8, COM8_AGC | COM8_AEC, if locked { 0 } else { COM8_AGC | COM8_AEC })
    }

    fn show_pattern(&mut self, on: bool) -> Result<(), SensorError> {
        self.0.modify(COM17, COM17_COLOUR_BAR, if on { COM17_COLOUR_BAR } else { 0 })
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
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::Transaction;

    const QQVGA: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);

    fn sensor(desk: &mut Desk) -> Ov7670<&mut Desk, NoopDelay> {
        Ov7670::new(desk, NoopDelay::new())
    }

    fn modified(register: u8, before: u8, after: u8) -> Vec<Transaction> {
        [read(0x21, register, before), writes(0x21, &[(register, after)])].concat()
    }

    fn configured(clock: u8, format: &[(u8, u8)], com3: u8, scaling: &[(u8, u8)]) -> Vec<Transaction> {
        [
            writes(0x21, &[(0x11, clock)]),
            writes(0x21, TABLE),
            writes(0x21, format),
            writes(0x21, &[(0x0c, com3)]),
            writes(0x21, scaling),
        ]
        .concat()
    }

    /// Window and clock of a picture that is halved so often.
    fn scaled(com14: u8, halvings: u8, [start, stop, href]: [u8; 3]) -> [(u8, u8); 9] {
        let window = [(0x17, start), (0x18, stop), (0x32, href), (0x19, 0x02), (0x1a, 0x7a), (0x03, 0x0a)];
        let clock = [(0x3e, com14), (0x72, halvings * 0x11), (0x73, 0xf0 + halvings)];
        core::array::from_fn(|i| if i < 3 { clock[i] } else { window[i - 3] })
    }

    #[test]
    fn a_sensor_is_brought_up_by_these_transactions() {
        let expected = [
            read(0x21, 0x0a, 0x76),
            writes(0x21, &[(0x12, 0x80)]),
            configured(0, RGB565, 0x04, &scaled(0x1a, 2, [0x16, 0x04, 0xa4])),
            modified(0x1e, 0x01, 0x11),
            modified(0x42, 0x00, 0x08),
            modified(0x13, 0xe7, 0xe2),
        ];
        let settings = Settings { flip: true, pattern: true, locked: true, ..QQVGA };
        let mut desk = Desk::new(&expected.concat());
        assert_eq!(sensor(&mut desk).bring_up(&settings), Ok(()));
        desk.done();
    }

    #[test]
    fn modes_differ_in_clock_format_and_scaling() {
        let (half, full) = (scaled(0x19, 1, [0x15, 0x04, 0xa4]), scaled(0x00, 0, [0x13, 0x01, 0xb6]));
        let yuv = Settings { format: PixelFormat::Yuv422, width: 320, height: 240, rate: Rate::Half, ..QQVGA };
        let swapped = Settings { format: PixelFormat::Rgb565Le, width: 640, height: 480, rate: Rate::Quarter, ..QQVGA };
        for (settings, expected) in
            [(yuv, configured(1, YUYV, 0x04, &half)), (swapped, configured(3, RGB565, 0x40, &full))]
        {
            let mut desk = Desk::new(&expected);
            assert_eq!(sensor(&mut desk).configure(&settings), Ok(()), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn what_the_sensor_does_not_have_is_refused_before_anything_is_written() {
        for (settings, setting) in [
            (Settings { format: PixelFormat::Grey8, ..QQVGA }, Setting::Format),
            (Settings { width: 96, height: 96, ..QQVGA }, Setting::Size),
            (Settings { window: Window::Middle, ..QQVGA }, Setting::Window),
        ] {
            let mut desk = Desk::new(&[]);
            assert_eq!(sensor(&mut desk).configure(&settings), Err(SensorError::Unsupported(setting)), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn silence_strangers_and_a_stuck_bus_are_told_apart() {
        for (kind, expected) in [(NACK, SensorError::NoAcknowledge), (ErrorKind::Other, SensorError::StuckBus)] {
            let mut desk = Desk::new(&[Transaction::write(0x21, vec![0x0a]).with_error(kind)]);
            assert_eq!(sensor(&mut desk).identify(), Err(expected));
            desk.done();
        }
        // The OV7725 has the same address.
        let mut desk = Desk::new(&read(0x21, 0x0a, 0x77));
        assert_eq!(sensor(&mut desk).identify(), Err(SensorError::WrongId(0x77)));
        desk.done();
    }

    /// All that brings the sensor up.
    fn started() -> Vec<Transaction> {
        [
            read(0x21, 0x0a, 0x76),
            writes(0x21, &[(0x12, 0x80)]),
            configured(0, RGB565, 0x04, &scaled(0x1a, 2, [0x16, 0x04, 0xa4])),
            modified(0x1e, 0x01, 0x01),
            modified(0x42, 0x00, 0x00),
            modified(0x13, 0xe7, 0xe7),
        ]
        .concat()
    }

    #[test]
    fn every_failure_has_its_cure() {
        assert_cures(&started(), 0x77, |desk| sensor(desk).bring_up(&QQVGA));
    }
}
