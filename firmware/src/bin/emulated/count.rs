//! Executed instructions, time and a watchdog, all from the system timer.
//!
//! When the emulator runs with `-icount shift=0`, virtual time goes on by one nanosecond per instruction, and so the
//! timer ticks once every so many instructions. How many is measured with a loop of known length. Without `-icount` the
//! figures mean nothing.

use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use ocellus_firmware::profile::Counter;
use ocellus_firmware::time::{Clock, Watchdog};
use semihosting::process;

use super::{SYSTICK_HERTZ, stack};

/// Ticks between two overflows.
const PERIOD: u32 = 1 << 24;
/// Turns of the measuring loop, each of two instructions: a tick more or less is one in 10^5.
const TURNS: u32 = 2_000_000;

/// Overflows so far.
static OVERFLOWS: AtomicU32 = AtomicU32::new(0);

/// Overflows until the watchdog bites; none while it does not run.
static REMAINING: AtomicU32 = AtomicU32::new(0);
/// What a feeding sets them to.
static RELOAD: AtomicU32 = AtomicU32::new(0);

/// The timer overflowed.
#[exception]
fn SysTick() {
    OVERFLOWS.fetch_add(1, Ordering::Relaxed);
    // Nobody else writes while this handler runs.
    let left = REMAINING.load(Ordering::Relaxed);
    if left == 1 {
        process::exit(4);
    }
    REMAINING.store(left.saturating_sub(1), Ordering::Relaxed);
}

/// The system timer as a counter of instructions.
pub struct Instructions {
    /// Ticks that the measuring loop took; measured when first needed.
    loop_ticks: Cell<Option<u64>>,
    /// The last reading.
    last: Cell<u64>,
    /// Where the stack was when it began to be watched.
    stack: Cell<usize>,
    #[cfg(feature = "marks")]
    steps: super::marks::Steps,
}

impl Instructions {
    /// Starts the timer; nothing where it was started before.
    pub fn start() -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(PERIOD - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Some(Self {
            loop_ticks: Cell::new(None),
            last: Cell::new(0),
            stack: Cell::new(0),
            #[cfg(feature = "marks")]
            steps: super::marks::Steps::new(),
        })
    }

    /// Ticks since the start.
    fn ticks(&self) -> u64 {
        let elapsed = || u64::from(PERIOD - 1 - SYST::get_current());
        cortex_m::interrupt::free(|_| {
            let periods = u64::from(OVERFLOWS.load(Ordering::Relaxed));
            let now = elapsed();
            // An overflow that is not counted yet may have come before or after the reading: read once more.
            let (periods, now) = if SCB::is_pendst_pending() { (periods + 1, elapsed()) } else { (periods, now) };
            let ticks = periods * u64::from(PERIOD) + now;
            // An emulator on a busy machine starts the timer anew some time before it says that it did.
            let ticks = if ticks < self.last.get() { ticks + u64::from(PERIOD) } else { ticks };
            self.last.set(ticks);
            ticks
        })
    }

    /// Ticks of a loop of `2 * TURNS` instructions.
    fn measure(&self) -> u64 {
        let before = self.ticks();
        // SAFETY: a loop that counts down a register.
        unsafe { asm!("2: subs {0}, {0}, #1", "bne 2b", inout(reg) TURNS => _, options(nomem, nostack)) }
        (self.ticks() - before).max(1)
    }
}

impl Counter for &Instructions {
    fn instructions(&mut self) -> u64 {
        #[cfg(feature = "marks")]
        self.steps.before_reading();
        let loop_ticks = self.loop_ticks.get().unwrap_or_else(|| self.measure());
        self.loop_ticks.set(Some(loop_ticks));
        let instructions = self.ticks() * u64::from(2 * TURNS) / loop_ticks;
        #[cfg(feature = "marks")]
        self.steps.after_reading();
        instructions
    }

    fn watch_stack(&mut self) {
        #[cfg(feature = "marks")]
        self.steps.restart();
        self.stack.set(stack::paint());
    }

    fn stack_bytes(&mut self) -> u32 {
        stack::reached(self.stack.get())
    }
}

impl Clock for Instructions {
    fn now_us(&self) -> u64 {
        // Hertz of the timer fit 32 bits and its ticks stay below 2^44 for a week.
        self.ticks() * 1_000_000 / SYSTICK_HERTZ as u64
    }
}

impl Watchdog for Instructions {
    fn start(&self, deadline_us: u32) {
        let ticks = u64::from(deadline_us) * SYSTICK_HERTZ as u64 / 1_000_000;
        // One overflow may be near, and another is needed for the rest.
        let overflows = u32::try_from(ticks / u64::from(PERIOD)).unwrap_or(u32::MAX - 2) + 2;
        RELOAD.store(overflows, Ordering::Relaxed);
        self.feed();
    }

    fn feed(&self) {
        REMAINING.store(RELOAD.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn stop(&self) {
        RELOAD.store(0, Ordering::Relaxed);
        self.feed();
    }
}
