//! OmniVision OV2640: 1600x1200, used at 800x600, which its DSP scales down.
//!
//! Register names and bits follow the OV2640 datasheet (version 1.6); values that it calls reserved are the reference
//! settings of OmniVision's application notes. VSYNC and HREF mark invalid data by low, data is valid at the rising edge
//! of PCLK.

use super::sccb::{Bus, Sccb};
use super::sensor::{Sensor, SensorError, Setting, Settings, Window};
use embedded_hal::delay::DelayNs;
use ocellus_shared::PixelFormat;
use registers::*;

mod registers;

/// Its 7-bit address.
pub const ADDRESS: u8 = 0x30;

/// The sensor's own picture in the mode it is used in.
const SENSOR_WIDTH: u16 = 800;
const SENSOR_HEIGHT: u16 = 600;
/// Time that a reset takes.
const RESET_MS: u32 = 10;
/// Time after which the first pictures are of any use. Exposure and white balance go on finding their place in them.
const SETTLE_MS: u32 = 100;

/// The sensor.
#[derive(Debug)]
pub struct Ov2640<B, D>(Sccb<B, D>);

impl<B: Bus, D: DelayNs> Ov2640<B, D> {
    /// The sensor on `bus`.
    pub fn new(bus: B, delay: D) -> Self {
        Self(Sccb::new(bus, delay, ADDRESS))
    }

    /// Gives the bus back.
    pub fn release(self) -> B {
        self.0.release()
    }

    fn bank(&mut self, bank: u8) -> Result<(), SensorError> {
        self.0.write(RA_DLMT, bank)
    }

    /// One register of the sensor's bank.
    fn modify(&mut self, register: u8, mask: u8, value: u8) -> Result<(), SensorError> {
        self.bank(BANK_SENSOR)?;
        self.0.modify(register, mask, value)
    }
}

/// IMAGE_MODE for a pixel format.
fn image_mode(format: PixelFormat) -> Result<u8, SensorError> {
    match format {
        PixelFormat::Rgb565Be => Ok(IMAGE_MODE_RGB565),
        PixelFormat::Rgb565Le => Ok(IMAGE_MODE_RGB565 | IMAGE_MODE_BYTE_SWAP),
        PixelFormat::Yuv422 => Ok(IMAGE_MODE_YUV422),
        PixelFormat::Rgb888 | PixelFormat::Grey8 => Err(SensorError::Unsupported(Setting::Format)),
    }
}

/// The DSP's registers for a window of the sensor's picture and the size it is scaled to.
///
/// The window has the frame's aspect ratio and is measured in 4 pixels; the DSP halves it as often as it stays at least as
/// large as the frame, and zooms the rest.
fn scaling(settings: &Settings) -> Result<[(u8, u8); 10], SensorError> {
    let (width, height) = (u32::from(settings.width), u32::from(settings.height));
    let part = match settings.window {
        Window::Whole => 1,
        Window::Middle => 2,
    };
    let (most_width, most_height) = (u32::from(SENSOR_WIDTH) / part, u32::from(SENSOR_HEIGHT) / part);
    let whole = |size: u32| size > 0 && size.is_multiple_of(4);
    if !whole(width) || !whole(height) || width > most_width || height > most_height {
        return Err(SensorError::Unsupported(Setting::Size));
    }
    let window_width = (most_height * width / height).min(most_width) / 4 * 4;
    let window_height = (most_width * height / width).min(most_height) / 4 * 4;
    let (left, top) = ((u32::from(SENSOR_WIDTH) - window_width) / 2, (u32::from(SENSOR_HEIGHT) - window_height) / 2);
    let halvings = (window_width / width).min(window_height / height).ilog2().min(3);
    Ok([
        (CTRLI, CTRLI_LP_DP | ((halvings << 3) | halvings) as u8),
        (HSIZE, (window_width / 4) as u8),
        (VSIZE, (window_height / 4) as u8),
        (XOFFL, left as u8),
        (YOFFL, top as u8),
        // The upper bits: of 800x600, only offsets need any.
        (VHYX, (((top >> 8) << 4) | (left >> 8)) as u8),
        (TEST, 0),
        (ZMOW, (width / 4) as u8),
        (ZMOH, (height / 4) as u8),
        (ZMHH, 0),
    ])
}

impl<B: Bus, D: DelayNs> Sensor for Ov2640<B, D> {
    fn identify(&mut self) -> Result<(), SensorError> {
        self.bank(BANK_SENSOR)?;
        match self.0.read(PIDH)? {
            PIDH_OV2640 => Ok(()),
            other => Err(SensorError::WrongId(other)),
        }
    }

