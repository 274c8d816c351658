//! Image sensors at the other end of a chip's pins: registers behind a control bus, and frames of what is before the lens
//! once they are set up, have power and a clock.

mod ov2640;
mod ov7725;

use ocellus_shared::frame::{Frame, PixelFormat};

use super::bus::Time;
use crate::camera::encode;
use crate::data::picture::Picture;

/// Slowest and fastest clock that a sensor runs by, in hertz (OV2640 data sheet 1.6, OV7725 1.2: XVCLK).
const CLOCK_HZ: std::ops::RangeInclusive<u64> = 6_000_000..=48_000_000;
/// Time from power and clock, or from a reset, to the first answer.
const WAKING: Time = Time::ms(1);
/// Part of a frame in which no row is sent, of 8.
const BLANK_EIGHTHS: u64 = 1;

/// Which sensor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OmniVision OV2640.
    Ov2640,
    /// OmniVision OV7725.
    Ov7725,
}

/// What the levels of a sensor's lines mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polarity {
    /// VSYNC is high between frames.
    pub vsync_blanks_high: bool,
    /// HREF is high between rows.
    pub hsync_blanks_high: bool,
    /// Data is valid at the rising edge of the pixel clock.
    pub valid_at_rising: bool,
}

/// What is wrong with a sensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It never answers.
    Dead,
    /// Its product number is another one.
    WrongId(u8),
    /// It holds SDA low until it has seen this many clocks.
    HoldsData(u32),
    /// It answers and sends no frames.
    NoFrames,
    /// Its frames end after this many rows.
    ShortFrames(u16),
}

/// A frame as the sensor's registers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Output {
    format: PixelFormat,
    width: u16,
    height: u16,
    mirror: bool,
    flip: bool,
    pattern: bool,
    period: Time,
}

/// What the sensor does at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A frame begins.
    Begin,
    /// A row with this number has been sent.
    Row(u16),
    /// The frame is over.
    End,
}

/// A frame that is being sent.
#[derive(Clone, Debug)]
struct Beam {
    output: Output,
    begun: Time,
    /// The next signal: 0 begins, row n - 1 follows as n, the end comes last.
    step: u16,
    rows: u16,
    data: Vec<u8>,
}

/// A sensor.
#[derive(Debug)]
pub struct Sensor {
    kind: Kind,
    /// Registers, by bank.
    banks: [[u8; 256]; 2],
    pointer: u8,
    /// A byte of the transaction was taken: the next one is a value.
    addressed: bool,
    /// A transaction is under way.
    busy: bool,
    /// The clock while there is power, in hertz.
    clock_hz: u64,
    /// When it answers.
    awake: Time,
    scene: Picture,
    /// The bytes of a frame that is sent as it is, where it has the size of one.
    whole: Vec<u8>,
    beam: Option<Beam>,
    trouble: Trouble,
    frames: u64,
    shown: Vec<u8>,
}

impl Sensor {
    /// A sensor before `scene`.
    pub fn new(kind: Kind, scene: Picture, trouble: Trouble) -> Self {
        let mut sensor = Self {
            kind,
            banks: [[0; 256]; 2],
            pointer: 0,
            addressed: false,
            busy: false,
            clock_hz: 0,
            awake: Time::NEVER,
            scene,
            whole: Vec::new(),
            beam: None,
            trouble,
            frames: 0,
            shown: Vec::new(),
        };
        sensor.clear();
        sensor
    }

    /// Shows another picture from the next frame on.
    pub fn show(&mut self, scene: Picture) {
        self.scene = scene;
        self.whole.clear();
    }

    /// Sends the bytes of `frame` from the next frame on, as if light had made them, if they are as many as a frame has and in
    /// its format: whether they are.
    pub fn show_frame(&mut self, frame: &Frame) -> bool {
        let output = self.beam.as_ref().map(|beam| beam.output);
        let fits = output.is_some_and(|output| {
            let is_same =
                (output.format, output.width, output.height) == (frame.format(), frame.width(), frame.height());
            is_same && !output.mirror && !output.flip && !output.pattern
        });
        if fits {
            self.whole = frame.data().to_vec();
        }
        fits
    }

