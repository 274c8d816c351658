//! What the emulated boards share: messages and replies by semihosting, instruction counting, the LED, and an end.
//!
//! The program ends with status 0 when the host says so, 1 when the stream of messages is lost, 2 when it cannot be
//! opened, 3 after a panic or a fault, and 4 when the watchdog was not fed. What a panic says goes to standard error.

mod count;
mod led;
#[cfg(feature = "marks")]
mod marks;
mod semihosting;
#[path = "common/stack.rs"]
mod stack;

use ::semihosting::{eprintln, process};
use core::panic::PanicInfo;
use cortex_m_rt::{ExceptionFrame, exception};
use ocellus_firmware::emulated;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// Memory for a plan and what it works on. The plan comes first, aligned for the words in it.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Memory {
    plan: [u8; PLAN_BYTES],
    arena: [i8; ARENA_BYTES],
    frame: [u8; FRAME_BYTES],
}

impl Memory {
    /// Empty memory.
    pub const fn new() -> Self {
        Self { plan: [0; PLAN_BYTES], arena: [0; ARENA_BYTES], frame: [0; FRAME_BYTES] }
    }
}

/// Serves the host until it ends the conversation, then ends the program.
pub fn run(memory: &'static mut Memory) -> ! {
    let Some(transport) = semihosting::Semihosting::open() else { process::exit(2) };
    let (Some(counter), led) = (count::Instructions::start(), led::Led::new()) else { process::exit(3) };
    let Memory { plan, arena, frame } = memory;
    let memory = emulated::Memory { plan, arena, frame };
    match emulated::run(NAME, memory, transport, &counter, &counter, led) {
        Ok(()) => process::exit(0),
        Err(_) => process::exit(1),
    }
}

/// Says what went wrong and ends the program.
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    eprintln!("{info}");
    process::exit(3)
}

/// Ends the program after a fault.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    process::exit(3)
}