    fn reset(&mut self) -> Result<(), SensorError> {
        self.bank(BANK_SENSOR)?;
        self.0.write(COM7, COM7_SRST)?;
        self.0.wait_ms(RESET_MS);
        Ok(())
    }

    fn configure(&mut self, settings: &Settings) -> Result<(), SensorError> {
        let (mode, scaling) = (image_mode(settings.format)?, scaling(settings)?);
        self.bank(BANK_SENSOR)?;
        self.0.write_all(SENSOR_TABLE)?;
        self.0.write(CLKRC, 2 * settings.rate.divisor() - 1)?;
        self.bank(BANK_DSP)?;
        self.0.write_all(DSP_TABLE)?;
        self.0.write(RESET, RESET_DVP)?;
        self.0.write(IMAGE_MODE, mode)?;
        self.0.write_all(&scaling)?;
        self.0.write(R_DVP_SP, R_DVP_SP_AUTO | 2)?;
        self.0.write(RESET, 0)?;
        self.0.wait_ms(SETTLE_MS);
        Ok(())
    }

    fn orient(&mut self, mirror: bool, flip: bool) -> Result<(), SensorError> {
        // A flipped picture starts a row later, or its colours change places.
        let flipped = if flip { REG04_FLIP | REG04_VREF } else { 0 };
        let mirrored = if mirror { REG04_MIRROR } else { 0 };
        self.modify(REG04, REG04_FLIP | REG04_VREF | REG04_MIRROR, flipped | mirrored)
    }

    fn lock(&mut self, locked: bool) -> Result<(), SensorError> {
        self.modify(COM8, COM8_AGC | COM8_AEC, if locked { 0 } else { COM8_AGC | COM8_AEC })
    }

    fn show_pattern(&mut self, on: bool) -> Result<(), SensorError> {
        self.modify(COM7, COM7_COLOUR_BAR, if on { COM7_COLOUR_BAR } else { 0 })
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
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::Transaction;

    const QQVGA: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);

    fn sensor(desk: &mut Desk) -> Ov2640<&mut Desk, NoopDelay> {
        Ov2640::new(desk, NoopDelay::new())
    }

    fn identified() -> Vec<Transaction> {
        [writes(0x30, &[(0xff, 1)]), read(0x30, 0x0a, 0x26)].concat()
    }

    fn reset() -> Vec<Transaction> {
        writes(0x30, &[(0xff, 1), (0x12, 0x80)])
    }

    /// One register of the sensor's bank is read and written.
    fn modified(register: u8, before: u8, after: u8) -> Vec<Transaction> {
        [writes(0x30, &[(0xff, 1)]), read(0x30, register, before), writes(0x30, &[(register, after)])].concat()
    }

    /// All that is written for a mode, given what differs between modes.
    fn configured(clock: u8, mode: u8, scaling: &[(u8, u8)]) -> Vec<Transaction> {
        [
            writes(0x30, &[(0xff, 1)]),
            writes(0x30, SENSOR_TABLE),
            writes(0x30, &[(0x11, clock), (0xff, 0)]),
            writes(0x30, DSP_TABLE),
            writes(0x30, &[(0xe0, 0x04), (0xda, mode)]),
            writes(0x30, scaling),
            writes(0x30, &[(0xd3, 0x82), (0xe0, 0)]),
        ]
        .concat()
    }

    /// 160x120 of all 800x600: halved twice to 200x150, the rest is zoom.
    const QQVGA_SCALING: [(u8, u8); 10] = [
        (0x50, 0x92),
        (0x51, 200),
        (0x52, 150),
        (0x53, 0),
        (0x54, 0),
        (0x55, 0),
        (0x57, 0),
        (0x5a, 40),
        (0x5b, 30),
        (0x5c, 0),
    ];

    fn started() -> Vec<Transaction> {
        [
            identified(),
            reset(),
            configured(1, 0x08, &QQVGA_SCALING),
            modified(0x04, 0x28, 0x28),
            modified(0x12, 0x40, 0x40),
            modified(0x13, 0xe5, 0xe5),
        ]
        .concat()
    }

