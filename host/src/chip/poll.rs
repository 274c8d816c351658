//! Time that a program spends polling is skipped, a little at a time: it would only look at the same flags again.
//!
//! Skips grow with the time that was polled already, so that a wait ends late by an eighth of itself at most, and by no more
//! than `LONGEST_US`; and they end where the chip itself has something to do. To a program it looks as if an interrupt
//! had taken the time.

use super::bus::Time;

/// Cycles between two looks at a flag beyond which something else was done in between.
const CLOSE_CYCLES: u64 = 1_000;
/// Longest skip in microseconds.
const LONGEST_US: u64 = 50;
/// Part of the polled time that is skipped with the next look.
const PART: u64 = 8;

/// What an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Reads a flag or a counter, and changes nothing.
    Poll,
    /// Anything else.
    Work,
}

/// How long a program has been polling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polling {
    begun: u64,
    last: Option<u64>,
}

impl Polling {
    /// An access at `cycles` of a core of `hertz`: cycles to be skipped after it, none beyond `next_event`.
    pub fn look(&mut self, look: Look, cycles: u64, hertz: u64, next_event: u64) -> u64 {
        if look == Look::Work {
            self.last = None;
            return 0;
        }
        if self.last.is_none_or(|last| cycles.saturating_sub(last) > CLOSE_CYCLES) {
            self.begun = cycles;
        }
        let longest = Time::us(LONGEST_US).periods(hertz);
        let skip = ((cycles - self.begun) / PART).min(longest).min(next_event.saturating_sub(cycles));
        self.last = Some(cycles + skip);
        skip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERTZ: u64 = 480_000_000;

    /// Polls every 80 cycles until `end`: the looks that it takes and when the last one is.
    fn wait(end: u64, event: u64) -> (u64, u64) {
        let (mut polling, mut now, mut looks) = (Polling::default(), 0, 0);
        while now < end {
            now += polling.look(Look::Poll, now, HERTZ, event) + 80;
            looks += 1;
        }
        (looks, now)
    }

    #[test]
    fn a_long_wait_takes_few_looks_and_ends_little_late() {
        for end in [1_000, 48_000, 4_800_000, 48_000_000] {
            let (looks, now) = wait(end, u64::MAX);
            assert!(now - end <= (end / PART).min(LONGEST_US * 480) + 160, "{end}: {now}");
            assert!(looks < 60 + end / 24_000 + 50, "{end}: {looks}");
        }
    }

    #[test]
    fn nothing_is_skipped_beyond_an_event_nor_beside_work() {
        let mut polling = Polling::default();
        (0..9).for_each(|i| assert!(i * 900 + polling.look(Look::Poll, i * 900, HERTZ, 8_000) <= 8_000));
        assert_eq!(polling.look(Look::Work, 9_000, HERTZ, u64::MAX), 0);
        assert_eq!(polling.look(Look::Poll, 9_100, HERTZ, u64::MAX), 0);
        // Half a millisecond later something else was done.
        assert_eq!(polling.look(Look::Poll, 250_000, HERTZ, u64::MAX), 0);
    }
}
