//! Time: a clock, the watchdog, and how long a plan may take before something is wrong.

use embedded_hal::delay::DelayNs;
use ocellus_shared::plan::Plan;

/// Cycles that a multiply-accumulate, or a value under the window of a pooling, takes at most on any core with a fast path:
/// depthwise convolutions, which are the slowest, take about 12.
const CYCLES_PER_MAC: u64 = 16;
/// Cycles that a value of a step's output takes besides: requantization, look-up, padding.
const CYCLES_PER_VALUE: u64 = 64;
/// By how much a run may exceed its prediction.
const SLACK: u64 = 2;
/// Time for all but the run, in microseconds: waiting for a frame, or bringing a sensor up in three tries.
const WAITING_US: u64 = 3_000_000;

/// Time since any start.
pub trait Clock {
    /// Microseconds up to now.
    fn now_us(&self) -> u64;

    /// Returns at `time_us`, or at once where that is over.
    fn wait_until_us(&self, time_us: u64) {
        while self.now_us() < time_us {}
    }
}

/// Restarts the board when the program does not come by for too long.
pub trait Watchdog {
    /// Starts it: [`Watchdog::feed`] must be called at least every `deadline_us` microseconds.
    fn start(&self, deadline_us: u32);

    /// The program has come by.
    fn feed(&self);

    /// Stops it, where that is possible.
    fn stop(&self) {}
}

impl<K: Clock> Clock for &K {
    fn now_us(&self) -> u64 {
        (**self).now_us()
    }

    fn wait_until_us(&self, time_us: u64) {
        (**self).wait_until_us(time_us);
    }
}

impl<W: Watchdog> Watchdog for &W {
    fn start(&self, deadline_us: u32) {
        (**self).start(deadline_us);
    }

    fn feed(&self) {
        (**self).feed();
    }

    fn stop(&self) {
        (**self).stop();
    }
}

/// A clock as a delay.
#[derive(Debug)]
pub struct Pause<'c, K>(pub &'c K);

impl<K: Clock> DelayNs for Pause<'_, K> {
    fn delay_ns(&mut self, time_ns: u32) {
        // One more, since the first may be over at once.
        self.0.wait_until_us(self.0.now_us() + u64::from(time_ns.div_ceil(1000)) + 1);
    }
}

/// The longest time that one run of `plan` is predicted to take on a core of `hertz`, in microseconds.
pub fn longest_run_us(plan: &Plan, hertz: u32) -> u64 {
    let cycles = plan.steps().map(|step| {
        CYCLES_PER_MAC.saturating_mul(step.work()).saturating_add(CYCLES_PER_VALUE * step.output.shape.len() as u64)
    });
    let cycles = cycles.fold(0, u64::saturating_add);
    cycles.saturating_mul(1_000_000) / u64::from(hertz.max(1))
}

/// How long the loop may take from one feeding of the watchdog to the next, in microseconds.
pub fn deadline_us(plan: &Plan, hertz: u32) -> u32 {
    let deadline = longest_run_us(plan, hertz).saturating_mul(SLACK).saturating_add(WAITING_US);
    u32::try_from(deadline).unwrap_or(u32::MAX)
}