    #[test]
    fn a_sensor_is_brought_up_by_these_transactions() {
        let mut desk = Desk::new(&started());
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Ok(()));
        desk.done();
    }

    #[test]
    fn modes_differ_in_clock_format_and_scaling() {
        let near = Settings { window: Window::Middle, rate: Rate::Quarter, ..QQVGA };
        let swapped = Settings { format: PixelFormat::Rgb565Le, ..QQVGA };
        let yuv = Settings { format: PixelFormat::Yuv422, rate: Rate::Half, ..QQVGA };
        let with = |changes: &[(u8, u8)]| {
            QQVGA_SCALING.map(|(register, value)| {
                (register, changes.iter().find(|(r, _)| *r == register).map_or(value, |(_, v)| *v))
            })
        };
        let middle = with(&[(0x50, 0x89), (0x51, 100), (0x52, 75), (0x53, 200), (0x54, 150)]);
        // The whole height of a square: 600x600 from column 100, which needs no ninth bit.
        let square = with(&[(0x50, 0x92), (0x51, 150), (0x53, 100), (0x5a, 24), (0x5b, 24)]);
        // A strip of 20x600 begins at column 390, 0x186, which does.
        let strip = with(&[(0x50, 0x80), (0x51, 5), (0x53, 0x86), (0x55, 1), (0x5a, 5), (0x5b, 150)]);
        let svga = with(&[(0x50, 0x80), (0x5a, 200), (0x5b, 150)]);
        for (settings, clock, mode, scaling) in [
            (near, 7, 0x08, middle),
            (swapped, 1, 0x09, QQVGA_SCALING),
            (yuv, 3, 0x00, QQVGA_SCALING),
            (Settings { width: 96, height: 96, ..QQVGA }, 1, 0x08, square),
            (Settings { width: 20, height: 600, ..QQVGA }, 1, 0x08, strip),
            (Settings { width: 800, height: 600, ..QQVGA }, 1, 0x08, svga),
        ] {
            let mut desk = Desk::new(&configured(clock, mode, &scaling));
            assert_eq!(sensor(&mut desk).configure(&settings), Ok(()), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn what_the_sensor_does_not_have_is_refused_before_anything_is_written() {
        for (settings, setting) in [
            (Settings { format: PixelFormat::Grey8, ..QQVGA }, Setting::Format),
            (Settings { format: PixelFormat::Rgb888, ..QQVGA }, Setting::Format),
            (Settings { width: 162, ..QQVGA }, Setting::Size),
            (Settings { height: 0, ..QQVGA }, Setting::Size),
            (Settings { width: 804, ..QQVGA }, Setting::Size),
            (Settings { width: 404, window: Window::Middle, ..QQVGA }, Setting::Size),
        ] {
            let mut desk = Desk::new(&[]);
            assert_eq!(sensor(&mut desk).configure(&settings), Err(SensorError::Unsupported(setting)), "{settings:?}");
            desk.done();
        }
    }

    #[test]
    fn single_settings_change_single_bits() {
        let expected = [
            modified(0x04, 0x28, 0xf8),
            modified(0x04, 0xf8, 0x28),
            modified(0x13, 0xe5, 0xe0),
            modified(0x13, 0xe0, 0xe5),
            modified(0x12, 0x40, 0x42),
        ];
        let mut desk = Desk::new(&expected.concat());
        let mut sensor = sensor(&mut desk);
        let outcomes = [
            sensor.orient(true, true),
            sensor.orient(false, false),
            sensor.lock(true),
            sensor.lock(false),
            sensor.show_pattern(true),
        ];
        assert_eq!(outcomes, [Ok(()); 5]);
        sensor.release().done();
    }

    #[test]
    fn a_sensor_that_is_slow_to_answer_is_asked_again() {
        let silence = Transaction::write(0x30, vec![0xff, 1]).with_error(NACK);
        let mut desk = Desk::new(&[vec![silence.clone(), silence.clone()], started()].concat());
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Ok(()));
        desk.done();
        let mut desk = Desk::new(&[silence.clone(), silence.clone(), silence]);
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Err(SensorError::NoAcknowledge));
        assert_eq!(desk.cleared, 0);
        desk.done();
    }

    #[test]
    fn another_chip_is_reset_once_more_before_it_is_believed() {
        let stranger = [writes(0x30, &[(0xff, 1)]), read(0x30, 0x0a, 0x77)].concat();
        let mut desk = Desk::new(&[stranger.clone(), reset(), started()].concat());
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Ok(()));
        desk.done();
        let mut desk = Desk::new(&[stranger.clone(), reset(), stranger.clone(), reset(), stranger].concat());
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Err(SensorError::WrongId(0x77)));
        desk.done();
    }

    #[test]
    fn a_stuck_bus_is_cleared_even_in_the_middle_of_a_table() {
        let mut expected = [identified(), reset()].concat();
        expected.extend(configured(1, 0x08, &QQVGA_SCALING).into_iter().take(7));
        expected.push(Transaction::write(0x30, SENSOR_TABLE_WRITE_6.to_vec()).with_error(ErrorKind::Other));
        expected.extend(started());
        let mut desk = Desk::new(&expected);
        assert_eq!(sensor(&mut desk).bring_up(&QQVGA), Ok(()));
        assert_eq!(desk.cleared, 1);
        desk.done();
    }

    const SENSOR_TABLE_WRITE_6: [u8; 2] = [SENSOR_TABLE[6].0, SENSOR_TABLE[6].1];
}
