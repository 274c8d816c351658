//! Raspberry Pi Pico 2 with an OV7670 on a breakout board.
#![no_std]
#![no_main]

#[path = "common/fault.rs"]
mod fault;
#[path = "common/log.rs"]
mod log;
#[path = "common/rp2350.rs"]
mod rp2350;
#[path = "common/rtt.rs"]
mod rtt;

use embassy_rp::dma::{self, Channel};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, PIO0};
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::pwm::{self, Pwm};
use embassy_rp::{bind_interrupts, watchdog};
use embassy_time::{Delay, Duration, block_for};
use log::HostPort;
use ocellus_firmware::app::smooth::Smoothing;
use ocellus_firmware::boot::{self, CameraBoard, CameraParts};
use ocellus_firmware::camera::ov7670::Ov7670;
use ocellus_firmware::camera::sensor::Settings;
use ocellus_firmware::server::Server;
use ocellus_firmware::transport::rtt::Rtt;
use ocellus_shared::PixelFormat;
use panic_probe as _;
use rp2350::{ControlBus, Timer, pio};

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// What the sensor is set to; `frame-bytes` in the board's table is the size of its frames.
const SETTINGS: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);
/// A capture waits for the end of one frame and for a whole one: 70 ms at 30 frames a second, more in poor light.
const FRAME_TIMEOUT: Duration = Duration::from_millis(250);
/// Time from clock and power to the sensor's first answer.
const POWER_UP: Duration = Duration::from_millis(10);
/// The label that lights the LED, where the builder names one; otherwise any does.
const LOOK_FOR: Option<&str> = option_env!("OCELLUS_LOOK_FOR");
/// How labels are smoothed, where the builder says it.
const SMOOTHING: Smoothing = Smoothing::chosen(option_env!("OCELLUS_BOARD_SMOOTHING"));
/// The core's clock, which embassy sets.
const CORE_HERTZ: u32 = 150_000_000;

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

/// Feature maps and two frames, which the DMA fills in words.
#[repr(C, align(4))]
struct Memory {
    frames: [[u8; FRAME_BYTES]; 2],
    arena: [i8; ARENA_BYTES],
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory { frames: [[0; FRAME_BYTES]; 2], arena: [0; ARENA_BYTES] };
    let p = embassy_rp::init(Default::default());
    let (reader, writer) = rtt::open();
    let watchdog = watchdog::Watchdog::new(p.WATCHDOG);
    if watchdog.reset_reason() == Some(watchdog::ResetReason::TimedOut) {
        defmt::println!("restarted by the watchdog");
    }
    let unreadable = fault::report();
    // XCLK: 150 MHz / 6.
    let mut clock = pwm::Config::default();
    (clock.top, clock.compare_a) = (5, 3);
    let _clock = Pwm::new_output_a(p.PWM_SLICE5, p.PIN_10, clock);
    // PWDN, which powers the sensor down while it is high, and RESET, which holds it while it is low.
    let (_power, _reset) = (Output::new(p.PIN_0, Level::Low), Output::new(p.PIN_1, Level::High));
    block_for(POWER_UP);
    let mut pio = Pio::new(p.PIO0, Interrupts);
    let c = &mut pio.common;
    let data = [
        c.make_pio_pin(p.PIN_2),
        c.make_pio_pin(p.PIN_3),
        c.make_pio_pin(p.PIN_4),
        c.make_pio_pin(p.PIN_5),
        c.make_pio_pin(p.PIN_6),
        c.make_pio_pin(p.PIN_7),
        c.make_pio_pin(p.PIN_8),
        c.make_pio_pin(p.PIN_9),
    ];
    let _sync = [c.make_pio_pin(p.PIN_11), c.make_pio_pin(p.PIN_12), c.make_pio_pin(p.PIN_13)];
    let grabber = pio::PioCamera::new(pio, Channel::new(p.DMA_CH0, Interrupts), data, FRAME_TIMEOUT);
    let sensor = Ov7670::new(ControlBus::new(p.I2C1, p.PIN_15, p.PIN_14), Delay);
    let Memory { frames: [front, back], arena } = MEMORY;
    // SAFETY: the board's table says that there is flash, which nothing writes while the program runs.
    let region = unsafe { core::slice::from_raw_parts(MODEL_START as *const u8, PLAN_BYTES) };
    let unreadable = unreadable.filter(|address| region.as_ptr_range().contains(&(*address as *const u8)));
    let board = CameraBoard {
        name: NAME,
        hertz: CORE_HERTZ,
        look_for: LOOK_FOR,
        smoothing: SMOOTHING,
        region,
        unreadable,
        arena,
        frames: [front, back],
    };
    let timer = Timer::new(watchdog);
    let led = Output::new(p.PIN_25, Level::Low);
    let server = Server::new(Rtt::new(reader, writer, &timer), rtt::Cycles::start(), board.info());
    let mut host = HostPort::new(server);
    let camera = CameraParts { sensor, grabber, settings: SETTINGS };
    if let Err(error) = boot::run(board, camera, led, &timer, &mut host, u32::MAX) {
        boot::report_error_loop(&error, &mut host, &timer, u32::MAX);
    }
    // After years.
    cortex_m::peripheral::SCB::sys_reset()
}