    /// Something else is wrong with it, or nothing.
    pub fn set_trouble(&mut self, trouble: Trouble) {
        self.trouble = trouble;
    }

    /// Frames that were sent to their end.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The bytes of the last frame that was sent to its end.
    pub fn last_frame(&self) -> &[u8] {
        &self.shown
    }

    /// What its lines mean.
    pub fn polarity(&self) -> Polarity {
        let vsync_blanks_high = self.kind == Kind::Ov7725;
        Polarity { vsync_blanks_high, hsync_blanks_high: false, valid_at_rising: true }
    }

    /// Power is on with a clock of `hertz`, or one of them is not (0).
    pub fn supply(&mut self, hertz: u64, now: Time) {
        let hertz = if CLOCK_HZ.contains(&hertz) { hertz } else { 0 };
        if hertz == self.clock_hz {
            return;
        }
        if self.clock_hz == 0 {
            self.clear();
            self.awake = now + WAKING;
        }
        (self.clock_hz, self.beam) = (hertz, None);
        self.begin(now);
    }

    /// Whether it holds SDA low.
    pub fn holds_data(&self) -> bool {
        matches!(self.trouble, Trouble::HoldsData(1..)) && self.clock_hz > 0
    }

    /// SCL fell and rose once.
    pub fn clock_bus(&mut self) {
        if let Trouble::HoldsData(left @ 1..) = &mut self.trouble {
            *left -= 1;
        }
    }

    /// A start with an address: whether it acknowledges. A start without the stop of the last transaction is none to SCCB.
    pub fn start(&mut self, address: u8, now: Time) -> bool {
        let answers = self.clock_hz > 0 && now >= self.awake && self.trouble != Trouble::Dead && !self.busy;
        let own = match self.kind {
            Kind::Ov2640 => ov2640::ADDRESS,
            Kind::Ov7725 => ov7725::ADDRESS,
        };
        (self.addressed, self.busy) = (false, true);
        answers && address == own
    }

    /// A byte comes: the number of a register, then its value.
    pub fn write(&mut self, byte: u8, now: Time) {
        if !self.addressed {
            (self.pointer, self.addressed) = (byte, true);
            return;
        }
        let resets = match self.kind {
            Kind::Ov2640 => ov2640::write(&mut self.banks, self.pointer, byte),
            Kind::Ov7725 => ov7725::write(&mut self.banks, self.pointer, byte),
        };
        if resets {
            self.clear();
            self.awake = now + WAKING;
            self.beam = None;
        }
        if self.beam.is_none() {
            self.begin(now);
        }
    }

    /// The value of the register whose number came last.
    pub fn read(&self) -> u8 {
        let value = match self.kind {
            Kind::Ov2640 => ov2640::read(&self.banks, self.pointer),
            Kind::Ov7725 => self.banks[0][usize::from(self.pointer)],
        };
        match (self.trouble, self.pointer) {
            (Trouble::WrongId(id), 0x0A) => id,
            _ => value,
        }
    }

    /// A transaction is over.
    pub fn stop(&mut self) {
        self.busy = false;
    }

    /// Registers as after power-up.
    fn clear(&mut self) {
        self.banks = match self.kind {
            Kind::Ov2640 => ov2640::defaults(),
            Kind::Ov7725 => ov7725::defaults(),
        };
    }

    /// Lets a frame begin, where the registers say that there are any.
    fn begin(&mut self, now: Time) {
        let output = match self.kind {
            Kind::Ov2640 => ov2640::output(&self.banks, self.clock_hz),
            Kind::Ov7725 => ov7725::output(&self.banks, self.clock_hz),
        };
        let sends = self.clock_hz > 0 && now >= self.awake && self.trouble != Trouble::NoFrames;
        self.beam = output.filter(|output| sends && output.period != Time::NEVER).map(|output| {
            let rows = match self.trouble {
                Trouble::ShortFrames(rows) => rows.min(output.height),
                _ => output.height,
            };
            Beam { output, begun: now, step: 0, rows, data: Vec::new() }
        });
    }

    /// When there is the next signal.
    pub fn next_event(&self) -> Time {
        match &self.beam {
            Some(beam) => beam.at(beam.step),
            None => Time::NEVER,
        }
    }

