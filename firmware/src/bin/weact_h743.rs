//! WeAct MiniSTM32H743 with its camera module, an OV2640.
#![no_std]
#![no_main]

#[path = "common/h743.rs"]
mod h743;

use embassy_stm32::Peri;
use embassy_stm32::gpio::{AnyPin, Flex, Level, Output, Speed};
use embassy_stm32::rcc::{Mco, Mco1Source, McoConfig, McoPrescaler, PllMul, PllPreDiv};
use embassy_time::{Delay, Duration, block_for};
use h743::bus::ControlBus;
use h743::dcmi::{Blank, Dcmi};
use ocellus_firmware::boot::CameraParts;
use ocellus_firmware::camera::ov2640::Ov2640;
use ocellus_firmware::camera::sensor::Settings;
use ocellus_shared::PixelFormat;

/// What the sensor is set to; `frame-bytes` in the board's table is the size of its frames.
const SETTINGS: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);
/// A capture waits for the end of one frame and for a whole one: 160 ms at 12 frames a second, the slowest in poor light.
const FRAME_TIMEOUT: Duration = Duration::from_millis(250);
/// Time from clock and power to the sensor's first answer.
const POWER_UP: Duration = Duration::from_millis(10);

#[cortex_m_rt::entry]
fn main() -> ! {
    let start = h743::start::begin();
    // 25 MHz / 5 * 192.
    let p = embassy_stm32::init(h743::start::clocks(25_000_000, PllPreDiv::DIV5, PllMul::MUL192));
    let caches = h743::caches();
    let mut clock = McoConfig::default();
    // 48 MHz / 2.
    clock.prescaler = McoPrescaler::DIV2;
    let _clock = Mco::new(p.MCO1, p.PA8, Mco1Source::HSI48, clock);
    // PWDN, which powers the sensor down while it is high.
    let _power = Output::new(p.PA7, Level::Low, Speed::Low);
    block_for(POWER_UP);
    let led = Output::new(p.PE3, Level::Low, Speed::Low);
    let data: [Peri<AnyPin>; 8] = [
        p.PC6.into(),
        p.PC7.into(),
        p.PE0.into(),
        p.PE1.into(),
        p.PE4.into(),
        p.PD3.into(),
        p.PE5.into(),
        p.PE6.into(),
    ];
    let [d0, d1, d2, d3, d4, d5, d6, d7] = data.map(Flex::new);
    let (hsync, vsync, pixclk) = (Flex::new(p.PA4), Flex::new(p.PB7), Flex::new(p.PA6));
    let grabber = Dcmi::new([d0, d1, d2, d3, d4, d5, d6, d7, hsync, vsync, pixclk], Blank::Low, FRAME_TIMEOUT, caches);
    let sensor = Ov2640::new(ControlBus::new(p.I2C1, p.PB8, p.PB9), Delay);
    h743::run(start, CameraParts { sensor, grabber, settings: SETTINGS }, led, p.IWDG1)
}
