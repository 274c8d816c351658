//! What boards with an STM32H743 share: clocks, memory, time, and the loop.

pub mod bus;
pub mod dcmi;
mod fault;
mod log;
mod rtt;
pub mod start;

use core::cell::RefCell;
use core::mem::MaybeUninit;
use cortex_m::peripheral::SCB;
use dcmi::Dcmi;
use embassy_stm32::Peri;
use embassy_stm32::peripherals::IWDG1;
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_time::Instant;
use embedded_hal::digital::OutputPin;
use log::HostPort;
use ocellus_firmware::app::smooth::Smoothing;
use ocellus_firmware::boot::{self, CameraBoard, CameraParts};
use ocellus_firmware::camera::sensor::Sensor;
use ocellus_firmware::server::Server;
use ocellus_firmware::time::{Clock, Watchdog};
use ocellus_firmware::transport::rtt::Rtt;
use panic_probe as _;
use start::Start;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// The label that lights the LED, where the builder names one; otherwise any does.
const LOOK_FOR: Option<&str> = option_env!("OCELLUS_LOOK_FOR");
/// How labels are smoothed, where the builder says it.
const SMOOTHING: Smoothing = Smoothing::chosen(option_env!("OCELLUS_BOARD_SMOOTHING"));
/// The core's clock.
const CORE_HERTZ: u32 = 480_000_000;
/// Longest time that the independent watchdog can wait.
const LONGEST_WATCH_US: u32 = 30_000_000;

/// Feature maps and two frames, each beginning at a line of the cache.
#[repr(C, align(32))]
struct Memory {
    frames: [[u8; FRAME_BYTES]; 2],
    arena: [i8; ARENA_BYTES],
}

#[unsafe(link_section = ".axisram")]
static mut MEMORY: MaybeUninit<Memory> = MaybeUninit::uninit();

/// Switches the caches on; what is in charge of them, for those who share memory with a DMA. To be called once.
pub fn caches() -> SCB {
    // SAFETY: nobody else uses the core's own peripherals; embassy keeps to the timers.
    let mut core = unsafe { cortex_m::Peripherals::steal() };
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
    core.SCB
}

/// Time since power-up, and the independent watchdog.
struct Timer {
    port: RefCell<Option<Peri<'static, IWDG1>>>,
    watchdog: RefCell<Option<IndependentWatchdog<'static, IWDG1>>>,
}

impl Clock for Timer {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }
}

impl Watchdog for Timer {
    fn start(&self, deadline_us: u32) {
        let Some(port) = self.port.take() else { return };
        let mut watchdog = IndependentWatchdog::new(port, deadline_us.min(LONGEST_WATCH_US));
        watchdog.unleash();
        self.watchdog.replace(Some(watchdog));
    }

    fn feed(&self) {
        if let Some(watchdog) = &mut *self.watchdog.borrow_mut() {
            watchdog.pet();
        }
    }
}

/// Runs the camera loop with the model in flash, for ever; reports what is wrong once a second where that cannot be. Hosts are
/// answered at any time.
pub fn run(start: Start, camera: CameraParts<impl Sensor, Dcmi>, led: impl OutputPin, port: Peri<'static, IWDG1>) -> ! {
    let Start { reader, writer, unreadable } = start;
    // SAFETY: this function never returns and is called once, and all bits zero are a `Memory`. Writing all of it also sets
    // the error-correcting bits, which are random after power-up.
    let Memory { frames: [front, back], arena } = unsafe {
        let memory = &raw mut MEMORY;
        memory.write_bytes(0, 1);
        (*memory).assume_init_mut()
    };
    // SAFETY: the board's table says that there is flash, which nothing writes while the program runs.
    let region = unsafe { core::slice::from_raw_parts(MODEL_START as *const u8, PLAN_BYTES) };
    let board = CameraBoard {
        name: NAME,
        hertz: CORE_HERTZ,
        look_for: LOOK_FOR,
        smoothing: SMOOTHING,
        region,
        unreadable: unreadable.filter(|address| region.as_ptr_range().contains(&(*address as *const u8))),
        arena,
        frames: [front, back],
    };
    let timer = Timer { port: RefCell::new(Some(port)), watchdog: RefCell::new(None) };
    let server = Server::new(Rtt::new(reader, writer, &timer), rtt::Cycles::start(), board.info());
    let mut host = HostPort::new(server);
    if let Err(error) = boot::run(board, camera, led, &timer, &mut host, u32::MAX) {
        boot::report_error_loop(&error, &mut host, &timer, u32::MAX);
    }
    // After years.
    SCB::sys_reset()
}
