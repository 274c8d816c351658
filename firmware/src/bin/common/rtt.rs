//! What a probe reads and fills in the memory of a board that runs: the log, and the rings of the transport.

#[path = "stack.rs"]
mod stack;

use cortex_m::peripheral::DWT;
use ocellus_firmware::profile::Counter;
use ocellus_firmware::transport::rtt::{RttReader, RttWriter};
use rtt_target::{ChannelMode, DownChannel, UpChannel, rtt_init, set_defmt_channel};

/// Messages of the host: channel 0 down.
pub struct FromHost(DownChannel);

/// Replies to them: channel 1 up, beside the log on channel 0.
pub struct ToHost(UpChannel);

/// Sets the channels up; to be called once, before anything is logged. None of them ever makes the program wait.
pub fn open() -> (FromHost, ToHost) {
    // The transport's rings hold the image of a small network and its answer.
    let channels = rtt_init! {
        up: {
            0: { size: 1024, mode: ChannelMode::NoBlockTrim, name: "defmt" }
            1: { size: 4096, mode: ChannelMode::NoBlockTrim, name: "ocellus" }
        }
        down: {
            0: { size: 4096, mode: ChannelMode::NoBlockTrim, name: "ocellus" }
        }
    };
    set_defmt_channel(channels.up.0);
    (FromHost(channels.down.0), ToHost(channels.up.1))
}

impl RttReader for FromHost {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.0.read(buffer)
    }
}

impl RttWriter for ToHost {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.write(bytes)
    }
}

/// The core's cycle counter, which a real board has in place of counted instructions.
pub struct Cycles {
    last: u32,
    sum: u64,
    /// Where the stack was when it began to be watched.
    stack: usize,
}

impl Cycles {
    /// Starts it.
    pub fn start() -> Self {
        // SAFETY: nobody else uses the core's trace unit.
        let mut core = unsafe { cortex_m::Peripherals::steal() };
        core.DCB.enable_trace();
        DWT::unlock();
        core.DWT.enable_cycle_counter();
        Self { last: DWT::cycle_count(), sum: 0, stack: 0 }
    }
}

impl Counter for Cycles {
    /// Cycles. The counter overflows after 2^32 of them, 9 s at 480 MHz, and must be read more often: no step takes as long.
    fn instructions(&mut self) -> u64 {
        let now = DWT::cycle_count();
        self.sum += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.sum
    }

    fn watch_stack(&mut self) {
        self.stack = stack::paint();
    }

    fn stack_bytes(&mut self) -> u32 {
        stack::reached(self.stack)
    }
}
