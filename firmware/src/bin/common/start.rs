//! The first moments of a board with an STM32H743: the watchdog, the log, what the last run ended with, and a clock. Nothing
//! here waits without an end, and nothing comes before the watchdog.

use super::fault;
use super::rtt::{self, Cycles, FromHost, ToHost};
use embassy_stm32::Config;
use embassy_stm32::pac::iwdg::vals::{Key, Pr};
use embassy_stm32::pac::{IWDG1, RCC};
use embassy_stm32::rcc::{AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk};
use embassy_stm32::time::Hertz;
use ocellus_firmware::profile::Counter;

/// Periods of 8 ms (32 kHz / 256) in which the board must have come to its loop: 4 s.
const START_PERIODS: u16 = 500;
/// Cycles at 64 MHz that a crystal gets to swing: 50 ms, of which it takes 2 (STM32H743 data sheet).
const CRYSTAL_CYCLES: u32 = 3_200_000;
/// Looks at it that take longer than that, should no cycles be counted.
const CRYSTAL_LOOKS: u32 = 1_000_000;

/// What the start leaves for the loop.
pub struct Start {
    /// Messages of the host.
    pub reader: FromHost,
    /// Replies to them.
    pub writer: ToHost,
    /// An address that could not be read in the last run.
    pub unreadable: Option<u32>,
}

/// Starts the watchdog and the log, and says there why the board starts. To be called once, before anything else.
pub fn begin() -> Start {
    watch();
    let (reader, writer) = rtt::open();
    if RCC.rsr().read().iwdg1rstf() {
        defmt::println!("restarted by the watchdog");
    }
    RCC.rsr().modify(|w| w.set_rmvf(true));
    Start { reader, writer, unreadable: fault::report() }
}

/// Starts the watchdog with time for the start; the loop gives it the time of its model.
fn watch() {
    IWDG1.kr().write(|w| w.set_key(Key::START));
    IWDG1.kr().write(|w| w.set_key(Key::ENABLE));
    IWDG1.pr().write(|w| w.set_pr(Pr::DIVIDE_BY256));
    IWDG1.rlr().write(|w| w.set_rl(START_PERIODS));
    // The watchdog runs by now: this has an end.
    while IWDG1.sr().read().0 != 0 {}
    IWDG1.kr().write(|w| w.set_key(Key::RESET));
}

/// The core at 480 MHz, buses at 240 and 120, from a crystal of `hertz` that `divided` makes 5 or 4 MHz of and `times`
/// brings to 960 MHz; from the internal oscillator where it does not swing, at most 1 % off.
pub fn clocks(hertz: u32, divided: PllPreDiv, times: PllMul) -> Config {
    let mut config = Config::default();
    let (source, prediv, mul) = if crystal_swings() {
        config.rcc.hse = Some(Hse { freq: Hertz(hertz), mode: HseMode::Oscillator });
        (PllSource::HSE, divided, times)
    } else {
        defmt::println!("the crystal does not swing: clocked by the internal oscillator");
        // 64 MHz / 16 * 240.
        (PllSource::HSI, PllPreDiv::DIV16, PllMul::MUL240)
    };
    config.rcc.pll1 = Some(Pll { source, prediv, mul, fracn: None, divp: Some(PllDiv::DIV2), divq: None, divr: None });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV2;
    config.rcc.apb1_pre = APBPrescaler::DIV2;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.apb3_pre = APBPrescaler::DIV2;
    config.rcc.apb4_pre = APBPrescaler::DIV2;
    config
}

/// Whether the crystal swings. embassy waits for it without an end.
fn crystal_swings() -> bool {
    RCC.cr().modify(|w| w.set_hseon(true));
    let mut cycles = Cycles::start();
    let begun = cycles.instructions();
    let mut is_early = |_: &u32| cycles.instructions() - begun < u64::from(CRYSTAL_CYCLES);
    (0..CRYSTAL_LOOKS).take_while(|look| is_early(look)).any(|_| RCC.cr().read().hserdy())
}
