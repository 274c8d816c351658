//! Marks: stores by which a plugin of the emulator knows what runs, to count instructions one by one. Only with the feature
//! `marks`.
//!
//! A call of `bench_mark(id)` stores `id` at this position of the array `bench_marks`. Ids 0 and 1 follow each other, which
//! tells what a mark itself takes; step `k` runs between `100 + k` and `300 + k`.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// Where marks are stored.
#[unsafe(export_name = "bench_marks")]
static MARKS: [AtomicU32; 512] = [const { AtomicU32::new(0) }; 512];
/// Mark of the first step's begin.
const BEGIN: u32 = 100;
/// Mark of the first step's end.
const END: u32 = 300;

#[unsafe(export_name = "bench_mark")]
#[inline(never)]
extern "C" fn mark(id: u32) {
    if let Some(place) = MARKS.get(id as usize) {
        place.store(id, Ordering::Relaxed);
    }
}

/// The steps of a run, whose counter is read before and after each.
pub struct Steps {
    readings: Cell<u32>,
}

impl Steps {
    /// None so far.
    pub const fn new() -> Self {
        Self { readings: Cell::new(0) }
    }

    /// A run begins.
    pub fn restart(&self) {
        self.readings.set(0);
        mark(0);
        mark(1);
    }

    /// The counter is about to be read: every second time, a step has ended.
    pub fn before_reading(&self) {
        let readings = self.readings.get();
        if readings % 2 == 1 {
            mark(END + readings / 2);
        }
    }

    /// The counter was read: every other time, a step begins.
    pub fn after_reading(&self) {
        let readings = self.readings.get();
        if readings % 2 == 0 {
            mark(BEGIN + readings / 2);
        }
        self.readings.set(readings + 1);
    }
}
