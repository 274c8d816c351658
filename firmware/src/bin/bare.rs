//! The engine and nothing else, to see what it takes of flash: a program that checks a plan and runs it, again and again.
//! It talks to nobody, and its plan is never there; the compiler does not know that.
#![no_std]
#![no_main]

use core::hint::black_box;
use ocellus_firmware::Engine;
use ocellus_shared::plan::Plan;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut PLAN: [u8; 1 << 20] = [0; 1 << 20];
    static mut ARENA: [i8; 1 << 20] = [0; 1 << 20];
    loop {
        if let Ok(plan) = Plan::parse(black_box(PLAN))
            && let Ok(mut engine) = Engine::new(plan, black_box(ARENA))
        {
            black_box(engine.run());
        }
    }
}

#[panic_handler]
fn stop(_: &core::panic::PanicInfo) -> ! {
    loop {
        cortex_m::asm::nop();
    }
}