    /// The next signal, if it is there by `now`.
    pub fn signal(&mut self, now: Time) -> Option<Signal> {
        let beam = self.beam.as_mut().filter(|beam| beam.at(beam.step) <= now)?;
        let (step, rows, next) = (beam.step, beam.rows, beam.begun + beam.output.period);
        beam.step += 1;
        Some(match step {
            0 => {
                let bytes = Frame::bytes(beam.output.format, beam.output.width, beam.output.height);
                beam.data = match bytes {
                    Some(bytes) if bytes == self.whole.len() => self.whole.clone(),
                    _ => rendered(&self.scene, &beam.output),
                };
                Signal::Begin
            }
            row if row <= rows => Signal::Row(row - 1),
            row if row == rows + 1 => {
                self.frames += 1;
                self.shown = std::mem::take(&mut beam.data);
                Signal::End
            }
            _ => {
                // The next frame has what the registers say by now.
                self.begin(next);
                return self.signal(now);
            }
        })
    }

    /// The bytes of a row of the frame that is being sent.
    pub fn row(&self, row: u16) -> &[u8] {
        let Some(beam) = &self.beam else { return &[] };
        let bytes = usize::from(beam.output.width) * beam.output.format.bytes_per_pixel();
        beam.data.chunks_exact(bytes.max(1)).nth(row.into()).unwrap_or_default()
    }
}

impl Beam {
    /// When signal number `step` comes: rows share what the blank part leaves of the frame; behind the end the next one.
    fn at(&self, step: u16) -> Time {
        let row = |row: u16| {
            let parts = 8 * u64::from(self.output.height.max(1));
            self.begun + self.output.period.part((8 - BLANK_EIGHTHS) * u64::from(row), parts)
        };
        match step {
            step if step <= self.rows => row(step),
            step if step == self.rows + 1 => row(self.rows),
            _ => self.begun + self.output.period,
        }
    }
}

/// The frame's bytes: the scene's pixels, the nearest ones, or bars.
fn rendered(scene: &Picture, output: &Output) -> Vec<u8> {
    let (width, height) = (usize::from(output.width), usize::from(output.height));
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let y = if output.flip { height - 1 - y } else { y };
        for x in 0..width {
            let x = if output.mirror { width - 1 - x } else { x };
            rgb.extend(if output.pattern { bar(x, width) } else { pixel(scene, x, width, y, height) });
        }
    }
    encode(output.format, &rgb)
}

fn pixel(scene: &Picture, x: usize, width: usize, y: usize, height: usize) -> [u8; 3] {
    let (columns, rows) = (usize::from(scene.width), usize::from(scene.height));
    let at = 3 * (y * rows / height * columns + x * columns / width);
    scene.pixels.get(at..at + 3).map_or([0; 3], |pixel| [pixel[0], pixel[1], pixel[2]])
}

