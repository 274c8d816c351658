//! What a fault leaves behind: its cause and its place, for the next start to report. Nobody is helped by a board that stands
//! still.

use core::mem::MaybeUninit;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};

/// What tells a record from whatever memory holds after power-up.
const MARK: u32 = 0x0c3e_11f5;
/// Bits of CFSR (ARMv7-M, B3.2.15): BFAR, and MMFAR, hold the address that faulted.
const BFARVALID: u32 = 1 << 15;
const MMARVALID: u32 = 1 << 7;
/// Cycles until the reset, in which a probe takes what was logged last: a panic's message.
const LAST_WORDS: u32 = 2_000_000;

/// A fault in memory that a reset does not clear.
#[repr(C)]
struct Record {
    mark: u32,
    place: u32,
    status: u32,
    address: u32,
    /// All others, one after the other, by exclusive or: memory after power-up has it by chance only.
    check: u32,
}

#[unsafe(link_section = ".uninit.fault")]
static mut RECORD: MaybeUninit<Record> = MaybeUninit::uninit();

/// Records the fault and restarts.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: its registers are only read.
    let scb = unsafe { &*SCB::PTR };
    let (place, status) = (frame.pc(), scb.cfsr.read());
    let address = match () {
        () if status & BFARVALID != 0 => scb.bfar.read(),
        () if status & MMARVALID != 0 => scb.mmfar.read(),
        () => 0,
    };
    let record = Record { mark: MARK, place, status, address, check: MARK ^ place ^ status ^ address };
    // SAFETY: the program is over, and nothing else has the record.
    unsafe { (&raw mut RECORD).cast::<Record>().write_volatile(record) };
    cortex_m::asm::delay(LAST_WORDS);
    SCB::sys_reset()
}

/// Logs the fault that ended the last run, if one did: the address that could not be reached, where it was about one. To be
/// called once, at the start.
pub fn report() -> Option<u32> {
    let place = (&raw mut RECORD).cast::<Record>();
    // SAFETY: any bits are a record, and nothing else has it.
    let Record { mark, place: at, status, address, check } = unsafe { place.read_volatile() };
    // SAFETY: as above.
    unsafe { place.cast::<u32>().write_volatile(0) };
    if mark != MARK || check != mark ^ at ^ status ^ address {
        return None;
    }
    defmt::println!("restarted after a fault at {=u32:#x}, status {=u32:#x}, address {=u32:#x}", at, status, address);
    (status & (BFARVALID | MMARVALID) != 0).then_some(address)
}