/// Eight bars: white, yellow, cyan, green, magenta, red, blue, black.
fn bar(x: usize, width: usize) -> [u8; 3] {
    let bar = 7 - 8 * x / width.max(1);
    [1, 2, 0].map(|bit| if bar >> bit & 1 == 1 { 255 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Picture {
        Picture { width: 2, height: 1, pixels: vec![255, 0, 0, 0, 0, 255] }
    }

    /// A sensor with power and clock, which was told `registers`.
    fn told(kind: Kind, clock_hz: u64, trouble: Trouble, registers: &[(u8, u8)]) -> (Sensor, Time) {
        let mut sensor = Sensor::new(kind, scene(), trouble);
        sensor.supply(clock_hz, Time::ZERO);
        let now = Time::ms(5);
        for (register, value) in registers {
            let address = if kind == Kind::Ov2640 { ov2640::ADDRESS } else { ov7725::ADDRESS };
            assert!(sensor.start(address, now));
            [*register, *value].iter().for_each(|byte| sensor.write(*byte, now));
            sensor.stop();
        }
        (sensor, now)
    }

    const QQVGA: [(u8, u8); 6] = [(0xFF, 1), (0x11, 1), (0xFF, 0), (0x5A, 40), (0x5B, 30), (0xDA, 8)];

    #[test]
    fn a_frame_has_the_size_and_the_format_of_the_registers() {
        let settings = [&QQVGA[..], &[(0xE0, 0)]].concat();
        let (mut sensor, _) = told(Kind::Ov2640, 24_000_000, Trouble::None, &settings);
        let (mut rows, mut begun) = (0, Vec::new());
        while begun.len() < 2 {
            let now = sensor.next_event();
            match sensor.signal(now) {
                Some(Signal::Begin) => begun.push(now),
                Some(Signal::Row(row)) => {
                    assert_eq!((row, sensor.row(row).len()), (rows, 320));
                    assert_eq!(
                        [sensor.row(row)[..2].to_vec(), sensor.row(row)[318..].to_vec()],
                        [[0xF8, 0], [0, 0x1F]]
                    );
                    rows += 1;
                }
                Some(Signal::End) => assert_eq!(rows, 120),
                None => panic!("no signal at its time"),
            }
        }
        let period = begun[1] - begun[0];
        assert!((Time::us(33_300)..Time::us(33_400)).contains(&period), "{period:?}");
        assert_eq!((sensor.frames(), sensor.last_frame().len()), (1, 160 * 120 * 2));
    }

    #[test]
    fn without_clock_or_right_after_a_reset_it_is_silent() {
        let mut sensor = Sensor::new(Kind::Ov2640, scene(), Trouble::None);
        assert!(!sensor.start(ov2640::ADDRESS, Time::ms(9)));
        let (mut sensor, now) = told(Kind::Ov2640, 24_000_000, Trouble::None, &[(0xFF, 1), (0x12, 0x80)]);
        assert!(!sensor.start(ov2640::ADDRESS, now));
        sensor.stop();
        assert!(sensor.start(ov2640::ADDRESS, now + WAKING));
        // No repeated start.
        assert!(!sensor.start(ov2640::ADDRESS, now + WAKING));
    }

    #[test]
    fn numbers_of_products_are_where_data_sheets_have_them() {
        let (mut sensor, _) = told(Kind::Ov2640, 24_000_000, Trouble::None, &[(0xFF, 1)]);
        sensor.pointer = 0x0A;
        assert_eq!(sensor.read(), 0x26);
        sensor.set_trouble(Trouble::WrongId(0x77));
        assert_eq!(sensor.read(), 0x77);
        let (mut sensor, _) = told(Kind::Ov7725, 12_000_000, Trouble::None, &[]);
        sensor.pointer = 0x0A;
        assert_eq!(sensor.read(), 0x77);
    }

    #[test]
    fn short_frames_end_early_and_no_frames_never_begin() {
        let settings = [&QQVGA[..], &[(0xE0, 0)]].concat();
        let (mut sensor, _) = told(Kind::Ov2640, 24_000_000, Trouble::ShortFrames(3), &settings);
        let signals: Vec<Signal> = (0..5).filter_map(|_| sensor.signal(sensor.next_event())).collect();
        assert_eq!(signals, [Signal::Begin, Signal::Row(0), Signal::Row(1), Signal::Row(2), Signal::End]);
        let (sensor, _) = told(Kind::Ov2640, 24_000_000, Trouble::NoFrames, &settings);
        assert_eq!(sensor.next_event(), Time::NEVER);
    }

    #[test]
    fn an_ov7725_of_12_megahertz_makes_30_frames_a_second() {
        let settings = [(0x0D, 0x41), (0x11, 0x80), (0x12, 6), (0x0C, 0), (0x29, 40), (0x2C, 60)];
        let (sensor, _) = told(Kind::Ov7725, 12_000_000, Trouble::None, &settings);
        let output = ov7725::output(&sensor.banks, 12_000_000).unwrap();
        assert_eq!((output.width, output.height, output.format), (160, 120, PixelFormat::Rgb565Be));
        assert!((Time::us(33_300)..Time::us(33_400)).contains(&output.period), "{output:?}");
    }

    #[test]
    fn a_line_that_is_held_is_free_after_the_clocks() {
        let (mut sensor, _) = told(Kind::Ov2640, 24_000_000, Trouble::HoldsData(2), &[]);
        assert!(sensor.holds_data());
        sensor.clock_bus();
        sensor.clock_bus();
        assert!(!sensor.holds_data());
    }
}
